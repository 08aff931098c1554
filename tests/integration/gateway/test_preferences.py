"""The preferences page, the in-app store, feedback and the workspace's timeline, over the wire."""

import re
from typing import Any

import pytest
from journeys.analytics.v1 import analytics_service_pb2 as analytics
from journeys.runtime.v1 import runtime_service_pb2 as run
from journeys.runtime.v1 import subject_service_pb2 as people

from services.domain.errors import Expired, Missing, Refused, Unavailable
from tests.integration.gateway.backend import Backend, Client, Reply

MS, AT = 1_777_554_000_000, "2026-04-30T13:00:00.000Z"
URLENCODED = "application/x-www-form-urlencoded"
PREFERENCES = people.Preferences(
    workspace_name="<b>Shop</b>",
    channels=[
        people.ChannelPreference(channel="email", opted_in=True),
        people.ChannelPreference(channel='new"><x', opted_in=False),
    ],
    channel="email",
)


@pytest.fixture
def page(backend: Backend) -> Backend:
    """Stubs that know the person behind any link."""
    backend.answers |= {
        "GetPreferences": people.GetPreferencesResponse(preferences=PREFERENCES),
        "ChangePreferences": people.ChangePreferencesResponse(preferences=PREFERENCES),
        "Unsubscribe": people.UnsubscribeResponse(preferences=PREFERENCES),
    }
    return backend


async def post(client: Client, raw: bytes, media: str = URLENCODED) -> Reply:
    """A form from nobody in particular."""
    return await client.ask("POST", "/preferences/tok", raw=raw, role=None, headers={"Content-Type": media})


async def test_the_page_shows_every_channel(client: Client, page: Backend) -> None:
    """With a box each, checked where messages are taken, without script or anything from elsewhere."""
    reply = await client.get("/preferences/tok", role=None)
    text = reply.body.decode()

    assert (200, "text/html; charset=utf-8") == (reply.status, reply.headers["Content-Type"])
    assert "tok" == page.last("GetPreferences").token
    assert '<input type="checkbox" name="channel" value="email" checked>' in text
    assert "Unsubscribe from e-mail" in text
    assert not re.search(r"<script|<img|<link|src=|@import|url\(|https?://", text)


async def test_the_page_escapes_whatever_it_shows(client: Client, page: Backend) -> None:
    """Names of workspaces and channels are somebody's text."""
    text = (await client.get("/preferences/tok", role=None)).body.decode()

    assert "&lt;b&gt;Shop&lt;/b&gt;" in text
    assert "<b>" not in text
    assert 'value="new&quot;&gt;&lt;x">' in text
    assert "<x" not in text


async def test_the_page_is_nobody_else_s(client: Client, page: Backend) -> None:
    """Not stored, not listed, not framed, and its address is told to no other site."""
    headers = (await client.get("/preferences/tok", role=None)).headers

    assert "no-store" == headers["Cache-Control"]
    assert "noindex" in headers["X-Robots-Tag"]
    assert "no-referrer" == headers["Referrer-Policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"} <= set(
        headers["Content-Security-Policy"].split("; ")
    )


async def test_the_form_says_what_it_showed(client: Client, page: Backend) -> None:
    """An unchecked box is not sent: of the channels that were shown, those not checked are opted out of."""
    reply = await post(client, b"shown=email&shown=mobile_push&channel=mobile_push&channel=fax&global=1")
    asked = page.last("ChangePreferences")

    assert 200 == reply.status
    assert "Saved" in reply.body.decode()
    assert [("email", False), ("mobile_push", True)] == [(one.channel, one.opted_in) for one in asked.channels]
    assert asked.global_opt_out


async def test_without_its_box_nothing_is_opted_out_of_everything(client: Client, page: Backend) -> None:
    """The box for nothing at all is a box like the others."""
    await post(client, b"shown=email&channel=email")
    asked = page.last("ChangePreferences")

    assert (True, False) == (asked.HasField("global_opt_out"), asked.global_opt_out)


MULTIPART = (
    b"--X-y\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--X-y--\r\n"
)  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "media"),
    [
        (b"List-Unsubscribe=One-Click", URLENCODED),
        (b"List-Unsubscribe=One-Click", f"{URLENCODED}; charset=UTF-8"),
        (MULTIPART, 'multipart/form-data; boundary="X-y"'),
        (MULTIPART, "Multipart/Form-Data; boundary=X-y"),
    ],
)
async def test_one_click_unsubscribes(client: Client, page: Backend, raw: bytes, media: str) -> None:
    """RFC 8058: either kind of form, answered 200 at once; neither cookie nor origin is asked for."""
    reply = await post(client, raw, media)

    assert (200, False) == (reply.status, "Location" in reply.headers)
    assert ["tok"] == [asked.token for asked in page.requests("Unsubscribe")]
    assert [] == page.requests("ChangePreferences")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_changes_nothing(client: Client, page: Backend, method: str) -> None:
    """Programs follow links too."""
    await client.ask(method, "/preferences/tok?List-Unsubscribe=One-Click", role=None)

    assert ["GetPreferences"] == [call.method for call in page.calls]


@pytest.mark.parametrize(
    ("raw", "media", "status"),
    [
        (b"", URLENCODED, 400),
        (b"a=b", URLENCODED, 400),
        (b"\xff=\xff", URLENCODED, 400),
        (b"{}", "application/json", 415),
        (b"shown=" + b"x" * 70_000, URLENCODED, 413),
        (b"&".join([b"shown=email"] * 101), URLENCODED, 413),
        (b"--X\r\n\r\n", "multipart/form-data", 400),
        (b"--X\r\nnonsense", "multipart/form-data; boundary=X", 400),
        (b"--X\r\nContent-Disposition: form-data; name=shown\r\n\r\n\xff\r\n--X--", "multipart/form-data; boundary=X", 400),
        (b"--X\r\nContent-Type: multipart/mixed; boundary=Y\r\n\r\n--Y--\r\n--X--", "multipart/form-data; boundary=X", 400),
    ],
)  # fmt: skip
async def test_what_is_no_form_of_ours_is_refused(
    client: Client, page: Backend, raw: bytes, media: str, status: int
) -> None:
    """With a problem, and nothing is asked of anybody."""
    reply = await post(client, raw, media)

    assert status == reply.status, reply.body
    assert "application/problem+json" == reply.headers["Content-Type"]
    assert [] == page.calls


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("refused", "status", "words"),
    [(Missing("page", "x"), 404, "leads nowhere"), (Expired("Over."), 410, "has expired")],
)
async def test_a_dead_link_leads_to_a_page(
    client: Client, backend: Backend, method: str, refused: Refused, status: int, words: str
) -> None:
    """A person followed it: they get a sentence, not JSON."""
    backend.answers |= {"GetPreferences": refused, "Unsubscribe": refused}
    if method == "GET":
        reply = await client.get("/preferences/tok", role=None)
    else:
        reply = await post(client, b"List-Unsubscribe=One-Click")

    assert (status, "text/html; charset=utf-8") == (reply.status, reply.headers["Content-Type"])
    assert words in reply.body.decode()
    assert "no-store" == reply.headers["Cache-Control"]


async def test_a_service_that_is_down_is_a_problem(client: Client, backend: Backend) -> None:
    """The program that clicks comes again."""
    backend.answers["Unsubscribe"] = Unavailable("down")
    reply = await post(client, b"List-Unsubscribe=One-Click")

    assert (503, True) == (reply.status, "Retry-After" in reply.headers)


async def test_feedback_is_passed_on(client: Client, backend: Backend) -> None:
    """The message's id may hold anything."""
    events = [run.MessageEvent(type="bounced", at_ms=MS, permanent=True)]
    backend.answers["RecordMessageEvent"] = run.RecordMessageEventResponse(events=events)
    reply = await client.post("/api/messages/a__v1__u%2525__e-m-1/events", {"type": "bounced", "permanent": True})
    asked = backend.last("RecordMessageEvent")

    assert ("pk_demo", "a__v1__u%25__e-m-1", "bounced", True) == (
        asked.workspace, asked.message_id, asked.type, asked.permanent
    )  # fmt: skip
    assert {
        "messageId": "a__v1__u%25__e-m-1",
        "events": [{"type": "bounced", "at": AT, "permanent": True}],
    } == reply.json
    assert 200 == (await client.post("/api/messages/m/events", {"type": "opened"}, role="editor")).status
    assert not backend.last("RecordMessageEvent").permanent


@pytest.mark.parametrize("body", [{}, {"type": "sent"}, {"type": "opened", "permanent": 1}, {"type": "opened", "x": 1}])
async def test_malformed_feedback_is_refused(client: Client, backend: Backend, body: Any) -> None:
    """Before anything is asked."""
    assert 400 == (await client.post("/api/messages/m/events", body)).status
    assert [] == backend.requests("RecordMessageEvent")


async def test_the_in_app_store(client: Client, backend: Backend) -> None:
    """Listed for one person, read once."""
    unread = run.InAppMessage(
        message_id="m", title="T", body="B", data_json=b'{"n":1}', sent_at_ms=MS, journey_id="j", step_id="s"
    )
    read = run.InAppMessage(message_id="m", title="T", sent_at_ms=MS, read_at_ms=MS, journey_id="j", step_id="s")
    backend.answers |= {
        "ListInApp": run.ListInAppResponse(messages=[unread], next_cursor="n"),
        "ReadInApp": run.ReadInAppResponse(message=read),
    }
    listed = await client.get("/api/in-app?endUserId=u%26&limit=1", role="viewer")
    nobody = await client.get("/api/in-app")
    marked = await client.post("/api/in-app/m/read", role="editor")

    assert ("u&", 1) == (backend.last("ListInApp").end_user_id, backend.last("ListInApp").page.limit)
    assert "cursor=n" in listed.headers["Link"]
    assert [
        {
            "messageId": "m", "title": "T", "body": "B", "data": {"n": 1}, "sentAt": AT, "readAt": None,
            "journeyId": "j", "stepId": "s",
        }
    ] == listed.json  # fmt: skip
    assert (400, ["/endUserId"]) == (nobody.status, nobody.paths)
    assert (AT, {}) == (marked.json["readAt"], marked.json["data"])


async def test_the_workspace_s_timeline(client: Client, backend: Backend) -> None:
    """The journey's form, filters and pages, of no journey."""
    entry = analytics.AuditEntry(
        id="1", at_ms=MS, actor="subject", action="preferences.changed", metadata_json=b'{"channel":"email"}'
    )
    backend.answers["ListAudit"] = analytics.ListAuditResponse(entries=[entry], next_cursor="n")
    reply = await client.get("/api/workspace/audit?action=preferences.&actor=subject", role="viewer")
    asked = backend.last("ListAudit")

    assert ("pk_demo", "", "preferences.", "subject", 200) == (
        asked.workspace, asked.journey_id, asked.action_prefix, asked.actor, asked.page.limit
    )  # fmt: skip
    assert [
        {"timestamp": AT, "actor": "subject", "action": "preferences.changed", "metadata": {"channel": "email"}}
    ] == reply.json
    assert 'rel="next"' in reply.headers["Link"]
