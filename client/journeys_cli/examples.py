"""The files under `examples/`: where they are, and how a journey file becomes journeys on a server.

A journey file holds `communications`, `audiences` and `triggerContracts` (name -> what to create) and one `journey`,
in which `"$ref:name"` stands where the API has an id.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeys_cli.outcome import Failed

if TYPE_CHECKING:
    from journeys_client import Client

_REF = "$ref:"
# The member a reference stands in says what it refers to.
_KIND_OF = {
    "communicationId": "communications",
    "audienceId": "audiences",
    "triggerContractId": "triggerContracts",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A journey on the server, with its version, or why it stayed a draft."""

    id: str
    name: str
    version: int | None
    refused: str | None = None
    detail: str = ""


def folder() -> Path:
    """Where the examples are. Raises Failed if they are not beside this installation."""
    found = Path(__file__).resolve().parents[2] / "examples"
    if not found.is_dir():
        raise Failed("the examples are not beside this installation: run it from a checkout, or name your own files")
    return found


def read_journey_file(file: Path) -> dict[str, Any]:
    """One journey file. Raises Failed."""
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise Failed(f"{file}: not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("journey"), dict):
        raise Failed(f"{file}: holds no `journey`")
    return document


def resolved(value: Any, ids: dict[str, dict[str, str]]) -> Any:
    """The same value with every `$ref:name` replaced by the id of what it names. Raises Failed."""
    if isinstance(value, list):
        return [resolved(item, ids) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        member: _id_of(member, item, ids) if _is_reference(item) else resolved(item, ids)
        for member, item in value.items()
    }


def install(client: "Client", document: dict[str, Any]) -> Installed:
    """Create everything a journey file holds, and publish its journey.

    What is there already with the same content is used, so a second call after a broken first one completes it. A
    journey that cannot be published stays a draft: `refused` says why. Raises Problem for anything else.
    """
    from journeys_client import Problem

    ids: dict[str, dict[str, str]] = {"communications": {}, "audiences": {}, "triggerContracts": {}}
    for name, body in document.get("communications", {}).items():
        ids["communications"][name] = _ensure(client.communications, body)
    for name, body in document.get("audiences", {}).items():
        ids["audiences"][name] = _ensure(client.audiences, resolved(body, ids))
    for name, body in document.get("triggerContracts", {}).items():
        ids["triggerContracts"][name] = _ensure(client.triggers, body)
    wanted = resolved(document["journey"], ids)
    present = (journey for journey in client.journeys.list(page_size=500) if journey["name"] == wanted["name"])
    journey = next(present, None) or client.journeys.create(wanted)
    if journey["status"] != "draft":
        return Installed(journey["id"], journey["name"], journey.get("latestVersion"))
    try:
        published = client.journeys.publish(journey["id"])
    except Problem as problem:
        codes = {fault.code for fault in problem.errors} or {problem.code}
        reason = min(codes)
        messages = dict.fromkeys(fault.message for fault in problem.errors if fault.code == reason)
        return Installed(journey["id"], journey["name"], None, reason, " ".join(messages) or problem.detail)
    return Installed(journey["id"], journey["name"], published["version"])


def _ensure(resource: Any, body: dict[str, Any]) -> str:
    for entry in resource.list(page_size=500):
        if all(entry.get(name) == value for name, value in body.items()):
            return str(entry["id"])
    return str(resource.create(body)["id"])


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_REF)


def _id_of(member: str, reference: str, ids: dict[str, dict[str, str]]) -> str:
    name = reference.removeprefix(_REF)
    try:
        return ids[_KIND_OF[member]][name]
    except KeyError:
        raise Failed(f"{member}: nothing is called {name!r} in this file") from None
