"""What a bundle consists of, once it is read.

Law: a body is what an author would send to the API, in one normal form: what is absent, null or the default is not
there, so that two ways to say one thing are equal. In a bundle bodies name other objects by refs, in a workspace by
ids; `refs.py` turns one into the other.
Source: pinpoint design 6.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

KIND: Final = "journey-import-bundle"
VERSION: Final = "1.0"
OURS: Final = "adaptive-journeys"  # the provider of our own exports
PINPOINT: Final = "aws-pinpoint"
CONTENT: Final = ("subject", "body", "text", "title", "data", "from")

Body = dict[str, Any]


class Kind(StrEnum):
    """What an object of a bundle is; the first word of its ref. In the order in which they are made."""

    AUDIENCE = "audience"
    CONTRACT = "contract"
    COMMUNICATION = "communication"
    JOURNEY = "journey"


SECTIONS: Final[Mapping[Kind, str]] = {
    Kind.AUDIENCE: "audiences",
    Kind.CONTRACT: "triggerContracts",
    Kind.COMMUNICATION: "communications",
    Kind.JOURNEY: "journeys",
}
MEMBERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.AUDIENCE: ("name", "description", "predicate", "subjectIds"),
    Kind.CONTRACT: ("name", "eventName", "subjectFieldPath", "recipientEmailFieldPath"),
    Kind.COMMUNICATION: ("name", "commType", "channel", *CONTENT),
    Kind.JOURNEY: ("name", "description", "goalEventName", "goalEventWindowDays", "steps", "settings"),
}
_DEFAULTS: Final[Mapping[str, Any]] = {"description": "", "settings": {}, "subjectFieldPath": "endUserId"}


@dataclass(frozen=True, slots=True)
class Reference:
    """One object naming another, at a JSON Pointer of the request."""

    kind: Kind
    ref: str
    at: str


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a bundle: its body with refs, and what the bundle says about it.

    `stated_hash` is the contentHash as written, `content_hash` the one that fits. `excused` are codes of graph faults
    that the bundle itself names as blockers of the publication. `urls` are what its webhooks call, with the pointer;
    `unresolved` the functions behind webhooks without a URL, by step.
    """

    kind: Kind
    ref: str
    source_id: str
    at: str
    body: Body
    content_hash: str
    stated_hash: str | None = None
    references: tuple[Reference, ...] = ()
    is_placeholder: bool = False
    is_incomplete: bool = False
    excused: frozenset[str] = frozenset()
    urls: tuple[tuple[str, str], ...] = ()
    unresolved: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The display name."""
        return str(self.body["name"])


@dataclass(frozen=True, slots=True)
class Source:
    """Where a bundle was made, and of what: one object of it is known by (provider, application, kind, source id)."""

    provider: str
    application_id: str
    is_partial: bool = False

    def is_workspace(self, workspace: str) -> bool:
        """Whether it is an export of this very workspace, so that refs hold the workspace's own ids."""
        return self.provider == OURS and self.application_id == workspace


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that is sound in itself; items in the order in which they have to be made."""

    bundle_id: str
    source: Source
    items: tuple[Item, ...]

    @property
    def by_ref(self) -> dict[tuple[Kind, str], Item]:
        """The items by what others call them."""
        return {(item.kind, item.ref): item for item in self.items}


def normal(kind: Kind, members: Mapping[str, Any], *more: str) -> Body:
    """The body with its members in normal form; `more` names those that hold references."""
    body = {name: members[name] for name in (*MEMBERS[kind], *more) if members.get(name) is not None}
    for name, value in _DEFAULTS.items():
        if name == "subjectFieldPath":
            if kind is Kind.CONTRACT:
                body.setdefault(name, value)
        elif body.get(name) == value:
            del body[name]
    window = body.get("goalEventWindowDays")
    if isinstance(window, float) and window.is_integer():
        body["goalEventWindowDays"] = int(window)
    if "subjectIds" in body:
        body["subjectIds"] = list(dict.fromkeys(body["subjectIds"]))
    return body


def differing(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The members in which two bodies of one kind differ; a goal window that nobody asks for does not."""
    names = dict.fromkeys([*wanted, *current])
    return [
        name
        for name in names
        if wanted.get(name) != current.get(name) and not (name == "goalEventWindowDays" and name not in wanted)
    ]


def counted(actions: Iterable[str], known: Iterable[str]) -> dict[str, int]:
    """How often each known action stands in a list."""
    counts = dict.fromkeys(known, 0)
    for action in actions:
        counts[action] += 1
    return counts
