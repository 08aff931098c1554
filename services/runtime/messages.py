"""What becomes known of a message after it was sent: a provider's feedback, and that it was read.

Law: said twice is said once. What follows from feedback (a suppressed address, a channel opted out of) is done
before the feedback is stored, so that whoever repeats a call that failed in between completes it; what is stored
already follows no more, because people may have changed their minds since.
Source: contract 3, Senders (provider feedback) and Messages (in-app).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from services.domain.errors import Fault, Invalid, Missing, Unavailable
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StaleRevision
from services.runtime.acts import By
from services.runtime.collections import MESSAGES, MessageDocument, MessageEvent
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions

FEEDBACK = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")
IN_APP = "in_app_push"
ATTEMPTS = 30

Wake = Callable[[str, Sequence[str]], Awaitable[None]]


class Messages:
    """Use cases on sent messages. All may raise StoreUnavailable, and Missing for another workspace's message too."""

    def __init__(
        self, documents: Documents, clock: Clock, subjects: Subjects, suppressions: Suppressions, wake: Wake
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._subjects = subjects
        self._suppressions = suppressions
        self._wake = wake  # lets a person's waits for a condition look again

    async def record(self, workspace: str, message_id: str, kind: str, permanent: bool, actor: str) -> MessageDocument:
        """Take a provider's word about a message; its document as it is now. Raises Invalid, Missing."""
        if kind not in FEEDBACK:
            text = f"A type is one of {', '.join(FEEDBACK)}."
            raise Invalid("validation_error", text, [Fault("/type", "unknown_value", text)])
        event = MessageEvent(type=kind, at=self._clock.now_ms(), permanent=permanent and kind == "bounced")
        message = await self._get(workspace, message_id)
        if not _has(message, event):
            await self._follow(message, event, actor)

            def noted(document: MessageDocument) -> MessageDocument | None:
                if _has(document, event):
                    return None
                return msgspec.structs.replace(document, events=(*document.events, event))

            message = await self._change(workspace, message_id, noted)
        await self._wake(workspace, [message.end_user_id])
        return message

    async def read(self, workspace: str, message_id: str) -> MessageDocument:
        """Note that an in-app message was read; the first time counts. Raises Missing."""

        def marked(document: MessageDocument) -> MessageDocument | None:
            if not is_in_app(document):
                raise Missing("in-app message", message_id)
            return None if document.read_at is not None else msgspec.structs.replace(document, read_at=now)

        now = self._clock.now_ms()
        return await self._change(workspace, message_id, marked)

    async def _follow(self, message: MessageDocument, event: MessageEvent, actor: str) -> None:
        by = By(actor, "feedback", {"endUserId": message.end_user_id, "messageId": message.key})
        if event.type == "complained" or event.permanent:
            for address in message.addresses:
                await self._suppressions.put(message.workspace, address, event.type, by)
        if event.type == "unsubscribed":
            try:
                await self._subjects.prefer(message.workspace, message.end_user_id, {message.channel: False}, by)
            except Missing:
                pass  # nobody is known there any more, so nobody is sent anything

    async def _get(self, workspace: str, message_id: str) -> MessageDocument:
        document = await self._documents.get(MESSAGES, message_id)
        if document is None or document.workspace != workspace:
            raise Missing("message", message_id)
        return document

    async def _change(
        self, workspace: str, message_id: str, change: Callable[[MessageDocument], MessageDocument | None]
    ) -> MessageDocument:
        for attempt in range(ATTEMPTS):
            before = await self._get(workspace, message_id)
            after = change(before)
            if after is None:
                return before
            after = msgspec.structs.replace(after, revision=before.revision + 1)
            try:
                await self._documents.replace(MESSAGES, after)
                return after
            except StaleRevision:
                await asyncio.sleep(0 if attempt < 3 else 0.001 * attempt)
        raise Unavailable("This message is being changed by others; try again.")


def is_in_app(message: MessageDocument) -> bool:
    """Whether the in-app store shows it."""
    return message.channel == IN_APP and message.status == "sent"


def _has(message: MessageDocument, event: MessageEvent) -> bool:
    # A bounce may become permanent, so the two are told apart.
    return any((one.type, one.permanent) == (event.type, event.permanent) for one in message.events)
