"""From a pinned communication and an execution to the message a person gets.

Law: pure but for the template engine; called after the commit, by the dispatcher and by dry runs alike.
"""

from services.domain.execution.eligibility import addresses_of
from services.domain.execution.execution import Execution
from services.domain.execution.paths import template_values
from services.domain.execution.triggers import Profile
from services.infra.liquid import TemplateFailed, render
from services.runtime.catalog import PinnedCommunication
from services.runtime.senders.port import OutgoingMessage


class CannotRender(Exception):
    """A template of the communication failed; the sentence says which member and why."""


def outgoing(
    execution: Execution,
    send_id: str,
    step_id: str,
    channel: str,
    pinned: PinnedCommunication,
    profile: Profile,
    journey_name: str,
    now_ms: int,
) -> OutgoingMessage:
    """Render one send. Raises CannotRender."""
    content = pinned.content
    values = template_values(execution, profile, journey_name)

    def filled(member: str, *, html: bool = False) -> str:
        text = content.get(member)
        if not text:
            return ""
        try:
            return render(text, values, html=html, now_ms=now_ms)
        except TemplateFailed as error:
            raise CannotRender(f"{member}: {error.reason}") from None

    return OutgoingMessage(
        message_id=send_id,
        channel=channel,
        to=addresses_of(channel, execution.trigger.email, profile),
        subject=filled("subject"),
        body=filled("body", html=channel == "email"),
        text=filled("text"),
        title=filled("title"),
        data=content.get("data") or {},
        sender=content.get("from") or "",
        workspace=execution.workspace_id,
        end_user_id=execution.subject_id,
        journey_id=execution.journey_id,
        execution_id=execution.execution_id,
        step_id=step_id,
    )
