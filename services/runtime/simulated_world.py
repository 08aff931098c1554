"""The world of a dry run: every message is made and none is sent, every call is shown and none is made.

Law: what is rendered is what production would render, by the same function; no link in it opens anybody's page. What
is kept is masked, and of all that is rendered no more than 4 MiB is kept; beyond that, or after some seconds of
rendering, messages count as sent without being made.
Source: contract 5.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from services.domain.execution.execution import Execution
from services.domain.execution.paths import template_values
from services.domain.execution.simulate import SENT, Answer
from services.domain.execution.triggers import Profile
from services.domain.journey.model import Send, Webhook
from services.domain.messaging.masking import Mask, masked_text
from services.infra.liquid_preview import preview
from services.runtime.catalogue_records import PinnedCommunication
from services.runtime.rendering import CannotRender, outgoing
from services.runtime.senders.outcomes import Permanent
from services.runtime.webhooks import rendered

MOST_SECONDS: Final = 5.0
MOST_KEPT: Final = 4 * 1024 * 1024  # characters
LINK: Final = "https://example.com/preferences/dry-run"  # where a real message leads to the person's own page
CANNOT_RENDER: Final = "cannot_render"


@dataclass(slots=True)
class SimulatedWorld:
    """See the module. `mask` None keeps everything as it would be sent: for comparing with what was sent."""

    communications: Mapping[str, PinnedCommunication]
    journey_name: str
    mask: Mask | None
    rendered: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # step id -> why nothing could be made
    clock: Callable[[], float] = time.monotonic
    _kept: int = 0
    _spent: float = 0.0

    def send(self, execution: Execution, key: str, step: Send, profile: Profile, now: int) -> Answer:
        """Render the message."""
        pinned = self.communications.get(step.communication_id)
        if pinned is not None and self._is_enough(step.id):
            return SENT
        if pinned is None:
            return self._failure(step.id, f"There is no communication {step.communication_id!r}.")
        missing: dict[str, None] = {}

        def fill(text: str, values: Mapping[str, Any], *, html: bool, now_ms: int | None = None) -> str:
            return self._filled(text, values, missing, html=html, now_ms=now_ms)

        send_id = f"{execution.execution_id}-{key}"
        try:
            message = outgoing(
                execution, send_id, step.id, step.channel, pinned, profile, self.journey_name, now, LINK, fill
            )
        except CannotRender as error:
            return self._failure(step.id, str(error))
        texts = {"subject": message.subject, "title": message.title, "body": message.body, "text": message.text}
        shown: dict[str, Any] = {"channel": step.channel, "to": [self._to(one) for one in message.to]}
        shown |= {name: self._text(text) for name, text in texts.items() if text or pinned.content.get(name)}
        if message.data:
            shown["data"] = self._json(message.data)
        self._keep(step.id, shown, missing)
        return SENT

    def call(self, execution: Execution, key: str, step: Webhook, profile: Profile, now: int) -> Answer:
        """Show the call; nobody answers, so what it would save is null."""
        if self._is_enough(step.id):
            return SENT
        missing: dict[str, None] = {}
        values = template_values(execution, profile, self.journey_name)
        try:
            url, headers, body = rendered(
                step, lambda text: self._filled(text, values, missing, html=False, now_ms=now)
            )
        except Permanent as error:
            return self._failure(step.id, error.reason)
        shown: dict[str, Any] = {"method": step.method.upper(), "url": self._text(url)}
        if headers:
            shown["headers"] = self._json(headers)
        if body is not None:
            shown["body"] = self._json(msgspec.json.decode(body))
        self._keep(step.id, shown, missing)
        return SENT

    def set_profile(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        """Show what would be set."""
        self._keep(step_id, {"set": self._json(values)}, {})

    def _filled(
        self, text: str, values: Mapping[str, Any], missing: dict[str, None], *, html: bool, now_ms: int | None
    ) -> str:
        began = self.clock()
        made = preview(text, values, html=html, now_ms=now_ms, mask=None if self.mask is None else self.mask.printed)
        self._spent += self.clock() - began
        missing.update(dict.fromkeys(made.missing))
        return made.text

    def _is_enough(self, step_id: str) -> bool:
        if self._kept <= MOST_KEPT and self._spent <= MOST_SECONDS:
            return False
        self.rendered[step_id] = {"truncated": True}
        return True

    def _failure(self, step_id: str, sentence: str) -> Answer:
        self.failed[step_id] = CANNOT_RENDER
        self._keep(step_id, {"error": self._text(sentence)}, {})
        return Answer("failed", sentence)

    def _keep(self, step_id: str, shown: dict[str, Any], missing: Mapping[str, None]) -> None:
        if missing:
            shown["missing"] = list(missing)
        self._kept += sum(len(one) for one in shown.values() if isinstance(one, str))
        if "body" in shown and not isinstance(shown["body"], str):
            self._kept += len(msgspec.json.encode(shown["body"]))
        self.rendered[step_id] = shown if self._kept <= MOST_KEPT else {"truncated": True}

    def _to(self, address: str) -> str:
        return address if self.mask is None else masked_text(address)

    def _text(self, text: str) -> str:
        return text if self.mask is None else self.mask.text(text)

    def _json(self, value: Any) -> Any:
        return value if self.mask is None else self.mask.json(value)


__all__ = ["CANNOT_RENDER", "LINK", "SimulatedWorld"]
