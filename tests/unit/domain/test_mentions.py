"""Whether a text names a person, told from their keyed hash."""

import pytest

from services.domain import ids
from services.domain.mentions import Person

SECRET = b"s" * 32
USER = "usr_Ä/4__2"
PERSON = Person("pk_demo", ids.subject_key(308, SECRET, USER), SECRET)
RUN = ids.execution_id("act", 3, USER, "evt_b")


@pytest.mark.parametrize(
    "text", [USER, RUN, ids.ARN_PREFIX + RUN, ids.send_id(RUN, "mail", 1), ids.correlation_id(RUN, "mail")]
)
def test_the_id_and_names_made_of_it_name_the_person(text: str) -> None:
    """The id, an execution's id and ARN, a send's, a correlation id."""
    assert PERSON.is_named_by(text)


@pytest.mark.parametrize(
    "text", ["", "usr_b", USER.lower(), ids.execution_id("act", 3, "usr_b", USER), "a__v1", "\ud800", "x" * 5_000]
)
def test_other_texts_do_not(text: str) -> None:
    """Another person's names, also where their event bears this person's id; nothing at all; half a character."""
    assert not PERSON.is_named_by(text)


def test_the_log_key_of_the_workspace_alone_is_theirs() -> None:
    """The same id in another workspace is somebody else."""
    assert PERSON.is_keyed_by(f"pk_demo:{USER}")
    assert not PERSON.is_keyed_by(f"pk_other:{USER}")


def test_another_workspaces_secret_makes_another_person() -> None:
    """The hash is keyed."""
    assert not Person("pk_demo", PERSON.key, b"t" * 32).is_named_by(USER)


def test_a_value_names_the_person_anywhere_in_it() -> None:
    """In lists, in members, in the names of members."""
    assert PERSON.is_in({"a": [1, None, {"b": USER}]})
    assert PERSON.is_in({USER: 1})
    assert not PERSON.is_in({"a": ["usr_b", 1.5, True]})


def test_a_value_without_the_person_is_otherwise_the_same() -> None:
    """Every text that names them is another one; numbers, order and the rest stay."""
    value = {"who": USER, "n": [1, USER, None], "plan": "pro"}

    assert {"who": "x", "n": [1, "x", None], "plan": "pro"} == PERSON.without(value, "x")
