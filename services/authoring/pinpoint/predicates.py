"""Conditions made here, read again by the reader that reads authors'.

Law: no condition enters a bundle that the contract's own reader refuses.
"""

from services.authoring.bundles.form import Kind
from services.authoring.bundles.refs import to_ids
from services.authoring.pinpoint.comparisons import Predicate
from services.authoring.pinpoint.notes import Notes
from services.domain.journey.reading import read_predicate


def sound(predicate: Predicate | None, path: str, notes: Notes) -> Predicate | None:
    """The predicate, or None, said, where it is beyond what the language takes: too deep, too many leaves, long names."""
    if predicate is None:
        return None
    body = to_ids(Kind.AUDIENCE, {"predicate": predicate}, lambda kind, ref: ref)
    _, faults = read_predicate(body["predicate"], "")
    if faults:
        notes.say("audience_operator", path, faults[0].message)
        return None
    return predicate
