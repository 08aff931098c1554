"""What stands between a draft and its publication, in the workspace as it is now.

Law: the same review gives warnings on a draft and refusals at publish. It reads every reference of the graph in one
round, and writes nothing.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from services.authoring.json_text import read_json
from services.authoring.repositories import (
    AUDIENCES,
    COMMUNICATIONS,
    TRIGGER_CONTRACTS,
    Audience,
    Communication,
    Draft,
    Journey,
    TriggerContract,
    key_of,
)
from services.domain.errors import Fault
from services.domain.journey.conditions import audiences_in
from services.domain.journey.graph import Catalogue, CommunicationInfo, faults_of
from services.domain.journey.model import Graph, Send
from services.domain.journey.reading import read_settings, read_steps
from services.domain.journey.step_checks import conditions_of
from services.infra.documents.port import Documents
from services.infra.liquid import template_faults

TEMPLATES: Final = ("subject", "body", "text", "title")  # the Liquid members of a communication
_LARGE: Final = 64 * 1024  # bytes of steps whose review would hold up everybody else


@dataclass(frozen=True, slots=True)
class Review:
    """A draft's graph, what is wrong with it, and what it refers to."""

    graph: Graph
    faults: tuple[Fault, ...]
    communications: dict[str, Communication] = field(default_factory=dict)
    trigger_contract: TriggerContract | None = None


async def review(documents: Documents, journey: Journey, draft: Draft) -> Review:
    """Review a draft of the journey."""
    is_large = len(draft.steps_json) > _LARGE
    if is_large:
        read = await asyncio.to_thread(_read, draft.steps_json, draft.settings_json)
    else:
        read = _read_again(draft.steps_json, draft.settings_json)
    workspace = journey.workspace
    communications: dict[str, Communication] = {}
    if read.communications:
        keys = [key_of(workspace, name) for name in read.communications]
        communications = await documents.get_many(COMMUNICATIONS, keys)
    audience_ids = {*read.audiences, *([draft.audience_id] if draft.audience_id else [])}
    audiences: dict[str, Audience] = {}
    if audience_ids:
        audiences = await documents.get_many(AUDIENCES, [key_of(workspace, name) for name in sorted(audience_ids)])
    contract = None
    if draft.trigger_contract_id is not None:
        contract = await documents.get(TRIGGER_CONTRACTS, key_of(workspace, draft.trigger_contract_id))
    by_id = {communication.id: communication for communication in communications.values()}
    catalogue = Catalogue(
        communications={
            one.id: CommunicationInfo(comm_type=one.comm_type, channel=one.channel, status=one.status)
            for one in by_id.values()
        },
        audiences=frozenset(one.id for one in audiences.values() if one.listed_at_ms is not None),
        trigger_contracts=frozenset() if contract is None else frozenset((contract.id,)),
        audience_id=draft.audience_id,
        trigger_contract_id=draft.trigger_contract_id,
        goal_event_name=journey.goal_event_name,
        template_faults=template_faults,
    )
    if is_large:
        faults = await asyncio.to_thread(_faults, read, catalogue, by_id)
    else:
        faults = _faults(read, catalogue, by_id)
    return Review(read.graph, tuple(faults), by_id, contract)


def content_faults(content: Mapping[str, object]) -> Iterator[Fault]:
    """What is wrong with the Liquid of a communication's members."""
    for name in TEMPLATES:
        text = content.get(name)
        if isinstance(text, str):
            for sentence in template_faults(text):
                yield Fault(f"/{name}", "invalid_template", sentence)


@dataclass(frozen=True, slots=True)
class _Read:
    graph: Graph
    faults: tuple[Fault, ...]
    communications: tuple[str, ...]
    audiences: frozenset[str]


@lru_cache(maxsize=128)
def _read_again(steps_json: bytes, settings_json: bytes) -> _Read:
    return _read(steps_json, settings_json)


def _read(steps_json: bytes, settings_json: bytes) -> _Read:
    """The graph of a draft. Its shape was sound when it was stored; rules that became stricter since show here."""
    steps, step_faults = read_steps(read_json(steps_json, "/steps")[0])
    settings, setting_faults = read_settings(read_json(settings_json, "/settings")[0])
    graph = Graph(steps, settings)
    communications = dict.fromkeys(s.communication_id for s in steps if isinstance(s, Send) and s.communication_id)
    audiences = frozenset(
        audience for step in steps for condition, _ in conditions_of(step) for audience in audiences_in(condition)
    )
    return _Read(graph, (*step_faults, *setting_faults), tuple(communications), audiences)


def _faults(read: _Read, catalogue: Catalogue, communications: dict[str, Communication]) -> list[Fault]:
    faults = [*read.faults, *faults_of(read.graph, catalogue)]
    broken = {name: _template_faults(one) for name, one in communications.items()}
    for i, step in enumerate(read.graph.steps):
        if isinstance(step, Send):
            at = f"/steps/{i}/communicationId"
            faults.extend(Fault(at, "invalid_template", said) for said in broken.get(step.communication_id, ()))
    return faults


def _template_faults(communication: Communication) -> list[str]:
    content, _ = read_json(communication.content_json, "")
    return [f"{fault.path.removeprefix('/')}: {fault.message}" for fault in content_faults(content)]
