"""From a pinned communication and an execution to the message a person gets.

Law: pure but for the template engine; called after the commit, by the dispatcher and by dry runs alike. No mail goes
out without a way to stop the next one: where its text does not lead to the preferences page, a footer does.
Source: contract 3, Communications and Subjects.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, Protocol

from services.domain.execution.eligibility import addresses_of
from services.domain.execution.execution import Execution
from services.domain.execution.paths import template_values
from services.domain.execution.triggers import Profile
from services.infra.liquid import TemplateFailed, render
from services.runtime.catalog import PinnedCommunication
from services.runtime.senders.port import OutgoingMessage

_END_OF_BODY = re.compile(r"</body\s*>", re.IGNORECASE)
_FOOTER = "Unsubscribe or choose what you receive"


class Fill(Protocol):
    """Renders a Liquid text; raises TemplateFailed."""

    def __call__(self, text: str, values: Mapping[str, Any], *, html: bool, now_ms: int | None = None) -> str: ...


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
    link: str = "",
    fill: Fill = render,
) -> OutgoingMessage:
    """Render one send. `link` leads to the person's preferences page; `fill` renders a text. Raises CannotRender."""
    content = pinned.content
    # Two words for one address: the page shows what the person takes, and a one-click POST to it unsubscribes.
    values = {
        **template_values(execution, profile, journey_name),
        "preferences_url": link,
        "unsubscribe_url": link,
    }

    def filled(member: str, *, html: bool = False) -> str:
        text = content.get(member)
        if not text:
            return ""
        try:
            return fill(text, values, html=html, now_ms=now_ms)
        except TemplateFailed as error:
            raise CannotRender(f"{member}: {error.reason}") from None

    body, text = filled("body", html=channel == "email"), filled("text")
    if channel == "email":
        body, text = with_footer(body, link, html=True), with_footer(text, link, html=False)
    return OutgoingMessage(
        message_id=send_id,
        channel=channel,
        to=addresses_of(channel, execution.trigger.email, profile),
        subject=filled("subject"),
        body=body,
        text=text,
        title=filled("title"),
        data=content.get("data") or {},
        sender=content.get("from") or "",
        workspace=execution.workspace_id,
        end_user_id=execution.subject_id,
        journey_id=execution.journey_id,
        execution_id=execution.execution_id,
        step_id=step_id,
        unsubscribe_url=link,
    )


def with_footer(text: str, link: str, *, html: bool) -> str:
    """The text of a mail with the link at its end, unless it is in it already, or there is no text or no link."""
    token = link.rpartition("/")[2]
    if not text or not token or token in text:
        return text
    if not html:
        return f"{text.rstrip()}\n\n{_FOOTER}: {link}\n"
    footer = f'<p style="font-size:small"><a href="{escape(link)}">{_FOOTER}</a></p>'
    ends = [found.start() for found in _END_OF_BODY.finditer(text)]
    end = ends[-1] if ends else len(text)
    return f"{text[:end]}{footer}{text[end:]}"
