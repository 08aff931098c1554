"""The suppression list: e-mail addresses compare without case, everything else as it is."""

import asyncio

import pytest

from services.domain.errors import Invalid, Missing
from services.infra.clock import ManualClock
from services.runtime.paging import PageRequest
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.suppressions import Suppressions
from tests.support.memory import MemoryDocuments

WS = "pk_test"


@pytest.fixture
async def suppressions() -> Suppressions:
    documents = MemoryDocuments()
    await documents.open(SUBJECT_COLLECTIONS)
    return Suppressions(documents, ManualClock())


async def test_an_address_is_shown_as_it_was_given_first(suppressions: Suppressions) -> None:
    """The second spelling is the same suppression, with another reason."""
    first, was_made = await suppressions.put(WS, "Ada@Example.org", "bounced")
    second, was_made_again = await suppressions.put(WS, "ada@example.ORG", "complained")

    assert (True, False) == (was_made, was_made_again)
    assert ("Ada@Example.org", "complained") == (second.address, second.reason)
    assert first.created_at == second.created_at
    assert second == await suppressions.get(WS, "ADA@EXAMPLE.ORG")


async def test_a_token_compares_exactly(suppressions: Suppressions) -> None:
    """Push tokens have a case of their own."""
    await suppressions.put(WS, "Tok-A", "")

    assert frozenset({"Tok-A"}) == await suppressions.among(WS, ["Tok-A", "tok-a"])


async def test_those_among_some_addresses_are_named_as_they_compare(suppressions: Suppressions) -> None:
    """What the gate asks for, in one read; other workspaces do not count."""
    await suppressions.put(WS, "a@example.org", "")
    await suppressions.put("pk_other", "b@example.org", "")

    assert frozenset({"a@example.org"}) == await suppressions.among(WS, ["A@Example.org", "b@example.org"])
    assert frozenset() == await suppressions.among(WS, [])


async def test_a_deleted_one_is_gone(suppressions: Suppressions) -> None:
    """Deleting what is not there is told."""
    await suppressions.put(WS, "a@example.org", "")
    await suppressions.delete(WS, "A@example.org")

    with pytest.raises(Missing):
        await suppressions.get(WS, "a@example.org")
    with pytest.raises(Missing):
        await suppressions.delete(WS, "a@example.org")


async def test_the_list_goes_by_address(suppressions: Suppressions) -> None:
    """Page by page, each once."""
    for name in "cab":
        await suppressions.put(WS, f"{name}@example.org", name)

    first = await suppressions.list(WS, PageRequest(2))
    second = await suppressions.list(WS, PageRequest(2, first.cursor))

    assert [["a", "b"], ["c"]] == [[it.reason for it in page.items] for page in (first, second)]
    assert second.cursor is None


async def test_two_at_once_make_one(suppressions: Suppressions) -> None:
    """The slower finds it made and replaces it."""
    made = await asyncio.gather(*(suppressions.put(WS, "a@example.org", str(i)) for i in range(5)))

    assert 1 == sum(was_made for _, was_made in made)


@pytest.mark.parametrize(
    ("address", "reason", "path"),
    [("", "", "/address"), ("a" * 5_000, "", "/address"), ("a@b", "r" * 1_001, "/reason")],
)
async def test_what_cannot_be_stored_is_refused(
    suppressions: Suppressions, address: str, reason: str, path: str
) -> None:
    """With the member's place."""
    with pytest.raises(Invalid) as refused:
        await suppressions.put(WS, address, reason)

    assert [path] == [fault.path for fault in refused.value.faults]
