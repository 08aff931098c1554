"""Everything a cycle may read, in a handful of batched look-ups.

Law: reads go by the batch, never by the person; what is read depends only on what the cycle's versions may ask.
Source: runtime design 4 and 6 (needs are compiled).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from journeys.events.v1.command_record_pb2 import CommandRecord

from services.domain import ids
from services.domain.execution.caps import MAX_PER_MS, Reservation
from services.domain.execution.eligibility import normal
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Rules
from services.domain.execution.version import Version
from services.domain.execution.walk import recipient
from services.infra.documents.port import Documents
from services.runtime.catalog import Catalog, WorkspaceInfo
from services.runtime.collections import (
    EVENT_RECORDS,
    EXECUTIONS,
    LEDGERS,
    MEMBERSHIPS,
    MESSAGES,
    SWEEPS,
    EventRecord,
    Ledger,
    Membership,
    members_key,
)
from services.runtime.desk import Loaded, data_of, membership_key
from services.runtime.erasure_documents import ERASURES, Erasure, suppressed_among
from services.runtime.lanes import Subject
from services.runtime.ledgers import living, seeded
from services.runtime.subject_documents import SUBJECTS, SubjectDocument, profile_of
from services.runtime.watches import Watch
from services.runtime.work import AckItem, CommandItem, DueItem, EventItem, Item

NO_RULES = Rules()
MOST_OPEN = 10_000  # executions of one person that are still open
MOST_EVENTS = 10_000  # events of one person under one name


@dataclass(slots=True)
class Asked:
    """What the items of one person need."""

    subject: Subject
    info: WorkspaceInfo
    items: list[Item]
    keys: set[str] = field(default_factory=set)
    journeys: set[str] = field(default_factory=set)  # of which earlier entries matter
    versions: list[Version] = field(default_factory=list)
    open_from: int | None = None  # executions open after this moment
    is_acks_only: bool = True
    rules: Rules = NO_RULES
    watches: dict[str, Watch] = field(default_factory=dict)  # by journey: audiences this person may enter or leave
    standings: set[str] = field(default_factory=set)  # journeys of which it matters whether the person is a member

    def watch(self, watch: Watch) -> None:
        """The person will be looked at for this journey."""
        self.watches[watch.journey_id] = watch
        self.standings.add(watch.journey_id)
        self.journeys.add(watch.journey_id)  # earlier entries show how far the person's counter came
        self.versions.append(watch.version)


def asked(subject: Subject, info: WorkspaceInfo, items: list[Item], catalog: Catalog, is_certain: bool) -> Asked:
    """Work out what to read. `is_certain`: no record of these items can have been handled before."""
    need = Asked(subject, info, items, rules=catalog.rules(subject.workspace))
    for item in items:
        payload = item.payload
        match payload:
            case EventItem():
                need.is_acks_only = False
                at = payload.record.at + 1
                need.open_from = at if need.open_from is None else min(at, need.open_from)
                for version in payload.starters:
                    need.versions.append(version)
                    if (
                        not is_certain
                        or version.graph.settings.reentry.mode != "every_event"
                        or (version.graph.settings.reentry.min_interval_ms is not None)
                    ):
                        need.journeys.add(version.journey_id)
                if payload.event.end_user_id == subject.end_user_id:
                    for watch in catalog.watches(subject.workspace):
                        if payload.record.name in watch.who.event_names:
                            need.watch(watch)
            case CommandItem(command=command):
                need.is_acks_only = False
                if command.HasField("start"):
                    need.journeys.add(command.start.journey_id)
                    journey = catalog.journey(subject.workspace, command.start.journey_id)
                    number = command.start.version or (journey.latest_version if journey else 0)
                    started = catalog.version(subject.workspace, command.start.journey_id, number)
                    if started is not None:
                        need.versions.append(started)
                elif command.HasField("profile_changed"):
                    need.open_from = 0
                    for watch in catalog.watches(subject.workspace):
                        if watch.who.reads_profiles:
                            need.watch(watch)
                elif command.HasField("look"):
                    need.standings.add(command.look.journey_id)
                    for watch in catalog.watches(subject.workspace):
                        if watch.journey_id == command.look.journey_id:
                            need.watch(watch)
                else:
                    need.keys.add(key_of(subject, info, _touched(command)))
            case DueItem(key=key):
                need.is_acks_only = False
                need.keys.add(key)
            case AckItem(key=key):
                need.keys.add(key)
    return need


def key_of(subject: Subject, info: WorkspaceInfo, execution_id: str) -> str:
    """The document key of an execution of this person."""
    return ids.execution_key(subject.slot, info.subject_secret, subject.workspace, execution_id)


async def load(
    documents: Documents, catalog: Catalog, needs: Sequence[Asked], recent: dict[str, Execution], now: int
) -> list[tuple[Loaded, SubjectDocument | None]]:
    """Read for all of them at once."""
    executions = await _executions(documents, needs, recent)
    full = [
        i for i, need in enumerate(needs) if not need.is_acks_only or _awaits_result(executions[i].values(), catalog)
    ]
    profiles = await documents.get_many(
        SUBJECTS, [f"{needs[i].subject.workspace}:{needs[i].subject.end_user_id}" for i in full]
    )
    documents_of: list[SubjectDocument | None] = [None] * len(needs)
    marks = await _marks(documents, [needs[i] for i in full], profiles)
    addresses: dict[int, set[str]] = {}
    queries: list[tuple[int, str]] = []
    asked_about: dict[int, dict[str, tuple[str, str]]] = {}
    for i in full:
        need = needs[i]
        workspace = need.subject.workspace
        found = documents_of[i] = profiles.get(f"{workspace}:{need.subject.end_user_id}")
        addresses[i] = _addresses(need, found, executions[i].values())
        names: set[str] = set()
        for version in _versions(need, executions[i].values(), catalog):
            names |= catalog.event_names_of(workspace, version)
        queries.extend((i, name) for name in names)
        if sends := _sends_asked_about(executions[i].values(), catalog):
            asked_about[i] = sends
    suppressed, histories, places, feedback, standings, noted = await asyncio.gather(
        suppressed_among(
            documents,
            {
                (needs[i].subject.workspace, needs[i].info.subject_secret, a)
                for i, all_ in addresses.items()
                for a in all_
            },
        ),
        _histories(documents, needs, queries),
        _places(documents, needs, [i for i in full if needs[i].rules.has_caps], executions, now),
        _feedback(documents, asked_about),
        _standings(documents, needs),
        _being_noted(documents, needs),
    )
    return [
        (
            Loaded(
                subject=need.subject,
                info=need.info,
                profile=profile_of(documents_of[i], need.subject.end_user_id),
                executions=executions[i],
                known_from=_known_from(documents_of[i], marks.get(need.subject.key)),
                suppressed=frozenset(a for a in addresses.get(i, ()) if (need.subject.workspace, a) in suppressed),
                events=histories.get(i, {}),
                rules=need.rules,
                ledger=places[i][0] if i in places else None,
                reservations=places[i][1] if i in places else [],
                feedback=feedback.get(i, {}),
                watches=need.watches,
                memberships={
                    journey: standings[key]
                    for journey in need.standings
                    if (key := membership_key(need.subject, journey)) in standings
                },
                noted={
                    journey: noted[need.subject.workspace, journey]
                    for journey, watch in need.watches.items()
                    if (need.subject.workspace, journey) in noted
                    and membership_key(need.subject, journey) not in standings
                    and not _is_new(documents_of[i], watch, catalog)
                }
                if noted
                else {},
            ),
            documents_of[i],
        )
        for i, need in enumerate(needs)
    ]


async def _places(
    documents: Documents,
    needs: Sequence[Asked],
    capped: Sequence[int],
    executions: Sequence[Mapping[str, Execution]],
    now: int,
) -> dict[int, tuple[Ledger | None, list[Reservation]]]:
    """The places under the caps that each person's sends hold, without those that are proven dead."""
    if not capped:
        return {}
    ledgers = await documents.get_many(LEDGERS, [needs[i].subject.key for i in capped])
    new = [i for i in capped if needs[i].subject.key not in ledgers]
    sent = await documents.scan_many(
        MESSAGES, "by_subject", [((needs[i].subject.key,), now - MAX_PER_MS) for i in new], limit=MOST_EVENTS
    )
    held = {i: seeded(messages) for i, messages in zip(new, sent, strict=True)}
    for i in capped:
        ledger = ledgers.get(needs[i].subject.key)
        if ledger is not None:
            held[i] = list(ledger.reservations)
    asked_for = {one.execution_key for i in capped for one in held[i] if one.execution_key not in executions[i]}
    others = await documents.get_many(EXECUTIONS, [key for key in asked_for if key])
    return {i: (ledgers.get(needs[i].subject.key), living(held[i], {**others, **executions[i]}, now)) for i in capped}


async def _standings(documents: Documents, needs: Sequence[Asked]) -> dict[str, Membership]:
    """What is known of memberships, by key."""
    keys = [membership_key(need.subject, journey) for need in needs for journey in need.standings]
    return await documents.get_many(MEMBERSHIPS, keys) if keys else {}


async def _being_noted(documents: Documents, needs: Sequence[Asked]) -> dict[tuple[str, str], bool]:
    """Workspace and journey of the watches whose present members are noted and do not enter: whether that has begun."""
    names = {
        members_key(need.subject.workspace, journey): (need.subject.workspace, journey)
        for need in needs
        for journey, watch in need.watches.items()
        if not watch.backfill
    }
    sweeps = await documents.get_many(SWEEPS, list(names)) if names else {}
    return {
        name: key in sweeps
        for key, name in names.items()
        if key not in sweeps or (sweeps[key].is_first and not sweeps[key].done)
    }


def _is_new(profile: SubjectDocument | None, watch: Watch, catalog: Catalog) -> bool:
    """Whether nothing was known of the person when the journey was published: they cannot have been a member."""
    version = watch.version
    published_at = catalog.published_at(version.workspace_id, version.journey_id, version.number)
    return profile is not None and profile.created_at > published_at


async def _feedback(
    documents: Documents, asked_about: Mapping[int, Mapping[str, tuple[str, str]]]
) -> dict[int, dict[tuple[str, str], dict[str, int]]]:
    """What providers said of these messages: by (execution, step), each kind with when it was said first."""
    if not asked_about:
        return {}
    messages = await documents.get_many(MESSAGES, [name for sends in asked_about.values() for name in sends])
    found: dict[int, dict[tuple[str, str], dict[str, int]]] = {}
    for i, sends in asked_about.items():
        said = found[i] = {}
        for name, step in sends.items():
            for event in messages[name].events if name in messages else ():
                kinds = said.setdefault(step, {})
                kinds[event.type] = min(event.at, kinds.get(event.type, event.at))
    return found


def _sends_asked_about(executions: Iterable[Execution], catalog: Catalog) -> dict[str, tuple[str, str]]:
    """Message ids of earlier sends of which conditions may ask what became, with their (execution, step)."""
    found: dict[str, tuple[str, str]] = {}
    for one in executions:
        if one.status is not Status.RUNNING:
            continue
        version = catalog.version(one.workspace_id, one.journey_id, one.journey_version)
        steps = catalog.received_steps_of(one.workspace_id, version) if version is not None else ()
        if steps:
            for key in (*one.results, *one.intents):
                step = key.rpartition("-")[0]
                if step in steps:
                    found[f"{one.execution_id}-{key}"] = (one.execution_id, step)
    return found


async def _executions(
    documents: Documents, needs: Sequence[Asked], recent: dict[str, Execution]
) -> list[dict[str, Execution]]:
    opens = [(i, need) for i, need in enumerate(needs) if need.open_from is not None]
    formers = [(i, need, journey) for i, need in enumerate(needs) for journey in need.journeys]
    keys = [key for need in needs for key in need.keys if not (need.is_acks_only and key in recent)]
    open_pages, former_pages, by_key = await asyncio.gather(
        _scans(documents, "open", [((need.subject.key,), need.open_from) for _, need in opens], MOST_OPEN),
        _scans(documents, "by_subject", [((n.subject.key, journey), None) for _, n, journey in formers], MOST_OPEN),
        documents.get_many(EXECUTIONS, keys) if keys else _nothing(),
    )
    found: list[dict[str, Execution]] = [{} for _ in needs]
    for (i, _), page in zip(opens, open_pages, strict=True):
        found[i].update((one.key, one) for one in page)
    for (i, _, _), page in zip(formers, former_pages, strict=True):
        found[i].update((one.key, one) for one in page)
    for i, need in enumerate(needs):
        for key in need.keys:
            one = by_key.get(key) or recent.get(key)
            if one is not None:
                found[i][key] = one
    return found


async def _nothing() -> dict[str, Execution]:
    return {}


async def _scans(
    documents: Documents, index: str, queries: list[tuple[tuple[str, ...], int | None]], limit: int
) -> list[list[Execution]]:
    return await documents.scan_many(EXECUTIONS, index, queries, limit=limit) if queries else []


async def _histories(
    documents: Documents, needs: Sequence[Asked], queries: list[tuple[int, str]]
) -> dict[int, dict[str, list[EventRecord]]]:
    if not queries:
        return {}
    pages = await documents.scan_many(
        EVENT_RECORDS, "by_subject", [((needs[i].subject.key, name), None) for i, name in queries], limit=MOST_EVENTS
    )
    found: dict[int, dict[str, list[EventRecord]]] = defaultdict(dict)
    for (i, name), page in zip(queries, pages, strict=True):
        found[i][name] = page
    # An event that its ingestion had not recorded yet may be in this cycle's hands alone, or recorded by now.
    for i, need in enumerate(needs):
        for item in need.items:
            if isinstance(item.payload, EventItem) and not item.payload.is_recorded:
                record = item.payload.record
                history = found[i].get(record.name)
                if history is not None and all(record.key != one.key for one in history):
                    history.append(record)
    return found


def _versions(need: Asked, executions: Iterable[Execution], catalog: Catalog) -> list[Version]:
    found = list(need.versions)
    seen: set[tuple[str, int]] = set()
    for one in executions:
        name = (one.journey_id, one.journey_version)
        if one.status is Status.RUNNING and name not in seen:
            seen.add(name)
            version = catalog.version(one.workspace_id, *name)
            if version is not None:
                found.append(version)
    return found


def _addresses(need: Asked, found: SubjectDocument | None, executions: Iterable[Execution]) -> set[str]:
    addresses = {one.trigger.email for one in executions if one.trigger.email}
    if found is not None:
        addresses.update(found.mobile_push)
        if found.email:
            addresses.add(found.email)
    for item in need.items:
        if isinstance(item.payload, EventItem | CommandItem) and any(
            version.contract and version.contract.email_path for version in need.versions
        ):
            addresses.update(_event_emails(item.payload, need.versions))
    return {normal(address) for address in addresses}


def _event_emails(payload: EventItem | CommandItem, versions: Sequence[Version]) -> set[str]:
    event = payload.event if isinstance(payload, EventItem) else payload.command.start.event
    data = data_of(event.data_json)
    return {email for version in versions if (email := recipient(version, data))}


def _awaits_result(executions: Iterable[Execution], catalog: Catalog) -> bool:
    """Whether the news of a send moves somebody on: its own step, or a condition that asks what became of it."""
    for one in executions:
        if one.wait is not None and one.wait.mode == "result":
            return True
        if one.wait is not None and one.wait.mode == "until_condition":
            version = catalog.version(one.workspace_id, one.journey_id, one.journey_version)
            if version is not None and version.received_steps:
                return True
    return False


def _touched(command: CommandRecord) -> str:
    match command.WhichOneof("what"):
        case "dispatch":
            return command.dispatch.execution_id
        case "abort":
            return command.abort.execution_id
        case "retry":
            return command.retry.execution_id
        case _:
            return ""


async def _marks(
    documents: Documents, needs: Sequence[Asked], profiles: Mapping[str, SubjectDocument]
) -> dict[str, Erasure]:
    """The marks of those without a profile: they may have been forgotten, and then nothing of theirs is taken in."""
    keys = [
        need.subject.key for need in needs if f"{need.subject.workspace}:{need.subject.end_user_id}" not in profiles
    ]
    return await documents.get_many(ERASURES, keys) if keys else {}


def _known_from(profile: SubjectDocument | None, mark: Erasure | None) -> int:
    if profile is not None:
        return profile.reinstated_at or 0
    return mark.known_from if mark is not None else 0
