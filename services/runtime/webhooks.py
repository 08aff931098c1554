"""Webhook steps: one attempt at a customer's server.

Law: at least once, under one key: whatever may have arrived may be called again with the same id. One call of
`WebhookCaller` is one attempt; when the next is due, `services.domain.messaging.retry` says.
Source: contract 2.1 (webhook) and 3 (Webhooks out); runtime design 7.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from services.domain.journey.model import Json, Webhook
from services.domain.messaging.retry import Verdict, verdict_of
from services.infra.clock import Clock, SystemClock
from services.infra.liquid import TemplateFailed
from services.infra.outbound import (
    ANSWER_BYTES,
    AddressRefused,
    Answer,
    Lack,
    NoAnswer,
    Outbound,
    Unreachable,
    retry_after_ms,
)
from services.infra.secret_refs import CannotResolve, resolve
from services.infra.standard_webhooks import BadSecret, signed_headers
from services.runtime.senders.http import own_headers
from services.runtime.senders.outcomes import Permanent, Temporary

MAX_BODY: Final = 1 << 20
MAX_NESTING: Final = 64
_METHODS: Final = re.compile(r"[A-Z]{1,16}")
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")  # nothing shorter leaves 64 bits

Render = Callable[[str], str]  # may raise TemplateFailed


@dataclass(frozen=True, slots=True)
class Called:
    """The server took the call. `answer` is its JSON where the step keeps it, else None."""

    status: int
    answer: Json


class WebhookCaller:
    """Calls customers' servers for webhook steps."""

    def __init__(self, outbound: Outbound, clock: Clock | None = None) -> None:
        self._outbound = outbound
        self._clock = clock or SystemClock()

    async def call(self, step: Webhook, key: str, render: Render, secret_ref: str | None) -> Called:
        """One attempt under the send id `key`.

        Raises Temporary (no connection, no answer in time, 408, 425, 429, 5xx; `retry_after` if the server asks) and
        Permanent (any other status, a template that fails, an address that is not called, an answer that the step
        wants to keep and that is too large or no JSON).
        """
        method = step.method.upper()
        if not _METHODS.fullmatch(method):
            raise Permanent("The method is not one of HTTP's.")
        url, headers, body = rendered(step, render)
        try:
            secret = resolve(secret_ref).reveal() if secret_ref else None
            signed = signed_headers(key, self._clock.now_ms(), body or b"", secret)
        except (CannotResolve, BadSecret) as error:
            raise Temporary(str(error)) from None
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = await self._outbound.call(
                method,
                url,
                headers={**kind, **own_headers(headers), **signed},
                body=body,
                timeout_s=step.timeout_ms / 1000,
            )
        except AddressRefused as error:
            raise Permanent(str(error)) from None
        except (Unreachable, NoAnswer) as error:
            raise Temporary(str(error)) from error
        except ValueError:
            raise Permanent("A header of the webhook holds a line break or a name that HTTP has not.") from None
        reason = f"The server answered {answer.status}."
        match verdict_of(answer.status):
            case Verdict.TEMPORARY:
                raise Temporary(reason, retry_after_ms(answer.headers), answer.status)
            case Verdict.REFUSED:
                raise Permanent(reason, answer.status)
            case Verdict.ACCEPTED:
                return Called(answer.status, None if step.save_as is None else _kept(answer))


def rendered(step: Webhook, render: Render) -> tuple[str, dict[str, str], bytes | None]:
    """Address, headers and body as they would be sent. Raises Permanent where a template fails or JSON cannot carry it."""
    try:
        url = render(step.url).strip()
        headers = {name: render(value).strip() for name, value in step.headers.items()}
        if step.body is None:
            return url, headers, None
        filled = json.dumps(_filled(step.body, render), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = filled.encode()
    except TemplateFailed as error:
        raise Permanent(error.reason) from None
    except (ValueError, RecursionError):
        raise Permanent("The body holds what JSON cannot carry.") from None
    if len(body) > MAX_BODY:
        raise Permanent(f"The body has more than {MAX_BODY:,} bytes.")
    return url, headers, body


def _filled(value: Json, render: Render) -> Json:
    """The same JSON with every string rendered; names stay as they are written."""
    match value:
        case str():
            return render(value)
        case dict():
            return {name: _filled(inner, render) for name, inner in value.items()}
        case list():
            return [_filled(inner, render) for inner in value]
        case _:
            return value


def _kept(answer: Answer) -> Json:
    """The JSON of an answer, as far as an execution can hold it: what a request body may be, and no more than 64 KiB."""
    if answer.lack is Lack.TOO_LARGE:
        raise Permanent(f"The answer has more than the {ANSWER_BYTES:,} bytes that can be saved.", answer.status)
    if answer.lack is Lack.BROKEN_OFF:
        raise Temporary("The answer broke off.", status=answer.status)
    if not answer.body.strip():
        return None
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Permanent("The answer that was to be saved is no JSON.", answer.status) from None
    if _is_beyond(value, MAX_NESTING) or (_LONG_NUMBER.search(answer.body) and _has_huge_integer(value)):
        raise Permanent(
            "The answer that was to be saved is nested too deep or holds an integer beyond 64 bits.", answer.status
        )
    return value


def _is_beyond(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [child for item in level for child in _children(item) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _has_huge_integer(value: Any) -> bool:
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, int) and not isinstance(item, bool) and not -(2**63) <= item < 2**63:
            return True
        rest.extend(_children(item))
    return False


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []
