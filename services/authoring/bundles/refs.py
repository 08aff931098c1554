"""Where one object names another: by an id in a workspace, by a ref in a bundle.

Law: only the members that the contract knows as references are looked at; what a customer wrote into free JSON (a
webhook's body, an attribute) is never taken for one.
Source: pinpoint design 6; contract 2.1 and 3 (Predicate).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from services.authoring.bundles.form import Body, Kind, Source
from services.authoring.names import slug

MAX_REF: Final = 300
_DIGEST: Final = 10  # hex digits
_WORD: Final = 40  # characters of the ref that a person may know it by
_DEPTH: Final = 40  # of a predicate: what is deeper is refused by its reader, whatever it names
_SEGMENTS: Final = ("in_segment", "in_cohort")

# (in a workspace, in a bundle, what is named)
JOURNEY_NAMES: Final = (
    ("audienceId", "audienceRef", Kind.AUDIENCE),
    ("triggerContractId", "triggerContractRef", Kind.CONTRACT),
)
SEND_NAMES: Final = (("communicationId", "communicationRef", Kind.COMMUNICATION),)
LEAF_NAMES: Final = (("audienceId", "audienceRef", Kind.AUDIENCE), ("cohortId", "cohortRef", Kind.AUDIENCE))

Names = tuple[tuple[str, str, Kind], ...]
Change = Callable[[dict[str, Any], Names, str], dict[str, Any]]


def to_ids(kind: Kind, body: Body, id_of: Callable[[Kind, str], str | None]) -> Body:
    """The body as the workspace holds it; where `id_of` knows none, the member is left out."""

    def change(node: dict[str, Any], names: Names, at: str) -> dict[str, Any]:
        changed = dict(node)
        for id_name, ref_name, named in names:
            ref = changed.pop(ref_name, None)
            found = id_of(named, ref) if isinstance(ref, str) else None
            if found is not None:
                changed[id_name] = found
        return changed

    return mapped(kind, body, change)


def to_refs(kind: Kind, body: Body) -> Body:
    """The body as an export of ours writes it: the ref of an object is its kind and its id."""

    def change(node: dict[str, Any], names: Names, at: str) -> dict[str, Any]:
        changed = dict(node)
        for id_name, ref_name, named in names:
            name = changed.pop(id_name, None)
            if isinstance(name, str):
                changed[ref_name] = own_ref(named, name)
        return changed

    return mapped(kind, body, change)


def own_ref(kind: Kind, name: str) -> str:
    """The ref of an object of a workspace in its exports."""
    return f"{kind}:{name}"


def own_id(kind: Kind, ref: str) -> str | None:
    """The id in a ref of our own, None for another form."""
    head, found, name = ref.partition(":")
    return name if found and head == kind and name else None


def derived_id(kind: Kind, source: Source, ref: str) -> str:
    """The id that an object of a foreign source has here, known before it is there: chunks of one export imported
    apart name each other by it.
    """
    text = "\x1f".join((source.provider, source.application_id, kind, ref))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    word = slug(ref.partition(":")[2], "x")[:_WORD].strip("-") or "x"
    return f"{_PREFIX[kind]}-{word}-{digest}"


def dangling_id(kind: Kind, source: Source, ref: str, workspace: str) -> str:
    """What stands for a ref that nothing here answers to."""
    own = own_id(kind, ref) if source.is_workspace(workspace) else None
    return derived_id(kind, source, ref) if own is None else own


def mapped(kind: Kind, body: Mapping[str, Any], change: Change, at: str = "") -> Body:
    """The body with every node that may name something put through `change`; shapes that do not fit stay as they are."""
    if kind is Kind.AUDIENCE:
        return {**body, **_predicate(body, "predicate", change, at)}
    if kind is not Kind.JOURNEY:
        return dict(body)
    changed = change(dict(body), JOURNEY_NAMES, at)
    steps = body.get("steps")
    if isinstance(steps, list):
        changed["steps"] = [_step(step, change, f"{at}/steps/{i}") for i, step in enumerate(steps)]
    return changed


def _step(step: Any, change: Change, at: str) -> Any:
    if not isinstance(step, dict):
        return step
    match step.get("type"):
        case "send":
            return change(step, SEND_NAMES, at)
        case "trigger":
            return {**step, **_predicate(step, "filter", change, at)}
        case "wait":
            return {**step, **_predicate(step, "filter", change, at), **_predicate(step, "condition", change, at)}
        case "branch" if isinstance(step.get("branches"), list):
            cases = [
                {**case, **_predicate(case, "condition", change, f"{at}/branches/{i}")}
                if isinstance(case, dict)
                else case
                for i, case in enumerate(step["branches"])
            ]
            return {**step, "branches": cases}
        case _:
            return step


def _predicate(holder: Mapping[str, Any], name: str, change: Change, at: str) -> dict[str, Any]:
    if name not in holder:
        return {}
    return {name: _node(holder[name], change, f"{at}/{name}", _DEPTH)}


def _node(node: Any, change: Change, at: str, left: int) -> Any:
    if not isinstance(node, dict) or not left:
        return node
    if node.get("kind") in _SEGMENTS:
        return change(node, LEAF_NAMES, at)
    changed = dict(node)
    if isinstance(node.get("clauses"), list):
        clauses = enumerate(node["clauses"])
        changed["clauses"] = [_node(clause, change, f"{at}/clauses/{i}", left - 1) for i, clause in clauses]
    if "clause" in node:
        changed["clause"] = _node(node["clause"], change, f"{at}/clause", left - 1)
    return changed


_PREFIX: Final = {Kind.AUDIENCE: "aud", Kind.CONTRACT: "trig", Kind.COMMUNICATION: "comm", Kind.JOURNEY: "journey"}
__all__ = [
    "JOURNEY_NAMES",
    "LEAF_NAMES",
    "MAX_REF",
    "SEND_NAMES",
    "Names",
    "dangling_id",
    "derived_id",
    "mapped",
    "own_id",
    "own_ref",
    "to_ids",
    "to_refs",
]
