"""The templates there are, read once."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from services.authoring.bundles.form import Body, Bundle, Item, Kind
from services.authoring.importing.reading import read_bundle
from services.domain.errors import Missing

# In the order in which a customer is met: activation, conversion, renewal, expansion, loss.
IDS: Final = ("activation-onboarding", "trial-conversion", "renewal-qbr", "expansion-nudge", "win-back")
_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Template:
    """One template: what a chooser is shown, and its bundle."""

    id: str
    about: str
    bundle: Bundle

    @property
    def journey(self) -> Item:
        """Its journey."""
        return next(item for item in self.bundle.items if item.kind is Kind.JOURNEY)

    @property
    def body(self) -> Body:
        """Its journey's members, with refs."""
        return self.journey.body

    @property
    def event_name(self) -> str:
        """The event that starts its journey."""
        contract = next(item for item in self.bundle.items if item.kind is Kind.CONTRACT)
        return str(contract.body["eventName"])

    @property
    def channels(self) -> tuple[str, ...]:
        """What it sends by."""
        used = {str(item.body["channel"]) for item in self.bundle.items if item.kind is Kind.COMMUNICATION}
        return tuple(sorted(used))


@cache
def templates() -> tuple[Template, ...]:
    """All of them."""
    found = []
    for name in IDS:
        json = msgspec.json.decode((_FOLDER / f"{name.replace('-', '_')}.json").read_bytes())
        found.append(Template(name, json["extensions"]["template"]["about"], read_bundle(json)))
    return tuple(found)


def template(name: str) -> Template:
    """One of them; raises Missing."""
    for one in templates():
        if one.id == name:
            return one
    raise Missing("journey template", name[:80])
