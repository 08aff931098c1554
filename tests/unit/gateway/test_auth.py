"""Credentials."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Application
from journeys.authoring.v1.workspace_service_pb2 import AuthenticateResponse

from gateway.auth import KEEP_SECONDS, Authenticator, is_same_site, session_of
from gateway.context import OPTIONS, Options
from gateway.errors import Problem


class Workspaces:
    """A stub of WorkspaceService that knows everybody, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.before_answer: Any = None

    async def Authenticate(self, request: Any) -> AuthenticateResponse:  # noqa: N802  # named by the proto
        """Whoever it is, an owner."""
        self.asked += 1
        if self.before_answer is not None:
            self.before_answer()
        who = request.session_token or request.api_key
        return AuthenticateResponse(workspace="w", workspace_name="W", user_id=who, email="", role="owner")


def an_authenticator(keys: tuple[str, ...] = ()) -> tuple[Authenticator, Workspaces, SimpleNamespace]:
    """One whose clock a test sets."""
    workspaces, clock = Workspaces(), SimpleNamespace(now=100.0)
    return Authenticator(workspaces, keys, now=lambda: clock.now), workspaces, clock  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "header", "fits"),
    [
        (("a", "b"), "Bearer a", True),
        (("a", "b"), "bearer b", True),
        (("a", "b"), "Bearer  b ", True),
        (("a", "b"), "Bearer c", False),
        (("a", "b"), "Bearer ab", False),
        (("a", "b"), "Bearer", False),
        (("a", "b"), "Bearer ", False),
        (("a", "b"), "Basic a", False),
        (("a", "b"), "a", False),
        (("a", "b"), "", False),
        (("a", "b"), None, False),
        (("a",), "Bearer \udcff", False),
        ((), "Bearer ", False),
        ((), "Bearer a", False),
        (("",), "Bearer ", False),
    ],
)
def test_one_of_the_server_s_keys_opens_the_internal_routes(
    keys: tuple[str, ...], header: str | None, fits: bool
) -> None:
    """Any of them, and none where none is set."""
    authenticator, _, _ = an_authenticator(keys)

    assert fits == authenticator.is_internal(header)


async def test_an_answer_is_kept_for_two_seconds() -> None:
    """Then it is asked again: a member removed elsewhere works on no longer than that."""
    authenticator, workspaces, clock = an_authenticator()
    for moment in (0.0, 1.0, KEEP_SECONDS - 0.01):
        clock.now = 100 + moment
        await authenticator.by_session("s")

    assert 1 == workspaces.asked

    clock.now = 100 + KEEP_SECONDS
    await authenticator.by_session("s")

    assert 2 == workspaces.asked


async def test_a_session_is_no_key() -> None:
    """The same text as the other kind of credential is asked for on its own."""
    authenticator, workspaces, _ = an_authenticator()
    await authenticator.by_session("s")
    await authenticator.by_api_key("s")

    assert 2 == workspaces.asked


async def test_what_was_forgotten_while_it_was_asked_is_not_kept() -> None:
    """The answer may be from before the removal; it serves this request and no other."""
    authenticator, workspaces, _ = an_authenticator()
    workspaces.before_answer = authenticator.forget
    await authenticator.by_session("s")
    await authenticator.by_session("s")

    assert 2 == workspaces.asked


@pytest.mark.parametrize("credential", ["", "x" * 1001, "ü", "a\nb", "\udcff"])
async def test_what_cannot_be_a_credential_is_refused_at_once(credential: str) -> None:
    """Without asking anybody."""
    authenticator, workspaces, _ = an_authenticator()

    with pytest.raises(Problem) as caught:
        await authenticator.by_session(credential)

    assert (401, 0) == (caught.value.status, workspaces.asked)


async def test_many_strangers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers kept are bounded."""
    monkeypatch.setattr("gateway.auth.MAX_KEPT", 10)
    authenticator, _, _ = an_authenticator()
    await asyncio.gather(*(authenticator.by_session(f"s{i}") for i in range(35)))

    assert 10 >= len(authenticator._kept)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("session=abc", "abc"),
        ("a=b; session=abc; c=d", "abc"),
        ('session="abc"', "abc"),
        ("session=a=b", "a=b"),
        ("xsession=abc", None),
        ("session", None),
        ("session=", ""),
        ("session=one; session=two", "one"),
    ],
)
def test_the_session_is_found_among_cookies(header: str | None, token: str | None) -> None:
    """The first of that name."""
    assert token == session_of(header)


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, True),
        ({"Origin": "http://journeys.test:8080"}, True),
        ({"Origin": "https://JOURNEYS.test:8080"}, True),
        ({"Origin": "http://journeys.test"}, False),
        ({"Origin": "http://evil.test:8080"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "https://public.example"}, True),
        ({"Origin": "http://public.example"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.test"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://journeys.test:8080"}, False),
    ],
)
def test_a_request_of_another_site_is_known(headers: dict[str, str], same: bool) -> None:
    """By either header; without both it is no browser's."""
    app = Application()
    app[OPTIONS] = Options(public_url="https://public.example/journeys")
    request = make_mocked_request("POST", "/api/journeys", {"Host": "journeys.test:8080", **headers}, app=app)

    assert same == is_same_site(request)
