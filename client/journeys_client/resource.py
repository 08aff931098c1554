"""How one definition of a method serves both clients.

Law: a resource's methods only say what is asked, as a `Call` or a script of calls. On a `Client` such a method
blocks and gives the result, on an `AsyncClient` it gives a coroutine or an async iterator of the same result.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import update_wrapper, wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from journeys_client.call import Call
from journeys_client.problem import NotUnderstood

P = ParamSpec("P")
T = TypeVar("T")
C_co = TypeVar("C_co", covariant=True)

# Inside a resource `list` is a method, so its annotations say these.
Many = list[T]
Pages = Call[list[T]]


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """What a script hands to its reader."""

    items: Sequence[T]


# A script yields calls, gets their replies (or has their Problem thrown in), and yields items in between.
Script = Generator[Call[Any] | Items[T], Any, None]


class Sends(Protocol):
    """A client that blocks."""

    def send(self, call: Call[T]) -> T:
        """Carry out one call."""

    def follow(self, script: Script[T]) -> Iterator[T]:
        """Carry out a script, lazily."""


class AsyncSends(Protocol):
    """A client that awaits."""

    def send(self, call: Call[T]) -> Coroutine[Any, Any, T]:
        """Carry out one call."""

    def follow(self, script: Script[T]) -> AsyncIterator[T]:
        """Carry out a script, lazily."""


class Resource(Generic[C_co]):
    """A family of methods on one client."""

    def __init__(self, client: C_co) -> None:
        self._client = client


class Verb(Generic[P, T]):
    """A method that is one call."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, resource: Resource[Sends], owner: object = None) -> Callable[P, T]: ...

    @overload
    def __get__(self, resource: Resource[AsyncSends], owner: object = None) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, resource: None, owner: object = None) -> "Verb[P, T]": ...

    def __get__(self, resource: Any, owner: object = None) -> Any:
        if resource is None:
            return self

        @wraps(self._build)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource._client.send(self._build(resource, *args, **kwargs))

        return bound


class Stream(Generic[P, T]):
    """A method that is a script of calls and gives many items."""

    def __init__(self, script: Callable[Concatenate[Any, P], Script[T]]) -> None:
        self._script = script
        self.__doc__ = script.__doc__

    @overload
    def __get__(self, resource: Resource[Sends], owner: object = None) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, resource: Resource[AsyncSends], owner: object = None) -> Callable[P, AsyncIterator[T]]: ...

    @overload
    def __get__(self, resource: None, owner: object = None) -> "Stream[P, T]": ...

    def __get__(self, resource: Any, owner: object = None) -> Any:
        if resource is None:
            return self

        @wraps(self._script)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource._client.follow(self._script(resource, *args, **kwargs))

        return bound


def verb(build: Callable[Concatenate[Any, P], Call[T]]) -> Verb[P, T]:
    """Make a method of a resource from a function that says which call it is."""
    return Verb(build)


def paged(build: Callable[Concatenate[Any, P], Call[list[T]]]) -> Stream[P, T]:
    """Make a method that iterates over a list, page after page as `Link` says, asking only when it needs more."""

    def script(resource: Any, /, *args: P.args, **kwargs: P.kwargs) -> Script[T]:
        call: Call[list[T]] | None = build(resource, *args, **kwargs)
        while call is not None:
            reply = yield call
            page = call.result(reply)
            if not isinstance(page, list):  # what is annotated here was promised by another program
                raise NotUnderstood(f"{call.method} {call.path} answered {reply.content[:80]!r}, not a list")
            yield Items(page)
            call = call.after(reply)

    update_wrapper(script, build)
    return Stream(script)


def stream(script: Callable[Concatenate[Any, P], Script[T]]) -> Stream[P, T]:
    """Make a method of a resource from a script."""
    return Stream(script)
