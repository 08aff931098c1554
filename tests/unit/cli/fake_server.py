"""A server's place in the command's tests: it keeps what it is given, and runs journeys of one step."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from journeys_client import MockTransport
from journeys_client.event_lines import format_timestamp
from journeys_client.mock import Answer, Asked

_ACCEPTED = 202


class FakeServer(MockTransport):
    """An empty workspace; every event whose type a published journey listens to is one finished execution.

    The clock stands still but for `POST /api/dev/clock`. `posted` is each event with the time it was posted at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.workspace: dict[str, Any] = {}
        self.people: list[bytes] = []
        self._known: set[str] = set()
        self.posted: list[tuple[datetime, dict[str, Any]]] = []
        self.executions: dict[str, list[dict[str, Any]]] = {}
        self.lists: dict[str, list[dict[str, Any]]] = {
            "communications": [],
            "audiences": [],
            "journey-triggers": [],
            "journeys": [],
        }
        for name in self.lists:
            self.on("GET", f"/api/{name}", answer=lambda asked, name=name: (200, self.lists[name]))  # type: ignore[misc]
            self.on("POST", f"/api/{name}", answer=lambda asked, name=name: self._create(name, asked))  # type: ignore[misc]
        self.on("PATCH", "/api/workspace", answer=self._workspace)
        self.on("POST", "/api/dev/clock", answer=self._clock)
        self.on("POST", "/api/subjects:import", answer=self._import)
        self.on("POST", "/api/journeys/*/publish", answer=self._publish)
        self.on("POST", "/api/events", answer=self._events)
        self.on("GET", "/api/journeys/*/executions", answer=lambda a: (200, self.executions.get(_id(a), [])))
        self.on("GET", "/api/journeys/*/step-stats", answer=self._step_stats)
        self.on("GET", "/api/journeys/*/audit", answer=self._audit)
        self.on("GET", "/api/messages", answer=lambda a: (200, self._messages()))

    def journey(self, journey_id: str) -> dict[str, Any]:
        """A journey that is there."""
        return next(journey for journey in self.lists["journeys"] if journey["id"] == journey_id)

    def _workspace(self, asked: Asked) -> Answer:
        self.workspace |= asked.json()
        return 200, self.workspace

    def _clock(self, asked: Asked) -> Answer:
        seconds = asked.json()["advance"].removeprefix("PT").removesuffix("S")
        self.now += timedelta(seconds=float(seconds))
        return 200, {"now": format_timestamp(self.now)}

    def _import(self, asked: Asked) -> Answer:
        self.people = asked.content.splitlines()
        return 200, {
            "received": len(self.people),
            "created": len(self.people),
            "updated": 0,
            "errorCount": 0,
            "errors": [],
        }

    def _create(self, name: str, asked: Asked) -> Answer:
        body = {"id": f"{name}-{len(self.lists[name]) + 1}", **asked.json()}
        if name == "journeys":
            body |= {"status": "draft", "version": "draft"}
        self.lists[name].append(body)
        return 201, body

    def _publish(self, asked: Asked) -> Answer:
        journey = self.journey(_id(asked))
        journey |= {"status": "published", "version": 1, "latestVersion": 1}
        return 200, {"id": journey["id"], "version": 1}

    def _events(self, asked: Asked) -> Answer:
        duplicates = 0
        for event in asked.json()["events"]:
            if event.get("id") in self._known:
                duplicates += 1
                continue
            self._known |= {event["id"]} if "id" in event else set()
            self.posted.append((self.now, event))
            self._start(event)
        return _ACCEPTED, {"received": len(asked.json()["events"]), "duplicates": duplicates, "errors": []}

    def _start(self, event: Mapping[str, Any]) -> None:
        contracts = {c["id"]: c["eventName"] for c in self.lists["journey-triggers"]}
        for journey in self.lists["journeys"]:
            listens = contracts.get(journey.get("triggerContractId")) == event["type"]
            if journey["status"] == "published" and listens and "endUserId" in event:
                started = {
                    "executionId": f"x{len(self.posted)}",
                    "endUserId": event["endUserId"],
                    "status": "SUCCEEDED",
                }
                self.executions.setdefault(journey["id"], []).append(started)

    def _step_stats(self, asked: Asked) -> Answer:
        count = len(self.executions.get(_id(asked), []))
        steps = [step["id"] for step in self.journey(_id(asked))["steps"]]
        waiting = 3 if count else 0
        rows = [{"stepId": step, "executed": count, "skipped": 0, "failed": 0, "waiting": 0} for step in steps]
        return 200, [*rows[:-1], {**rows[-1], "waiting": waiting}]

    def _audit(self, asked: Asked) -> Answer:
        entries = [{"timestamp": "", "actor": "system", "action": "goal.reached"}] * 2
        return 200, entries if self.executions.get(_id(asked)) else []

    def _messages(self) -> list[dict[str, Any]]:
        sent = [{"channel": "email", "status": "sent"}] * sum(map(len, self.executions.values()))
        return [*sent, {"channel": "mobile_push", "status": "failed"}] if sent else []


def _id(asked: Asked) -> str:
    return asked.path.split("/")[3]
