"""From a workspace's `senders` settings to the sender of a channel.

Law: equal settings mean one sender, so its connections and access tokens outlive the single message; changed settings
mean another one, at once. Settings that nothing can be made of refuse every message with a sentence and harm nobody else.
Source: contract 3, Senders.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from services.infra.clock import Clock, SystemClock
from services.infra.outbound import Outbound
from services.runtime.senders.fcm import ENDPOINT, FcmSender, FcmSettings, forget_nothing
from services.runtime.senders.http import HttpSender, HttpSettings
from services.runtime.senders.outcomes import Permanent, Unregistered
from services.runtime.senders.port import OutboxSender, OutgoingMessage, Promise, Sender
from services.runtime.senders.smtp import SmtpSender, SmtpSettings, own_link

KEPT: Final = 256  # senders; beyond it the one unused for longest is closed
_CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {"smtp": ("email",), "fcm": ("mobile_push",)}  # others: any


class _Closable(Sender, Protocol):
    async def close(self) -> None: ...


class UnusableSender:
    """Refuses every message: its settings say nothing that could be done."""

    promise = Promise.AT_MOST_ONCE
    at_once = 500

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def send(self, message: OutgoingMessage) -> None:
        """Raises Permanent."""
        raise Permanent(self.reason)


class Senders:
    """The senders of all workspaces. `in_app` is the store of the channel `in_app_push`."""

    def __init__(
        self,
        outbound: Outbound,
        clock: Clock | None = None,
        *,
        in_app: Sender | None = None,
        unsubscribe_url: Callable[[OutgoingMessage], str] = own_link,
        on_unregistered: Callable[[Unregistered], None] = forget_nothing,
    ) -> None:
        self._outbound = outbound
        self._clock = clock or SystemClock()
        self._outbox = OutboxSender()
        self._in_app = in_app or self._outbox
        self._unsubscribe_url = unsubscribe_url
        self._on_unregistered = on_unregistered
        self._kept: OrderedDict[str, _Closable] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, senders: Mapping[str, Any] | None, channel: str) -> Sender:
        """The sender of a channel under a workspace's settings; the outbox (in-app: its store) where none is set."""
        settings = (senders or {}).get(channel)
        kind = settings.get("type") if isinstance(settings, Mapping) else None
        if settings is None:
            return self._in_app if channel == "in_app_push" else self._outbox
        if kind == "outbox":
            return self._outbox
        if kind == "in_app" and channel == "in_app_push":
            return self._in_app
        key = json.dumps([channel, settings], sort_keys=True)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        try:
            if channel not in _CHANNELS.get(str(kind), (channel,)):
                raise ValueError(kind)
            made = self._made(settings)
        except (KeyError, TypeError, ValueError):
            return UnusableSender(f"The settings of the sender for {channel} cannot be used.")
        self._kept[key] = made
        if len(self._kept) > KEPT:
            self._retire(self._kept.popitem(last=False)[1])
        return made

    async def close(self) -> None:
        """Close every sender; the HTTP client stays open."""
        for sender in self._kept.values():
            self._retire(sender)
        self._kept.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    def _made(self, settings: Mapping[str, Any]) -> _Closable:
        """Raises KeyError, TypeError or ValueError for settings that are not as the contract has them."""
        match settings["type"]:
            case "smtp":
                return SmtpSender(
                    _smtp(settings), self._outbound.targets, self._clock, unsubscribe_url=self._unsubscribe_url
                )
            case "http":
                return HttpSender(_http(settings), self._outbound, self._clock)
            case "fcm":
                project, credentials = _text(settings, "projectId"), _text(settings, "credentialsRef")
                fcm = FcmSettings(project, credentials, _text(settings, "endpoint", ENDPOINT))
                return FcmSender(fcm, self._outbound, on_unregistered=self._on_unregistered)
            case other:
                raise ValueError(other)

    def _retire(self, sender: _Closable) -> None:
        task = asyncio.get_running_loop().create_task(sender.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _smtp(settings: Mapping[str, Any]) -> SmtpSettings:
    security, port = settings["security"], settings["port"]
    if security not in ("none", "starttls", "tls") or not isinstance(port, int):
        raise ValueError(security)
    return SmtpSettings(
        host=_text(settings, "host"),
        port=port,
        security=security,
        sender=_text(settings, "from"),
        username=_text(settings, "username", ""),
        password_ref=_text(settings, "passwordRef", ""),
        reply_to=_text(settings, "replyTo", ""),
    )


def _http(settings: Mapping[str, Any]) -> HttpSettings:
    headers, is_idempotent = settings.get("headers") or {}, settings["idempotent"]
    if not isinstance(is_idempotent, bool) or not isinstance(headers, Mapping):
        raise TypeError(is_idempotent)
    if not all(isinstance(one, str) for pair in headers.items() for one in pair):
        raise TypeError(headers)
    return HttpSettings(_text(settings, "url"), is_idempotent, _text(settings, "secretRef", ""), dict(headers))


def _text(settings: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = settings[name] if default is None else (settings.get(name) or default)
    if not isinstance(value, str):
        raise TypeError(name)
    return value
