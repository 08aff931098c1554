"""The way out: connections to customers' servers, and the one HTTP client that makes them.

Law: what is judged is the address that a socket is about to connect to, never a name. Every address of the open
internet may be called; another one only where the operator named it (JOURNEYS_ALLOW_PRIVATE_HOSTS). No redirect is
followed, no cookie kept, no answer read beyond its limit. Whatever fails says whether anything had left.
Source: contract 2.1 (webhook) and 7; the IANA special-purpose address registries.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from services.infra.addresses import METADATA, innermost, is_address, is_open

ANSWER_BYTES: Final = 64 * 1024
MAX_URL: Final = 8_192
# Below the five seconds after which common servers close an idle connection: a request that meets the closing is in doubt.
KEEP_ALIVE_S: Final = 4.0
CONNECTIONS: Final = 200
CONNECTIONS_PER_HOST: Final = 20  # one slow server must not take the way out from all others
LOOKUPS: Final = 8  # threads of our own: a slow name server must not hold up whoever else uses the default ones

_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")  # a name in its ASCII form or an address

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


class AddressRefused(Exception):
    """We do not call that address; the sentence says why. Nothing was sent."""


class Unreachable(Exception):
    """No connection came about, so nothing was sent."""


class NoAnswer(Exception):
    """The request went out and no answer came: nobody knows what became of it."""


class Lack(StrEnum):
    """Why an answer's body is not whole."""

    TOO_LARGE = "too_large"
    BROKEN_OFF = "broken_off"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. With a `lack`, `body` is empty; the status and the headers hold all the same."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes
    lack: Lack | None = None


class Targets:
    """Who may be called: every public address, and what an operator named.

    `entries`: hosts, `host:port` or CIDR ranges. A name covers the private addresses it leads to; the addresses
    of cloud metadata services are covered by an address or a range only.
    """

    def __init__(self, entries: Iterable[str] = (), lookup: Lookup | None = None) -> None:
        self._networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int | None]] = []
        self._names: set[tuple[str, int | None]] = set()
        for entry in entries:
            host, port = (entry, None) if "/" in entry else _host_and_port(entry)
            try:
                self._networks.append((ipaddress.ip_network(host, strict=False), port))
            except ValueError:
                self._names.add((_name(host), port))
        self._threads = ThreadPoolExecutor(LOOKUPS, "lookup")
        self._lookup = lookup or self._ask_system

    def allowed(self, host: str, port: int, address: str) -> bool:
        """Whether a connection to `host`, which led to `address`, may be made."""
        try:
            judged = innermost(ipaddress.ip_address(address))
        except ValueError:
            return False
        if is_open(judged):
            return True
        if judged.is_multicast or judged.is_unspecified:
            return False
        named = any(judged in network for network, only in self._networks if only in (None, port))
        if named or judged in METADATA:
            return named
        return not self._names.isdisjoint({(_name(host), None), (_name(host), port)})

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses a host leads to and that may be called. Raises AddressRefused if none may, OSError if none is known."""
        found = [host] if is_address(host) else list(dict.fromkeys(await self._lookup(host, port)))
        permitted = [address for address in found if self.allowed(host, port, address)]
        if found and not permitted:
            raise _refused(host, port)
        if not permitted:
            raise socket.gaierror(socket.EAI_NONAME, f"no address is known for {host}")
        return permitted

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket, for protocols that are not HTTP. Raises AddressRefused, OSError; set a timeout around it."""
        loop = asyncio.get_running_loop()
        failed: OSError | None = None
        for address in await self.addresses(host, port):
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            try:
                connection.setblocking(False)
                await loop.sock_connect(connection, (address, port))
                return connection
            except OSError as error:
                connection.close()
                failed = error
            except BaseException:
                connection.close()
                raise
        assert failed is not None  # there is at least one address
        raise failed

    def close(self) -> None:
        """Look up nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_system(self, host: str, port: int) -> list[str]:
        def ask() -> list[str]:
            return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


class Outbound:
    """The HTTP client for customers' servers. Opens its connections when first called; `close` when done."""

    def __init__(self, targets: Targets, tls: ssl.SSLContext | None = None) -> None:
        self.targets = targets
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
        limit: int = ANSWER_BYTES,
    ) -> Answer:
        """Make one request and read its answer, up to `limit` bytes of body, within `timeout_s` in all.

        Raises AddressRefused and Unreachable (nothing left), NoAnswer (in doubt), ValueError for a method or a
        header that HTTP cannot carry. A redirect is an answer like any other.
        """
        target = self._target(url)
        progress = SimpleNamespace(is_out=False)
        where = _shown(target)
        _calling.set((target.raw_host or "", target.port or 0))
        sent = {"Accept-Encoding": "identity", "User-Agent": "adaptive-journeys", **headers}
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._opened().request(
                    method, target, headers=sent, data=body, allow_redirects=False, trace_request_ctx=progress
                )
        except aiohttp.InvalidURL:
            raise AddressRefused(f"{where} is not a host in a form we call.") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else _reason(error)
            if progress.is_out:
                raise NoAnswer(f"{where}: {why}") from error
            raise Unreachable(f"No connection to {where}: {why}") from error
        async with response:
            return await _read(response, limit, deadline)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self.targets.close()

    def _target(self, text: str) -> URL:
        """The URL, if it is one that may be called as far as its text tells."""
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError:
            raise AddressRefused("This is no URL.") from None
        if url.scheme not in ("http", "https") or not host or not port or not _HOST.fullmatch(host):
            raise AddressRefused("Only http and https URLs with a host are called.")
        if not text.isprintable() or len(text) > MAX_URL:
            raise AddressRefused("The URL holds characters that no URL has, or is too long.")
        if url.raw_user is not None or url.raw_password is not None:
            raise AddressRefused("A URL with credentials is not called: put them into a header.")
        if is_address(host) and not self.targets.allowed(host, port, host):  # a literal skips the resolver
            raise _refused(host, port)
        return url.with_fragment(None)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sending)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_Resolver(self.targets),
                    socket_factory=self._checked_socket,
                    ssl=self._tls or default_tls(),
                    limit=CONNECTIONS,
                    limit_per_host=CONNECTIONS_PER_HOST,
                    keepalive_timeout=KEEP_ALIVE_S,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,  # a proxy would resolve names where we do not see it
            )
        return self._session

    def _checked_socket(self, info: Any) -> socket.socket:
        """The last word: the address of this very connection is judged, however it was found."""
        family, kind, protocol, _, (address, *_) = info
        host, port = _calling.get()
        if not self.targets.allowed(host, port, str(address)):
            raise _refused(host, port)
        return socket.socket(family, kind, protocol)


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """How long an answer asks us to wait (seconds or a date); None if it does not say. Source: RFC 9110, 10.2.3."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        until = parsedate_to_datetime(text).timestamp()
        try:
            now = parsedate_to_datetime(headers.get("Date", "")).timestamp()  # their clock, if it is told
        except (TypeError, ValueError):
            now = time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0, round((until - now) * 1000))


@cache
def default_tls() -> ssl.SSLContext:
    """Verification against the system's authorities; made once, since reading them takes 20 ms."""
    return ssl.create_default_context()


class _Resolver(AbstractResolver):
    """Names to permitted addresses."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = []
        for address in await self._targets.addresses(host, port):
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (socket.AF_UNSPEC, kind):
                flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
                found.append(ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=flags))
        return found

    async def close(self) -> None:
        """Nothing is held here."""


async def _read(response: aiohttp.ClientResponse, limit: int, deadline: float) -> Answer:
    """The answer whose head is here: from now on it has a status, whatever becomes of its body."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in response.content.iter_any():
                size += len(chunk)  # after decompression
                if size > limit:
                    response.close()  # the rest is neither read nor waited for
                    return Answer(response.status, response.headers, b"", Lack.TOO_LARGE)
                parts.append(chunk)
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()
        return Answer(response.status, response.headers, b"", Lack.BROKEN_OFF)
    return Answer(response.status, response.headers, b"".join(parts))


async def _note_sending(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: Any) -> None:
    context.trace_request_ctx.is_out = True  # called just before the first byte is written


_calling: ContextVar[tuple[str, int]] = ContextVar("calling")


def _refused(host: str, port: int) -> AddressRefused:
    return AddressRefused(
        f"{_joined(host, port)} is no public address; JOURNEYS_ALLOW_PRIVATE_HOSTS names the others that may be called."
    )


def _shown(url: URL) -> str:
    """Host and port: paths and queries may hold secrets."""
    return _joined(url.host or "", url.port or 0)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not valid here"
        case aiohttp.ClientSSLError():
            return "no TLS connection comes about"
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "the name leads to no address"
        case aiohttp.ClientConnectorError():
            return (error.os_error.strerror or "the connection was refused").lower()
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer"
        case aiohttp.ClientResponseError():
            return "the answer is no HTTP"
        case _:
            return f"the connection broke ({type(error).__name__})"


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """`name`, `name:25`, `10.0.0.5:25`, `::1` and `[::1]:25`."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:]) if rest else None
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, int(port)
    return entry, None


def _name(host: str) -> str:
    return host.rstrip(".").lower()
