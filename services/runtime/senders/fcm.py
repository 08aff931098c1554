"""Push messages over Firebase Cloud Messaging, HTTP v1.

Law: at most once per device. A message is sent when one of the person's devices took it: a repeat would reach that
one twice. Tokens that the provider no longer knows are reported, whatever became of the others.
Source: firebase.google.com/docs/reference/fcm/rest/v1; RFC 7523 for the access token; runtime design 7.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import jwt

from services.domain.messaging.retry import Verdict, verdict_of
from services.infra.outbound import AddressRefused, Answer, NoAnswer, Outbound, Unreachable, retry_after_ms
from services.infra.secret_refs import CannotResolve, resolve
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary, Unregistered, shown
from services.runtime.senders.port import OutgoingMessage, Promise

ENDPOINT: Final = "https://fcm.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TIMEOUT_S: Final = 10.0
CALLS: Final = 20
_LIFETIME_S: Final = 3_600
_MARGIN_S: Final = 60  # a token is renewed before it ends
_HEARSAY: Final = frozenset({502, 504})  # of a gateway: the service may have had the request
_RESERVED_KEYS: Final = ("from", "message_type", "collapse_key")
_RESERVED_STARTS: Final = ("google", "gcm")


@dataclass(frozen=True, slots=True)
class FcmSettings:
    """A Firebase project, as the workspace settings name it."""

    project_id: str
    credentials_ref: str  # to a service account's JSON
    endpoint: str = ENDPOINT


def forget_nothing(unregistered: Unregistered) -> None:
    """Nobody wants to know of tokens that are gone."""


class FcmSender:
    """Hands messages to one Firebase project, device by device."""

    promise = Promise.AT_MOST_ONCE
    at_once = CALLS

    def __init__(
        self,
        settings: FcmSettings,
        outbound: Outbound,
        *,
        on_unregistered: Callable[[Unregistered], None] = forget_nothing,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._outbound = outbound
        self._on_unregistered = on_unregistered
        self._timeout_s = timeout_s
        self._url = f"{settings.endpoint.rstrip('/')}/v1/projects/{quote(settings.project_id, safe='')}/messages:send"
        self._access = _Access(settings.credentials_ref, outbound, timeout_s)

    async def send(self, message: OutgoingMessage) -> None:
        """Returns when one device's token was accepted. Raises Permanent, Temporary, InDoubt."""
        if not message.to:
            raise Permanent("The person has no device to send to.")
        tokens = tuple(dict.fromkeys(message.to))
        try:
            bodies = [_body(message, token) for token in tokens]
        except ValueError:
            raise Permanent("The message holds what JSON cannot carry.") from None
        access = await self._access.token()
        ends = await asyncio.gather(*(self._send_one(body, access) for body in bodies))
        gone = tuple(token for token, end in zip(tokens, ends, strict=True) if isinstance(end, _Gone))
        if gone:
            self._on_unregistered(Unregistered(message.workspace, message.end_user_id, message.channel, gone))
        failed = [end for end in ends if end is not None]
        if len(failed) == len(ends):
            # The least certain end speaks for all: what is in doubt may have arrived, what is refused for now may yet.
            raise min(failed, key=lambda end: _ORDER.index(type(end)))

    async def close(self) -> None:
        """The connections are the client's."""

    async def _send_one(self, body: bytes, access: str) -> Exception | None:
        """How one device's message ended; None if it was accepted."""
        try:
            answer = await self._post(body, access)
            if answer.status == 401 and _error(answer)[1] != "THIRD_PARTY_AUTH_ERROR":
                answer = await self._post(body, await self._access.token(instead_of=access))
        except (Permanent, Temporary) as error:
            return error
        except AddressRefused as error:
            return Permanent(str(error))
        except Unreachable as error:
            return Temporary(str(error))
        except NoAnswer as error:
            return InDoubt(str(error))
        return _end(answer)

    async def _post(self, body: bytes, access: str) -> Answer:
        headers = {"Authorization": f"Bearer {access}", "Content-Type": "application/json"}
        return await self._outbound.call("POST", self._url, headers=headers, body=body, timeout_s=self._timeout_s)


class _Gone(Permanent):
    """The provider no longer knows the token."""


_ORDER: Final = (InDoubt, Temporary, Permanent, _Gone)


class _Access:
    """The access token of a service account, fetched when needed and kept until shortly before its end."""

    def __init__(self, credentials_ref: str, outbound: Outbound, timeout_s: float) -> None:
        self._ref = credentials_ref
        self._outbound = outbound
        self._timeout_s = timeout_s
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def token(self, instead_of: str | None = None) -> str:
        """A token in force, other than one that was just refused. Raises Permanent, Temporary."""
        async with self._lock:  # of many sends at once one fetches
            if self._token and self._token != instead_of and time.monotonic() < self._until:
                return self._token
            self._token = ""
            self._token, seconds = await self._fetched()
            self._until = time.monotonic() + seconds - min(_MARGIN_S, seconds / 2)
            return self._token

    async def _fetched(self) -> tuple[str, float]:
        token_uri, assertion = self._assertion()
        try:
            answer = await self._outbound.call(
                "POST",
                token_uri,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode({"grant_type": GRANT, "assertion": assertion}).encode(),
                timeout_s=self._timeout_s,
            )
        except AddressRefused as error:
            raise Permanent(str(error)) from None
        except (Unreachable, NoAnswer) as error:  # no message was sent in either case
            raise Temporary(str(error)) from error
        found = _json(answer)
        match verdict_of(answer.status), found.get("access_token"), found.get("expires_in", _LIFETIME_S):
            case Verdict.ACCEPTED, str(token), int() | float() as seconds if token.isascii() and token.isprintable():
                return token, max(0.0, float(seconds))
            case Verdict.REFUSED, _, _:
                why = found.get("error")
                said = f": {shown(why)}" if isinstance(why, str) else ""
                raise Permanent(f"The service account was refused ({answer.status}){said}.", answer.status)
            case _:
                reason = f"No access token was given ({answer.status})."
                raise Temporary(reason, retry_after_ms(answer.headers), answer.status)

    def _assertion(self) -> tuple[str, str]:
        """Where to ask, and the signed claim to ask with. By the real clock: it is Google's that compares."""
        try:
            account = json.loads(resolve(self._ref).reveal())
        except CannotResolve as error:
            raise Temporary(str(error)) from None
        except (ValueError, RecursionError):
            account = None
        match account:
            case {"client_email": str(email), "private_key": str(key), "token_uri": str(token_uri), **rest}:
                now = int(time.time())
                claims = {"iss": email, "scope": SCOPE, "aud": token_uri, "iat": now, "exp": now + _LIFETIME_S}
                headers = {"kid": rest["private_key_id"]} if isinstance(rest.get("private_key_id"), str) else None
                try:
                    return token_uri, jwt.encode(claims, key, algorithm="RS256", headers=headers)
                except (jwt.PyJWTError, ValueError, TypeError):
                    raise Temporary("The private key of the service account cannot be used.") from None
            case _:
                raise Temporary("What credentialsRef leads to is no service account's JSON.")


def _body(message: OutgoingMessage, token: str) -> bytes:
    notification = {"title": message.title or message.subject, "body": message.body or message.text}
    push: dict[str, Any] = {
        "token": token,
        "notification": {name: text for name, text in notification.items() if text},
        "data": {"messageId": message.message_id, **_texts(message.data)},
    }
    return json.dumps({"message": push}, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    """FCM's data knows texts only, and keeps some names for itself."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        for name, value in data.items()
        if name not in _RESERVED_KEYS and not name.startswith(_RESERVED_STARTS)
    }


def _end(answer: Answer) -> Exception | None:
    status, code = _error(answer)
    reason = f"The push service answered {answer.status}" + (f" {shown(code or status)}." if code or status else ".")
    # A bare 404 is a wrong endpoint, and must not cost anybody a token.
    if code == "UNREGISTERED" or (answer.status == 404 and status == "NOT_FOUND"):
        return _Gone(reason, answer.status)
    if answer.status in _HEARSAY:
        return InDoubt(reason)
    match verdict_of(answer.status):
        case Verdict.ACCEPTED:
            return None
        case Verdict.TEMPORARY:
            return Temporary(reason, retry_after_ms(answer.headers), answer.status)
        case Verdict.REFUSED:
            return Permanent(reason, answer.status)


def _error(answer: Answer) -> tuple[str, str]:
    """The status of Google's error and FCM's own code in its details, where they are given."""
    error = _json(answer).get("error")
    if not isinstance(error, dict):
        return "", ""
    details = error.get("details")
    codes = [one.get("errorCode") for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    code = next((one for one in codes if isinstance(one, str)), "")
    return str(error.get("status") or ""), code


def _json(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
