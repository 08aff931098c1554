"""A whole export into a bundle.

Law: pure, and every object is finished before anything is judged: whether a journey is complete is asked of the same
graph checks that publish asks, over what the bundle holds.
Source: pinpoint design 6.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.bundles.form import KIND, PINPOINT, VERSION, Kind
from services.authoring.bundles.hashes import bundle_id
from services.authoring.bundles.refs import to_ids
from services.authoring.json_text import canonical
from services.authoring.pinpoint.campaigns import ENDED, campaign_state, translate_campaign
from services.authoring.pinpoint.envelope import Project, read_export
from services.authoring.pinpoint.journeys import Translated, translate_journey
from services.authoring.pinpoint.library import Found, Library, TemplateFaults, hashed
from services.authoring.pinpoint.notes import Notes, has_error
from services.authoring.pinpoint.options import Options, read_options
from services.authoring.pinpoint.reading import Document, read_document, shallow
from services.authoring.pinpoint.segments import add_audiences
from services.authoring.pinpoint.shapes import STATES
from services.authoring.pinpoint.templates import ACTIVE, add_unused
from services.authoring.pinpoint.times import read_moment
from services.domain.errors import Fault, Invalid
from services.domain.journey.graph import Catalogue, CommunicationInfo, faults_of
from services.domain.journey.members import Members
from services.domain.journey.model import Graph, Json
from services.domain.journey.reading import read_settings, read_steps

TRANSLATOR: Final = "0.1.0"
MAX_ANSWER: Final = 100 << 20  # bytes
API_VERSION: Final = "2016-12-01"
_TEST_NAME: Final = "Test-"
_MEMBERS: Final = ("projectKey", "export", "options")


def answer(data: bytes, default_now_ms: int, template_faults: TemplateFaults) -> bytes:
    """The canonical JSON of `{"bundle", "summary"}` for a request's bytes.

    `default_now_ms` is what `now` means where the options do not say; `template_faults` gives a sentence for each thing
    wrong with a Liquid text. Raises Invalid: invalid_json, validation_error, payload_too_large, not_an_export,
    translation_incomplete.
    """
    document = read_document(data)
    export, options = _request(document.value, default_now_ms)
    bundle, summary = translate(shallow(export), options, template_faults, _duplicates(document))
    if options.strict and (errors := [one for one in bundle["diagnostics"] if one["severity"] == "error"]):
        raise Invalid(
            "translation_incomplete",
            f"{len(errors)} places have to be completed by hand; `strict` refuses that.",
            [Fault(f"/export{one['path']}", one["code"], one["message"]) for one in errors],
        )
    made = canonical({"bundle": bundle, "summary": summary})
    if len(made) > MAX_ANSWER:
        raise Invalid("payload_too_large", "The bundle becomes too large; send the export in parts.")
    return made


def translate(
    export: Json, options: Options, template_faults: TemplateFaults, duplicates: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bundle and the summary of an export. `duplicates` are pointers of members that stood twice."""
    notes = Notes()
    for path in duplicates:
        notes.say("duplicate_key", path)
    project = read_export(export, notes)
    library = Library(
        options,
        project.application_id or "",
        notes,
        template_faults,
        segments=_by_id(project.segments, notes),
        templates=_by_name(project.templates, notes),
    )
    chosen, counts = _chosen(project, library, notes)
    library.senders.update(_senders(chosen))
    journeys: list[dict[str, Json]] = []
    for source_id, found in chosen:
        _count(translate_journey(found, source_id, library), counts, journeys)
    for found in project.campaigns:
        counts["total"] += 1
        if not _is_wanted_campaign(found, options, notes):
            counts["skipped"] += 1
            continue
        _count(translate_campaign(found, f"campaign/{found.value['Id']}", library), counts, journeys)
    add_audiences(library)
    add_unused(library)
    _judge(journeys, library, notes)
    notes.keep_whole("Export", "", export)
    bundle = _bundle(export, project, library, journeys, notes)
    severities = [one["severity"] for one in notes.diagnostics]
    told = {severity: severities.count(severity) for severity in ("error", "warning", "info")}
    return bundle, {"journeys": counts, "diagnostics": told}


def _request(body: Json, default_now_ms: int) -> tuple[Json, Options]:
    faults: list[Fault] = []
    members = Members(body, "", faults)
    members.text("projectKey", need=True, least=1, most=256)
    export = members.take("export", need=True)
    options, wrong = read_options(members.take("options"), default_now_ms)
    members.close()
    faults.extend(wrong)
    if faults:
        raise Invalid("validation_error", faults[0].message, faults)
    return export, options


def _duplicates(document: Document) -> list[str]:
    head = "/export"
    return [path.removeprefix(head) for path in document.duplicates if path.startswith((f"{head}/", head))]


def _by_id(found: list[Found], notes: Notes) -> dict[str, Found]:
    kept: dict[str, Found] = {}
    for one in found:
        name = str(one.value["Id"])
        if name in kept:
            notes.drop("unknown_member", "Segment", one.path, one.value, "The segment stands in the file before.")
        else:
            kept[name] = one
    return kept


def _by_name(found: list[Found], notes: Notes) -> dict[tuple[str, str], dict[str, Found]]:
    kept: dict[tuple[str, str], dict[str, Found]] = {}
    for one in found:
        version = one.value.get("Version")
        versions = kept.setdefault((str(one.value["TemplateType"]), str(one.value["TemplateName"])), {})
        name = version if isinstance(version, str) else ""
        if name in versions:
            notes.drop("unknown_member", "Template", one.path, one.value, "The template stands in the file before.")
        else:
            versions[name] = one
    return kept


def _chosen(project: Project, library: Library, notes: Notes) -> tuple[list[tuple[str, Found]], dict[str, int]]:
    """The journeys to translate, each with its source id, and the counts so far."""
    counts = {"total": len(project.journeys), "translated": 0, "empty": 0, "skipped": 0}
    by_id: dict[str, Found] = {}
    for found in project.journeys:
        own = found.value.get("Id")
        source_id = own if isinstance(own, str) and own else _made_id(found.value)
        first = by_id.get(source_id)
        if first is not None:
            older, newer = (first, found) if _changed(found) > _changed(first) else (found, first)
            notes.of(library.ref("journey", source_id)).drop("duplicate_journey", "Journey", older.path, older.value)
            counts["skipped"] += 1
            found = newer
        by_id[source_id] = found
    chosen = []
    for source_id, found in by_id.items():
        own_notes = notes.of(library.ref("journey", source_id))
        if not found.value.get("Id"):
            own_notes.say("journey_id_made", found.path)
        if _is_wanted(source_id, found, library.options, own_notes):
            chosen.append((source_id, found))
        else:
            counts["skipped"] += 1
    return chosen, counts


def _made_id(journey: Mapping[str, Json]) -> str:
    digest = hashlib.sha256(canonical([journey.get("Name"), journey])).hexdigest()
    return digest[:32]


def _changed(found: Found) -> int:
    moment = read_moment(found.value.get("LastModifiedDate"))
    return moment.ms if moment is not None else -(2**62)


def _is_wanted(source_id: str, found: Found, options: Options, notes: Notes) -> bool:
    if options.journey_ids is not None and source_id not in options.journey_ids:
        notes.drop("journey_skipped_state", "Journey", found.path, found.value, "It was not asked for by journeyIds.")
        return False
    given = found.value.get("State")
    state = given if isinstance(given, str) and given in STATES else "DRAFT"
    if state not in options.include_states:
        notes.drop("journey_skipped_state", "Journey", found.path, found.value, f"Its state is {state}.")
        return False
    name = found.value.get("Name")
    if isinstance(name, str) and name.startswith(_TEST_NAME) and not options.include_test_journeys:
        notes.drop("journey_skipped_test", "Journey", found.path, found.value)
        return False
    return True


def _is_wanted_campaign(found: Found, options: Options, notes: Notes) -> bool:
    state = campaign_state(found.value)
    if state in ENDED and "COMPLETED" not in options.include_states:
        notes.drop("journey_skipped_state", "Campaign", found.path, found.value, f"Its status is {state}.")
        return False
    return True


def _senders(chosen: Iterable[tuple[str, Found]]) -> dict[tuple[str, str, str], set[str | None]]:
    """The From addresses under which each e-mail template is sent, over the whole export."""
    senders: dict[tuple[str, str, str], set[str | None]] = {}
    for _, found in chosen:
        activities = found.value.get("Activities")
        for activity in activities.values() if isinstance(activities, dict) else ():
            email = activity.get("EMAIL") if isinstance(activity, dict) else None
            name = email.get("TemplateName") if isinstance(email, dict) else None
            if not isinstance(email, dict) or not isinstance(name, str) or not name:
                continue
            version = email.get("TemplateVersion")
            pinned = version if isinstance(version, str) and version not in ("", ACTIVE, "latest") else ACTIVE
            config = email.get("MessageConfig")
            sender = config.get("FromAddress") if isinstance(config, dict) else None
            key = ("EMAIL", name, pinned)
            senders.setdefault(key, set()).add(sender if isinstance(sender, str) and sender else None)
    return senders


def _count(made: Translated, counts: dict[str, int], journeys: list[dict[str, Json]]) -> None:
    if made.is_empty:
        counts["empty"] += 1
    elif made.journeys:
        counts["translated"] += 1
    else:
        counts["skipped"] += 1
    journeys.extend(made.journeys)


@dataclass(frozen=True, slots=True)
class _Names:
    """What the bundle holds, as publish would find it."""

    communications: dict[str, CommunicationInfo]
    audiences: frozenset[str]
    contracts: frozenset[str]


def _judge(journeys: list[dict[str, Any]], library: Library, notes: Notes) -> None:
    """Say of each journey whether it is complete, and what publish would refuse; drop what no reader would take."""
    names = _Names(
        {
            ref: CommunicationInfo(str(one["commType"]), str(one["channel"]))
            for ref, one in library.communications.items()
            if not one["placeholder"]
        },
        frozenset(library.audiences),
        frozenset(library.contracts),
    )
    incomplete = {one["objectRef"] for one in notes.diagnostics if one["severity"] == "error"}
    for journey in list(journeys):
        named = {journey["ref"], journey["audienceRef"]}

        def noted(kind: Kind, ref: str, named: set[Json] = named) -> str:
            named.add(ref)
            return ref

        body = to_ids(Kind.JOURNEY, {"steps": journey["steps"]}, noted)
        steps, faults = read_steps(body["steps"])
        settings, more = read_settings(journey["settings"])
        if faults or more:  # a safety net: nothing above makes such a step
            fault = [*faults, *more][0]
            own = notes.of(journey["ref"])
            own.drop("journey_empty", "Journey", "", journey, f"{fault.path}: {fault.message}")
            journeys.remove(journey)
            continue
        blockers = _blockers(journey, Graph(steps, settings), names, library)
        main = library.ref("journey", str(journey["sourceId"]).partition("#")[0])
        # A template that prints its own source would be published: what is named counts too.
        is_incomplete = bool(blockers) or main in incomplete or not named.isdisjoint(incomplete)
        journey["publishBlockers"] = blockers
        journey["completeness"] = "incomplete" if is_incomplete else "complete"
        hashed(journey)


def _blockers(journey: Mapping[str, Any], graph: Graph, names: _Names, library: Library) -> list[dict[str, Json]]:
    catalogue = Catalogue(
        communications=names.communications,
        audiences=names.audiences,
        trigger_contracts=names.contracts,
        audience_id=journey["audienceRef"],
        trigger_contract_id=journey["triggerContractRef"],
        template_faults=library.template_faults,
    )
    found: dict[tuple[str, str | None], None] = {}
    for fault in faults_of(graph, catalogue):
        parts = fault.path.split("/")
        step = None
        if len(parts) > 2 and parts[1] == "steps" and parts[2].isdigit():
            step = graph.steps[int(parts[2])].id
        found[fault.code, step] = None
    return [{"code": code, "stepId": step} for code, step in found]


def _bundle(
    export: Json, project: Project, library: Library, journeys: list[dict[str, Json]], notes: Notes
) -> dict[str, Any]:
    sections: dict[str, list[dict[str, Json]]] = {
        "audiences": _sorted(library.audiences.values()),
        "triggerContracts": _sorted(library.contracts.values()),
        "communications": _sorted(library.communications.values()),
        "journeys": journeys,
    }
    kinds = {"audiences": "audience", "triggerContracts": "contract", "communications": "communication"}
    bundle: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "source": {
            "provider": PINPOINT,
            "apiVersion": API_VERSION,
            "applicationId": project.application_id,
            "inputSha256": hashlib.sha256(canonical(export)).hexdigest(),
            "translator": TRANSLATOR,
            "partial": project.is_partial,
        },
        "options": library.options.as_json(),
        **sections,
        "diagnostics": notes.diagnostics,
        "unsupported": notes.unsupported,
        "idMap": [
            {"kind": kinds.get(section, "journey"), "sourceId": one["sourceId"], "ref": one["ref"]}
            for section, things in sections.items()
            for one in things
        ],
    }
    bundle["bundleId"] = bundle_id(bundle)
    return bundle


def _sorted(things: Iterable[dict[str, Json]]) -> list[dict[str, Json]]:
    return sorted(things, key=lambda one: str(one["ref"]))


__all__ = ["answer", "has_error", "translate"]
