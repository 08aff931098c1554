"""What differs between two bundles: object by object, member by member, each at its JSON Pointer.

Law: what follows from the rest is not compared: hashes, what an object's state and faults were when it was written.
Steps, branches and arms are known by their ids, so that one moved or put between others is no change of the rest.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

SECTIONS: Final = ("audiences", "triggerContracts", "communications", "journeys")
_DERIVED: Final = frozenset({"contentHash", "completeness", "publishBlockers", "sourceState", "variables"})
_DEFAULTS: Final[Mapping[str, Any]] = {
    "description": "",
    "settings": {},
    "placeholder": False,
    "subjectFieldPath": "endUserId",
}
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `path` points into the object ("" is the whole); a side that is not there is `_ABSENT`."""

    ref: str
    name: str
    path: str
    before: Any
    after: Any

    @property
    def is_addition(self) -> bool:
        """Whether it was not there before."""
        return self.before is _ABSENT

    @property
    def is_removal(self) -> bool:
        """Whether it is not there any more."""
        return self.after is _ABSENT

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        how = "added" if self.is_addition else "removed" if self.is_removal else "changed"
        shown: dict[str, Any] = {"ref": self.ref, "name": self.name, "path": self.path, "change": how}
        if not self.is_addition:
            shown["before"] = self.before
        if not self.is_removal:
            shown["after"] = self.after
        return shown


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference, in the order of the sections and refs."""
    found: list[Change] = []
    for section in SECTIONS:
        old, new = _by_ref(before, section), _by_ref(after, section)
        for ref in sorted(old.keys() | new.keys()):
            one, two = old.get(ref), new.get(ref)
            name = str((two or one or {}).get("name", ""))
            if one is None or two is None:
                gone, come = (_ABSENT, two) if one is None else (one, _ABSENT)
                found.append(Change(ref, name, "", gone, come))
            else:
                found.extend(Change(ref, name, *parts) for parts in _differences(_plain(one), _plain(two), ""))
    return found


def _by_ref(bundle: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    objects = bundle.get(section) or []
    return {str(one.get("ref")): one for one in objects if isinstance(one, dict)}


def _plain(thing: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what is derived, null or the default."""
    return {
        name: value
        for name, value in thing.items()
        if name not in _DERIVED and value is not None and _DEFAULTS.get(name, _ABSENT) != value
    }


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True):  # to Python, true is 1
        return
    old, new = _members(before), _members(after)
    if old is None or new is None or isinstance(before, dict) is not isinstance(after, dict):
        yield path, before, after
        return
    for name in [*old, *(name for name in new if name not in old)]:
        one, two = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if one is _ABSENT or two is _ABSENT:
            yield f"{path}/{_escaped(name)}", one, two
        else:
            yield from _differences(one, two, f"{path}/{_escaped(name)}")
    if isinstance(before, list) and [name for name in old if name in new] != [name for name in new if name in old]:
        yield f"{path} (order)", list(old), list(new)


def _members(value: Any) -> dict[str, Any] | None:
    """The members of an object; of a list those of its items that have ids, by id. None for what is one value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "id" in item for item in value):
        named = {str(item["id"]): item for item in value}
        return named if len(named) == len(value) else None
    return None


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
