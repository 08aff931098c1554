"""Messages handed to a customer's own server.

Law: one POST per call, signed like a webhook, its id the message's. Where the server promises that a repeat does
nothing (`idempotent`), a call in doubt is made again under the same key; where it does not, never.
Source: contract 3, Senders and Webhooks out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.domain.messaging.retry import Verdict, verdict_of
from services.infra.clock import Clock, SystemClock
from services.infra.outbound import AddressRefused, NoAnswer, Outbound, Unreachable, retry_after_ms
from services.infra.secret_refs import CannotResolve, resolve
from services.infra.standard_webhooks import BadSecret, signed_headers
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary
from services.runtime.senders.port import OutgoingMessage, Promise

TIMEOUT_S: Final = 10.0
CALLS: Final = 20
# Set by the client or by us: a customer's setting must neither reframe the request nor pretend to a signature.
RESERVED: Final = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key"),
    }
)
# A gateway's words about a server behind it, which may have had the request all the same.
_HEARSAY: Final = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """A customer's server, as the workspace settings name it."""

    url: str
    is_idempotent: bool
    secret_ref: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # one may hold a key


class HttpSender:
    """Hands messages to one URL."""

    at_once = CALLS

    def __init__(
        self, settings: HttpSettings, outbound: Outbound, clock: Clock | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.promise = Promise.AT_LEAST_ONCE if settings.is_idempotent else Promise.AT_MOST_ONCE
        self._settings = settings
        self._outbound = outbound
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s

    async def send(self, message: OutgoingMessage) -> None:
        """Returns on 2xx. Raises Permanent, Temporary, InDoubt."""
        to = self._settings
        try:
            body = json.dumps(payload_of(message), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except ValueError:  # a lone surrogate, a number that JSON has not
            raise Permanent("The message holds what JSON cannot carry.") from None
        try:
            secret = resolve(to.secret_ref).reveal() if to.secret_ref else None
            signed = signed_headers(message.message_id, self._clock.now_ms(), body, secret)
        except (CannotResolve, BadSecret) as error:
            raise Temporary(str(error)) from None
        headers = {**own_headers(to.headers), "Content-Type": "application/json", **signed}
        try:
            answer = await self._outbound.call("POST", to.url, headers=headers, body=body, timeout_s=self._timeout_s)
        except AddressRefused as error:
            raise Permanent(str(error)) from None
        except Unreachable as error:
            raise Temporary(str(error)) from error
        except NoAnswer as error:
            raise InDoubt(str(error)) from error
        except ValueError:
            raise Permanent("A header of the sender cannot be sent.") from None
        reason = f"The server answered {answer.status}."
        if not to.is_idempotent and answer.status in _HEARSAY:
            raise InDoubt(reason)
        match verdict_of(answer.status):
            case Verdict.TEMPORARY:
                raise Temporary(reason, retry_after_ms(answer.headers), answer.status)
            case Verdict.REFUSED:
                raise Permanent(reason, answer.status)
            case Verdict.ACCEPTED:
                return

    async def close(self) -> None:
        """The connections are the client's."""


def payload_of(message: OutgoingMessage) -> dict[str, Any]:
    """The JSON of a message. `to` is a list where a channel has many addresses (tokens of devices), else one text."""
    return {
        "messageId": message.message_id,
        "channel": message.channel,
        "to": list(message.to) if message.channel == "mobile_push" else ", ".join(message.to),
        "subject": message.subject,
        "body": message.body,
        "text": message.text,
        "title": message.title,
        "data": message.data,
        "from": message.sender,
        "endUserId": message.end_user_id,
        "journeyId": message.journey_id,
        "executionId": message.execution_id,
        "stepId": message.step_id,
    }


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """An author's headers in one case, without those that are the client's or ours."""
    titled = {name.strip().title(): value for name, value in headers.items()}
    return {name: value for name, value in titled.items() if name.lower() not in RESERVED}
