"""A bundle is somebody else's word: what is refused before the store is asked."""

from collections.abc import Callable
from typing import Any

import pytest

from services.authoring.importing.reading import read_request
from services.domain.errors import Invalid
from tests.unit.authoring.importing.making import AUDIENCE, JOURNEY, MAIL, Json, bundle, faults_of, read

AT = "/bundle/journeys/0"


def leaf(**more: Any) -> Json:
    """A leaf of a predicate."""
    return {"kind": "attribute", "fieldPath": "plan", "operator": "exists", **more}


def nested(depth: int) -> Json:
    """A predicate of that depth."""
    made = leaf()
    for _ in range(depth - 1):
        made = {"kind": "not", "clause": made}
    return made


def steps_of(given: Json) -> list[Json]:
    """The journey's steps."""
    found: list[Json] = given["journeys"][0]["steps"]
    return found


def test_a_sound_bundle_is_taken() -> None:
    """All four kinds, with what a translator writes beside."""
    assert set() == faults_of(bundle())


def test_what_a_customer_wrote_is_no_reference() -> None:
    """A webhook's body may hold our words."""
    named = {one.ref for item in read(bundle()).bundle.items for one in item.references}

    assert {AUDIENCE, MAIL, "contract:1"} == named


def broken(change: Callable[[Json], Any]) -> set[tuple[str, str]]:
    """The faults of a bundle with one thing changed."""
    given = bundle()
    change(given)
    return faults_of(given)


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        (lambda b: b.update(kind="other"), "/bundle/kind", "unknown_value"),
        (lambda b: b.pop("source"), "/bundle/source", "missing_member"),
        (lambda b: b["source"].pop("provider"), "/bundle/source/provider", "missing_member"),
        (lambda b: b.update(surprise=1), "/bundle/surprise", "unknown_member"),
        (lambda b: b.update(journeys={}), "/bundle/journeys", "wrong_type"),
        (lambda b: b["journeys"].append(1), "/bundle/journeys/1", "wrong_type"),
        (lambda b: b["journeys"][0].update(surprise=1), f"{AT}/surprise", "unknown_member"),
        (lambda b: b["journeys"][0].update(audienceId="aud-x"), f"{AT}/audienceId", "unknown_member"),
        (lambda b: b["journeys"][0].update(ref="x"), f"{AT}/ref", "bad_pattern"),
        (lambda b: b["journeys"][0].update(ref=7), f"{AT}/ref", "wrong_type"),
        (lambda b: b["journeys"][0].update(contentHash=7), f"{AT}/contentHash", "wrong_type"),
        (lambda b: b["journeys"][0].update(name=""), f"{AT}/name", "out_of_range"),
        (lambda b: b["journeys"][0].pop("steps"), f"{AT}/steps", "missing_member"),
        (lambda b: b["journeys"][0].update(settings={"reentry": {"mode": "x"}}), f"{AT}/settings/reentry/mode", "unknown_mode"),
        (lambda b: b["journeys"].append(b["journeys"][0]), "/bundle/journeys/1/ref", "duplicate_ref"),
        (lambda b: steps_of(b)[0].update(type="teleport"), f"{AT}/steps/0/type", "unknown_step_type"),
        (lambda b: steps_of(b)[1].update(communicationId="comm-x"), f"{AT}/steps/1/communicationId", "unknown_member"),
        (lambda b: steps_of(b)[1].update(communicationRef=3), f"{AT}/steps/1/communicationRef", "wrong_type"),
        (lambda b: steps_of(b)[1].update(id="../../etc"), f"{AT}/steps/1/id", "bad_pattern"),
        (lambda b: steps_of(b)[3].update(body="{% nonsense %}"), f"{AT}/steps/3/body", "invalid_template"),
        (lambda b: b["communications"][0].update(body="{{ x | nofilter }}"), "/bundle/communications/0/body", "invalid_template"),
        (lambda b: b["communications"][0].update(channel="fax"), "/bundle/communications/0/channel", "unknown_value"),
        (lambda b: b["audiences"][0].update(predicate=nested(33)), "/bundle/audiences/0/predicate" + "/clause" * 32, "too_deep"),
        (lambda b: b["audiences"][0].update(predicate=None), "/bundle/audiences/0/predicate", "missing_member"),
        (lambda b: b["audiences"][0].update(subjectIds=["x"]), "/bundle/audiences/0/subjectIds", "conflicting_members"),
        (lambda b: b["audiences"][0].update(name="x" * 501), "/bundle/audiences/0/name", "out_of_range"),
        (lambda b: b["triggerContracts"][0].update(subjectFieldPath="a..b"), "/bundle/triggerContracts/0/subjectFieldPath", "bad_path"),
        (lambda b: b["communications"][0].update(body="x" * (1 << 20)), "/bundle/communications/0", "out_of_range"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_where_it_is(change: Callable[[Json], Any], path: str, code: str) -> None:
    """By its pointer into the request."""
    assert {(path, code)} <= broken(change)


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        (lambda steps: steps[3].update(next="mail"), f"{AT}/steps/1", "cycle"),
        (lambda steps: steps[1].update(next="nowhere"), f"{AT}/steps/1/next", "next_unresolved"),
        (lambda steps: steps[4].update(id="mail"), f"{AT}/steps/4/id", "duplicate_step_id"),
        (lambda steps: steps.append({**steps[0], "id": "second"}), f"{AT}/steps/5/type", "duplicate_trigger"),
    ],
)
def test_a_tampered_graph_is_refused(change: Callable[[list[Json]], Any], path: str, code: str) -> None:
    """400 graph_invalid, since all of it is about graphs."""
    given = bundle()
    change(steps_of(given))
    with pytest.raises(Invalid) as caught:
        read(given)

    assert "graph_invalid" == caught.value.reason
    assert (path, code) in {(fault.path, fault.code) for fault in caught.value.faults}


def test_an_unfinished_graph_is_taken_where_the_bundle_says_so() -> None:
    """Our own drafts may walk in circles; their exports name it as a blocker."""
    given = bundle()
    steps_of(given)[3]["next"] = "mail"
    given["journeys"][0]["publishBlockers"] = [{"code": "cycle", "stepId": "mail"}]

    assert set() == faults_of(given)


def test_what_is_merely_missing_is_taken() -> None:
    """A draft may lack what a publish needs."""
    given = bundle()
    for member in ("next", "communicationRef", "channel"):
        steps_of(given)[1].pop(member)
    steps_of(given)[3].pop("url")

    assert set() == faults_of(given)


def test_every_fault_is_told_at_once() -> None:
    """Of all objects, and of the options."""
    given = bundle(kind="other")
    given["audiences"][0]["predicate"] = 1
    given["communications"][0]["channel"] = "fax"
    steps_of(given)[0]["type"] = "teleport"

    assert {
        "/bundle/kind",
        "/bundle/audiences/0/predicate",
        "/bundle/communications/0/channel",
        f"{AT}/steps/0/type",
        "/conflictPolicy",
        "/include/0",
    } <= {path for path, _ in faults_of(given, conflictPolicy="win", include=["journey:nobody"])}


def test_an_audience_made_of_itself_is_refused() -> None:
    """Through whatever others."""
    given = bundle()
    segment = {"kind": "in_segment", "audienceRef": "audience:2"}
    given["audiences"][0]["predicate"] = segment
    given["audiences"].append(
        {"ref": "audience:2", "name": "Two", "predicate": {"kind": "in_segment", "audienceRef": AUDIENCE}}
    )

    assert {"cycle"} == {code for _, code in faults_of(given)}


def test_objects_come_after_what_they_name() -> None:
    """Audiences after those they are made of, journeys last."""
    given = bundle()
    given["audiences"].insert(
        0, {"ref": "audience:0", "name": "Zero", "predicate": {"kind": "in_segment", "audienceRef": AUDIENCE}}
    )
    order = [item.ref for item in read(given).bundle.items]

    assert order.index(AUDIENCE) < order.index("audience:0")
    assert JOURNEY == order[-1]


@pytest.mark.parametrize("version", ["2.0", "0.9", "x"])
def test_another_major_version_is_refused(version: str) -> None:
    """Whatever else is in it."""
    with pytest.raises(Invalid) as caught:
        read(bundle(version=version, journeys=7))

    assert "unsupported_bundle_version" == caught.value.reason


def test_a_later_minor_version_is_taken() -> None:
    """And what is unknown under `extensions` is nobody's business."""
    given = bundle(version="1.9", extensions={"x": {"y": [1]}})
    given["journeys"][0]["extensions"] = {"anything": {"at": "all"}}

    assert set() == faults_of(given)


def test_a_predicate_as_deep_as_any_is_taken() -> None:
    """32 levels in a branch, as an author may write them."""
    given = bundle()
    steps_of(given)[2]["branches"][0]["condition"] = nested(32)

    assert set() == faults_of(given)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"projectKey": NaN}', b"\xff", b'{"a":' * 500])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """With a sentence, never an exception of another kind."""
    with pytest.raises(Invalid):
        read_request(data)
