"""What people write that cannot be: refused where it can be known, else recorded, and the person goes on. Issue 6."""

import re
from typing import Any

import pytest

from tests.e2e.server import Server, fault_codes, fault_paths
from tests.e2e.words import (
    Json,
    World,
    attr,
    branch,
    end,
    entries,
    send,
    trigger,
    unique,
    update,
)

LOOPS = "{% for a in (1..9000) %}{% for b in (1..9000) %}x{% endfor %}{% endfor %}"
NAMES = ["Åsa Öström", "שלום עולם", "محمد \u202eabc", "山田 太郎", "👩\u200d👧", "e\u0301\u0000?"]
SMTP = {"type": "smtp", "host": "mail.example.com", "port": 587, "security": "starttls", "from": "a@example.com"}
HTTP = {"type": "http", "url": "https://hooks.example.com/send", "idempotent": True}


def hook(url: str, **more: Any) -> Json:
    """A webhook called `hook`."""
    return {"id": "hook", "type": "webhook", "method": "POST", "url": url, "next": "exit", **more}


def deep(levels: int) -> Json:
    """A predicate of that depth."""
    condition = attr("a", "exists")
    for _ in range(levels - 1):
        condition = {"kind": "not", "clause": condition}
    return condition


def refused(world: World, draft: Json) -> Any:
    """The problem with a journey of these members, whether it is told when it is written or when it is published."""
    reply = world.api.post("/api/journeys", {"name": unique("Journey"), **draft})
    if reply.status == 201:
        reply = world.api.post(f"/api/journeys/{reply.body['id']}/publish")
    return reply.problem(400)


class TestTimes:
    """Zones and moments that do not exist."""

    def test_zones_nobody_lives_in(self, world: World) -> None:
        """In a profile, a workspace, a journey's settings and a schedule."""
        steps = [trigger("exit", mode="schedule", at="2027-01-01T00:00:00", timezone="Mars/Base"), end()]
        journey = refused(world, {"steps": steps, "settings": {"timezone": "../etc/passwd"}})
        person = world.api.put(f"/api/subjects/{unique('usr')}", {"timezone": "Mars/Base"}).problem(400)
        workspace = world.api.patch("/api/workspace", {"timezone": "Mars/Base"}).problem(400)

        assert {"/steps/0/timezone", "/settings/timezone"} == fault_paths(journey)
        assert {"/timezone"} == fault_paths(person) == fault_paths(workspace)

    @pytest.mark.parametrize(
        ("wait", "path"),
        [
            ({"localTime": "24:00"}, "localTime"),
            ({"localTime": "7:5"}, "localTime"),
            ({"localTime": "08:00", "weekdays": ["someday"]}, "weekdays"),
            ({"at": "2026-02-30T00:00:00Z"}, "at"),
            ({"at": "tomorrow"}, "at"),
            ({"attribute": "born", "offset": "P1M"}, "offset"),
        ],
    )
    def test_moments_no_clock_shows(self, world: World, wait: Json, path: str) -> None:
        """Each with its place."""
        step = {"id": "w", "type": "wait", "mode": "until_time", "next": "exit", **wait}
        problem = refused(world, {"steps": [trigger("w"), step, end()]})

        assert [f"/steps/1/{path}"] == [one[: len(f"/steps/1/{path}")] for one in fault_paths(problem)]

    @pytest.mark.parametrize(
        "hours",
        [{"start": "24:00", "end": "08:00"}, {"start": "22:00", "end": "8"}, {"start": "22:00"}],
    )
    def test_quiet_hours_no_clock_shows(self, world: World, hours: Json) -> None:
        """Nothing changes."""
        problem = world.api.patch("/api/workspace", {"quietHours": hours}).problem(400)

        assert all(path.startswith("/quietHours/") for path in fault_paths(problem))


def test_a_predicate_is_32_deep_at_most(world: World) -> None:
    """Wherever one may stand; one of 32 is taken."""
    waits = {
        "id": "w",
        "type": "wait",
        "mode": "until_condition",
        "timeout": "P1D",
        "onTimeout": "exit",
        "next": "exit",
    }

    def journey(levels: int) -> Json:
        steps = [
            trigger("b", filter=deep(levels)),
            branch("b", [("x", deep(levels), "exit")], "w"),
            {**waits, "condition": deep(levels)},
            end(),
        ]
        return {"name": unique("Journey"), "steps": steps}

    problem = world.api.post("/api/journeys", journey(33)).problem(400)
    audience = world.api.post("/api/audiences", {"name": "Deep", "predicate": deep(33)}).problem(400)

    assert ["too_deep"] * 3 == fault_codes(problem)
    assert ["too_deep"] == fault_codes(audience)
    world.api.post("/api/journeys", journey(32)).ok(201)
    world.api.post("/api/audiences", {"name": "Deep", "predicate": deep(32)}).ok(201)


class TestAddresses:
    """URLs with credentials, and texts that would be two header lines."""

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:secret@hooks.example.com/x",
            "https://user@hooks.example.com",
            "https://{{ subject.endUserId }}:secret@hooks.example.com/x",
        ],
    )
    def test_a_webhook_with_credentials_is_not_published(self, world: World, url: str) -> None:
        """The answer repeats nothing of them."""
        problem = refused(world, {"steps": [trigger("hook"), hook(url), end()]})

        assert [("/steps/1/url", "url_with_credentials")] == [
            (fault["path"], fault["code"]) for fault in problem["errors"]
        ]
        assert "secret" not in str(problem)

    def test_an_at_sign_elsewhere_is_none(self, world: World) -> None:
        """In a path, a query, or what Liquid puts there."""
        for url in ("https://h.example.com/@me?to=a@example.com", "https://{{ event.host | split: '@' | last }}/x"):
            world.journey([trigger("hook"), hook(url), end()])

    @pytest.mark.parametrize(
        ("channel", "sender", "path"),
        [
            ("email", {**HTTP, "url": "https://u:secret@hooks.example.com/"}, "url"),
            ("mobile_push", {**HTTP, "url": "https://u@hooks.example.com"}, "url"),
            (
                "mobile_push",
                {
                    "type": "fcm",
                    "projectId": "p",
                    "credentialsRef": "env:PATH",
                    "endpoint": "https://u:secret@f.example",
                },
                "endpoint",
            ),
            ("email", {**SMTP, "host": "u:secret@mail.example.com"}, "host"),
            ("email", {**SMTP, "from": "a@example.com\r\nBcc: all@example.com"}, "from"),
            ("email", {**SMTP, "replyTo": "a@example.com\nBcc: all@example.com"}, "replyTo"),
            ("email", {**HTTP, "headers": {"X-A": "a\r\nX-B: secret"}}, "headers/X-A"),
            ("email", {**HTTP, "headers": {"X-A: 1\r\nX-B": "b"}}, "headers/X-A: 1\r\nX-B"),
        ],
    )
    def test_a_sender_with_credentials_or_a_line_break_is_refused(
        self, world: World, channel: str, sender: Json, path: str
    ) -> None:
        """400 with the path; the settings are as they were."""
        before = world.api.get("/api/workspace").ok()
        problem = world.api.patch("/api/workspace", {"senders": {channel: sender}}).problem(400, "validation_error")

        assert {f"/senders/{channel}/{path}"} == fault_paths(problem)
        assert "secret" not in str(problem)
        assert before == world.api.get("/api/workspace").ok()

    def test_a_communication_is_from_one_line(self, world: World) -> None:
        """`from` is an address, and no header of another kind."""
        body = {"name": "n", "commType": "marketing", "channel": "email", "subject": "s", "body": "b"}
        problem = world.api.post("/api/communications", {**body, "from": "a@example.com\r\nBcc: b@example.com"})

        assert {"/from"} == fault_paths(problem.problem(400))

    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("X A", "1", "bad_pattern"),
            ("X-A\r\nX-B", "1", "bad_pattern"),
            ("X-B", "{{ a | nope }}", "invalid_template"),
        ],
    )
    def test_a_webhooks_header_is_looked_at(self, world: World, name: str, value: str, code: str) -> None:
        """No name of two lines, and no template that does not compile."""
        step = hook("https://h.example.com", headers={name: value})

        assert [code] == fault_codes(refused(world, {"steps": [trigger("hook"), step, end()]}))

    @pytest.mark.parametrize(
        "address", ["a@example.com\r\nBcc: b@example.com", "a@example.com, b@example.com", "a b@example.com", "a\0@b.c"]
    )
    def test_a_person_has_one_address(self, world: World, address: str) -> None:
        """Not two, and no header behind it: by PUT, by PATCH and in an import."""
        person = world.person()
        patched = world.api.patch(f"/api/subjects/{person}", {"addresses": {"email": address}}).problem(400)
        put = world.api.put(f"/api/subjects/{unique('usr')}", {"addresses": {"email": address}}).problem(400)

        assert {"/addresses/email"} == fault_paths(patched) == fault_paths(put)


class TestLiquid:
    """Texts that never end, and texts that ask for what is not there."""

    def test_loops_are_bounded_wherever_they_stand(self, world: World) -> None:
        """Nested, each within its limit: recorded by step, and everybody goes on."""
        event = unique("ev")
        steps = [
            trigger("u"),
            update("u", {"never": LOOPS, "kept": 1}, "subject"),
            send("subject", world.comm(subject=LOOPS), "body"),
            send("body", world.comm(body=LOOPS), "hook"),
            hook("https://h.example.com/", body={"text": LOOPS}),
            end(),
        ]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event)
        (updated,) = entries(run, "profile.updated")

        assert "SUCCEEDED" == run["status"]
        assert {"subject", "body"} == {one["stepId"] for one in entries(run, "send.failed")}
        assert ["hook"] == [one["stepId"] for one in entries(run, "webhook.failed")]
        assert {"never"} == updated["detail"]["faults"].keys()
        assert {"kept": 1} == world.profile(run["endUserId"])["attributes"]
        said = [one["detail"]["reason"] for one in run["history"] if one["event"].endswith(".failed")]
        assert all("10,000 times" in reason for reason in said)

    def test_what_is_missing_prints_nothing_and_is_counted(self, server: Server, world: World) -> None:
        """In production the message goes out; its line in history names what was missing, and a figure grows."""

        def counted() -> float:
            found = re.search(r"^runtime_missing_variables_total (\S+)$", server.anyone.get("/metrics").body, re.M)
            return float(found[1]) if found else 0.0

        event, before = unique("ev"), counted()
        text = "{{ subject.nick }}{{ event.code | upcase }}{{ subject.pet | default: 'cat' }}{{ subject.nick }}"
        steps = [
            trigger("u"),
            update("u", {"note": "[{{ event.note }}]"}, "s"),
            send("s", world.comm(subject="Hi {{ subject.nick }}!", body=text), "exit"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event)
        (sent,) = entries(run, "send.executed")
        (message,) = world.messages(executionId=run["executionId"])

        assert "Hi !" == message["subject"]
        assert message["body"].startswith("cat")
        assert ["event.code", "subject.nick"] == sorted(sent["detail"]["missing"])
        assert "[]" == world.profile(run["endUserId"])["attributes"]["note"]
        assert 3 == counted() - before

    def test_nothing_is_said_where_nothing_is_missing(self, world: World) -> None:
        """Null and false are values as far as conditions go; what is there is not missing."""
        event = unique("ev")
        body = "{% if subject.none %}x{% endif %}{{ subject.flag }}{{ subject.zero }}{{ subject.void }}"
        journey = world.journey([trigger("s"), send("s", world.comm(body=body), "exit"), end()], event=event)
        run = world.walk(journey, event, world.person({"flag": False, "zero": 0, "void": ""}))

        assert "missing" not in entries(run, "send.executed")[0]["detail"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_script_comes_through(world: World, name: str) -> None:
    """By PUT, into a predicate, a text and a search, as it was written."""
    event, person = unique("ev"), world.person({"name": name})
    steps = [
        trigger("b"),
        branch("b", [("same", attr("name", "equals", name), "s")], "exit"),
        send("s", world.comm(subject="{{ subject.name }}"), "exit"),
        end(),
    ]
    journey = world.journey(steps, event=event)
    world.walk(journey, event, person)

    assert name == world.profile(person)["attributes"]["name"]
    assert [name] == [message["subject"] for message in world.messages(endUserId=person)]
