"""Bundles made by hand, and a desk that imports them."""

import copy
import json
from typing import Any

from services.authoring.importing.import_bundle import Report
from services.authoring.importing.reading import ImportRequest, read_request
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Refused
from tests.unit.authoring.desk import WORKSPACE, Desk

Json = dict[str, Any]
OTHER = "pk_other"
JOURNEY, AUDIENCE, CONTRACT, MAIL = "journey:1", "audience:1", "contract:1", "communication:1"


def bundle(**more: Any) -> Json:
    """One journey that can be published, with one object of each other kind."""
    made: Json = {
        "kind": "journey-import-bundle",
        "version": "1.0",
        "source": {"provider": "aws-pinpoint", "applicationId": "app-1"},
        "audiences": [
            {"ref": AUDIENCE, "sourceId": "seg-1", "name": "Trial users", "subjectIds": None,
             "predicate": {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "trial"}}
        ],
        "triggerContracts": [
            {"ref": CONTRACT, "name": "Signed up", "eventName": "signed_up", "subjectFieldPath": "endUserId"}
        ],
        "communications": [
            {"ref": MAIL, "sourceId": "EMAIL/welcome@3", "name": "Welcome", "commType": "marketing", "channel": "email",
             "subject": "Hi {{ subject.firstName }}", "body": "<p>Hello</p>", "text": None, "title": None,
             "data": None, "from": None, "variables": ["firstName"], "placeholder": False}
        ],
        "journeys": [
            {"ref": JOURNEY, "sourceId": "jrn-1", "name": "Onboarding", "description": "", "audienceRef": AUDIENCE,
             "triggerContractRef": CONTRACT, "goalEventName": None, "settings": {"reentry": {"mode": "once"}},
             "sourceState": "ACTIVE", "completeness": "complete", "publishBlockers": [], "extensions": {},
             "steps": [
                 {"id": "trigger", "type": "trigger", "mode": "event", "next": "mail"},
                 {"id": "mail", "type": "send", "channel": "email", "communicationRef": MAIL, "next": "pro"},
                 {"id": "pro", "type": "branch", "mode": "condition", "default": "exit",
                  "branches": [{"id": "yes", "next": "hook",
                                "condition": {"kind": "not", "clause": {"kind": "in_segment", "audienceRef": AUDIENCE}}}]},
                 {"id": "hook", "type": "webhook", "url": "https://hooks.example.com/in", "next": "exit",
                  "body": {"communicationRef": "the customer's own", "kind": "in_segment", "audienceRef": "theirs"}},
                 {"id": "exit", "type": "exit"},
             ]}
        ],
    }  # fmt: skip
    return copy.deepcopy({**made, **more})


def request(given: Json, **options: Any) -> bytes:
    """A body that asks to import it."""
    return json.dumps({"projectKey": WORKSPACE, "bundle": given, **options}).encode()


def read(given: Json, **options: Any) -> ImportRequest:
    """The request as it is read."""
    return read_request(request(given, **options))


def faults_of(given: Json, **options: Any) -> set[tuple[str, str]]:
    """Where and what the faults are; none if it is taken."""
    try:
        read(given, **options)
    except Refused as refused:
        return {(fault.path, fault.code) for fault in refused.faults}
    return set()


async def imported(desk: Desk, given: Json, workspace: str = WORKSPACE, **options: Any) -> Report:
    """Import it."""
    return await desk.authoring.import_bundle(workspace, request(given, **options), "system")


async def exported(desk: Desk, workspace: str = WORKSPACE, journeys: list[str] | None = None) -> Json:
    """The workspace as a bundle."""
    found: Json = json.loads(await desk.authoring.export_bundle(workspace, journeys))
    return found


async def other_workspace(desk: Desk) -> str:
    """A second workspace."""
    await desk.authoring.workspaces.create(NewWorkspace("Other", "other@example.com", OTHER), "system")
    return OTHER


def ends(report: Report) -> dict[str, str]:
    """What became of each object, by ref."""
    return {one.item.ref: one.action for one in report.decisions}


def ids(report: Report) -> dict[str, str | None]:
    """Which object stands for which ref."""
    return {one.item.ref: one.target_id for one in report.decisions}


def reasons(report: Report) -> dict[str, str | None]:
    """Why, by ref."""
    return {one.item.ref: one.reason for one in report.decisions}
