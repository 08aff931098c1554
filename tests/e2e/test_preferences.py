"""What people decide about messages, and what is known of messages once they are out. Contract 3."""

import html
import re
from urllib.parse import urlsplit

import pytest

from tests.e2e.server import Client, Reply, Server
from tests.e2e.words import TIME, Json, World, branch, end, send, trigger, unique, wait

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def mailer(world: World, channel: str = "email", **content: object) -> tuple[str, str]:
    """A journey that sends one message: its id and its event."""
    event = unique("ev")
    steps = [trigger("mail"), send("mail", world.comm(channel, **content), "exit", channel), end("exit")]
    return world.journey(steps, event=event), event


def workspace_audit(world: World, **filters: str) -> list[Json]:
    """The workspace's timeline, newest first."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return world.api.all_of(f"/api/workspace/audit?{query}")


def link_in(message: Json) -> str:
    """The path of the preferences page that a mail leads to."""
    found = re.search(r'href="([^"]*/preferences/[^"]*)"', message["body"])
    assert found is not None, message["body"]
    return urlsplit(html.unescape(found[1])).path


def one_click(server: Server, path: str) -> Reply:
    """What a mail program posts (RFC 8058)."""
    return server.anyone.post(path, raw=b"List-Unsubscribe=One-Click", headers=FORM)


def test_a_mail_carries_a_link_that_stops_the_next_one(server: Server, apart: World) -> None:
    """One click, no sign-in, no redirect; the next send says why it was skipped."""
    journey, event = mailer(apart, body="<p>Hello</p>", text="Hello")
    person = apart.person()
    apart.walk(journey, event, person)
    (message,) = apart.messages(endUserId=person)
    path = link_in(message)
    assert f"http://127.0.0.1:{server.port}{path}" in message["text"]

    reply = one_click(server, path)
    assert (200, None) == (reply.status, reply.headers.get("location"))
    assert {"email": False} == apart.profile(person)["channelPreferences"]
    apart.event(event, person)
    apart.settle()

    assert 1 == len(apart.messages(endUserId=person))
    (skipped,) = apart.audit(journey, action="send.skipped")
    assert "opt_out" == skipped["metadata"]["reason"]


def test_the_page_opts_in_and_out(server: Server, apart: World) -> None:
    """By a plain form; what it answers is what is so."""
    journey, event = mailer(apart)
    person = apart.person()
    apart.walk(journey, event, person)
    path = link_in(apart.messages(endUserId=person)[0])
    shown = server.anyone.get(path).ok()
    boxes = re.findall(r'name="channel" value="(\w+)"( checked)?', shown)
    assert [("email", " checked"), ("in_app_push", " checked"), ("mobile_push", " checked")] == boxes

    form = "&".join([*(f"shown={name}" for name, _ in boxes), "channel=in_app_push", "global=1"])
    saved = server.anyone.post(path, raw=form.encode(), headers=FORM).ok()
    profile = apart.profile(person)
    assert ({"email": False, "mobile_push": False}, True) == (profile["channelPreferences"], profile["globalOptOut"])
    assert [("email", ""), ("in_app_push", " checked"), ("mobile_push", "")] == re.findall(
        r'name="channel" value="(\w+)"( checked)?', saved
    )

    back = "&".join(f"shown={name}&channel={name}" for name, _ in boxes)
    server.anyone.post(path, raw=back.encode(), headers=FORM).ok()
    apart.event(event, person)
    apart.settle()
    assert 2 == len(apart.messages(endUserId=person))


def test_the_page_is_kept_and_listed_by_nobody(server: Server, world: World) -> None:
    """And looking at it changes nothing."""
    journey, event = mailer(world)
    person = world.person()
    world.walk(journey, event, person)
    reply = server.anyone.get(link_in(world.messages(endUserId=person)[0]))

    assert ("no-store", "noindex, nofollow") == (reply.headers["cache-control"], reply.headers["x-robots-tag"])
    assert "<script" not in reply.body
    assert {} == world.profile(person)["channelPreferences"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_wrong_link_is_a_page_that_says_so(server: Server, world: World, method: str) -> None:
    """404 for what was cut off or forged."""
    journey, event = mailer(world)
    person = world.person()
    world.walk(journey, event, person)
    path = link_in(world.messages(endUserId=person)[0])
    for wrong in (path[:-3], path[:-1] + ("A" if path[-1] != "A" else "B"), "/preferences/x", "/preferences/%ff"):
        raw = b"List-Unsubscribe=One-Click" if method == "POST" else None
        reply = server.anyone.request(method, wrong, raw=raw, headers=FORM)

        assert 404 == reply.status, wrong
    assert {} == world.profile(person)["channelPreferences"]


def test_a_link_is_good_for_four_hundred_days(own_server: Server) -> None:
    """Then it is gone (410), for looking and for unsubscribing, and changes nothing."""
    server = own_server.start()
    server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    world = World(server.owner)
    journey, event = mailer(world)
    person = world.person()
    world.walk(journey, event, person)
    path = link_in(world.messages(endUserId=person)[0])
    world.advance("P399D")
    server.anyone.get(path).ok()
    world.advance("P3D")
    looked = server.anyone.get(path)

    assert (410, "text/html; charset=utf-8") == (looked.status, looked.headers["content-type"])
    assert 410 == one_click(server, path).status
    assert {} == world.profile(person)["channelPreferences"]


def test_another_workspace_s_address_is_in_its_own_links(apart: World) -> None:
    """`publicUrl`, where it is set."""
    apart.api.patch("/api/workspace", {"publicUrl": "https://news.example.com/x/"}).ok()
    journey, event = mailer(apart, body='<a href="{{ preferences_url }}">x</a>')
    person = apart.person()
    apart.walk(journey, event, person)
    (message,) = apart.messages(endUserId=person)

    assert 'href="https://news.example.com/x/preferences/' in message["body"]
    assert 1 == message["body"].count("/preferences/")


def test_a_workspace_without_an_address_of_its_own_shows_the_server_s(apart: World) -> None:
    """It is what links begin with; null gives it back."""
    before = apart.api.get("/api/workspace").ok()["publicUrl"]
    set_to = apart.api.patch("/api/workspace", {"publicUrl": "https://news.example.com"}).ok()["publicUrl"]
    after = apart.api.patch("/api/workspace", {"publicUrl": None}).ok()["publicUrl"]

    assert before.startswith("http://127.0.0.1:")
    assert ("https://news.example.com", before) == (set_to, after)


def test_every_change_is_in_the_workspace_s_timeline(server: Server, apart: World) -> None:
    """Read right after each answer: who, what, from what to what, and nobody's address."""
    journey, event = mailer(apart)
    person = apart.person()
    apart.walk(journey, event, person)
    message = apart.messages(endUserId=person)[0]
    one_click(server, link_in(message)).ok()
    first = workspace_audit(apart, action="preferences.")[0]
    me = apart.api.get("/api/me").ok()["userId"]
    assert re.fullmatch(TIME, first["timestamp"])
    assert ("subject", "preferences.changed") == (first["actor"], first["action"])
    assert {"endUserId": person, "channel": "email", "old": True, "new": False, "source": "one_click"} == first[
        "metadata"
    ]

    apart.api.patch(f"/api/subjects/{person}", {"channelPreferences": None, "globalOptOut": True}).ok()
    apart.api.put(f"/api/subjects/{person}", {"attributes": {"a": 1}}).ok()
    apart.api.put("/api/suppressions/Someone@example.com", {"reason": "asked"}).ok(201)
    apart.api.delete("/api/suppressions/someone@example.com").ok(204)
    apart.api.patch("/api/workspace", {"timezone": "Asia/Tokyo"}).ok()
    entries = workspace_audit(apart)

    assert ["settings.changed", "suppression.removed", "suppression.added"] == [one["action"] for one in entries[:3]]
    assert {me} == {one["actor"] for one in entries[:6]}
    assert "omeone" not in str(entries)
    assert ["subject"] == [one["actor"] for one in workspace_audit(apart, actor="subject")]
    reply = apart.api.get("/api/workspace/audit?limit=2")
    assert entries[:2] == reply.ok()
    following = reply.next_path()
    assert following is not None
    assert entries[2:4] == apart.api.get(following).ok()
    assert [] == [one for one in apart.audit(journey) if one["action"].startswith(("preferences.", "suppression."))]


class TestInApp:
    """The store that the customer's app reads."""

    def test_what_was_sent_there_is_listed_and_read_once(self, apart: World) -> None:
        """Newest first, one person's alone, in pages; mails are not in it."""
        journey, event = mailer(apart, "in_app_push", title="Hi {{ event.n }}", data={"screen": "home"})
        mails, mail_event = mailer(apart)
        person, other = apart.person(), apart.person()
        for n in range(3):
            apart.event(event, person, {"n": n})
            apart.settle()
            apart.advance("PT1M")
        apart.walk(mails, mail_event, person)
        apart.event(event, other, {"n": 9})
        apart.settle()
        listed = apart.api.all_of(f"/api/in-app?endUserId={person}&limit=2")

        assert ["Hi 2", "Hi 1", "Hi 0"] == [one["title"] for one in listed]
        first = listed[0]
        assert {"messageId", "title", "body", "data", "sentAt", "readAt", "journeyId", "stepId"} == first.keys()
        assert ({"screen": "home"}, None, journey, "mail") == (
            first["data"], first["readAt"], first["journeyId"], first["stepId"]
        )  # fmt: skip
        read = self.read(apart.api, first).ok()
        apart.advance("PT1H")
        assert read == self.read(apart.api, first).ok()
        assert [read["readAt"], None, None] == [
            one["readAt"] for one in apart.api.all_of(f"/api/in-app?endUserId={person}")
        ]
        assert "addresses" not in str(apart.api.get("/api/messages").ok())

    def test_what_is_not_there_is_404(self, apart: World, world: World) -> None:
        """Another workspace's too, and a mail."""
        journey, event = mailer(world, "in_app_push")
        mails, mail_event = mailer(world)
        person = world.person()
        world.walk(journey, event, person)
        world.walk(mails, mail_event, person)
        (theirs,) = world.api.get(f"/api/in-app?endUserId={person}").ok()
        (mail,) = [one for one in world.messages(endUserId=person) if one["channel"] == "email"]

        self.read(apart.api, theirs).problem(404, "not_found")
        self.read(world.api, mail).problem(404, "not_found")
        world.api.get("/api/in-app").problem(400, "validation_error")
        assert [] == apart.api.get(f"/api/in-app?endUserId={person}").ok()

    @staticmethod
    def read(client: Client, message: Json) -> Reply:
        """Mark as read."""
        return client.post(f"/api/in-app/{message['messageId']}/read")


class TestFeedback:
    """POST /api/messages/{messageId}/events."""

    def test_a_branch_reads_what_became_of_the_message(self, apart: World) -> None:
        """`received`, by a journey that waits a day and asks."""
        event = unique("ev")
        opened = {"kind": "received", "stepId": "mail", "status": "opened"}
        steps = [
            trigger("mail"), send("mail", apart.comm(), "day"), wait("day", "P1D", "split"),
            branch("split", [("yes", opened, "yes")], "no"), end("yes"), end("no"),
        ]  # fmt: skip
        journey = apart.journey(steps, event=event)
        reader, other = apart.person(), apart.person()
        for person in (reader, other):
            apart.walk(journey, event, person)
        told = self.say(apart, reader, "opened").ok()
        again = self.say(apart, reader, "opened").ok()
        apart.advance("P2D")

        assert told == again
        assert [("opened", False)] == [(one["type"], one["permanent"]) for one in told["events"]]
        assert ("yes", "no") == tuple(apart.execution(journey, person)["currentStepId"] for person in (reader, other))

    def test_a_wait_is_woken_by_it(self, apart: World) -> None:
        """At once, not by polling."""
        event = unique("ev")
        clicked = {"kind": "received", "stepId": "mail", "status": "clicked"}
        waiting = {
            "id": "w", "type": "wait", "mode": "until_condition", "condition": clicked, "timeout": "P3D",
            "onTimeout": "late", "next": "exit",
        }  # fmt: skip
        steps = [trigger("mail"), send("mail", apart.comm(), "w"), waiting, end("exit"), end("late")]
        journey = apart.journey(steps, event=event)
        person = apart.person()
        assert "w" == apart.walk(journey, event, person)["currentStepId"]
        self.say(apart, person, "clicked").ok()
        apart.settle()

        assert "exit" == apart.execution(journey, person)["currentStepId"]

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ({"type": "bounced", "permanent": True}, "suppression_match"),
            ({"type": "complained"}, "suppression_match"),
            ({"type": "unsubscribed"}, "opt_out"),
            ({"type": "bounced"}, None),
            ({"type": "delivered"}, None),
        ],
    )
    def test_what_stops_the_next_send(self, apart: World, said: Json, reason: str | None) -> None:
        """A permanent bounce, a complaint, an unsubscribe; the audit has it without the address."""
        journey, event = mailer(apart)
        person = apart.person()
        apart.walk(journey, event, person)
        self.say(apart, person, said["type"], **said).ok()
        apart.event(event, person)
        apart.settle()

        assert [reason] * (reason is not None) == [
            one["metadata"]["reason"] for one in apart.audit(journey, action="send.skipped")
        ]
        acts = [one for one in workspace_audit(apart) if one["metadata"].get("source") == "feedback"]
        assert (reason is not None) == (len(acts) == 1)
        assert "mail.example.com" not in str(acts)

    def test_nonsense_is_refused(self, apart: World) -> None:
        """Unknown messages, unknown words, other members."""
        journey, event = mailer(apart)
        person = apart.person()
        apart.walk(journey, event, person)
        for body in ({}, {"type": "sent"}, {"type": "opened", "permanent": "yes"}, {"type": "opened", "at": 1}):
            self.say(apart, person, "", **body).problem(400, "validation_error")
        apart.api.post("/api/messages/none/events", {"type": "opened"}).problem(404, "not_found")

    @staticmethod
    def say(world: World, person: str, kind: str, **body: object) -> Reply:
        """A provider's word about the person's only message."""
        message = world.messages(endUserId=person)[0]["messageId"]
        return world.api.post(f"/api/messages/{message}/events", body or {"type": kind})
