"""Large documents: what one body holds is taken, and a list of them is cut into pages that can be sent. Contract 1."""

from tests.e2e.words import World, end, unique

LARGE = "y" * 1_000_000


def test_a_description_is_as_long_as_a_body_allows(world: World) -> None:
    """The body's limit is the only one."""
    journey = world.draft([end()], description=LARGE)

    assert LARGE == world.show(journey)["description"]


def test_a_page_of_large_documents_is_short_and_has_a_next_one(apart: World) -> None:
    """34 MB of communications, 12 of people: each list answers, and shows all of them once."""
    comms = [apart.comm(body=LARGE) for _ in range(34)]
    people = [unique("usr") for _ in range(12)]
    for person in people:
        apart.api.put(f"/api/subjects/{person}", {"attributes": {"a": LARGE}})
    for path, key, expected in (("/api/communications", "id", comms), ("/api/subjects", "endUserId", people)):
        first = apart.api.get(f"{path}?limit=500")
        found = [one[key] for one in apart.api.all_of(f"{path}?limit=500")]

        assert 0 < len(first.ok()) < len(expected)
        assert sorted(expected) == sorted(found)
    one = apart.api.get("/api/communications?limit=1")
    assert (1, True) == (len(one.ok()), one.next_path() is not None)
