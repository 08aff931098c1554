"""What a dry run walks, as authoring gives it out."""

import pytest

from services.domain.errors import Invalid, Missing, NotNow
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk, send, wait


async def test_a_draft_is_pinned_as_publishing_it_now_would_pin_it(desk: Desk) -> None:
    """Its communications with their content, under the number it would get."""
    mail = await desk.communication()
    view = await desk.draft([send("s", mail, "x"), EXIT])
    found = await desk.authoring.runnable(WORKSPACE, view.journey.id, "", ANN)
    await desk.authoring.publish(WORKSPACE, view.journey.id, ANN)
    published = await desk.authoring.journeys.version(WORKSPACE, view.journey.id, 1)

    assert found.draft is not None
    assert (published.communications, published.steps_json, 1) == (
        found.draft.communications,
        found.draft.steps_json,
        found.draft.version,
    )
    assert ((), None) == (found.faults, found.number)


async def test_a_faulty_draft_comes_with_its_faults(desk: Desk) -> None:
    """What it names and is not there is not pinned."""
    view = await desk.draft([send("s", "gone", "nowhere")])
    found = await desk.authoring.runnable(WORKSPACE, view.journey.id, "draft", ANN)

    assert found.draft is not None
    assert () == found.draft.communications
    assert {"communication_not_found", "next_unresolved"} <= {fault.code for fault in found.faults}


async def test_asking_changes_nothing(desk: Desk) -> None:
    """Neither the journey nor the log."""
    view = await desk.draft([EXIT])
    before = await desk.authoring.journeys.load(WORKSPACE, view.journey.id)
    await desk.authoring.runnable(WORKSPACE, view.journey.id, "", ANN)

    assert before == await desk.authoring.journeys.load(WORKSPACE, view.journey.id)


async def test_versions_are_named_by_number_or_as_the_latest(desk: Desk) -> None:
    """A published journey without draft gives its latest unless another is asked for."""
    view = await desk.draft([EXIT])
    journey = view.journey.id
    await desk.authoring.publish(WORKSPACE, journey, ANN)

    assert [1, 1, 1] == [
        (await desk.authoring.runnable(WORKSPACE, journey, version, ANN)).number for version in ("", "latest", "1")
    ]
    with pytest.raises(NotNow, match="no draft") as refused:
        await desk.authoring.runnable(WORKSPACE, journey, "draft", ANN)
    assert "no_draft" == refused.value.reason


@pytest.mark.parametrize("version", ["2", "0", "latest", "999999999999999999"])
async def test_a_version_that_is_not_there_is_missing(desk: Desk, version: str) -> None:
    """Of a journey that was never published there is no latest."""
    view = await desk.draft([wait("w", "x"), EXIT])
    with pytest.raises(Missing):
        await desk.authoring.runnable(WORKSPACE, view.journey.id, version, ANN)


@pytest.mark.parametrize("version", ["-1", "newest", "1.0", "٣", "9" * 40])
async def test_what_is_no_version_is_invalid(desk: Desk, version: str) -> None:
    """With the place."""
    view = await desk.draft([EXIT])
    with pytest.raises(Invalid) as refused:
        await desk.authoring.runnable(WORKSPACE, view.journey.id, version, ANN)

    assert ["/version"] == [fault.path for fault in refused.value.faults]
