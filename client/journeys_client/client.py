"""The two clients: one blocks, one awaits; everything else they share.

    with Client("http://127.0.0.1:8080", session=token) as client:
        journey = client.journeys.create({"name": "Welcome"})
        for execution in client.executions.list(journey["id"]):
            ...

    async with AsyncClient(api_key=key) as client:
        async for outcome in client.events.send(events):
            ...

Any call may raise Problem, Unreachable or NotUnderstood (see `journeys_client.problem`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx2

from journeys_client.auth import Credentials
from journeys_client.call import Call, Reply
from journeys_client.events import Events
from journeys_client.executions import Executions, Messages
from journeys_client.internal import DevClock, Internal
from journeys_client.journeys import Journeys
from journeys_client.library import Audiences, Communications, Triggers
from journeys_client.problem import ClientError, NotUnderstood, Problem, Unreachable, problem_from_json
from journeys_client.resource import AsyncSends, Items, Script, Sends
from journeys_client.retry import Retries, pause_before_retry
from journeys_client.subjects import Subjects, Suppressions
from journeys_client.workspace import ApiKeys, Members, Session, WorkspaceSettings

DEFAULT_URL = "http://127.0.0.1:8080"

T = TypeVar("T")
C_co = TypeVar("C_co", covariant=True)


class Resources(Generic[C_co]):
    """Everything one can ask for, by family."""

    def __init__(self, client: C_co) -> None:
        self.journeys = Journeys(client)
        self.executions = Executions(client)
        self.messages = Messages(client)
        self.events = Events(client)
        self.triggers = Triggers(client)
        self.audiences = Audiences(client)
        self.communications = Communications(client)
        self.subjects = Subjects(client)
        self.suppressions = Suppressions(client)
        self.workspace = WorkspaceSettings(client)
        self.members = Members(client)
        self.api_keys = ApiKeys(client)
        self.session = Session(client)
        self.internal = Internal(client)
        self.dev_clock = DevClock(client)


class Client(Resources[Sends]):
    """Talks to one server as one caller, and blocks. Safe to share between threads.

    `transport` takes the network's place in tests: `journeys_client.mock.MockTransport`.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        session: str | None = None,
        api_key: str | None = None,
        internal_key: str | None = None,
        retries: Retries = Retries(),
        timeout: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(self)
        self._credentials = Credentials(session, api_key, internal_key)
        self._retries = retries
        self._timeout = timeout
        self._sleep = sleep
        self._http = httpx2.Client(base_url=base_url, timeout=timeout, transport=transport, cookies=_no_cookies())

    def send(self, call: Call[T]) -> T:
        """Carry out one call of your own making; the resources' methods end here."""
        return call.result(self._exchange(call))

    def follow(self, script: Script[T]) -> Iterator[T]:
        """Carry out a script of calls, lazily; gives its items."""
        step = _first(script)
        while step is not None:
            if isinstance(step, Items):
                yield from step.items
                step = _next(script, None)
            else:
                try:
                    reply = self._exchange(step)
                except Problem as problem:
                    step = _next(script, problem)
                else:
                    step = _next(script, reply)

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, call: Call[Any]) -> Reply:
        attempt = 0
        while True:
            try:
                response = self._http.request(
                    call.method,
                    call.path,
                    params=call.params or None,
                    content=call.body(),
                    headers=_headers(call, self._credentials),
                    timeout=call.timeout or self._timeout,
                )
            except httpx2.HTTPError as error:
                raise _unreachable(self._http.base_url, error) from error
            pause = pause_before_retry(response.status_code, response.headers, attempt, self._retries)
            if pause is None or not call.is_repeatable():
                return _reply(response)
            self._sleep(pause)
            attempt += 1


class AsyncClient(Resources[AsyncSends]):
    """Talks to one server as one caller, and awaits. For one event loop.

    `transport` takes the network's place in tests: `journeys_client.mock.MockTransport`.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        session: str | None = None,
        api_key: str | None = None,
        internal_key: str | None = None,
        retries: Retries = Retries(),
        timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Coroutine[Any, Any, object]] = asyncio.sleep,
    ) -> None:
        super().__init__(self)
        self._credentials = Credentials(session, api_key, internal_key)
        self._retries = retries
        self._timeout = timeout
        self._sleep = sleep
        self._http = httpx2.AsyncClient(base_url=base_url, timeout=timeout, transport=transport, cookies=_no_cookies())

    async def send(self, call: Call[T]) -> T:
        """Carry out one call of your own making; the resources' methods end here."""
        return call.result(await self._exchange(call))

    async def follow(self, script: Script[T]) -> AsyncIterator[T]:
        """Carry out a script of calls, lazily; gives its items."""
        step = _first(script)
        while step is not None:
            if isinstance(step, Items):
                for item in step.items:
                    yield item
                step = _next(script, None)
            else:
                try:
                    reply = await self._exchange(step)
                except Problem as problem:
                    step = _next(script, problem)
                else:
                    step = _next(script, reply)

    async def close(self) -> None:
        """Give back the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _exchange(self, call: Call[Any]) -> Reply:
        attempt = 0
        while True:
            body = call.body()
            try:
                response = await self._http.request(
                    call.method,
                    call.path,
                    params=call.params or None,
                    content=body if body is None or isinstance(body, bytes) else _awaited(body),
                    headers=_headers(call, self._credentials),
                    timeout=call.timeout or self._timeout,
                )
            except httpx2.HTTPError as error:
                raise _unreachable(self._http.base_url, error) from error
            pause = pause_before_retry(response.status_code, response.headers, attempt, self._retries)
            if pause is None or not call.is_repeatable():
                return _reply(response)
            await self._sleep(pause)
            attempt += 1


def _first(script: Script[T]) -> Call[Any] | Items[T] | None:
    return next(script, None)


def _next(script: Script[T], answer: Reply | Problem | None) -> Call[Any] | Items[T] | None:
    try:
        return script.throw(answer) if isinstance(answer, Problem) else script.send(answer)
    except StopIteration:
        return None


def _headers(call: Call[Any], credentials: Credentials) -> dict[str, str]:
    kind = {"Content-Type": "application/json"} if call.has_json() else {}
    return {"Accept": "application/json", **kind, **credentials.headers(bearer=call.bearer), **call.headers}


def _reply(response: httpx2.Response) -> Reply:
    reply = Reply(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
    )
    if response.is_success:
        return reply
    try:
        body = reply.json()
    except NotUnderstood:
        body = None
    raise problem_from_json(reply.status, body)


def _unreachable(base_url: httpx2.URL, error: httpx2.HTTPError) -> ClientError:
    what = " ".join(str(error).split()) or type(error).__name__
    return Unreachable(f"no answer from {base_url} ({what})")


def _no_cookies() -> CookieJar:
    # The caller says who they are; a server's Set-Cookie must not change it behind their back.
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


async def _awaited(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
