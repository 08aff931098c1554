"""The words that the end-to-end tests are written in: steps, predicates, and a workspace to put them into."""

import datetime as dt
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from tests.e2e.server import Client, eventually

Json = dict[str, Any]
HOUR = 3_600_000
DAY = 24 * HOUR
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
ARN = "arn:aws:states:us-east-1:0:execution:disp:"
_count = itertools.count(1)


def unique(prefix: str) -> str:
    """A name no other test has."""
    return f"{prefix}-{os.getpid()}-{next(_count)}"


def seg(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def ms_of(text: str) -> int:
    """Milliseconds since 1970."""
    moment = dt.datetime.fromisoformat(text)
    return round((moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(milliseconds=1))


def time_at(ms: int) -> str:
    """A moment as the API writes it."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all of them at the same moment; their results in order. What one raises is its result."""
    results: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def work(i: int, call: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[i] = call()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=one, daemon=True) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


# -- steps


def trigger(to: str, **more: Any) -> Json:
    """A trigger step."""
    return {"id": "trigger", "type": "trigger", "mode": "event", "next": to, **more}


def wait(name: str, duration: str, to: str) -> Json:
    """A wait of a fixed length."""
    return {"id": name, "type": "wait", "mode": "duration", "duration": duration, "next": to}


def wait_event(name: str, event: str, timeout: str, to: str, on_timeout: str, **more: Any) -> Json:
    """A wait for an event."""
    return {
        "id": name,
        "type": "wait",
        "mode": "until_event",
        "eventName": event,
        "timeout": timeout,
        "onTimeout": on_timeout,
        "next": to,
        **more,
    }


def send(name: str, communication: str, to: str, channel: str = "email", **more: Any) -> Json:
    """A send step."""
    return {"id": name, "type": "send", "channel": channel, "communicationId": communication, "next": to, **more}


def branch(name: str, ways: Sequence[tuple[str, Json, str]], default: str) -> Json:
    """A branch by condition: (branch id, condition, next)."""
    cases = [{"id": case, "condition": condition, "next": to} for case, condition, to in ways]
    return {"id": name, "type": "branch", "mode": "condition", "branches": cases, "default": default}


def draw(name: str, arms: Sequence[tuple[str, float, str]]) -> Json:
    """A random branch: (arm id, weight, next)."""
    ways = [{"id": arm, "weight": weight, "next": to} for arm, weight, to in arms]
    return {"id": name, "type": "branch", "mode": "random", "arms": ways}


def update(name: str, values: Json, to: str) -> Json:
    """An update of the profile."""
    return {"id": name, "type": "update_profile", "set": values, "next": to}


def end(name: str = "exit", **more: Any) -> Json:
    """An exit."""
    return {"id": name, "type": "exit", **more}


# -- predicates


def attr(path: str, operator: str, *value: Any, kind: str = "attribute") -> Json:
    """A comparison of an attribute."""
    leaf: Json = {"kind": kind, "fieldPath": path, "operator": operator}
    return {**leaf, "value": value[0]} if value else leaf


def event_attr(path: str, operator: str, *value: Any) -> Json:
    """A comparison of a member of the event."""
    return attr(path, operator, *value, kind="event_attribute")


def fired(name: str, *, days: float | None = None, **more: Any) -> Json:
    """An event in the person's history."""
    window = {"type": "since_start"} if days is None else {"type": "last_n_days", "days": days}
    return {"kind": "event_fired", "eventName": name, "window": window, **more}


class World:
    """A workspace and what happens in it."""

    def __init__(self, api: Client, server_internal: Client | None = None) -> None:
        self.api = api
        self.internal = server_internal
        self.key: str = api.get("/api/me").ok()["projectKey"]

    # -- time

    def advance(self, duration: str) -> int:
        """Move the clock; everything due by then has happened. The time it is, in ms."""
        now: str = self.api.post("/api/dev/clock", {"advance": duration}, timeout=300).ok()["now"]
        return ms_of(now)

    def settle(self) -> int:
        """Let everything that was accepted be handled. The time it is, in ms."""
        return self.advance("PT0S")

    # -- things

    def comm(self, channel: str = "email", **more: Any) -> str:
        """A marketing communication."""
        name = unique("comm")
        texts = {"subject": f"Subject {name}"} if channel == "email" else {"title": f"Title {name}"}
        body = {"name": name, "commType": "marketing", "channel": channel, "body": f"Body {name}", **texts, **more}
        made: str = self.api.post("/api/communications", body).ok(201)["id"]
        return made

    def contract(self, event: str | None = None, **more: Any) -> str:
        """A trigger contract."""
        body = {"name": unique("contract"), "eventName": event or unique("event"), **more}
        made: str = self.api.post("/api/journey-triggers", body).ok(201)["id"]
        return made

    def audience(self, predicate: Json | None = None, subject_ids: Sequence[str] | None = None) -> str:
        """An audience by predicate or by list."""
        members = {"predicate": predicate} if subject_ids is None else {"subjectIds": list(subject_ids)}
        made: str = self.api.post("/api/audiences", {"name": unique("audience"), **members}).ok(201)["id"]
        return made

    def person(self, attributes: Json | None = None, *, email: str | None = "own", **more: Any) -> str:
        """A person with an address of their own."""
        name = unique("usr")
        address = f"{name}@mail.example.com" if email == "own" else email
        body = {"attributes": attributes or {}, "addresses": {"email": address} if address else {}, **more}
        self.api.put(f"/api/subjects/{name}", body).ok(201)
        return name

    def profile(self, person: str) -> Json:
        """A person as stored."""
        found: Json = self.api.get(f"/api/subjects/{seg(person)}").ok()
        return found

    def draft(self, steps: Sequence[Json] | None = None, **more: Any) -> str:
        """A draft journey."""
        body = {"name": unique("Journey"), **more}
        if steps is not None:
            body["steps"] = list(steps)
        made: str = self.api.post("/api/journeys", body).ok(201)["id"]
        return made

    def publish(self, journey: str) -> int:
        """Publish; the number of the version."""
        version: int = self.api.post(f"/api/journeys/{journey}/publish").ok()["version"]
        return version

    def journey(self, steps: Sequence[Json], event: str | None = None, **more: Any) -> str:
        """A published journey, which listens to `event` if there is one."""
        if event is not None and "triggerContractId" not in more:
            more["triggerContractId"] = self.contract(event)
        made = self.draft(steps, **more)
        self.publish(made)
        return made

    def show(self, journey: str) -> Json:
        """A journey as the API shows it."""
        found: Json = self.api.get(f"/api/journeys/{journey}").ok()
        return found

    def edit(self, journey: str, **members: Any) -> Json:
        """PATCH; the journey."""
        found: Json = self.api.patch(f"/api/journeys/{journey}", members).ok()
        return found

    # -- what happens

    def event(self, kind: str, person: str | None = None, data: Json | None = None, **more: Any) -> str:
        """Post one event; its id."""
        body: Json = {"id": unique("evt"), "type": kind, **more}
        if person is not None:
            body["endUserId"] = person
        if data is not None:
            body["data"] = data
        self.api.post("/api/events", body).ok(202)
        name: str = body["id"]
        return name

    def executions(self, journey: str, person: str | None = None) -> list[Json]:
        """The journey's executions, newest first."""
        query = f"?endUserId={seg(person)}" if person is not None else ""
        return self.api.all_of(f"/api/journeys/{journey}/executions{query}")

    def execution(self, journey: str, person: str) -> Json:
        """The one execution of a person, with its history; waits for it to be there."""
        (one,) = eventually(lambda: self.executions(journey, person))
        return self.detail(journey, one["executionId"])

    def detail(self, journey: str, execution: str) -> Json:
        """One execution with its history."""
        found: Json = self.api.get(f"/api/journeys/{journey}/executions/{seg(execution)}").ok()
        return found

    def walk(self, journey: str, event: str, person: str | None = None, data: Json | None = None) -> Json:
        """A (new) person does something; what became of it, once all of it is done."""
        person = person or self.person()
        self.event(event, person, data)
        self.settle()
        return self.execution(journey, person)

    def messages(self, **filters: str) -> list[Json]:
        """What was sent, newest first."""
        query = "&".join(f"{name}={seg(value)}" for name, value in filters.items())
        return self.api.all_of(f"/api/messages?{query}")

    def audit(self, journey: str, **filters: str) -> list[Json]:
        """The journey's timeline, newest first."""
        query = "&".join(f"{name}={seg(value)}" for name, value in filters.items())
        return self.api.all_of(f"/api/journeys/{journey}/audit?{query}")

    def actions(self, journey: str, **filters: str) -> list[str]:
        """What the timeline says happened, oldest first."""
        return [entry["action"] for entry in reversed(self.audit(journey, **filters))]

    def step_stats(self, journey: str) -> dict[str, Json]:
        """The counts by step."""
        return {step["stepId"]: step for step in self.api.get(f"/api/journeys/{journey}/step-stats").ok()}

    def start_internal(self, journey: str, person: str, event_id: str, **more: Any) -> Json:
        """The internal start."""
        assert self.internal is not None
        body = {"projectKey": self.key, "journeyId": journey, "endUserId": person, "eventId": event_id, **more}
        reply: Json = self.internal.post("/api/journeys/internal/start-execution", body).ok()
        return reply


def path_of(execution: Json) -> list[tuple[str, str]]:
    """What an execution's history says: (step, event)."""
    return [(entry["stepId"], entry["event"]) for entry in execution["history"]]


def entries(execution: Json, event: str) -> list[Json]:
    """The entries of a history of one kind."""
    return [entry for entry in execution["history"] if entry["event"] == event]
