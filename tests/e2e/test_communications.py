"""Communications: versions, pinning, archive, Liquid. Contract 3."""

from typing import Any

import pytest

from tests.e2e.server import fault_codes, fault_paths
from tests.e2e.words import Json, World, end, send, trigger, unique, wait


def test_a_communication_is_kept_as_written(world: World) -> None:
    """Every documented member; version 1; status active."""
    body = {
        "name": "Welcome",
        "commType": "marketing",
        "channel": "email",
        "subject": "Hi {{ subject.name }}",
        "body": "<p>Hello</p>",
        "text": "Hello",
        "from": "us@example.com",
    }
    reply = world.api.post("/api/communications", body)
    made = reply.ok(201)

    assert body == {key: made[key] for key in body}
    assert (1, "active") == (made["version"], made["status"])
    assert made == world.api.get(reply.headers["location"]).ok()
    assert made in world.api.all_of("/api/communications?limit=5")


def test_a_push_has_title_and_data(world: World) -> None:
    """The members of the push channels."""
    for channel in ("in_app_push", "mobile_push"):
        body = {
            "name": "Push",
            "commType": "marketing",
            "channel": channel,
            "title": "T",
            "body": "B",
            "data": {"deep": {"link": [1, 2]}},
        }
        made = world.api.post("/api/communications", body).ok(201)
        assert body == {key: made[key] for key in body}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": None}, "/name"),
        ({"name": ""}, "/name"),
        ({"commType": "spam"}, "/commType"),
        ({"channel": "fax"}, "/channel"),
        ({"subject": 5}, "/subject"),
        ({"data": "x"}, "/data"),
        ({"foo": 1}, "/foo"),
        ({"body": "{{ subject.name "}, "/body"),
        ({"body": "{% if x %}"}, "/body"),
        ({"subject": "{{ 'x' | no_such_filter }}"}, "/subject"),
        ({"text": "{% include 'secret' %}"}, "/text"),
        ({"title": "{% nope %}"}, "/title"),
    ],
)
def test_a_malformed_communication_is_refused(world: World, change: Json, path: str) -> None:
    """400 with the path, on POST and on PATCH; the communication stays as it was."""
    body = {"name": "x", "commType": "marketing", "channel": "email", "subject": "s", "body": "b", **change}
    problem = world.api.post("/api/communications", body).problem(400)
    assert path in fault_paths(problem)

    made = world.comm()
    before = world.api.get(f"/api/communications/{made}").ok()
    problem = world.api.patch(f"/api/communications/{made}", change).problem(400)
    assert path in fault_paths(problem)
    assert before == world.api.get(f"/api/communications/{made}").ok()


def test_every_patch_is_a_new_version(world: World) -> None:
    """1, 2, 3; what is not in the patch stays; what was read can be sent back."""
    made = world.comm(text="stays")
    shown = world.api.get(f"/api/communications/{made}").ok()
    versions = []
    for subject in ("A", "B"):
        shown = world.api.patch(f"/api/communications/{made}", {**shown, "subject": subject}).ok()
        versions.append(shown["version"])

    assert [2, 3] == versions
    assert ("B", "stays") == (shown["subject"], shown["text"])


def test_a_journey_sends_what_it_pinned(world: World) -> None:
    """An edit after publish reaches nobody until the next publish; runs in flight stay on theirs."""
    event = unique("ev")
    comm = world.comm(subject="First")
    journey = world.draft(
        [trigger("s1"), send("s1", comm, "w"), wait("w", "P1D", "s2"), send("s2", comm, "exit"), end()],
        triggerContractId=world.contract(event),
    )
    world.publish(journey)
    early = world.walk(journey, event)["endUserId"]
    world.api.patch(f"/api/communications/{comm}", {"subject": "Second"}).ok()
    world.edit(journey, description="again")
    world.publish(journey)
    late = world.walk(journey, event)["endUserId"]
    world.advance("P2D")

    def subjects(person: str) -> list[str]:
        return [message["subject"] for message in world.messages(endUserId=person)]

    assert {"First"} == set(subjects(early))
    assert {"Second"} == set(subjects(late))
    assert [2, 2] == [len(subjects(early)), len(subjects(late))]
    versions = [world.api.get(f"/api/journeys/{journey}/versions/{number}").ok()["communications"] for number in (1, 2)]
    assert [{comm: 1}, {comm: 2}] == versions


def test_what_was_read_can_be_sent_back(world: World) -> None:
    """Members that only the server writes change nothing, whatever they say (contract 1); DELETE archives."""
    path = f"/api/communications/{world.comm()}"
    read = world.api.get(path).ok()
    claims = {"id": "other", "version": 99, "status": "archived", "createdAt": 5}
    after = world.api.patch(path, {**read, **claims, "name": "Renamed"}).ok()

    assert {**read, "name": "Renamed", "version": 2} == after
    world.api.delete(path).ok()
    assert "archived" == world.api.patch(path, read).ok()["status"]


def test_deleting_archives(world: World) -> None:
    """It stays readable, published versions go on sending it, and nobody can publish with it any more."""
    event = unique("ev")
    comm = world.comm(subject="Kept")
    journey = world.journey([trigger("s"), send("s", comm, "exit"), end()], event=event)
    world.api.delete(f"/api/communications/{comm}")
    other = world.draft([send("s", comm, "exit"), end()])

    assert "archived" == world.api.get(f"/api/communications/{comm}").ok()["status"]
    person = world.walk(journey, event)["endUserId"]
    assert ["Kept"] == [message["subject"] for message in world.messages(endUserId=person)]
    problem = world.api.post(f"/api/journeys/{other}/publish").problem(400, "graph_invalid")
    assert ["communication_archived"] == fault_codes(problem)
    assert {"/steps/0/communicationId"} == fault_paths(problem)


def test_deleting_twice_and_deleting_nothing(world: World) -> None:
    """Repeating is harmless; an unknown one is 404."""
    comm = world.comm()
    first = world.api.delete(f"/api/communications/{comm}")
    second = world.api.delete(f"/api/communications/{comm}")

    assert first.status == second.status
    assert first.status in (200, 204)
    world.api.delete("/api/communications/none").problem(404, "not_found")


def test_transactional_ones_are_not_sent_by_journeys(world: World) -> None:
    """400 send_step_uses_transactional_comm, and the steps are named."""
    comm = world.comm(commType="transactional")
    fine = world.comm()
    journey = world.draft([send("a", comm, "b"), send("b", fine, "c"), send("c", comm, "exit"), end()])
    problem = world.api.post(f"/api/journeys/{journey}/publish").problem(400, "send_step_uses_transactional_comm")

    assert {"/steps/0/communicationId", "/steps/2/communicationId"} == fault_paths(problem)
    assert {"send_step_uses_transactional_comm"} == set(fault_codes(problem))


def test_a_communication_that_became_transactional_is_found_at_publish(world: World) -> None:
    """What counts is the communication as it is now."""
    comm = world.comm()
    journey = world.draft([send("a", comm, "exit"), end()])
    world.api.patch(f"/api/communications/{comm}", {"commType": "transactional"}).ok()

    world.api.post(f"/api/journeys/{journey}/publish").problem(400, "send_step_uses_transactional_comm")


def test_the_channel_has_to_fit(world: World) -> None:
    """A push sent as a mail is refused at publish."""
    journey = world.draft([send("a", world.comm("mobile_push"), "exit"), end()])
    problem = world.api.post(f"/api/journeys/{journey}/publish").problem(400, "graph_invalid")

    assert any(path.startswith("/steps/0") for path in fault_paths(problem))


RENDERED: list[tuple[str, str]] = [
    ("{{ subject.name }}", "Ada &amp; Co"),
    ("{{ subject.endUserId }}", "@person"),
    ("{{ subject.email }}", "@person@mail.example.com"),
    ("{{ subject.timezone }} {{ subject.locale }}", "Europe/Berlin de"),
    ("{{ subject.address.city }}", "Köln"),
    ("{{ event.orderId }}={{ event.data.orderId }}", "o1=o1"),
    ("{{ event.type }} {{ event.id }} {{ event.endUserId }}", "@event @eventId @person"),
    ("{{ event.timestamp }}", "2026-01-02T03:04:05.678Z"),
    ("{{ event.items[1].sku }}", "b"),
    ("{% for i in event.items %}{{ i.sku }},{% endfor %}", "a,b,"),
    ("{{ journey.id }} {{ journey.name }} {{ journey.version }}", "@journey Greeting 1"),
    ("{{ execution.id }}", "@execution"),
    ("{{ execution.startedAt }}", "@startedAt"),
    ("[{{ context.answer }}]", "[]"),
    ("[{{ subject.missing }}{{ nothing.at.all }}]", "[]"),
    ("{% if subject.age >= 18 %}adult{% else %}minor{% endif %}", "adult"),
    ("{{ subject.name | upcase | truncate: 3, '' }}", "ADA"),
    ("{{ event.total | times: 2 }}", "19.5"),
    ("{{ subject.html }}", "&lt;script&gt;"),
]


@pytest.fixture(scope="module")
def rendered(world: World) -> dict[str, Any]:
    """One mail with every template in its body, one after another."""
    event = unique("ev")
    body = "".join(f"{template}~~~" for template, _ in RENDERED)  # what follows the last is the footer
    comm = world.comm(subject="Hi {{ subject.name }}", body=body, text="Hi {{ subject.name }}")
    journey = world.journey([trigger("s"), send("s", comm, "exit"), end()], event=event, name="Greeting")
    person = world.person(
        {"name": "Ada & Co", "age": 42, "address": {"city": "Köln"}, "html": "<script>"},
        timezone="Europe/Berlin",
        locale="de",
    )
    event_id = world.event(
        event,
        person,
        {"orderId": "o1", "items": [{"sku": "a"}, {"sku": "b"}], "total": 9.75},
        timestamp="2026-01-02T03:04:05.678Z",
    )
    world.settle()
    execution = world.execution(journey, person)
    (message,) = world.messages(endUserId=person)
    return {
        "message": message,
        "names": {
            "@person": person,
            "@eventId": event_id,
            "@event": event,
            "@journey": journey,
            "@execution": execution["executionId"],
            "@startedAt": execution["startedAt"],
        },
    }


@pytest.mark.parametrize("number", range(len(RENDERED)), ids=[template for template, _ in RENDERED])
def test_templates_see_their_roots(rendered: dict[str, Any], number: int) -> None:
    """event, subject, context, journey, execution; what is missing is empty; HTML is escaped."""
    expected = RENDERED[number][1]
    for name in ("@eventId", "@event", "@person", "@journey", "@execution", "@startedAt"):
        expected = expected.replace(name, rendered["names"][name])

    assert expected == rendered["message"]["body"].split("~~~")[number]


def test_only_bodies_are_escaped(rendered: dict[str, Any]) -> None:
    """A subject line and a plain text are no HTML."""
    assert "Hi Ada & Co" == rendered["message"]["subject"]


def test_a_template_that_fails_for_a_person_fails_that_send_alone(world: World) -> None:
    """send.failed with a reason; the next person gets theirs; no execution hangs."""
    event = unique("ev")
    comm = world.comm(body="{% for i in (1..event.n) %}x{% endfor %}")
    journey = world.journey([trigger("s"), send("s", comm, "exit"), end()], event=event)
    bad, good = world.person(), world.person()
    world.event(event, bad, {"n": 9_000_000})
    world.event(event, good, {"n": 3})
    world.settle()

    assert ["SUCCEEDED", "SUCCEEDED"] == [world.execution(journey, one)["status"] for one in (bad, good)]
    (entry,) = world.audit(journey, action="send.failed")
    assert entry["metadata"]["executionId"] == world.execution(journey, bad)["executionId"]
    assert ["sent"] == [message["status"] for message in world.messages(endUserId=good)]
    assert all(message["status"] == "failed" for message in world.messages(endUserId=bad))
