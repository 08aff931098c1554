"""What is wrong with what a body means, where its shape is wrong already: so that a client learns everything at once.

Law: reads and answers, writes nothing, asks nobody. The faults are those the use case itself would find; a member of
another type than it has to be is passed over, since its shape has been told.
Source: contract 1, Errors ("all faults at once").
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.authoring import audiences, communications, workspace_settings
from services.authoring.audiences import AudienceChanges
from services.authoring.changes import UNSET, Absent, JourneyChanges, read_changes
from services.authoring.communications import CommunicationChanges
from services.authoring.json_text import canonical
from services.authoring.logins import email_faults, password_faults
from services.authoring.names import id_faults, title_faults
from services.authoring.trigger_contracts import ContractChanges
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Fault

Body = Mapping[str, Any]

_CONTENT: Final = ("subject", "body", "text", "title", "data", "from")
_SERVER_MEMBERS: Final = ("createdAt", "updatedAt", "etag")


def faults_of(kind: str, body: Body) -> list[Fault]:
    """Every fault of what the members of a body of that kind mean; empty for a kind that is not read here."""
    read = _READERS.get(kind)
    return [] if read is None else read(body)


def _journey(body: Body) -> list[Fault]:
    days = body.get("goalEventWindowDays")
    changes = JourneyChanges(
        name=_text(body, "name"),
        description=_text(body, "description"),
        audience_id=_text(body, "audienceId"),
        trigger_contract_id=_text(body, "triggerContractId"),
        goal_event_name=_text(body, "goalEventName"),
        goal_event_window_days=days if isinstance(days, int | float) and not isinstance(days, bool) else UNSET,
        steps_json=_json(body, "steps"),
        settings_json=_json(body, "settings"),
    )
    return read_changes(changes)[1]


def _contract(body: Body) -> list[Fault]:
    return ContractChanges(
        name=_text(body, "name"),
        event_name=_text(body, "eventName"),
        subject_field_path=_text(body, "subjectFieldPath"),
        recipient_email_field_path=_text(body, "recipientEmailFieldPath"),
    ).faults()


def _audience(body: Body) -> list[Fault]:
    listed = body.get("subjectIds")
    return audiences.faults_of(
        AudienceChanges(
            name=_text(body, "name"),
            description=_text(body, "description"),
            predicate_json=_json(body, "predicate"),
            # One of another type stands for one without fault, so that the others keep their places.
            subject_ids=[one if isinstance(one, str) else "-" for one in listed] if isinstance(listed, list) else UNSET,
        )
    )


def _communication(body: Body) -> list[Fault]:
    content = {name: body[name] for name in _CONTENT if name in body}
    return communications.faults_of(
        CommunicationChanges(
            name=_text(body, "name"),
            comm_type=_text(body, "commType"),
            channel=_text(body, "channel"),
            content_json=canonical(content) if content else UNSET,
        )
    )


def _settings(body: Body) -> list[Fault]:
    given = {name: value for name, value in body.items() if name not in _SERVER_MEMBERS}
    return workspace_settings.read_changes(given)[2]


def _new_workspace(body: Body) -> list[Fault]:
    key, password = _text(body, "projectKey"), _text(body, "ownerPassword")
    read = NewWorkspace(
        name=_text_or(body, "name", "-"),
        owner_email=_text_or(body, "ownerEmail", "a@b.example"),
        project_key=None if key is UNSET else key,
        owner_password=None if password is UNSET else password,
    )
    return read.faults()


def _member(body: Body) -> list[Fault]:
    return [
        *email_faults(_text_or(body, "email", "a@b.example"), "/email"),
        *password_faults(_text_or(body, "password", "-"), "/password"),
    ]


def _api_key(body: Body) -> list[Fault]:
    return title_faults(_text_or(body, "name", "-"))


def _made(read: Callable[[Body], list[Fault]]) -> Callable[[Body], list[Fault]]:
    """The same for what is being made: its id may have been chosen."""

    def reader(body: Body) -> list[Fault]:
        given = _text(body, "id")
        return [*read(body), *id_faults(None if given is UNSET else given)]

    return reader


_READERS: Final[Mapping[str, Callable[[Body], list[Fault]]]] = {
    "JourneyCreate": _made(_journey),
    "JourneyUpdate": _journey,
    "TriggerContractCreate": _made(_contract),
    "TriggerContractUpdate": _contract,
    "AudienceCreate": _made(_audience),
    "AudienceUpdate": _audience,
    "CommunicationCreate": _made(_communication),
    "CommunicationUpdate": _communication,
    "WorkspaceUpdate": _settings,
    "WorkspaceCreate": _new_workspace,
    "MemberAdd": _member,
    "ApiKeyCreate": _api_key,
}


KINDS: Final = frozenset(_READERS)


def _text(body: Body, name: str) -> str | Absent:
    value = body.get(name)
    return value if isinstance(value, str) else UNSET


def _text_or(body: Body, name: str, sound: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else sound


def _json(body: Body, name: str) -> bytes | Absent:
    return UNSET if body.get(name) is None else canonical(body[name])
