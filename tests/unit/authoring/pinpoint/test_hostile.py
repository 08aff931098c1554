"""Whatever comes in: forms, limits, and exports that somebody broke on purpose. Pinpoint design 2, 6, and 9.15 to 9.17."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.authoring.bundles.form import Kind
from services.authoring.bundles.hashes import bundle_id, content_hash
from services.authoring.bundles.refs import to_ids
from services.authoring.importing.reading import read_bundle
from services.authoring.pinpoint.reading import read_document
from services.authoring.pinpoint.shapes import ACTIVITY, CAMPAIGN, JOURNEY, SEGMENT, TEMPLATES, ListOf, MapOf, Record
from services.authoring.pinpoint.translate import answer
from services.domain.errors import Invalid
from services.domain.journey.reading import read_settings, read_steps
from services.infra.liquid import template_faults
from tests.support.pinpoint import APP, NOW, Made, email, journey, segment, template

SAMPLES = Path(__file__).parents[4] / "examples" / "pinpoint"
EXPORTS = {path.stem: json.loads(path.read_bytes()) for path in sorted(SAMPLES.glob("*.json"))}


def members_of(*shapes: Any) -> list[str]:
    """Every member that the API knows, so that what is drawn gets far inside."""
    found, left = (
        {"a", "b", "c", "Item", "JourneyResponse", "segments", "templates", "campaigns", "journeys"},
        list(shapes),
    )
    while left:
        match left.pop():
            case Record(members):
                found |= set(members)
                left.extend(members.values())
            case ListOf(inner) | MapOf(inner):
                left.append(inner)
    return sorted(found)


NAMES = members_of(JOURNEY, ACTIVITY, SEGMENT, CAMPAIGN, *TEMPLATES.values())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12).filter(lambda text: text.isprintable()),
    st.sampled_from(
        ["a", "b", "INCLUSIVE", "P1D", "{{Attributes.x}}", "{%", "EMAIL", "ACTIVE", "2027-01-01T00:00:00Z"]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=30,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a value with each of its keys."""
    found = []
    stack = [value]
    while stack:
        item = stack.pop()
        entries = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        for key, inner in list(entries):
            found.append((item, key))
            stack.append(inner)
    return found


def scalars(value: Any) -> Iterator[Any]:
    """Every text, number and flag inside a value."""
    for holder, key in places([value]):
        if holder[key] is not None and not isinstance(holder[key], dict | list):
            yield holder[key]


@st.composite
def broken_samples(draw: st.DrawFn) -> Any:
    """A shipped export in which some values were replaced by anything at all."""
    export = copy.deepcopy(EXPORTS[draw(st.sampled_from(sorted(EXPORTS)))])
    for _ in range(draw(st.integers(1, 4))):
        found = places(export)
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        holder[key] = draw(JSON)
    return export


def refusal_of(act: Callable[[], Any]) -> str | None:
    """Why something is refused, None if it is not."""
    try:
        act()
    except Invalid as refused:
        return refused.reason
    return None


def translated(export: Any) -> Made | None:
    """The translation, None where there is nothing to translate."""
    made = []
    reason = refusal_of(lambda: made.append(Made(export)))
    assert reason in (None, "not_an_export", "validation_error")
    return made[0] if made else None


def assert_sound(made: Made) -> None:
    """What every bundle is: readable by the contract's reader, and hashed."""
    for one in made.bundle["journeys"]:
        body = to_ids(Kind.JOURNEY, one, lambda kind, ref: ref)
        assert [] == read_steps(body["steps"])[1]
        assert [] == read_settings(one["settings"])[1]
        assert content_hash(one) == one["contentHash"]
    assert bundle_id(made.bundle) == made.bundle["bundleId"]
    read_bundle(made.bundle)  # what the importer refuses is no bundle


class TestAnything:
    """Properties over hostile input."""

    @settings(max_examples=150, deadline=None)
    @given(JSON)
    def test_any_json_is_translated_or_refused(self, export: Any) -> None:
        """Never another exception."""
        if (made := translated(export)) is not None:
            assert_sound(made)

    @settings(max_examples=250, deadline=None)
    @given(broken_samples())
    def test_a_broken_export_is_translated_or_refused(self, export: Any) -> None:
        """And no value of it is lost."""
        made = translated(export)
        if made is None:
            return
        assert_sound(made)
        kept = {json.dumps(value) for value in scalars(made.bundle)}
        assert [] == [value for value in scalars(export) if json.dumps(value) not in kept]

    @settings(max_examples=60, deadline=None)
    @given(JSON)
    def test_one_bad_journey_never_fails_the_others(self, bad: Any) -> None:
        """A good one beside it comes out as it does alone."""
        good = journey({"a": email()}, Id="good")
        beside = Made({"journeys": [bad, good]})

        ref = Made(good).journey["ref"]
        assert Made({"journeys": [good]}).journey in [one for one in beside.bundle["journeys"] if one["ref"] == ref]

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        """As JSON, or not."""
        assert refusal_of(lambda: read_document(data)) in (None, "invalid_json", "payload_too_large")


class TestForms:
    """The envelopes in which journeys come."""

    @pytest.mark.parametrize(
        "wrapped",
        [
            lambda one: {"JourneyResponse": one},
            lambda one: {"JourneyResponse": one, "ResponseMetadata": {"RequestId": "r"}},
            lambda one: one,
            lambda one: {"JourneysResponse": {"Item": [one]}},
            lambda one: {"Item": [one], "NextToken": None},
            lambda one: [one],
            lambda one: [{"JourneyResponse": one}],
            lambda one: {"journeys": [one]},
            lambda one: {"journeys": {"JourneysResponse": {"Item": [one]}}, "source": {"applicationId": APP}},
        ],
    )
    def test_each_form_gives_the_same_journey(self, wrapped: Any) -> None:
        """Whoever saved it."""
        one = journey({"a": email()})

        assert Made(one).journey == Made(wrapped(one)).journey

    def test_a_journey_without_id_gets_a_stable_one(self) -> None:
        """Made of what it is."""
        one = {"WriteJourneyRequest": {"Name": "n", "Activities": {"a": email()}}}

        assert Made(one).journey["ref"] == Made(one).journey["ref"]
        assert 1 == Made(one).codes["journey_id_made"]

    def test_a_page_says_that_more_follow(self) -> None:
        """The bundle is partial."""
        made = Made({"Item": [journey({"a": email()})], "NextToken": "t"})

        assert (True, 1) == (made.bundle["source"]["partial"], made.codes["page_truncated"])

    @pytest.mark.parametrize("spelling", ["journey_response", "journeyResponse", "Activities_", "activities"])
    def test_other_spellings_are_refused_with_a_hint(self, spelling: str) -> None:
        """Nothing is guessed."""
        with pytest.raises(Invalid) as refused:
            Made({spelling: {"a": 1}})

        assert "not_an_export" == refused.value.reason
        assert "spells" in refused.value.message

    def test_of_one_journey_twice_the_one_changed_last_counts(self) -> None:
        """The other is kept aside."""
        old, new = (
            journey({"a": email()}, Name=name, LastModifiedDate=date)
            for name, date in (("old", "2024-01-01T00:00:00Z"), ("new", "2025-01-01T00:00:00Z"))
        )
        made = Made([new, old])

        assert ["new"] == [one["name"] for one in made.bundle["journeys"]]
        assert [old] == [one["payload"] for one in made.bundle["unsupported"]]

    def test_two_pages_apart_are_both_at_once(self) -> None:
        """Every object has the same ref and content."""
        one, two = (journey({"a": email()}, Id=key, StartCondition=START) for key in ("one", "two"))
        rest = {"segments": [segment("s")], "templates": [template()]}
        whole = Made({"journeys": [one, two], **rest}).bundle
        apart = [Made({"journeys": [page]}).bundle for page in (one, two)] + [Made(rest).bundle]

        for section in ("journeys", "audiences", "communications"):
            found = {o["ref"]: o["contentHash"] for b in apart for o in b[section] if not o.get("placeholder")}
            assert {o["ref"]: o["contentHash"] for o in whole[section]} == found

    def test_only_the_journeys_asked_for_are_taken(self) -> None:
        """By their ids; tests and ended ones are left out by themselves."""
        journeys = [
            journey({"a": email()}, Id="one"),
            journey({"a": email()}, Id="two"),
            journey({"a": email()}, Id="three", Name="Test-one"),
            journey({"a": email()}, Id="four", State="CLOSED"),
        ]

        assert ["two"] == [one["sourceId"] for one in Made(journeys, journeyIds=["two"]).bundle["journeys"]]
        assert ["one", "two"] == [one["sourceId"] for one in Made(journeys).bundle["journeys"]]
        everything = Made(journeys, includeTestJourneys=True, includeStates=["DRAFT", "CLOSED"])
        assert 4 == len(everything.bundle["journeys"])


class TestBytes:
    """The same bytes, and the limits of reading."""

    @pytest.mark.parametrize("name", EXPORTS)
    def test_twice_the_same_bytes(self, name: str) -> None:
        """Canonical, without clock or luck."""
        assert Made(EXPORTS[name]).bytes == Made(EXPORTS[name]).bytes

    @pytest.mark.parametrize("name", EXPORTS)
    def test_the_order_of_members_means_nothing(self, name: str) -> None:
        """But for activities' own ways, whose order is their lists'."""
        turned = json.loads(json.dumps(EXPORTS[name], sort_keys=True))

        hashes = [
            sorted(one["contentHash"] for one in Made(export).bundle["journeys"]) for export in (EXPORTS[name], turned)
        ]
        assert hashes[0] == hashes[1]

    @pytest.mark.parametrize("now", ["2026-09-01T00:00:00Z", "2026-09-01T02:00:00+02:00"])
    def test_now_is_what_the_options_say(self, now: str) -> None:
        """In any of its forms."""
        assert Made(EXPORTS["01-event-onboarding"]).bytes == Made(EXPORTS["01-event-onboarding"], now=now).bytes

    @pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff": 1}'])
    def test_half_a_surrogate_pair_is_no_json(self, text: str) -> None:
        """No UTF-8 can carry it."""
        with pytest.raises(Invalid, match="surrogate"):
            read_document(text.encode())

    def test_faults_of_the_export_are_pointed_to(self) -> None:
        """Strict: each with its place in the body."""
        body = {"projectKey": "p", "export": EXPORTS["06-incomplete-draft"], "options": {"strict": True, "now": NOW}}
        with pytest.raises(Invalid) as refused:
            answer(json.dumps(body).encode(), 0, template_faults)

        assert "translation_incomplete" == refused.value.reason
        assert all(fault.path.startswith("/export/") for fault in refused.value.faults)


START = {"SegmentStartCondition": {"SegmentId": "s"}}


class TestSize:
    """What is told has limits, and nothing is lost beyond them."""

    @pytest.mark.parametrize("depth", [20, 48, 57])
    def test_what_is_nested_deep_can_be_imported_all_the_same(self, depth: int) -> None:
        """Beyond 48 levels it is kept as text, so that the bundle stays within 64."""
        deep = json.loads("[" * depth + '"core"' + "]" * depth)
        made = Made(journey({"a": {**email(), "Strange": deep}, "lost": deep}, tags=deep))

        assert_sound(made)
        body = json.dumps({"bundle": made.bundle}).encode()
        assert made.bundle == read_document(body).value["bundle"]
        assert b"core" in made.bytes

    def test_what_is_strange_beyond_telling_is_kept_whole(self) -> None:
        """A thousand members that nobody knows are told, and all are kept."""
        one = journey({"a": email()}, **{f"m{i}": i for i in range(3_000)})
        made = Made(one)

        assert 1_000 == made.codes["unknown_member"]
        assert one in [kept["payload"] for kept in made.bundle["unsupported"]]

    def test_what_is_no_object_beyond_telling_keeps_the_file(self) -> None:
        """A list of nothing, and one journey in it."""
        export = [*range(3_000), journey({"a": email()})]
        made = Made(export)

        assert (1, 1_000) == (len(made.bundle["journeys"]), made.codes["unknown_member"])
        assert export in [kept["payload"] for kept in made.bundle["unsupported"]]

    @pytest.mark.parametrize(
        "activity",
        [
            {"MultiCondition": {"Branches": [{}] * 1_001}},
            {"RandomSplit": {"Branches": [{}] * 1_001}},
            {"ConditionalSplit": {"Condition": {"Conditions": [{}] * 1_001}}},
        ],
    )
    def test_an_activity_with_too_many_arms_fails_its_journey_alone(self, activity: Any) -> None:
        """As does a journey with too many activities."""
        made = Made([journey({"a": activity}, Id="huge"), journey({"a": email()}, Id="good")])

        assert ["good"] == [one["sourceId"] for one in made.bundle["journeys"]]
        assert 1 == made.codes["payload_too_large"]
