"""Copy a template into a workspace: a draft with its trigger contract, audience and communications.

Law: each use makes objects of its own; whoever changes one changes no other copy. What has a name already gets a
number behind it.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from services.authoring.bundles.form import Kind
from services.authoring.bundles.refs import to_ids
from services.authoring.changes import Origin
from services.authoring.importing.applying import Writers
from services.authoring.importing.targets import Targets
from services.authoring.names import MAX_TITLE, slug
from services.authoring.read_journeys import Journeys, JourneyView
from services.authoring.repositories import Audience, Communication, TriggerContract
from services.authoring.templates.catalogue import template


@dataclass(frozen=True, slots=True)
class Copied:
    """What a use made."""

    journey: JourneyView
    trigger_contract: TriggerContract
    audiences: tuple[Audience, ...]
    communications: tuple[Communication, ...]


@dataclass(frozen=True, slots=True)
class UseTemplate:
    """Copy a template. Raises Missing for an unknown one."""

    targets: Targets
    journeys: Journeys
    writers: Writers

    async def __call__(self, workspace: str, name: str, actor: str, made_by: str = "") -> Copied:
        """`made_by` names a request that may come again, perhaps after it made a part: it goes on with that part."""
        chosen = template(name)
        origin = Origin({"templateId": chosen.id})
        taken = {kind: await self.targets.names(workspace, kind) for kind in Kind}
        ids: dict[tuple[Kind, str], str] = {}
        for item in chosen.bundle.items:
            body = to_ids(item.kind, item.body, lambda kind, ref: ids.get((kind, ref)))
            body["name"] = _free(item.name, taken[item.kind])
            own = _id_in(made_by, item.kind, item.ref, item.name) if made_by else None
            ids[item.kind, item.ref] = await self.writers.create(
                workspace, item.kind, body, own, actor, origin, made_by
            )

        def of(kind: Kind) -> list[str]:
            return [made for (known, _), made in ids.items() if known is kind]

        return Copied(
            await self.journeys.get(workspace, of(Kind.JOURNEY)[0]),
            await self.writers.contracts.get(workspace, of(Kind.CONTRACT)[0]),
            tuple([await self.writers.audiences.get(workspace, made) for made in of(Kind.AUDIENCE)]),
            tuple([await self.writers.communications.get(workspace, made) for made in of(Kind.COMMUNICATION)]),
        )


def _id_in(made_by: str, kind: Kind, ref: str, name: str) -> str:
    """The id of a part of a copy, the same for every repeat of its request."""
    end = hashlib.sha256(f"{made_by} {kind} {ref}".encode()).hexdigest()[:10]
    return f"{slug(name, 'copy')[:48].rstrip('-')}-{end}"


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the first of `name (2)`, `name (3)`, ... that nobody has."""
    number, tried = 1, name
    while tried in taken:
        number += 1
        end = f" ({number})"
        tried = name[: MAX_TITLE - len(end)] + end
    return tried
