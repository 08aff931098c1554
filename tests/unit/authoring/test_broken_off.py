"""A request that made its object and was broken off before it could say so: its repeat finds that object.

The gateway gives both the same key, made of the caller's Idempotency-Key and of what is asked.
"""

from typing import Any

import pytest

from services.authoring.audiences import AudienceChanges
from services.authoring.changes import JourneyChanges
from services.authoring.communications import CommunicationChanges
from services.authoring.importing.applying import Writers
from services.authoring.templates.use_template import Copied
from services.authoring.trigger_contracts import ContractChanges
from tests.unit.authoring.desk import WORKSPACE, Desk


async def make(desk: Desk, kind: str, made_by: str, given: str | None = None) -> Any:
    """One object named Welcome; its id."""
    do = desk.authoring
    match kind:
        case "journey":
            view = await do.create_journey(WORKSPACE, JourneyChanges(name="Welcome"), "ada", given, made_by=made_by)
            return view.journey.id
        case "audience":
            changes = AudienceChanges(name="Welcome", subject_ids=["ann"])
            return (await do.audiences.create(WORKSPACE, changes, given, made_by)).id
        case "contract":
            contract = ContractChanges(name="Welcome", event_name="signed_up")
            return (await do.trigger_contracts.create(WORKSPACE, contract, given, made_by)).id
        case _:
            comm = CommunicationChanges("Welcome", "marketing", "email", b'{"subject": "Hi"}')
            return (await do.communications.create(WORKSPACE, comm, given, made_by)).id


KINDS = ("journey", "audience", "contract", "communication")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [None, "welcome"])
async def test_its_repeat_finds_what_it_made(desk: Desk, kind: str, given: str | None) -> None:
    """The same object, also under an id that the caller chose, which would be taken."""
    assert await make(desk, kind, "key-1", given) == await make(desk, kind, "key-1", given)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_found_among_others_of_that_name(desk: Desk, kind: str) -> None:
    """Ids of one name are tried in the same order, the drawn ones too."""
    others = [await make(desk, kind, "") for _ in range(4)]
    first = await make(desk, kind, "key-1")

    assert first not in others
    assert first == await make(desk, kind, "key-1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [("key-1", "key-2"), ("", "")])
async def test_other_requests_make_their_own(desk: Desk, kind: str, keys: tuple[str, str]) -> None:
    """Another key, or none at all."""
    assert await make(desk, kind, keys[0]) != await make(desk, kind, keys[1])


async def test_a_copied_template_goes_on_with_the_part_it_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off at each of its objects in turn: in the end there is one copy, whole."""
    create, left = Writers.create, [0]

    async def create_unless_cut(self: Writers, *given: Any) -> str:
        if not left[0]:
            raise CutOff
        left[0] -= 1
        return await create(self, *given)

    async def copied_within(count: int) -> Copied | None:
        left[0] = count
        try:
            return await desk.authoring.use_template(WORKSPACE, "win-back", "ada", "key-1")
        except CutOff:
            return None

    monkeypatch.setattr(Writers, "create", create_unless_cut)
    tries = [await copied_within(count) for count in range(20)]
    copied = next(one for one in tries if one is not None)

    journeys = (await desk.authoring.journeys.page(WORKSPACE, 100, None)).items
    contracts = (await desk.authoring.trigger_contracts.page(WORKSPACE, 100, None)).items
    communications = (await desk.authoring.communications.page(WORKSPACE, 100, None)).items
    assert [copied.journey.journey.id] == [view.journey.id for view in journeys]
    assert [copied.trigger_contract.id] == [one.id for one in contracts]
    assert {one.id for one in copied.communications} == {one.id for one in communications}


class CutOff(Exception):
    """The process ends here."""
