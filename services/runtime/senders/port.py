"""The sender port.

Law: `send` is called once per claimed intent, after the intent is durable. What it raises is SendFailed (known
not to have been sent) or anything else (in doubt).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class Promise(Enum):
    """What a repeat of a call in doubt would mean. Source: runtime design 7."""

    OWN_STORE = "own_store"  # the stored message is the send: exactly once
    AT_MOST_ONCE = "at_most_once"  # in doubt: unknown, never resent
    AT_LEAST_ONCE = "at_least_once"  # in doubt: again, under the same key


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A rendered message. `message_id` is the idempotency key."""

    message_id: str
    channel: str
    to: tuple[str, ...]
    subject: str
    body: str
    text: str
    title: str
    data: Mapping[str, Any]
    sender: str
    workspace: str
    end_user_id: str
    journey_id: str
    execution_id: str
    step_id: str
    unsubscribe_url: str = ""  # takes a one-click unsubscribe (RFC 8058)


class SendFailed(Exception):
    """The message was certainly not sent; the sentence says why."""


class Sender(Protocol):
    """One way a message leaves. `at_once`: how many calls it takes side by side."""

    promise: Promise
    at_once: int

    async def send(self, message: OutgoingMessage) -> None:
        """Hand the message over."""


class OutboxSender:
    """Keeps messages in our own store, where `GET /api/messages` shows them: nothing leaves the process."""

    promise = Promise.OWN_STORE
    at_once = 500

    async def send(self, message: OutgoingMessage) -> None:
        """The stored message is the send."""
