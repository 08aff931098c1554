"""A request to import, read: every fault at once, each at its pointer.

Law: nothing here asks the store. What passes is sound in itself: known members, ids, references, sizes, URLs, Liquid
and predicates within their limits, and no graph that walks in circles. What a draft may lack, a bundle may lack too; a
graph's fault is let through where the bundle itself names it as a blocker, as exports of unfinished drafts do.
Source: pinpoint design 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring import audiences, communications
from services.authoring.audiences import AudienceChanges
from services.authoring.bundles.form import (
    CONTENT,
    KIND,
    MEMBERS,
    SECTIONS,
    Body,
    Bundle,
    Item,
    Kind,
    Reference,
    Source,
    normal,
)
from services.authoring.bundles.hashes import bundle_id, content_hash
from services.authoring.bundles.refs import JOURNEY_NAMES, MAX_REF, Names, mapped, to_ids
from services.authoring.bundles.urls import url_fault
from services.authoring.changes import JourneyChanges, read_changes
from services.authoring.communications import CommunicationChanges
from services.authoring.importing.ordering import in_order
from services.authoring.json_text import canonical
from services.authoring.pinpoint.reading import read_document
from services.authoring.trigger_contracts import ContractChanges
from services.domain.errors import Fault, Invalid
from services.domain.journey.graph import Catalogue, faults_of, ways_out
from services.domain.journey.members import MAX_NESTING, Members, escaped, wrong_type
from services.domain.journey.model import Graph, Json, Settings, Webhook
from services.domain.journey.reading import read_steps
from services.infra.liquid import template_faults

POLICIES: Final = ("skip", "fail", "overwrite", "copy")
MAX_OBJECTS: Final = 20_000
MAX_JOURNEYS: Final = 2_000
MAX_STEPS: Final = 5_000  # of one journey
MAX_OBJECT_BYTES: Final = 1 << 20  # what one request of an author may hold
_WRAPPING: Final = 3  # levels that the bundle lies around an object: body, bundle, section
# Faults of a graph that no draft of a bundle may have unless the bundle says so itself.
STRUCTURAL: Final = frozenset({"cycle", "duplicate_step_id", "duplicate_trigger", "next_unresolved"})
_REFUSED: Final = STRUCTURAL | {"invalid_template"}
_RENAMED: Final = {
    "audienceId": "audienceRef",
    "cohortId": "cohortRef",
    "communicationId": "communicationRef",
    "triggerContractId": "triggerContractRef",
}
# What an object may have beside the members an author would send.
_BESIDE: Final = ("ref", "sourceId", "contentHash", "extensions", "targetId", "completeness")
_TOP: Final = ("bundleId", "options", "diagnostics", "unsupported", "idMap", "extensions")
_SOURCE: Final = ("apiVersion", "inputSha256", "translator")


@dataclass(frozen=True, slots=True)
class Resolutions:
    """What the caller says about objects that the bundle cannot bring: functions by name, objects by ref."""

    webhooks: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[tuple[Kind, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """A request to import that is sound in itself."""

    bundle: Bundle
    is_dry_run: bool = False
    policy: str = "skip"
    is_atomic: bool = True
    allows_incomplete: bool = True
    include: tuple[str, ...] | None = None
    resolutions: Resolutions = Resolutions()


def read_request(data: bytes) -> ImportRequest:
    """The request in a body's bytes.

    Raises Invalid: invalid_json, payload_too_large, validation_error, graph_invalid, unsupported_bundle_version.
    """
    return request_of(read_document(data, MAX_NESTING + _WRAPPING).value)


def request_of(json: Json) -> ImportRequest:
    """The same from a JSON value."""
    faults: list[Fault] = []
    members = Members(json, "", faults)
    members.text("projectKey", need=True, least=1)
    bundle_json = members.take("bundle", need=True)
    is_dry_run = members.flag("dryRun", False)
    policy = members.choice("conflictPolicy", POLICIES)
    is_atomic = members.flag("atomic", True)
    allows_incomplete = members.flag("allowIncomplete", True)
    include = None if members.take("include") is None else _texts(members, "include")
    resolutions = _resolutions(members.named("resolutions"))
    members.close()
    bundle = None if bundle_json is None else _bundle(bundle_json, "/bundle", faults)
    if bundle is not None and include is not None:
        known = {item.ref for item in bundle.items}
        for i, ref in enumerate(include):
            if ref not in known:
                faults.append(Fault(f"/include/{i}", "unknown_ref", "The bundle has no object of that ref."))
    if faults or bundle is None:
        raise refused(faults)
    return ImportRequest(
        bundle,
        is_dry_run,
        policy or POLICIES[0],
        is_atomic,
        allows_incomplete,
        None if include is None else tuple(include),
        resolutions,
    )


def read_bundle(json: Json) -> Bundle:
    """A bundle alone, such as a journey template. Raises like `read_request`."""
    faults: list[Fault] = []
    bundle = _bundle(json, "", faults)
    if faults or bundle is None:
        raise refused(faults)
    return bundle


def refused(faults: list[Fault]) -> Invalid:
    """The refusal for faults: of graphs alone `graph_invalid`, else `validation_error`."""
    reason = "graph_invalid" if {fault.code for fault in faults} <= STRUCTURAL else "validation_error"
    count = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    return Invalid(reason, f"The bundle has {count}: {faults[0].message}", faults)


def _resolutions(members: Members | None) -> Resolutions:
    if members is None:
        return Resolutions()
    webhooks: dict[str, str] = {}
    for name, value in members.pairs("webhooks"):
        at = f"{members.path('webhooks')}/{escaped(name)}"
        if not isinstance(value, str):
            members.faults.append(wrong_type(at, value, "a string"))
        elif (sentence := url_fault(value)) is not None:
            members.faults.append(Fault(at, "invalid_url", sentence))
        else:
            webhooks[name] = value
    objects: dict[tuple[Kind, str], str] = {}
    for kind in (Kind.AUDIENCE, Kind.CONTRACT, Kind.COMMUNICATION):
        for ref, value in members.pairs(SECTIONS[kind]):
            at = f"{members.path(SECTIONS[kind])}/{escaped(ref)}"
            if not isinstance(value, str) or not value:
                members.faults.append(wrong_type(at, value, "the id of an object"))
            else:
                objects[kind, ref] = value
    members.close()
    return Resolutions(webhooks, objects)


def _bundle(json: Json, at: str, faults: list[Fault]) -> Bundle | None:
    members = Members(json, at, faults)
    _require_version(members)
    members.choice("kind", (KIND,), need=True)
    source = _source(members.named("source")) if members.take("source", need=True) is not None else None
    for name in _TOP:
        members.take(name)
    items: list[Item] = []
    seen: set[tuple[Kind, str]] = set()
    sources: set[tuple[Kind, str]] = set()
    for kind, section in SECTIONS.items():
        entries = members.items(section)
        most = MAX_JOURNEYS if kind is Kind.JOURNEY else MAX_OBJECTS
        if len(entries) > most:
            members.fault(section, "out_of_range", f"A bundle has at most {most:,} {section}.")
            continue
        for entry, path in entries:
            item = _item(kind, entry, path, faults)
            if item is None:
                continue
            if (kind, item.ref) in seen:
                faults.append(Fault(f"{path}/ref", "duplicate_ref", "An earlier object has that ref."))
            elif (kind, item.source_id) in sources:
                faults.append(Fault(f"{path}/sourceId", "duplicate_source_id", "An earlier object has that sourceId."))
            seen.add((kind, item.ref))
            sources.add((kind, item.source_id))
            items.append(item)
    members.close()
    if source is None or not isinstance(json, dict):
        return None
    ordered, circular = in_order(items)
    faults.extend(Fault(f"{item.at}/predicate", "cycle", "The audience is defined by itself.") for item in circular)
    return Bundle(bundle_id(json), source, tuple(ordered))


def _require_version(members: Members) -> None:
    version = members.text("version", need=True)
    if version is not None and version.partition(".")[0] != "1":
        raise Invalid("unsupported_bundle_version", f"Bundles of version 1 are read; this is {version[:40]!r}.")


def _source(members: Members | None) -> Source | None:
    if members is None:
        return None
    provider = members.text("provider", need=True, least=1, most=200)
    # What an export does not say: journeys written by hand belong to one nameless application.
    application = members.text("applicationId", most=200)
    partial = members.flag("partial", False)
    for name in _SOURCE:
        members.take(name)
    members.close()
    return None if provider is None else Source(provider, application or "", partial)


def _item(kind: Kind, json: Json, at: str, faults: list[Fault]) -> Item | None:
    found: list[Fault] = []
    members = Members(json, at, found)
    ref = members.text("ref", need=True, least=1, most=MAX_REF)
    if ref is not None and not ref.startswith(f"{kind}:"):
        members.fault("ref", "bad_pattern", f"The ref of {_AN[kind]} begins with {kind}:.")
    source_id = members.text("sourceId", least=1, most=500)
    stated = members.text("contentHash", most=200)
    _names_of(members, kind)
    is_placeholder = kind is Kind.COMMUNICATION and members.flag("placeholder", False)
    is_incomplete = members.choice("completeness", ("complete", "incomplete")) == "incomplete"
    excused = _excused(members) if kind is Kind.JOURNEY else frozenset()
    members.close()
    if not isinstance(json, dict) or not ref:
        faults.extend(found)
        return None
    if len(canonical(_core(kind, json))) > MAX_OBJECT_BYTES:
        found.append(Fault(at, "out_of_range", f"An object has at most {MAX_OBJECT_BYTES:,} bytes."))
        faults.extend(found)
        return None
    references = _references(kind, json, at, found)
    graph: Graph | None = None
    if not found:
        graph = _checked(kind, json, at, is_placeholder, found)
    if found:
        faults.extend(found)
        return None
    urls: tuple[tuple[str, str], ...] = ()
    if graph is not None:
        faults.extend(fault for fault in _graph_faults(graph, at) if fault.code not in excused)
        urls = tuple(
            (step.url, f"{at}/steps/{i}/url")
            for i, step in enumerate(graph.steps)
            if isinstance(step, Webhook) and step.url
        )
    body = normal(kind, json, *(name for name in _CORE[kind] if name not in MEMBERS[kind]))
    return Item(
        kind,
        ref,
        source_id or ref,
        at,
        body,
        content_hash(body),
        stated,
        tuple(references),
        is_placeholder,
        is_incomplete,
        excused,
        urls,
        _unresolved(json) if kind is Kind.JOURNEY else {},
    )


def _names_of(members: Members, kind: Kind) -> None:
    """Take every member that an object of the kind may have."""
    noted = [name for name, kinds in _NOTED.items() if kind in kinds]
    for name in (*_BESIDE, *noted, *_CORE[kind]):
        members.take(name)


def _core(kind: Kind, json: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json[name] for name in _CORE[kind] if name in json}


def _excused(members: Members) -> frozenset[str]:
    codes = set()
    for entry, _ in members.items("publishBlockers"):
        code = entry.get("code") if isinstance(entry, dict) else None
        if isinstance(code, str):
            codes.add(code)
    return frozenset(codes)


def _unresolved(json: Mapping[str, Any]) -> dict[str, str]:
    """Which function each webhook without a URL called at the source (written there by the translator)."""
    found: Any = json.get("extensions")
    for name in ("pinpoint", "webhooks"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    return {step: uri for step, uri in found.items() if isinstance(uri, str)}


def _references(kind: Kind, json: Mapping[str, Any], at: str, faults: list[Fault]) -> list[Reference]:
    """What the object names; ids of a workspace have no place in a bundle."""
    found: list[Reference] = []

    def look(node: dict[str, Any], names: Names, place: str) -> dict[str, Any]:
        for id_name, ref_name, named in names:
            if id_name in node:
                message = f"A bundle names objects by {ref_name}."
                faults.append(Fault(f"{place}/{id_name}", "unknown_member", message))
            ref = node.get(ref_name)
            if ref is None:
                continue
            if not isinstance(ref, str):
                faults.append(wrong_type(f"{place}/{ref_name}", ref, "a string"))
            elif not 1 <= len(ref) <= MAX_REF:
                faults.append(Fault(f"{place}/{ref_name}", "out_of_range", f"A ref has 1 to {MAX_REF} characters."))
            else:
                found.append(Reference(named, ref, f"{place}/{ref_name}"))
        return node

    mapped(kind, json, look, at)
    return found


def _checked(kind: Kind, json: Mapping[str, Any], at: str, is_placeholder: bool, faults: list[Fault]) -> Graph | None:
    """Hold the object against the rules of the API; of a journey, its graph."""
    told: list[Fault]
    graph: Graph | None = None
    members = Members(json, "", told := [])
    name = members.text("name", need=True, least=1) or ""
    body = to_ids(kind, dict(json), lambda named, ref: "named")
    match kind:
        case Kind.AUDIENCE:
            told += _audience(body, members, name)
        case Kind.CONTRACT:
            told += _contract(members, name)
        case Kind.COMMUNICATION:
            told += _communication(json, members, name, is_placeholder)
        case Kind.JOURNEY:
            graph, more = _journey(body, members, name)
            told += more
    faults.extend(Fault(at + _as_written(fault.path), fault.code, fault.message) for fault in told)
    return graph


def _audience(body: Body, members: Members, name: str) -> list[Fault]:
    description = members.text("description") or ""
    predicate, subjects = body.get("predicate"), members.take("subjectIds")
    ids: list[str] = []
    if subjects is not None:
        ids = _texts(members, "subjectIds")
    if predicate is None and subjects is None:
        return [Fault("/predicate", "missing_member", "An audience needs a predicate or subjectIds.")]
    given: dict[str, Any] = {"name": name, "description": description}
    if predicate is not None:
        given["predicate_json"] = canonical(predicate)
    if subjects is not None:
        given["subject_ids"] = ids
    return audiences.faults_of(AudienceChanges(**given))


def _contract(members: Members, name: str) -> list[Fault]:
    event = members.text("eventName", need=True) or ""
    subject = members.text("subjectFieldPath") or "endUserId"
    email = members.text("recipientEmailFieldPath")
    return ContractChanges(name, event, subject, email).faults() if event else []


def _communication(json: Mapping[str, Any], members: Members, name: str, is_placeholder: bool) -> list[Fault]:
    comm_type, channel = members.text("commType", need=True) or "", members.text("channel", need=True) or ""
    if not comm_type or not channel:
        return []
    content = {} if is_placeholder else {name: json[name] for name in CONTENT if name in json}
    return communications.faults_of(CommunicationChanges(name, comm_type, channel, canonical(content)))


def _journey(body: Body, members: Members, name: str) -> tuple[Graph | None, list[Fault]]:
    steps = members.items("steps", need=True)
    if len(steps) > MAX_STEPS:
        return None, [Fault("/steps", "out_of_range", f"A journey of a bundle has at most {MAX_STEPS:,} steps.")]
    given: dict[str, Any] = {"name": name, "description": members.text("description") or ""}
    if (goal := members.text("goalEventName")) is not None:
        given["goal_event_name"] = goal
    if (window := members.number("goalEventWindowDays", 0, 365, above=True)) is not None:
        given["goal_event_window_days"] = window
    given["steps_json"] = canonical(body.get("steps"))
    if body.get("settings") is not None:
        given["settings_json"] = canonical(body["settings"])
    faults = read_changes(JourneyChanges(**given))[1]
    if faults or members.faults:
        return None, faults
    return Graph(read_steps(body["steps"])[0], Settings()), []


def _graph_faults(graph: Graph, at: str) -> list[Fault]:
    """What no draft of a bundle may have: circles, ids written twice, ways to steps that are not there, broken Liquid."""
    open_ends = {
        f"/steps/{i}{suffix}" for i, step in enumerate(graph.steps) for suffix, to in ways_out(step) if to is None
    }
    return [
        Fault(at + fault.path, fault.code, fault.message)
        for fault in faults_of(graph, Catalogue(template_faults=template_faults))
        if fault.code in _REFUSED and fault.path not in open_ends
    ]


def _texts(members: Members, name: str) -> list[str]:
    found = []
    for value, at in members.items(name):
        if isinstance(value, str):
            found.append(value)
        else:
            members.faults.append(wrong_type(at, value, "a string"))
    return found


def _as_written(path: str) -> str:
    head, _, last = path.rpartition("/")
    return f"{head}/{_RENAMED[last]}" if last in _RENAMED else path


_AN: Final = {
    Kind.AUDIENCE: "an audience",
    Kind.CONTRACT: "a trigger contract",
    Kind.COMMUNICATION: "a communication",
    Kind.JOURNEY: "a journey",
}
_CORE: Final[Mapping[Kind, tuple[str, ...]]] = {
    **MEMBERS,
    Kind.JOURNEY: (*MEMBERS[Kind.JOURNEY], *(name for _, name, _ in JOURNEY_NAMES)),
}
# What is the source's business, and whose objects have it.
_NOTED: Final[Mapping[str, tuple[Kind, ...]]] = {
    "sourceState": (Kind.JOURNEY, Kind.AUDIENCE),
    "variables": (Kind.COMMUNICATION,),
    "subjectType": (Kind.AUDIENCE,),
    "placeholder": (Kind.COMMUNICATION,),
    "publishBlockers": (Kind.JOURNEY,),
}
