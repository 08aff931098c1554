"""Those who go on asking while the server is killed under them, and their own log of what they were told.

Law: whoever asks repeats until answered, with the same ids; what was answered is noted at once, in memory that no
server shares.
"""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.crashing import Answer, Server, eventually

PEOPLE = 120
WALK = [
    {"id": "trigger", "type": "trigger", "next": "hello"},
    {"id": "hello", "type": "send", "channel": "email", "communicationId": "$mail", "next": "greeted"},
    {"id": "greeted", "type": "update_profile", "set": {"greeted": True}, "next": "breath"},
    {"id": "breath", "type": "wait", "mode": "duration", "duration": "PT1S", "next": "activation"},
    {
        "id": "activation", "type": "wait", "mode": "until_event", "eventName": "activated", "timeout": "PT2S",
        "onTimeout": "nudge", "next": "congrats",
    },
    {"id": "congrats", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "nudge", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "exit", "type": "exit"},
]  # fmt: skip
ORDER = [  # two waits for events of one name: one event must not do for both
    {"id": "trigger", "type": "trigger", "next": "packed"},
    *(
        {
            "id": step, "type": "wait", "mode": "until_event", "eventName": "moved", "timeout": "P30D",
            "onTimeout": "exit", "match": {"orderId": "event.orderId"}, "next": then,
        }
        for step, then in (("packed", "delivered"), ("delivered", "receipt"))
    ),
    {"id": "receipt", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "exit", "type": "exit"},
]  # fmt: skip
REFER = [
    {"id": "trigger", "type": "trigger", "next": "welcome"},
    {"id": "welcome", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "exit", "type": "exit"},
]
GATE = [{"id": "trigger", "type": "trigger", "next": "exit"}, {"id": "exit", "type": "exit"}]
STEPS = {  # with the event that starts them, and where in it the person is found
    "walk": (WALK, "signed_up", "endUserId"),
    "order": (ORDER, "ordered", "endUserId"),
    "refer": (REFER, "referred", "friend"),
    "gate": (GATE, "knocked", "endUserId"),
}
JOURNEYS = tuple(STEPS)
DRAFTS = ("draft", "often")
SENDS = ("hello", "congrats", "nudge", "receipt", "welcome")


@dataclass
class World:
    """What happened, as those who asked know it."""

    server: Server
    over: threading.Event = field(default_factory=threading.Event)
    walks: set[str] = field(default_factory=set)  # execution ids that have to be there
    orders: set[str] = field(default_factory=set)
    referrals: set[str] = field(default_factory=set)
    let_in: set[str] = field(default_factory=set)
    kept_out: set[str] = field(default_factory=set)
    edits: list[tuple[int, str]] = field(default_factory=list)  # acknowledged: number, updatedAt
    edited: int = 0
    publishes: int = 0
    pauses: int = 0
    made: list[str] = field(default_factory=list)
    repeated: int = 0  # requests that were not answered
    faults: list[BaseException] = field(default_factory=list)

    @property
    def starts(self) -> set[str]:
        """Every execution that was promised."""
        return self.walks | self.orders | self.referrals | self.let_in

    @property
    def sends(self) -> int:
        """How many sends they make."""
        return 2 * len(self.walks) + len(self.orders) + len(self.referrals)


class Client(threading.Thread):
    """Somebody who goes on asking until `over`, and repeats until answered."""

    def __init__(self, world: World, seed: str) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.world = world
        self.random = random.Random(seed + self.name)
        self.line = world.server.line()

    def run(self) -> None:
        try:
            number = 0
            while not self.world.over.is_set():
                number += 1
                self.turn(number)
        except BaseException as fault:
            self.world.faults.append(fault)

    def turn(self, number: int) -> None:
        """One more."""
        raise NotImplementedError

    def insist(self, method: str, path: str, body: object, fit: set[int]) -> Answer:
        """Until answered; the answer."""
        answer, unanswered = self.line.insist(method, path, body, fit)
        self.world.repeated += unanswered
        return answer

    def post(self, *events: dict[str, Any]) -> None:
        """Events, alone or in a batch, until they are accepted."""
        body = events[0] if len(events) == 1 else {"events": events}
        answer = self.insist("POST", "/api/events", body, {202})
        assert len(events) == answer.json["received"]
        assert not answer.json["errors"]


class Walkers(Client):
    """People sign up; some activate, some not, some too late."""

    def turn(self, number: int) -> None:
        person = f"p{self.random.randrange(PEOPLE)}"
        self.post({"id": f"w{number}", "type": "signed_up", "endUserId": person})
        self.world.walks.add(f"walk__v1__{person}__w{number}")
        if number % 3 == 0:
            someone = f"p{self.random.randrange(PEOPLE)}"
            self.post({"id": f"a{number}", "type": "activated", "endUserId": someone})


class Starters(Client):
    """The same journey, started by hand."""

    def turn(self, number: int) -> None:
        person = f"p{self.random.randrange(PEOPLE)}"
        body = {"endUserId": person, "eventId": f"m{number}"}
        answer = self.insist("POST", "/api/journeys/walk/executions", body, {200, 201})
        execution = f"walk__v1__{person}__m{number}"
        assert execution == answer.json["executionId"]
        assert answer.json["started"] or "duplicate" == answer.json["reason"], answer.json
        self.world.walks.add(execution)
        time.sleep(0.02)  # a person's hand is slow


class Buyers(Client):
    """Orders in batches, and each of them packed and delivered in the next two."""

    def turn(self, number: int) -> None:
        batch = [(f"p{self.random.randrange(PEOPLE)}", f"{number}-{i}") for i in range(12)]
        for kind, name in (("o", "ordered"), ("p", "moved"), ("d", "moved")):
            self.post(
                *(
                    {"id": f"{kind}{order}", "type": name, "endUserId": person, "data": {"orderId": order}}
                    for person, order in batch
                )
            )
            if kind == "o":
                self.world.orders.update(f"order__v1__{person}__o{order}" for person, order in batch)
        time.sleep(0.05)


class Friends(Client):
    """Events of one person that start another: they reach the other's lane as commands."""

    def turn(self, number: int) -> None:
        friends = [(f"p{self.random.randrange(PEOPLE)}", f"f{number}-{i}") for i in range(6)]
        self.post(
            *({"id": key, "type": "referred", "endUserId": "p1", "data": {"friend": friend}} for friend, key in friends)
        )
        self.world.referrals.update(f"refer__v1__{friend}__{key}" for friend, key in friends)
        time.sleep(0.05)


class Gatekeeper(Client):
    """Pauses and resumes; what comes after an acknowledged pause stays out, what comes after a resume gets in.

    Each waits for the decision before it turns the key again: an event is decided by what holds when it is handled.
    """

    def turn(self, number: int) -> None:
        self.insist("POST", "/api/journeys/gate/pause", None, {200})
        self.knock(f"out{number}", self.world.kept_out, "audit?action=trigger.blocked&")
        self.insist("POST", "/api/journeys/gate/resume", None, {200})
        self.knock(f"in{number}", self.world.let_in, "executions?")
        self.world.pauses += 1

    def knock(self, event: str, seen: set[str], decisions: str) -> None:
        """One event, and what becomes of it."""
        execution = f"gate__v1__p0__{event}"
        self.post({"id": event, "type": "knocked", "endUserId": "p0"})
        seen.add(execution)
        eventually(lambda: execution in self.newest(decisions), 60.0, f"the decision on {event}")

    def newest(self, decisions: str) -> str:
        answer = self.insist("GET", f"/api/journeys/gate/{decisions}limit=1", None, {200})
        return answer.body.decode()


class Author(Client):
    """Edits one draft again and again from the state read last; publishes another; makes new ones."""

    updated_at = ""

    def turn(self, number: int) -> None:
        self.world.edited = number
        body = {"description": f"edit {number}", **({"updatedAt": self.updated_at} if self.updated_at else {})}
        answer = self.insist("PATCH", "/api/journeys/draft", body, {200, 409})
        if answer.status == 409:  # it was done and the answer got lost, or else an edit of ours is gone
            answer = self.insist("GET", "/api/journeys/draft", None, {200})
            assert f"edit {number}" == answer.json["description"]
        else:
            self.world.edits.append((number, answer.json["updatedAt"]))
        self.updated_at = answer.json["updatedAt"]
        if number % 5 == 0:
            self.insist("PATCH", "/api/journeys/often", {"description": f"version {number}"}, {200})
            self.insist("POST", "/api/journeys/often/publish", None, {200, 409})
            self.world.publishes += 1
        if number % 7 == 0:
            self.insist("POST", "/api/journeys", {"id": f"made-{number}", "name": f"Made {number}"}, {201, 409})
            self.world.made.append(f"made-{number}")


CLIENTS = (Walkers, Starters, Buyers, Friends, Gatekeeper, Author)


def furnish(server: Server) -> None:
    """People with addresses, and the journeys."""
    line = server.line()
    people = [{"endUserId": f"p{i}", "addresses": {"email": f"p{i}@example.com"}} for i in range(PEOPLE)]
    line.do("POST", "/api/subjects:import", b"\n".join(json.dumps(one).encode() for one in people))
    line.do("PATCH", "/api/workspace", {"holdout": {"percent": 0}})
    mail = line.do(
        "POST",
        "/api/communications",
        {"name": "Mail", "commType": "marketing", "channel": "email", "subject": "Hello", "body": "<p>Hi</p>"},
    )["id"]
    for name, (steps, event, subject) in STEPS.items():
        trigger = {"name": name, "eventName": event, "subjectFieldPath": subject}
        contract = line.do("POST", "/api/journey-triggers", trigger)["id"]
        text = json.dumps({"id": name, "name": name, "triggerContractId": contract, "steps": steps})
        line.do("POST", "/api/journeys", text.replace("$mail", mail).encode())
        line.do("POST", f"/api/journeys/{name}/publish")
    line.do("POST", "/api/journeys", {"id": "draft", "name": "draft"})
    line.do("POST", "/api/journeys", {"id": "often", "name": "often"})
