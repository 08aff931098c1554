"""A plan carried out: the use cases of authoring, object by object, and a record of each.

Law: nothing is written here but records and the note that an import was applied; all else is a use case's. An update
is guarded by the state that was planned from: who was faster is told as a conflict of that object. What broke off is
finished by asking again, since every step is found again by its id.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from services.authoring.audiences import AudienceChanges, Audiences
from services.authoring.bundles.form import CONTENT, Body, Bundle, Kind
from services.authoring.bundles.hashes import content_hash
from services.authoring.bundles.refs import to_refs
from services.authoring.changes import JourneyChanges, Origin
from services.authoring.communications import CommunicationChanges, Communications
from services.authoring.create_journey import CreateJourney
from services.authoring.edit_journey import EditJourney
from services.authoring.importing.planning import Decision, Plan
from services.authoring.importing.records import key_for, record_of, settle
from services.authoring.importing.targets import Targets
from services.authoring.json_text import canonical
from services.authoring.trigger_contracts import ContractChanges, TriggerContracts
from services.domain.errors import Duplicate, Refused, Stale
from services.infra.clock import Clock
from services.infra.documents.port import Documents

AT_ONCE: Final = 16  # objects written at a time, so that they share their fsyncs
_CHUNK: Final = 64  # records that a crash may leave unwritten
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Writers:
    """The use cases that write."""

    create_journey: CreateJourney
    edit_journey: EditJourney
    contracts: TriggerContracts
    audiences: Audiences
    communications: Communications

    async def create(
        self,
        workspace: str,
        kind: Kind,
        body: Body,
        name: str | None,
        actor: str,
        origin: Origin,
        made_by: str = "",
    ) -> str:
        """Make an object under an id, or under one made from its name; returns the id. `made_by`: see `made`."""
        match kind:
            case Kind.AUDIENCE:
                return (await self.audiences.create(workspace, _audience(body), name, made_by)).id
            case Kind.CONTRACT:
                return (await self.contracts.create(workspace, _contract(body), name, made_by)).id
            case Kind.COMMUNICATION:
                return (await self.communications.create(workspace, _communication(body), name, made_by)).id
            case Kind.JOURNEY:
                changes = _journey(body, is_new=True)
                view = await self.create_journey(workspace, changes, actor, name, origin=origin, made_by=made_by)
                return view.journey.id

    async def update(
        self, workspace: str, kind: Kind, name: str, body: Body, etag: str, actor: str, origin: Origin
    ) -> None:
        """Change an object that is still in the state of `etag`."""
        match kind:
            case Kind.AUDIENCE:
                await self.audiences.update(workspace, name, _audience(body), etag)
            case Kind.CONTRACT:
                await self.contracts.update(workspace, name, _contract(body), etag)
            case Kind.COMMUNICATION:
                await self.communications.update(workspace, name, _communication(body), etag)
            case Kind.JOURNEY:
                changes = _journey(body, is_new=False)
                await self.edit_journey(workspace, name, changes, actor, etag=etag, origin=origin)


@dataclass(frozen=True, slots=True)
class Applying:
    """Carries plans out."""

    documents: Documents
    targets: Targets
    writers: Writers
    clock: Clock

    async def __call__(
        self, workspace: str, bundle: Bundle, plan: Plan, actor: str, origin: Callable[[Decision], Origin]
    ) -> list[Decision]:
        """The decisions as they came out, in their order."""
        done: list[Decision] = []
        for group in _groups(plan.decisions):
            for at in range(0, len(group), _CHUNK):
                chunk = group[at : at + _CHUNK]
                # Audiences one after the other: each may be made of those before it.
                width = 1 if chunk[0].item.kind is Kind.AUDIENCE else AT_ONCE
                outcomes = await _gathered(width, [self._one(workspace, one, actor, origin(one)) for one in chunk])
                await self._note(workspace, bundle, plan, outcomes)
                done.extend(outcomes)
        return done

    async def _one(self, workspace: str, decision: Decision, actor: str, origin: Origin) -> Decision:
        if decision.action not in ("created", "updated") or decision.target_id is None:
            return decision
        kind, name = decision.item.kind, decision.target_id
        try:
            if decision.action == "created":
                await self.writers.create(workspace, kind, decision.body, name, actor, origin)
            else:
                assert decision.target is not None
                await self.writers.update(workspace, kind, name, decision.body, decision.target.etag, actor, origin)
        except (Duplicate, Stale) as refused:
            return await self._too_late(workspace, decision, refused)
        except Refused as refused:
            # The store and the log being away is not about this object: the call ends and is repeated.
            if refused.kind in ("unavailable", "late"):
                raise
            return replace(decision, action="failed", reason=refused.reason)
        return decision

    async def _too_late(self, workspace: str, decision: Decision, refused: Refused) -> Decision:
        """Somebody was faster. If they did the same, there is nothing left to do."""
        kind, name = decision.item.kind, decision.target_id
        assert name is not None
        target = (await self.targets.of(workspace, [(kind, name)])).get((kind, name))
        if target is not None and target.body == decision.body:
            return replace(decision, action="unchanged", target=target)
        return replace(decision, action="conflict", reason=refused.reason if target is None else "stale_update")

    async def _note(self, workspace: str, bundle: Bundle, plan: Plan, decisions: Sequence[Decision]) -> None:
        """Record what is there now."""
        now = self.clock.now_ms()
        made = [
            record_of(workspace, bundle.source, one.item, one.target_id or "", shown, now)
            for one in decisions
            if (shown := await self._shown(workspace, bundle, plan, one)) is not None
        ]
        await settle(self.documents, made, plan.records)

    async def _shown(self, workspace: str, bundle: Bundle, plan: Plan, decision: Decision) -> str | None:
        """The hash of what is there now, where it is worth a record."""
        item = decision.item
        if item.is_placeholder and decision.action == "skipped":
            return ""
        if decision.action not in ("created", "updated", "unchanged") or decision.target_id is None:
            return None
        if decision.action == "unchanged":
            before = plan.records.get(key_for(workspace, bundle.source, item.kind, item.source_id))
            # What a person changed since the import stays known as theirs; an export of ours says nothing new here.
            if bundle.source.is_workspace(workspace) if before is None else before.content_hash == item.content_hash:
                return None
        body = decision.body
        if item.kind is Kind.JOURNEY and "goalEventWindowDays" not in body:  # it got the workspace's
            key = (item.kind, decision.target_id)
            target = (await self.targets.of(workspace, [key])).get(key)
            body = body if target is None else target.body
        return content_hash(to_refs(item.kind, body))


def _groups(decisions: Sequence[Decision]) -> Iterator[list[Decision]]:
    """The decisions kind by kind, in their order."""
    for kind in Kind:
        group = [one for one in decisions if one.item.kind is kind]
        if group:
            yield group


async def _gathered(width: int, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, at most `width` at a time; the first error ends it once everything under way is done."""
    gate = asyncio.Semaphore(width)

    async def one(job: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await job

    outcomes = await asyncio.gather(*(one(job) for job in work), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _audience(body: Body) -> AudienceChanges:
    more: dict[str, Any] = (
        {"predicate_json": canonical(body["predicate"])}
        if "predicate" in body
        else {"subject_ids": body.get("subjectIds", [])}
    )
    return AudienceChanges(name=body["name"], description=body.get("description", ""), **more)


def _contract(body: Body) -> ContractChanges:
    return ContractChanges(
        body["name"], body["eventName"], body["subjectFieldPath"], body.get("recipientEmailFieldPath")
    )


def _communication(body: Body) -> CommunicationChanges:
    content = canonical({name: body.get(name) for name in CONTENT})
    return CommunicationChanges(body["name"], body["commType"], body["channel"], content)


def _journey(body: Body, *, is_new: bool) -> JourneyChanges:
    given: dict[str, Any] = {
        "name": body["name"],
        "description": body.get("description", ""),
        "audience_id": body.get("audienceId"),
        "trigger_contract_id": body.get("triggerContractId"),
        "steps_json": canonical(body["steps"]),
        "settings_json": canonical(body.get("settings", {})),
    }
    if "goalEventName" in body or not is_new:
        given["goal_event_name"] = body.get("goalEventName")
    if "goalEventWindowDays" in body:
        given["goal_event_window_days"] = float(body["goalEventWindowDays"])
    return JourneyChanges(**given)
