"""One person's items of a cycle, planned in memory.

Law: the desk has been given everything; it plans one item after another on its own copies and says what to
write. It awaits nothing. What a plan may read of the past ends at the moment it is planned for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import structlog

from services.domain import ids
from services.domain.execution import admission
from services.domain.execution.caps import Reservation
from services.domain.execution.execution import (
    FOREVER,
    LEASE_MS,
    Execution,
    Intent,
    Occasion,
    altered,
    troubled,
    with_due,
)
from services.domain.execution.lifecycle import Status
from services.domain.execution.membership import SOURCE as ENTRY_SOURCE
from services.domain.execution.membership import Standing, entries_in, entry_id, next_change, standing_after
from services.domain.execution.planner import may_move, plan
from services.domain.execution.repeats import Position, counted
from services.domain.execution.triggers import (
    Abort,
    Acknowledged,
    EventCame,
    Former,
    Profile,
    ProfileChanged,
    Retry,
    Rules,
    Start,
    TimerDue,
    Trigger,
    View,
)
from services.domain.execution.version import Version
from services.domain.execution.walk import put_at, recipient
from services.domain.journey.lifecycle import State
from services.domain.journey.predicate import Facts, PastEvent
from services.domain.times import DAY_MS
from services.infra.documents.port import Insert, Replace, Write
from services.infra.log.port import Record
from services.runtime import guards
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog, WorkspaceInfo
from services.runtime.collections import (
    COMMANDS,
    EVENTS,
    EXECUTIONS,
    LEDGERS,
    MEMBERSHIPS,
    CommandResult,
    EventRecord,
    Ledger,
    Membership,
)
from services.runtime.lanes import Subject
from services.runtime.ledgers import ledger_of
from services.runtime.rates import Rates
from services.runtime.refused_starts import REASON, refused_starts
from services.runtime.watches import Watch
from services.runtime.work import CommandItem, DueItem, EventItem, Payload

RenderAt = Callable[[str, Mapping[str, Any], int], str]  # template, values, now in ms
logger = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Held:
    """An execution on the desk. `stored` is the transition in the store, 0 for one that is not there yet.

    `is_inherited`: a former owner wrote it last, so nothing of what it promised is in anybody's hands.
    """

    execution: Execution
    version: Version
    stored: int
    is_changed: bool = False
    promised: list[str] = field(default_factory=list)
    acked_entries: frozenset[str] = frozenset()
    acked_intents: tuple[str, ...] = ()
    is_inherited: bool = False


@dataclass(slots=True)
class Loaded:
    """What was read for one person."""

    subject: Subject
    info: WorkspaceInfo
    profile: Profile
    executions: dict[str, Execution]
    suppressed: frozenset[str]
    events: Mapping[str, Sequence[EventRecord]]  # by name; every counted name is present
    rules: Rules
    ledger: Ledger | None
    reservations: list[Reservation]
    feedback: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    # (execution id, step id) -> what providers said of its messages, and when; where conditions ask for it
    watches: Mapping[str, Watch] = field(default_factory=dict)  # by journey: audiences this person may enter or leave
    memberships: Mapping[str, Membership] = field(default_factory=dict)  # by journey, where something is known
    noted: Mapping[str, bool] = field(default_factory=dict)
    # journeys that note who is a member and have not come to this person: whether they have begun to
    known_from: int = 0  # a person who was forgotten: what happened or came before that moment is not theirs


class Desk:
    """Plans the items of one person."""

    def __init__(
        self, loaded: Loaded, catalog: Catalog, render: RenderAt, acks: Acks, rates: Rates, epoch: int, now: int
    ) -> None:
        self._loaded = loaded
        self._catalog = catalog
        self._render = render
        self._epoch = epoch
        self._now = now
        self._rates = rates
        self.held: dict[str, Held] = {}
        self.profile = loaded.profile
        self.results: list[CommandResult] = []
        self.blocked: list[Record] = []  # for the audit: starts of somebody who was forgotten
        self.dropped: dict[str, bool] = {}  # records of their events: whether it is in the store already
        self._standings: dict[str, tuple[Standing, int]] = {}  # by journey: those that changed, and when
        self._reservations = list(loaded.reservations)
        self._has_reserved = False
        for key, execution in loaded.executions.items():
            version = catalog.version(execution.workspace_id, execution.journey_id, execution.journey_version)
            if version is None:
                continue  # a version the catalogue lost: the execution stays as it is
            held = self.held[key] = Held(
                execution, version, execution.transition, is_inherited=execution.owner_epoch < epoch
            )
            self._apply_acks(held, acks, now)

    def refuses(self, payload: Payload) -> bool:
        """Whether this is of a time of which nothing is known any more, or for nobody: then nothing is decided by it."""
        known_from = self._loaded.known_from
        if not known_from:
            return False
        match payload:
            case EventItem(record=record, stored=stored):
                if not guards.is_forgotten(known_from, record.at, stored.appended_at):
                    return False
                self._block(payload.starters, record.event_id, record.name, record.received_at)
                self.dropped[record.key] = payload.is_recorded
                return True
            case CommandItem(command=command) if command.HasField("start"):
                event = command.start.event
                at = event.timestamp_ms if event.HasField("timestamp_ms") else event.received_ms
                if not guards.is_forgotten(known_from, at, payload.at):
                    return False
                workspace, journey = self._loaded.subject.workspace, command.start.journey_id
                head = self._catalog.journey(workspace, journey)
                number = command.start.version or (head.latest_version if head else 0)
                version = self._catalog.version(workspace, journey, number)
                self._block((version,) if version else (), event.id, event.type, event.received_ms)
                self.results.append(
                    CommandResult(key=command.id, execution_id="", outcome="refused", reason=REASON, at=payload.at)
                )
                return True
            case CommandItem():
                return known_from == FOREVER and payload.command.WhichOneof("what") in ("look", "profile_changed")
            case _:
                return False

    def _block(self, versions: Sequence[Version], event_id: str, event_type: str, at: int) -> None:
        secret = self._loaded.info.subject_secret
        self.blocked += refused_starts(versions, secret, event_id, event_type, at)

    def event(self, item: EventItem) -> None:
        """Goals, exits and waits of what is open; then what the event starts."""
        record, stored = item.record, item.stored
        position = (EVENTS, stored.offset)
        data = data_of(item.event.data_json)
        came = EventCame(
            id=record.event_id,
            type=record.name,
            data=data,
            at=record.at,
            received_at=record.received_at,
            appended_at=stored.appended_at,
            position=position,
            stated_at=record.stated_at,
        )
        if item.event.end_user_id == self._loaded.subject.end_user_id:
            for held in list(self.held.values()):
                if held.execution.open_until > record.at and self._may_move(held, record.name):
                    self._plan(held, came, record.received_at)
        for version in item.starters:
            occasion = Occasion(
                event_id=record.event_id,
                type=record.name,
                data=data,
                at=record.at,
                received_at=record.received_at,
                source="event",
                email=recipient(version, data),
                stated_at=record.stated_at,
            )
            self.start(version, occasion, record.received_at, position)
        if item.event.end_user_id == self._loaded.subject.end_user_id:
            for watch in self._loaded.watches.values():
                if record.name in watch.who.event_names:
                    self.look(watch, record.received_at, but_for=record.event_id)

    def _may_move(self, held: Held, event_type: str) -> bool:
        if may_move(held.version, held.execution, event_type):
            return True
        journey = self._catalog.journey(held.version.workspace_id, held.version.journey_id)
        return journey is None or journey.status == State.ARCHIVED  # whatever touches it ends it

    def look(self, watch: Watch, now: int, *, is_recording: bool = False, but_for: str | None = None) -> None:
        """See whether the person became, or is no longer, a member; who became one enters.

        While those present are only noted, whoever may have been present is: an event (`but_for`, its id) shows what
        they were without it; a changed profile does not, so it makes nobody enter until the noting has come to an end.
        """
        if watch.who.fault is not None:
            self._calm(watch.journey_id, now)  # nobody can say who belongs: all stays as it was until that is mended
            return
        formers = [one.execution.trigger for one in self.held.values() if one.execution.journey_id == watch.journey_id]
        entered, entered_at = entries_in(formers)
        # A record that is read again belongs to a moment that was passed: what was known later stays known.
        now = max(now, entered_at, self._known_at(watch.journey_id))
        facts = self._facts(now)
        has_begun = self._loaded.noted.get(watch.journey_id)
        if has_begun is not None and watch.journey_id not in self._standings:
            was_present = has_begun if but_for is None else watch.who.holds(self._facts(now, but_for))
            is_recording = is_recording or was_present
        after, entry = standing_after(
            before := self._standing(watch.journey_id),
            watch.who.holds(facts),
            next_change(watch.who.windows, facts),
            now,
            entered=entered,
            is_recording=is_recording,
        )
        if entry is not None:
            data = {"audienceId": watch.who.audience_id}
            occasion = Occasion(
                event_id=entry_id(entry), type=ENTRY_SOURCE, data=data, at=now, received_at=now, source=ENTRY_SOURCE
            )
            self.start(watch.version, occasion, now, None)
        if after != before:
            self._standings[watch.journey_id] = after, now

    def start(
        self, version: Version, occasion: Occasion, now: int, position: Position | None
    ) -> tuple[str, str, str | None]:
        """Decide one start; (execution id, started / refused / duplicate, reason).

        `position` of the record that asks for it: another one than the first's is a repeat, and is counted.
        """
        for held in self.held.values():
            former = held.execution
            if former.journey_id == version.journey_id and former.trigger.event_id == occasion.event_id:
                if position is not None and guards.is_new_to(former, position):
                    repeats = counted(former.repeats, occasion.received_at, position)
                    if repeats is not None:
                        self._take(held, replace(former, repeats=repeats, transition=held.stored + 1))
                return former.execution_id, "duplicate", "duplicate"
        journey = self._catalog.journey(version.workspace_id, version.journey_id)
        execution = admission.fresh(
            version,
            occasion,
            self._loaded.subject.end_user_id,
            slot=self._loaded.subject.slot,
            subject_secret=self._loaded.info.subject_secret,
            goal=journey.goal if journey else None,
            now=now,
            owner_epoch=self._epoch,
        )
        held = Held(execution, version, stored=0)
        self._plan(held, Start(occasion, now, position), now)
        self.held[execution.key] = held
        if held.execution.status is Status.RUNNING and held.execution.last_error:
            return execution.execution_id, "refused", "internal"
        refusal = held.execution.refusal
        if refusal is not None:
            return execution.execution_id, "refused", refusal.reason
        return execution.execution_id, "started", None

    def due(self, item: DueItem, now: int) -> Held | None:
        """Fire what is due of one execution; the caller looks after its intents and its outbox."""
        held = self.held.get(item.key)
        if held is None or held.execution.parked:
            return held
        retry_at = held.execution.retry_at
        if retry_at is not None:
            if retry_at > now:
                return held
            self._take(held, replace(held.execution, retry_at=None, transition=held.stored + 1))
        self._plan(held, TimerDue(now), now)
        return held

    def reclaim(self, held: Held, now: int, is_held: Callable[[str], bool]) -> None:
        """Renew the leases of intents and outbox that ran out (or, of what a former owner promised, all); what nobody
        holds is promised again, so that the writer of this write acts on it.
        """
        execution, everything = held.execution, held.is_inherited
        intents = dict(execution.intents)
        for key, intent in execution.intents.items():
            if key in held.promised or intent.state == "new" or not (everything or intent.lease_until <= now):
                continue
            intents[key] = replace(intent, lease_until=now + LEASE_MS, attempts=intent.attempts + 1)
            if not is_held(f"{execution.execution_id}-{key}"):
                held.promised.append(key)
        outbox_due_at = execution.outbox_due_at
        if execution.outbox and not held.is_changed and (everything or (outbox_due_at or 0) <= now):
            outbox_due_at = now + LEASE_MS  # the write itself makes the engine publish it again
        if intents != execution.intents or outbox_due_at != execution.outbox_due_at:
            changed = replace(execution, intents=intents, outbox_due_at=outbox_due_at, transition=held.stored + 1)
            self._take(held, with_due(changed))

    def command(self, item: CommandItem, now: int) -> None:
        """Do what a command asks and keep its reply."""
        command = item.command
        match command.WhichOneof("what"):
            case "look":
                asked = command.look
                watch = self._loaded.watches.get(asked.journey_id)
                moment = max(item.at, asked.due_ms)
                if watch is None:
                    self._calm(asked.journey_id, moment)
                else:
                    self.look(watch, moment, is_recording=asked.is_recording)
                return  # nobody waits for a reply
            case "start":
                reply = self._start_command(item)
            case "dispatch":
                reply = self._touch(command.dispatch.execution_id, TimerDue(now), now)
            case "abort":
                abort = Abort(command.abort.actor, command.abort.reason or "aborted", now)
                reply = self._touch(command.abort.execution_id, abort, now)
            case "retry":
                reply = self._touch(command.retry.execution_id, Retry(command.retry.actor, now), now)
            case _:
                for held in list(self.held.values()):
                    self._plan(held, ProfileChanged(now), now)
                for watch in self._loaded.watches.values():
                    if watch.who.reads_profiles:
                        self.look(watch, item.at)
                reply = ("", "done", None)
        if command.WhichOneof("what") == "profile_changed" or item.is_bulk:
            return  # nobody waits for a reply
        self.results.append(
            CommandResult(key=command.id, execution_id=reply[0], outcome=reply[1], reason=reply[2], at=now)
        )

    def writes(self) -> list[tuple[Held, Write]]:
        """One guarded write per changed execution."""
        found: list[tuple[Held, Write]] = []
        for held in self.held.values():
            if held.is_changed:
                stored = held.stored
                write: Write = Replace(EXECUTIONS, held.execution) if stored else Insert(EXECUTIONS, held.execution)
                found.append((held, write))
        return found

    def ledger_write(self) -> Write | None:
        """The ledger with the places that were taken here; it is written before the executions are."""
        if not self._has_reserved:
            return None
        before = self._loaded.ledger
        ledger = ledger_of(before, self._loaded.subject.key, self._reservations, self._epoch)
        return Replace(LEDGERS, ledger) if before else Insert(LEDGERS, ledger)

    def membership_writes(self) -> list[Write]:
        """What became known of memberships; written after the entries that it counts."""
        subject, writes = self._loaded.subject, list[Write]()
        for journey_id, (standing, now) in self._standings.items():
            before = self._loaded.memberships.get(journey_id)
            if standing == _standing_in(before):
                continue
            membership = Membership(
                key=membership_key(subject, journey_id),
                workspace=subject.workspace,
                journey_id=journey_id,
                end_user_id=subject.end_user_id,
                subject_key=subject.key,
                lane=ids.lane_of(subject.slot),
                is_member=standing.is_member,
                entries=standing.entries,
                due_at=standing.due_at,
                changed_at=now,
                owner_epoch=self._epoch,
                revision=before.revision + 1 if before else 1,
            )
            writes.append(Replace(MEMBERSHIPS, membership) if before else Insert(MEMBERSHIPS, membership))
        return writes

    def _standing(self, journey_id: str) -> Standing:
        changed = self._standings.get(journey_id)
        return changed[0] if changed else _standing_in(self._loaded.memberships.get(journey_id))

    def _known_at(self, journey_id: str) -> int:
        changed, stored = self._standings.get(journey_id), self._loaded.memberships.get(journey_id)
        return changed[1] if changed else (stored.changed_at if stored else 0)

    def _calm(self, journey_id: str, now: int) -> None:
        """Silence an alarm that nobody can answer."""
        standing = self._standing(journey_id)
        if standing.due_at is not None and standing.due_at <= now:
            self._standings[journey_id] = replace(standing, due_at=None), now

    def _facts(self, now: int, but_for: str | None = None) -> Facts:
        """What membership is told from: outside of any execution, as the audience's own evaluation tells it."""
        loaded, profile = self._loaded, self.profile
        return Facts(
            now=now,
            zone=profile.timezone or loaded.info.timezone,
            attributes=profile.attributes,
            events=lambda name: [past for past in self._past(name, now) if past.id != but_for],
            audience=lambda audience_id: self._catalog.audience(loaded.subject.workspace, audience_id),
            end_user_id=loaded.subject.end_user_id,
            preferences=profile.preferences,
            global_opt_out=profile.global_opt_out,
        )

    def _past(self, name: str, now: int) -> list[PastEvent]:
        return [
            PastEvent(one.event_id, one.name, one.at, data_of(one.data_json))
            for one in self._loaded.events.get(name, ())
            if one.received_at <= now
        ]

    def _start_command(self, item: CommandItem) -> tuple[str, str, str | None]:
        command = item.command.start
        workspace = self._loaded.subject.workspace
        journey = self._catalog.journey(workspace, command.journey_id)
        number = command.version if command.HasField("version") else (journey.latest_version if journey else 0)
        version = self._catalog.version(workspace, command.journey_id, number)
        if version is None:
            return "", "missing", None
        event = command.event
        received = event.received_ms
        stated = event.timestamp_ms if event.HasField("timestamp_ms") else None
        data = data_of(event.data_json)
        occasion = Occasion(
            event_id=event.id,
            type=event.type,
            data=data,
            at=received if stated is None else min(stated, received),
            received_at=received,
            source=command.source,
            email=recipient(version, data),
            stated_at=stated,
        )
        # A command stands on another topic: its place says nothing about the events' watermark. What we ask for
        # ourselves may be asked twice by a crash; whoever else asks twice repeats.
        position = None
        if item.stored is not None and command.source in ("manual", "internal"):
            position = (COMMANDS, item.stored.offset)
        return self.start(version, occasion, command.at_ms if command.HasField("at_ms") else item.at, position)

    def _touch(self, execution_id: str, trigger: Trigger, now: int) -> tuple[str, str, str | None]:
        for held in self.held.values():
            if held.execution.execution_id == execution_id:
                if held.execution.status in (Status.REFUSED, Status.HOLDOUT):
                    return execution_id, "missing", None
                moved = self._plan(held, trigger, now)
                return execution_id, "done" if moved else "unchanged", held.execution.status.value
        return execution_id, "missing", None

    def _plan(self, held: Held, trigger: Trigger, now: int) -> bool:
        try:
            view = self.view(held.version, held.execution.execution_id, now, is_start=isinstance(trigger, Start))
            made = plan(held.version, held.execution, trigger, view, held.stored + 1)
        except Exception as error:  # one bad execution must not stop its neighbours: it is set aside, alone
            logger.exception("plan.failed", execution_id=held.execution.execution_id, trigger=type(trigger).__name__)
            self._take(held, troubled(held.execution, f"{type(error).__name__}: {error}", held.stored + 1, now))
            return False
        if made is None:
            return False
        self._take(held, made.execution)
        if made.reserved:
            known = {one.send_id for one in made.reserved}
            self._reservations = [one for one in self._reservations if one.send_id not in known]
            self._reservations.extend(made.reserved)
            self._has_reserved = True
        for key, intent in made.intents.items():
            if intent.kind == "send" and self._must_wait(held, key, intent, now):
                continue
            held.promised.append(key)
            if intent.kind == "profile" and intent.values:
                self.profile = _with_values(self.profile, intent.values)
        return True

    def _must_wait(self, held: Held, key: str, intent: Intent, now: int) -> bool:
        """Whether the journey's rate puts this send off; its turn is then written with the execution."""
        if intent.attempts:
            return False  # it has had its turn
        turn = self._rates.turn(held.version, now)
        if turn <= now:
            return False
        waiting = replace(intent, state="new", lease_until=turn, retry_at=turn)
        self._take(held, with_due(replace(held.execution, intents={**held.execution.intents, key: waiting})))
        return True

    def _take(self, held: Held, execution: Execution) -> None:
        held.execution = _owned(execution, self._epoch)
        held.is_changed = True

    def view(self, version: Version, execution_id: str, now: int, *, is_start: bool) -> View:
        """What a plan for that moment may read; of a start the earlier entries too."""
        loaded, catalog = self._loaded, self._catalog
        workspace = version.workspace_id
        journey = catalog.journey(workspace, version.journey_id)
        return View(
            profile=self.profile,
            zone=self.profile.timezone or loaded.info.timezone,
            journey_status=journey.status if journey else "archived",
            salt=loaded.info.salt,
            holdout_percent=loaded.info.holdout_percent,
            audience=lambda audience_id: catalog.audience(workspace, audience_id),
            events=lambda name: self._past(name, now),
            render=lambda template, values: self._render(template, values, now),
            suppressed=loaded.suppressed,
            received=lambda step_id, status: (
                loaded.feedback.get((execution_id, step_id), {}).get(status, FOREVER) <= now
            ),
            rules=loaded.rules,
            reservations=tuple(self._reservations),
            allocation=lambda step: catalog.allocations.of(workspace, version.journey_id, step),
            is_learning=catalog.allocations.is_renewed,
            goal_window_ms=journey.goal_window_ms if journey else 7 * DAY_MS,
            now=self._now,
            formers=[
                Former(one.key, one.started_at, one.status is Status.RUNNING, one.trigger.data)
                for one in (held.execution for held in self.held.values())
                if one.journey_id == version.journey_id and one.status is not Status.REFUSED
            ]
            if is_start
            else (),
        )

    def _apply_acks(self, held: Held, acks: Acks, now: int) -> None:
        ack = acks.of(held.execution.key)
        if ack is None:
            return
        held.acked_entries = frozenset(ack.entry_ids)
        held.acked_intents = tuple(ack.settled)
        self._plan(held, Acknowledged(now, tuple(ack.settled.values()), held.acked_entries), now)


def membership_key(subject: Subject, journey_id: str) -> str:
    """The key of what is known of a person and the audience of a journey."""
    return f"{subject.key}:{subject.workspace}:{journey_id}"


def _standing_in(membership: Membership | None) -> Standing:
    return Standing(membership.is_member, membership.entries, membership.due_at) if membership else Standing()


def _owned(execution: Execution, epoch: int) -> Execution:
    return execution if execution.owner_epoch == epoch else altered(execution, owner_epoch=epoch)


def _with_values(profile: Profile, values: Mapping[str, Any]) -> Profile:
    attributes = dict(profile.attributes)
    for path, value in values.items():
        put_at(attributes, tuple(path.split(".")), value)
    return replace(profile, attributes=attributes)


def data_of(raw: bytes) -> dict[str, Any]:
    """An event's data; what is no JSON object is an empty one."""
    if not raw or raw == b"{}":
        return {}
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, RecursionError):  # nobody checked what others write as our own messages
        return {}
    return value if isinstance(value, dict) else {}
