"""Journeys that watch their audience, made ready for looking at one person.

Law: made from the catalogue's records and never changed; a new one is made after every change of what it is made
from. `fingerprint` says who belongs: it is another one exactly where the answer may be another one for somebody whom
nothing happened to.
Source: contract 2.1 (trigger, audience_entry).
"""

import hashlib
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass

from services.domain.execution.membership import Window, windows_of
from services.domain.execution.version import Version
from services.domain.journey.model import InSegment, Trigger
from services.domain.journey.needs import needs_of
from services.domain.journey.predicate import Audience, AudienceLookup, Facts, compile_predicate, segment_fault

MODE = "audience_entry"
Digests = MutableMapping[str, tuple[Audience, str]]  # audience -> (as it was, who belongs)


@dataclass(frozen=True, slots=True)
class Belonging:
    """Who belongs to an audience now. `fault`: why nobody can say (it was deleted; audiences in a circle)."""

    audience_id: str
    holds: Callable[[Facts], bool]
    windows: tuple[Window, ...]
    event_names: frozenset[str]  # whose coming may change who belongs
    reads_profiles: bool
    fault: str | None


@dataclass(frozen=True, slots=True)
class Watch:
    """One journey's watch over its audience."""

    version: Version
    who: Belonging
    backfill: bool
    fingerprint: str

    @property
    def journey_id(self) -> str:
        """Whose watch it is."""
        return self.version.journey_id


def is_watching(version: Version) -> bool:
    """Whether people start in this version by becoming members."""
    return isinstance(version.entry, Trigger) and version.entry.mode == MODE and version.audience_id is not None


def belonging_of(audience_id: str, audience: AudienceLookup) -> Belonging:
    """An audience ready for asking, as it stands."""
    membership = InSegment(audience_id)
    windows = windows_of(audience_id, audience)
    inner = [audience(name) for name in needs_of(membership, audience).audience_ids]
    # Anywhere else a missing audience inside another is one that nobody belongs to. Here it would make everybody leave,
    # and enter again once it is mended.
    is_whole = None not in inner
    return Belonging(
        audience_id=audience_id,
        holds=compile_predicate(membership),
        windows=windows,
        event_names=frozenset(window.event_name for window in windows),
        reads_profiles=any(one is not None and one.predicate is not None for one in inner),
        fault=segment_fault(audience_id, audience) if is_whole else "audience_not_found",
    )


def watches_of(
    versions: Iterable[tuple[Version, int]], audience: AudienceLookup, digests: Digests
) -> tuple[Watch, ...]:
    """The watches among current versions, each with the first number of the versions that watch without a break.

    `digests` is kept by the caller from one time to the next: a list may have 100,000 people.
    """
    found = []
    for version, since in versions:
        entry, audience_id = version.entry, version.audience_id
        if is_watching(version) and isinstance(entry, Trigger) and audience_id is not None:
            who = belonging_of(audience_id, audience)
            found.append(Watch(version, who, entry.backfill, _fingerprint(since, audience_id, audience, digests)))
    return tuple(found)


def _fingerprint(since: int, first: str, audience: AudienceLookup, digests: Digests) -> str:
    whole = hashlib.blake2b(f"{since}\x1f{first}".encode(), digest_size=16)
    for name in sorted(needs_of(InSegment(first), audience).audience_ids):
        one = audience(name)
        whole.update(f"\x1e{name}\x1f{'' if one is None else _digest(name, one, digests)}".encode())
    return whole.hexdigest()


def _digest(name: str, audience: Audience, digests: Digests) -> str:
    known = digests.get(name)
    if known is not None and known[0] is audience:
        return known[1]
    if audience.predicate is None:
        text = "\x1f".join(sorted(audience.subject_ids))
    else:
        text = repr(audience.predicate)
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
    digests[name] = audience, digest
    return digest
