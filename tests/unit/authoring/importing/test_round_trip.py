"""Bundles as files: what goes out comes back the same, and a change of the file is the change that is made."""

import asyncio
import copy
import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys_cli.bundle_diff import changes_between
from services.authoring.audiences import AudienceChanges
from services.authoring.communications import CommunicationChanges
from services.authoring.trigger_contracts import ContractChanges
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk, changes
from tests.unit.authoring.importing.making import (
    OTHER,
    Json,
    bundle,
    ends,
    exported,
    ids,
    imported,
    other_workspace,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
NAMES = st.sampled_from(["plan", "country", "deep.inside"])
DERIVED = r"(aud|comm|trig)-(gone|nobody)-[0-9a-f]{10}"
AUDIENCES = ("vip", "trial", "gone")
MAILS = ("hello", "bye")


def leaves() -> st.SearchStrategy[Json]:
    """Leaves of every kind that names something, and some that do not."""
    return st.one_of(
        st.builds(
            lambda path, value: {"kind": "attribute", "fieldPath": path, "operator": "equals", "value": value},
            NAMES,
            st.one_of(TEXT, st.integers(-5, 5), st.booleans(), st.floats(0, 1)),
        ),
        st.sampled_from(AUDIENCES[1:]).map(lambda name: {"kind": "in_segment", "audienceId": name}),
        st.sampled_from(AUDIENCES[1:]).map(lambda name: {"kind": "in_cohort", "cohortId": name}),
        TEXT.map(lambda name: {"kind": "event_fired", "eventName": name, "window": {"type": "since_start"}}),
    )


def predicates() -> st.SearchStrategy[Json]:
    """Predicates a few levels deep."""
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda clauses: {"kind": "or", "clauses": clauses}),
            inner.map(lambda clause: {"kind": "not", "clause": clause}),
        ),
        max_leaves=5,
    )


def one_step(number: int) -> st.SearchStrategy[Json]:
    """A step that leads to the next one, complete or not."""
    name, onward = f"s{number}", f"s{number + 1}"
    base: Json = {"id": name, "next": onward}
    return st.one_of(
        st.sampled_from([*MAILS, "nobody", None]).map(
            lambda mail: {**base, "type": "send", "channel": "email", **({} if mail is None else {"communicationId": mail})}
        ),
        st.sampled_from(["PT5M", "P3D", None]).map(
            lambda length: {**base, "type": "wait", "mode": "duration", **({} if length is None else {"duration": length})}
        ),
        predicates().map(
            lambda condition: {
                "id": name, "type": "branch", "mode": "condition", "default": onward, "position": {"x": 1.5, "y": 2},
                "branches": [{"id": "yes", "condition": condition, "next": onward}],
            }
        ),
        st.tuples(predicates(), TEXT).map(
            lambda pair: {
                **base, "type": "wait", "mode": "until_event", "eventName": pair[1], "filter": pair[0],
                "timeout": "P1D", "onTimeout": onward,
            }
        ),
        st.dictionaries(TEXT, st.one_of(st.none(), TEXT, st.lists(st.integers(0, 9))), max_size=2).map(
            lambda body: {**base, "type": "webhook", "url": "https://hooks.example.com/", "body": body}
        ),
        TEXT.map(lambda value: {**base, "type": "update_profile", "set": {"plan": value.replace("{", "(")}}),
    )  # fmt: skip


def journeys() -> st.SearchStrategy[Json]:
    """The members of a journey."""
    steps = st.integers(0, 4).flatmap(lambda count: st.tuples(*(one_step(i) for i in range(count))))
    return st.fixed_dictionaries(
        {
            "name": TEXT,
            "steps": steps.map(lambda made: [*made, {"id": f"s{len(made)}", "type": "exit"}]),
        },
        optional={
            "description": TEXT,
            "audience_id": st.sampled_from(AUDIENCES),
            "trigger_contract_id": st.sampled_from(["signed-up", "nobody"]),
            "goal_event_name": TEXT,
            "goal_event_window_days": st.sampled_from([1.0, 2.5, 30.0]),
            "settings": st.sampled_from(
                [{}, {"reentry": {"mode": "once"}}, {"sendRate": {"perSecond": 2.5}, "exitOnGoal": True}]
            ),
        },
    )


async def filled(made: list[Json], *, is_published: bool) -> Desk:
    """A desk with these journeys and what they name."""
    desk = Desk()
    await desk.open()
    given = bundle()
    await desk.authoring.trigger_contracts.create(WORKSPACE, desk_contract(), "signed-up")
    for name in ("trial", "vip"):
        await desk.authoring.audiences.create(WORKSPACE, desk_audience(name), name)
    for mail in MAILS:
        await desk.authoring.communications.create(WORKSPACE, desk_mail(given["communications"][0]), mail)
    for number, members in enumerate(made):
        view = await desk.authoring.create_journey(WORKSPACE, changes(**members), ANN, f"journey-{number}")
        if is_published and not view.warnings:
            await desk.authoring.publish(WORKSPACE, view.journey.id, ANN)
    return desk


def desk_contract() -> ContractChanges:
    """A contract with every member."""
    return ContractChanges("Signed up", "signed_up", "user.id", "user.email")


def desk_audience(name: str) -> AudienceChanges:
    """An audience by list, or one that is made of it."""
    if name == "trial":
        return AudienceChanges("Trial", "some", subject_ids=["usr_1", "usr_2"])
    predicate = {"kind": "not", "clause": {"kind": "in_segment", "audienceId": "trial"}}
    return AudienceChanges("VIP", predicate_json=json.dumps(predicate).encode())


def desk_mail(like: Json) -> CommunicationChanges:
    """A mail with content of every type."""
    content = {
        "subject": like["subject"],
        "body": like["body"],
        "data": {"n": 1.5, "l": [None, "ü"]},
        "from": "a@b.example",
    }
    return CommunicationChanges(like["name"], "marketing", "email", json.dumps(content).encode())


SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(made=st.lists(journeys(), min_size=1, max_size=3), is_published=st.booleans())
def test_an_export_that_comes_home_changes_nothing(made: list[Json], is_published: bool) -> None:
    """Every object unchanged, no draft opened, and the next export has the same bytes."""

    async def run() -> tuple[set[str], bytes, bytes]:
        desk = await filled(made, is_published=is_published)
        before = await desk.authoring.export_bundle(WORKSPACE)
        report = await imported(desk, json.loads(before))
        after = await desk.authoring.export_bundle(WORKSPACE)
        await desk.authoring.close()
        return set(ends(report).values()), before, after

    actions, before, after = asyncio.run(run())

    assert {"unchanged"} == actions
    assert before == after


@SLOW
@given(made=st.lists(journeys(), min_size=1, max_size=2))
def test_an_export_is_the_same_in_another_workspace(made: list[Json]) -> None:
    """All members of all objects, with the same ids; what was missing there is missing here."""

    async def run() -> tuple[Json, Json, set[str], list[list[str]]]:
        desk = await filled(made, is_published=False)
        other = await other_workspace(desk)
        before = await exported(desk)
        report = await imported(desk, before, other)
        after = await exported(desk, other)
        lies = [await stored(desk, workspace) for workspace in (WORKSPACE, other)]
        await desk.authoring.close()
        return before, after, set(ends(report).values()), lies

    before, after, actions, (here, there) = asyncio.run(run())

    assert {"created"} == actions
    assert here == there
    assert [] == changes_between(without_dangling(before), without_dangling(after))


def without_dangling(file: Json) -> Json:
    """The bundle with one name for all that was missing: elsewhere it gets another name that nothing has."""
    text = re.sub(r"audience:gone|(communication|contract):nobody", "missing", json.dumps(file))
    found: Json = json.loads(re.sub(rf"(audience|communication|contract):{DERIVED}", "missing", text))
    return found


async def stored(desk: Desk, workspace: str) -> list[str]:
    """The journeys as they lie in the store, without moments and with one id for all that is missing."""
    found = []
    for view in (await desk.authoring.journeys.page(workspace, 100, None)).items:
        journey, draft = view.journey, view.journey.draft
        assert draft is not None
        goal = (journey.goal_event_name, journey.goal_event_window_days)
        refers = (draft.audience_id, draft.trigger_contract_id)
        whole = (journey.id, journey.name, journey.description, goal, refers, draft.steps_json, draft.settings_json)
        found.append(re.sub(rf"(?<=['\"])(gone|nobody|{DERIVED})(?=['\"])", "missing", str(whole)))
    return sorted(found)


@SLOW
@given(made=journeys(), new=journeys())
def test_a_change_of_the_file_is_the_change_that_is_made(made: Json, new: Json) -> None:
    """Export, change, diff, import: the next export differs from the first by what diff said, and by nothing else."""

    async def run() -> tuple[Json, Json, Json, dict[str, str]]:
        desk = await filled([made], is_published=False)
        before = await exported(desk)
        donor = await filled([new], is_published=False)
        wanted = copy.deepcopy(before)
        members = (await exported(donor))["journeys"][0]
        members["contentHash"] = before["journeys"][0]["contentHash"]  # as a file that was edited by hand has it
        wanted["journeys"][0] = members
        report = await imported(desk, wanted)
        after = await exported(desk)
        await donor.authoring.close()
        await desk.authoring.close()
        return before, wanted, after, ends(report)

    before, wanted, after, actions = asyncio.run(run())
    differs = bool(changes_between(before, wanted))

    assert ("updated" if differs else "unchanged") == actions["journey:journey-0"]
    assert [] == changes_between(wanted, after)


async def test_a_file_that_is_older_than_a_persons_edit_is_a_conflict(desk: Desk) -> None:
    """The hash that it states says from what it was made."""
    journey = (await desk.draft(id="mine")).journey.id
    file = await exported(desk)
    await desk.edit(journey, description="by hand")
    file["journeys"][0]["description"] = "in the file"
    report = await imported(desk, file)

    assert {"journey:mine": "skipped"} == ends(report)
    assert {"journey:mine": "updated"} == ends(await imported(desk, file, conflictPolicy="overwrite"))


async def test_some_journeys_come_with_all_they_name_and_nothing_else(desk: Desk) -> None:
    """Also what they name through others."""
    made = ids(await imported(desk, bundle()))
    await desk.draft(name="Another")
    await desk.communication()
    found = await exported(desk, journeys=[str(made["journey:1"])])

    assert {"audiences": 1, "triggerContracts": 1, "communications": 1, "journeys": 1} == {
        section: len(found[section]) for section in ("audiences", "triggerContracts", "communications", "journeys")
    }


async def test_what_was_exported_is_known_by_its_hash(desk: Desk) -> None:
    """Made of content alone: publishing a journey changes nothing of it."""
    made = await imported(desk, bundle())
    before = await exported(desk)
    await desk.authoring.publish(WORKSPACE, str(ids(made)["journey:1"]), ANN)
    after = await exported(desk)

    assert before["journeys"][0]["contentHash"] == after["journeys"][0]["contentHash"]
    assert OTHER != after["source"]["applicationId"]
