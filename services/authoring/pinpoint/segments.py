"""Segments as audiences.

Law: an audience that cannot be expressed is not made, and what names it dangles: a missing audience never becomes
"everybody". Sources stay references; a circle of them is refused, found without recursion.
Source: pinpoint design 3.3 and 4.3.
"""

from typing import Any, Final

from services.authoring.pinpoint.comparisons import (
    Predicate,
    dimensions,
    is_without_condition,
    joined,
    negated,
)
from services.authoring.pinpoint.identity import source_id_of
from services.authoring.pinpoint.library import MAX_TITLE, Found, Library, hashed
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.predicates import sound
from services.authoring.pinpoint.shapes import SEGMENT, fitted
from services.domain.journey.model import Json

_WAYS: Final = ("ALL", "ANY", "NONE")


def add_audiences(library: Library) -> None:
    """Make an audience of every segment of the export that can be expressed."""
    circular = _circular(library)
    for segment_id, found in sorted(library.segments.items()):
        ref = library.ref("audience", segment_id)
        notes = library.notes.of(ref)
        segment = fitted(found.value, SEGMENT, found.path, notes) or {}
        notes.keep_whole("Segment", found.path, found.value)
        if segment_id in circular:
            notes.drop("audience_cycle", "SegmentGroups", found.path, found.value)
            continue
        is_imported = segment.get("SegmentType") == "IMPORT" or "ImportDefinition" in segment
        predicate = None if is_imported else _predicate(segment, found.path, library, notes)
        if is_imported:
            notes.say("audience_imported", found.path)
        elif predicate is None:
            notes.keep("Segment", found.path, found.value)
            continue
        library.audiences[ref] = hashed(
            {
                "ref": ref,
                "sourceId": source_id_of(segment_id),
                "name": (segment.get("Name") or segment_id).strip()[:MAX_TITLE] or "Segment",
                "predicate": predicate,
                "subjectIds": [] if is_imported else None,
                "extensions": {"pinpoint": {"source": segment}},
            }
        )


def _predicate(segment: dict[str, Any], path: str, library: Library, notes: Notes) -> Predicate | None:
    groups = segment.get("SegmentGroups", {}).get("Groups") or []
    alone = segment.get("Dimensions")
    if not groups:
        at = step_into(path, "Dimensions")
        if is_without_condition(alone or {}):
            notes.say("audience_everyone", path)
        return sound(dimensions(alone or {}, at, library.options, notes), at, notes)
    if alone and not is_without_condition(alone) and [alone] != [d for g in groups for d in g.get("Dimensions", [])]:
        notes.say("audience_definitions_differ", step_into(path, "Dimensions"))
        notes.keep("Dimensions", step_into(path, "Dimensions"), alone)
    at = step_into(path, "SegmentGroups")
    clauses = [_group(group, step_into(at, "Groups", i), library, notes) for i, group in enumerate(groups)]
    return sound(_combined(clauses, segment["SegmentGroups"].get("Include", "ALL"), at, notes), at, notes)


def _group(group: dict[str, Any], path: str, library: Library, notes: Notes) -> Predicate | None:
    parts: list[Predicate | None] = []
    if sources := group.get("SourceSegments"):
        leaves: list[Predicate | None] = []
        for i, source in enumerate(sources):
            at = step_into(path, "SourceSegments", i)
            if not source.get("Id"):
                notes.say("audience_operator", at, "The source segment has no Id.")
                leaves.append(None)
                continue
            if "Version" in source:
                notes.say("audience_version_ignored", at)
            leaves.append({"kind": "in_segment", "audienceRef": library.audience_ref(source["Id"], at, notes)})
        parts.append(_combined(leaves, group.get("SourceType", "ALL"), step_into(path, "SourceType"), notes))
    inner = [
        dimensions(one, step_into(path, "Dimensions", i), library.options, notes)
        for i, one in enumerate(group.get("Dimensions", []))
    ]
    way = group.get("Type", "ALL")
    if inner or way == "NONE":
        parts.append(_combined(inner, way, step_into(path, "Type"), notes))
    if not sources and all(is_without_condition(one) for one in group.get("Dimensions", [])):
        notes.say("audience_everyone", path)
    return joined("and", parts)


def _combined(clauses: list[Predicate | None], way: str, path: str, notes: Notes) -> Predicate | None:
    match way:
        case "ALL":
            return joined("and", clauses)
        case "ANY":
            return joined("or", clauses) if clauses else {"kind": "and", "clauses": []}
        case "NONE":
            return negated(joined("or", clauses))
        case _:
            notes.say("audience_operator", path, f"{way[:80]!r} is none of {', '.join(_WAYS)}.")
            return None


def _circular(library: Library) -> set[str]:
    """The segments that are made of themselves."""
    sources = {name: _sources_of(found) & library.segments.keys() for name, found in library.segments.items()}
    # Take away what is made of nothing, again and again: what stays is, or is made of, a circle. Then the same backwards.
    remaining = _stripped(sources)
    backwards: dict[str, set[str]] = {name: set() for name in remaining}
    for name in remaining:
        for source in sources[name] & remaining:
            backwards[source].add(name)
    return _stripped(backwards)


def _stripped(edges: dict[str, set[str]]) -> set[str]:
    users: dict[str, list[str]] = {}
    left = {name: len(targets) for name, targets in edges.items()}
    for name, targets in edges.items():
        for target in targets:
            users.setdefault(target, []).append(name)
    free = [name for name, count in left.items() if not count]
    while free:
        name = free.pop()
        del left[name]
        for user in users.get(name, ()):
            left[user] -= 1
            if not left[user]:
                free.append(user)
    return set(left)


def _sources_of(found: Found) -> set[str]:
    """The ids of the sources, read from the raw segment."""
    ids: set[str] = set()
    groups: Json = found.value.get("SegmentGroups")
    for group in _items(groups.get("Groups") if isinstance(groups, dict) else None):
        for source in _items(group.get("SourceSegments") if isinstance(group, dict) else None):
            if isinstance(source, dict) and isinstance(source.get("Id"), str):
                ids.add(source["Id"])
    return ids


def _items(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
