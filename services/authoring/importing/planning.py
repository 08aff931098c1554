"""What an import would do: decided for every object before anything is written.

Law: reads alone; the dry run's answer is this plan. An object is created, updated, left, skipped, in conflict or
failed, with a reason. What a person changed since the last import is theirs: the policy says what becomes of it.

    no record            create                      the same content    unchanged
    target gone          skip, overwrite: create     edited by a person  fail | skip | overwrite | copy
    another content      update                      a ref of nothing    failed

Source: pinpoint design 7, the table of situations.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring.bundles.form import (
    OURS,
    PINPOINT,
    SECTIONS,
    Body,
    Bundle,
    Item,
    Kind,
    Reference,
    Source,
    differing,
)
from services.authoring.bundles.refs import dangling_id, derived_id, own_id, to_ids
from services.authoring.bundles.urls import url_fault
from services.authoring.importing import records
from services.authoring.importing.reading import ImportRequest
from services.authoring.importing.records import ImportRecord, key_for
from services.authoring.importing.targets import Target, Targets
from services.authoring.names import ID, MAX_ID, MAX_TITLE, slug
from services.domain.errors import Fault, Invalid
from services.domain.journey.graph import Catalogue, CommunicationInfo, faults_of
from services.domain.journey.members import escaped
from services.domain.journey.model import Graph
from services.domain.journey.reading import read_settings, read_steps
from services.infra.documents.port import Documents
from services.infra.liquid import template_faults

ACTIONS: Final = ("created", "updated", "unchanged", "skipped", "conflict", "failed")
RESOLVED, PLACEHOLDER = "resolved", "placeholder"
EDITED, ARCHIVED, DELETED = "edited_since_import", "target_archived", "target_deleted"
UNRESOLVED, INCOMPLETE, CHANNEL, NO_URL = "unresolved_reference", "incomplete", "channel_changed", "invalid_url"
GOAL_AT_ONCE = "goal_acts_at_once"
_DIGEST = 8  # characters of a derived id that make a name of an author's unique

Ref = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Blocker:
    """What publish would refuse of a planned journey."""

    ref: str
    code: str
    path: str
    message: str
    step_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one item.

    `body` is what will be there, with ids; `target` what is there now; `lacking` what it names and nothing answers to.
    """

    item: Item
    action: str
    target_id: str | None = None
    reason: str | None = None
    body: Body = field(default_factory=dict)
    target: Target | None = None
    lacking: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions in the order in which they are carried out, the records they rest on, and what stays to be done."""

    decisions: tuple[Decision, ...]
    records: dict[str, ImportRecord]
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans imports into workspaces."""

    documents: Documents
    targets: Targets

    async def __call__(self, workspace: str, request: ImportRequest) -> Plan:
        """The plan. Raises Invalid for a resolution that names nothing."""
        world = await self._world(workspace, request)
        drawing = _Drawing(workspace, request, world)
        await drawing.draw()
        decisions = tuple(drawing.decisions)
        known = await self._named(workspace, decisions, world)
        blockers = await asyncio.to_thread(_blockers, decisions, known)
        return Plan(decisions, world.records, tuple(blockers))

    async def _world(self, workspace: str, request: ImportRequest) -> "_World":
        bundle = request.bundle
        items = _included(bundle, request.include)
        held = await records.held(self.documents, workspace, bundle.source, items)
        mine = {(item.kind, item.ref) for item in items}
        named = {(one.kind, one.ref) for item in items for one in item.references}
        outside = sorted(named - mine - request.resolutions.objects.keys())
        elsewhere = await records.elsewhere(self.documents, workspace, bundle.source, outside)
        is_own = bundle.source.is_workspace(workspace)
        wanted: list[Ref] = [
            (item.kind, held[key].target_id) for item in items if (key := _key(workspace, bundle, item)) in held
        ]
        wanted += [(item.kind, name) for item in items for name in candidates(bundle.source, item)]
        wanted += [(kind, name) for (kind, _), name in request.resolutions.objects.items()]
        if is_own:
            wanted += [(kind, name) for kind, ref in outside if (name := own_id(kind, ref)) is not None]
        found = await self.targets.of(workspace, wanted)
        if is_own:
            for kind, ref in outside:
                name = own_id(kind, ref)
                if name is not None and (kind, name) in found:
                    elsewhere.setdefault((kind, ref), name)
        self._require_resolutions(request, found)
        new = [item for item in items if _key(workspace, bundle, item) not in held]
        names = {kind: await self.targets.names(workspace, kind) for kind in dict.fromkeys(item.kind for item in new)}

        async def is_sibling(kind: Kind, name: str) -> bool:
            return await records.came_from(self.documents, workspace, kind, name)

        return _World(items, held, found, elsewhere, names, is_sibling)

    def _require_resolutions(self, request: ImportRequest, found: dict[Ref, Target]) -> None:
        faults = [
            Fault(f"/resolutions/{SECTIONS[kind]}/{escaped(ref)}", "not_found", f"There is no {kind} {name[:80]!r}.")
            for (kind, ref), name in request.resolutions.objects.items()
            if (kind, name) not in found
        ]
        if faults:
            raise Invalid("validation_error", faults[0].message, faults)

    async def _named(self, workspace: str, decisions: Sequence[Decision], world: "_World") -> dict[Ref, Target]:
        """Everything that the planned journeys name and that is there or will be."""
        known = dict(world.found)
        ids = {(kind, name) for (kind, _), name in world.elsewhere.items() if name is not None} - known.keys()
        known.update(await self.targets.of(workspace, ids))
        for decision in decisions:
            if decision.target_id is not None and decision.body:
                kind = decision.item.kind
                known[kind, decision.target_id] = Target(kind, decision.target_id, decision.body, "")
        return known


@dataclass(frozen=True, slots=True)
class _World:
    """What was read of the workspace."""

    items: list[Item]
    records: dict[str, ImportRecord]
    found: dict[Ref, Target]
    elsewhere: dict[Ref, str | None]
    names: dict[Kind, dict[str, list[str]]]
    is_sibling: Callable[[Kind, str], Any]


class _Drawing:
    """One plan being made: items in order, each after those it names."""

    def __init__(self, workspace: str, request: ImportRequest, world: _World) -> None:
        self.workspace = workspace
        self.request = request
        self.source: Source = request.bundle.source
        self.world = world
        self.decisions: list[Decision] = []
        self.ids: dict[Ref, str | None] = {**world.elsewhere, **request.resolutions.objects}
        self.used: set[Ref] = set()
        self.taken: dict[Kind, set[str]] = {}

    async def draw(self) -> None:
        """Decide every item."""
        for item in self.world.items:
            await asyncio.sleep(0)  # a bundle of thousands must not hold up everybody else
            decision = await self._decide(item)
            self.decisions.append(decision)
            if decision.action != "failed":
                self.ids[item.kind, item.ref] = decision.target_id
            if decision.target_id is not None:
                self.used.add((item.kind, decision.target_id))

    async def _decide(self, item: Item) -> Decision:
        resolved = self.request.resolutions.objects.get((item.kind, item.ref))
        if resolved is not None:
            return Decision(item, "skipped", resolved, RESOLVED)
        record = self.world.records.get(key_for(self.workspace, self.source, item.kind, item.source_id))
        if item.is_placeholder and not (record and record.target_id):
            is_known = record is not None and record.content_hash == item.content_hash
            return Decision(item, "unchanged" if is_known else "skipped", None, PLACEHOLDER)
        if lacking := self._lacking(item):
            return Decision(item, "failed", None, UNRESOLVED, lacking=tuple(lacking))
        body = self._wanted(item)
        if record is None or not record.target_id:
            return await self._unrecorded(item, body)
        target = self.world.found.get((item.kind, record.target_id))
        if target is None:
            return await self._gone(item, body, DELETED, record.target_id, record.target_id)
        if body["name"] == record.source_name:
            body["name"] = target.name  # the source did not rename it; here it may have another name
        if not differing(body, target.body):
            return Decision(item, "unchanged", target.id, body=target.body, target=target)
        if target.is_archived:
            return await self._gone(item, body, ARCHIVED, target.id)
        is_edited = target.hash not in {record.target_hash, *self._stated(item)}
        if record.content_hash == item.content_hash and is_edited:
            return Decision(item, "unchanged", target.id, body=target.body, target=target)
        return await self._differing(item, body, target, is_edited)

    async def _unrecorded(self, item: Item, body: Body) -> Decision:
        """The first import of an object: it is made, or found where an import that broke off left it."""
        last: Target | None = None
        for name in candidates(self.source, item):
            if (item.kind, name) in self.used:
                continue
            target = self.world.found.get((item.kind, name))
            if target is None:
                return await self._create(item, body, name)
            if self.source.is_workspace(self.workspace) and name == item.source_id:
                return await self._ours(item, body, target)
            if target.name.startswith(item.name) and not differing({**body, "name": target.name}, target.body):
                return Decision(item, "unchanged", target.id, body=target.body, target=target)
            last = target
        assert last is not None  # a derived id is nobody else's
        return await self._differing(item, body, last, is_edited=True)

    async def _ours(self, item: Item, body: Body, target: Target) -> Decision:
        """An export of this workspace comes home: the hash it states says what it was made from."""
        if not differing(body, target.body):
            return Decision(item, "unchanged", target.id, body=target.body, target=target)
        if target.is_archived:
            return await self._gone(item, body, ARCHIVED, target.id)
        return await self._differing(item, body, target, is_edited=target.hash not in self._stated(item))

    async def _differing(self, item: Item, body: Body, target: Target, is_edited: bool) -> Decision:
        policy = self.request.policy
        if is_edited and policy == "copy":
            return await self._create(item, body, self._copy_id(item))
        if item.kind is Kind.COMMUNICATION and body["channel"] != target.body["channel"]:
            return Decision(item, "failed", target.id, CHANNEL, target=target)
        if is_edited and policy in ("fail", "skip"):
            action = "conflict" if policy == "fail" else "skipped"
            return Decision(item, action, target.id, EDITED, body=target.body, target=target)
        if (fault := self._refusal(item, target)) is not None:
            return Decision(item, "failed", target.id, fault, target=target)
        goal = {"goalEventName", "goalEventWindowDays"} & set(differing(body, target.body))
        reason = GOAL_AT_ONCE if goal and target.is_published else None
        return Decision(item, "updated", target.id, reason, body=body, target=target)

    async def _gone(self, item: Item, body: Body, reason: str, target_id: str, free_id: str | None = None) -> Decision:
        if self.request.policy not in ("overwrite", "copy"):
            # Its id stays with those who name it: an audience that is gone must not become no audience.
            return Decision(item, "skipped", target_id, reason)
        return await self._create(item, body, free_id or self._copy_id(item))

    async def _create(self, item: Item, body: Body, name: str) -> Decision:
        if (fault := self._refusal(item, None)) is not None:
            return Decision(item, "failed", None, fault)
        body["name"] = await self._free_name(item.kind, item.name)
        return Decision(item, "created", name, body=body)

    def _refusal(self, item: Item, target: Target | None) -> str | None:
        """Why the item may not be written. A URL that the journey calls already brings nothing new."""
        if item.is_incomplete and not self.request.allows_incomplete:
            return INCOMPLETE
        known = set() if target is None else {step.get("url") for step in target.body.get("steps", [])}
        is_bad = any(url not in known and url_fault(url) is not None for url, _ in item.urls)
        return NO_URL if is_bad else None

    def _lacking(self, item: Item) -> list[Reference]:
        """The references that nothing answers to and that the bundle does not own up to."""
        if self._may_dangle(item):
            return []
        return [one for one in item.references if (one.kind, one.ref) not in self.ids]

    def _may_dangle(self, item: Item) -> bool:
        if not self.request.allows_incomplete:
            return False
        return item.is_incomplete or (item.kind is Kind.AUDIENCE and self.source.provider in (PINPOINT, OURS))

    def _wanted(self, item: Item) -> Body:
        def id_of(kind: Kind, ref: str) -> str | None:
            if (kind, ref) in self.ids:
                return self.ids[kind, ref]
            return dangling_id(kind, self.source, ref, self.workspace)

        body = to_ids(item.kind, item.body, id_of)
        if item.unresolved:
            body["steps"] = [self._called(item, step) for step in body["steps"]]
        return body

    def _called(self, item: Item, step: dict[str, Any]) -> dict[str, Any]:
        uri = item.unresolved.get(step["id"])
        url = None if uri is None else self.request.resolutions.webhooks.get(uri)
        if url is None or step["type"] != "webhook" or step.get("url"):
            return step
        return {**step, "url": url}

    def _stated(self, item: Item) -> set[str]:
        own = self.source.is_workspace(self.workspace) and item.stated_hash is not None
        return {item.stated_hash} if own and item.stated_hash else set()

    def _copy_id(self, item: Item) -> str:
        # Of the content too: a copy that broke off is found again, and another content makes another copy.
        derived = derived_id(item.kind, self.source, f"{item.ref}\x1f{item.content_hash}")
        return _suffixed(slug(item.name, "copy"), derived)

    async def _free_name(self, kind: Kind, name: str) -> str:
        """The name, or one with a suffix where somebody else's object has it."""
        names = self.world.names.get(kind, {})
        suffix = "Pinpoint" if self.source.provider == PINPOINT else "imported"
        for number in range(1, 1_000):
            end = "" if number == 1 else f" ({suffix})" if number == 2 else f" ({suffix} {number - 1})"
            tried = name[: MAX_TITLE - len(end)] + end
            holders = [one for one in names.get(tried, ()) if not await self.world.is_sibling(kind, one)]
            if not holders:
                return tried
        return name


def candidates(source: Source, item: Item) -> list[str]:
    """The ids that a new object may get, the first that is free. The last is nobody else's."""
    derived = derived_id(item.kind, source, item.ref)
    if source.provider == OURS:
        own = [item.source_id] if ID.fullmatch(item.source_id) else []
        return [*own, _suffixed(slug(item.name, item.kind), derived)]
    if item.kind is not Kind.JOURNEY:
        return [derived]
    base = slug(item.name, "journey")
    return [base, _suffixed(base, derived)]


def _suffixed(base: str, derived: str) -> str:
    end = f"-{derived.rpartition('-')[2][:_DIGEST]}"
    return base[: MAX_ID - len(end)].strip("-") + end


def _key(workspace: str, bundle: Bundle, item: Item) -> str:
    return key_for(workspace, bundle.source, item.kind, item.source_id)


def _included(bundle: Bundle, include: tuple[str, ...] | None) -> list[Item]:
    """The items asked for, with all they name."""
    if include is None:
        return list(bundle.items)
    by_ref = bundle.by_ref
    wanted = {(item.kind, item.ref) for item in bundle.items if item.ref in include}
    waiting = list(wanted)
    while waiting:
        for one in by_ref[waiting.pop()].references:
            ref = (one.kind, one.ref)
            if ref in by_ref and ref not in wanted:
                wanted.add(ref)
                waiting.append(ref)
    return [item for item in bundle.items if (item.kind, item.ref) in wanted]


def _blockers(decisions: Sequence[Decision], known: dict[Ref, Target]) -> list[Blocker]:
    """What publish would refuse of each journey that is or will be there."""
    found = []
    communications = {
        name: CommunicationInfo(
            str(one.body["commType"]), str(one.body["channel"]), "archived" if one.is_archived else "active"
        )
        for (kind, name), one in known.items()
        if kind is Kind.COMMUNICATION
    }
    audiences = frozenset(name for kind, name in known if kind is Kind.AUDIENCE)
    contracts = frozenset(name for kind, name in known if kind is Kind.CONTRACT)
    for decision in decisions:
        if decision.item.kind is not Kind.JOURNEY or not decision.body:
            continue
        body = decision.body
        graph = Graph(read_steps(body["steps"])[0], read_settings(body.get("settings"))[0])
        catalogue = Catalogue(
            communications,
            audiences,
            contracts,
            body.get("audienceId"),
            body.get("triggerContractId"),
            body.get("goalEventName"),
            template_faults,
        )
        for fault in faults_of(graph, catalogue):
            step = _step_of(graph, fault.path)
            found.append(Blocker(decision.item.ref, fault.code, decision.item.at + fault.path, fault.message, step))
    return found


def _step_of(graph: Graph, path: str) -> str | None:
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "steps" and parts[2].isdecimal():
        return graph.steps[int(parts[2])].id
    return None
