"""Profiles as clients write them: what is accepted, and every fault with its place."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import Invalid
from services.runtime.profiles import (
    ProfileInput,
    merge_patch,
    parse_json,
    patched_profile,
    profile_faults,
    profile_json,
    read_named_profile,
    read_profile,
)

FULL: dict[str, Any] = {
    "endUserId": "usr_a",
    "attributes": {"plan": "pro", "company": {"size": 3}, "tags": ["a", "b"]},
    "addresses": {"email": "Ada@Example.org", "mobile_push": ["tok-1", "tok-2"]},
    "timezone": "Europe/Berlin",
    "locale": "de-DE",
    "channelPreferences": {"email": True, "mobile_push": False},
    "globalOptOut": False,
}
EMPTY = ProfileInput({}, None, (), None, None, {}, False)
HOSTILE_IDS = [
    "o'neil+test@mail.example",
    "dept/42/anna",
    "100%",
    "名前-7",
    "a__v2__b",
    "two words",
    "q?x=1&y=#2",
    "a/../b",
]


def nested(depth: int) -> dict[str, Any]:
    """An object so many objects deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


def faults_of(value: Any, end_user_id: str = "usr_a") -> list[tuple[str, str]]:
    """Path and code of everything wrong with a profile."""
    with pytest.raises(Invalid) as refused:
        read_profile(value, end_user_id)
    assert "validation_error" == refused.value.reason
    return [(fault.path, fault.code) for fault in refused.value.faults]


def test_a_full_profile_is_read_as_it_was_written() -> None:
    """Nothing is lost and nothing is changed."""
    profile = read_profile(FULL, "usr_a")

    assert {**profile_json(profile), "endUserId": "usr_a"} == FULL | {"channelPreferences": profile.preferences}


def test_an_empty_object_is_an_empty_profile() -> None:
    """Nothing is required of a profile, and a null is an absent member."""
    assert EMPTY == read_profile({}, "usr_a")
    assert EMPTY == read_profile(dict.fromkeys(FULL), "usr_a")


def test_what_only_the_server_writes_is_ignored() -> None:
    """A client may send back what it read."""
    assert EMPTY == read_profile({"createdAt": "x", "updatedAt": 1, "etag": None}, "usr_a")


@pytest.mark.parametrize("end_user_id", HOSTILE_IDS)
def test_an_id_may_be_any_text(end_user_id: str) -> None:
    """Customers' ids are theirs: signs that mean something in paths and ids are welcome."""
    assert (end_user_id, EMPTY) == read_named_profile({"endUserId": end_user_id})


@pytest.mark.parametrize(
    ("end_user_id", "code"),
    [
        ("", "out_of_range"),
        ("ü" * 101, "out_of_range"),
        ("\ud800", "bad_text"),
        (7, "wrong_type"),
        (None, "missing_member"),
    ],
)
def test_an_id_is_one_to_two_hundred_bytes_of_text(end_user_id: Any, code: str) -> None:
    """Contract 2.3: the id becomes part of execution ids."""
    with pytest.raises(Invalid) as refused:
        read_named_profile({"endUserId": end_user_id})

    assert [("/endUserId", code)] == [(fault.path, fault.code) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("member", "value", "fault"),
    [
        ("attributes", [], ("/attributes", "wrong_type")),
        ("attributes", {"a": {"b/c": float("inf")}}, ("/attributes/a/b~1c", "out_of_range")),
        ("attributes", {"n": 2**63}, ("/attributes/n", "out_of_range")),
        ("attributes", {"s": ["\ud800"]}, ("/attributes/s/0", "bad_text")),
        ("addresses", "ada@example.org", ("/addresses", "wrong_type")),
        ("addresses", {"fax": "1"}, ("/addresses/fax", "unknown_member")),
        ("addresses", {"email": "ada"}, ("/addresses/email", "bad_email")),
        ("addresses", {"email": "a@b@c"}, ("/addresses/email", "bad_email")),
        ("addresses", {"email": "a@b\nBcc: c@d"}, ("/addresses/email", "bad_email")),
        ("addresses", {"email": "a" * 320 + "@b"}, ("/addresses/email", "out_of_range")),
        ("addresses", {"mobile_push": "tok"}, ("/addresses/mobile_push", "wrong_type")),
        ("addresses", {"mobile_push": ["tok", 1]}, ("/addresses/mobile_push/1", "wrong_type")),
        ("addresses", {"mobile_push": [""]}, ("/addresses/mobile_push/0", "bad_text")),
        ("timezone", "Mars/Olympus", ("/timezone", "bad_timezone")),
        ("timezone", 1, ("/timezone", "wrong_type")),
        ("locale", 1, ("/locale", "wrong_type")),
        ("channelPreferences", {"email": "yes"}, ("/channelPreferences/email", "wrong_type")),
        ("channelPreferences", {"sms": True}, ("/channelPreferences/sms", "unknown_member")),
        ("globalOptOut", "no", ("/globalOptOut", "wrong_type")),
        ("endUserId", "usr_b", ("/endUserId", "wrong_id")),
        ("nickname", "Ada", ("/nickname", "unknown_member")),
    ],
)
def test_a_fault_is_named_with_its_place(member: str, value: Any, fault: tuple[str, str]) -> None:
    """Each rule of contract 1 and 3, alone."""
    assert [fault] == faults_of({**FULL, member: value})


def test_nesting_ends_at_sixty_four() -> None:
    """The deepest profile is read; one level more is a fault."""
    read_profile({"attributes": nested(64)}, "usr_a")

    assert [code for _, code in faults_of({"attributes": nested(65)})] == ["too_deep"]


def test_all_faults_are_told_at_once() -> None:
    """Nobody has to mend a profile fault by fault."""
    wrong = {"attributes": 1, "addresses": {"email": ""}, "timezone": "x", "globalOptOut": 1, "more": 1}

    assert {"/attributes", "/addresses/email", "/timezone", "/globalOptOut", "/more"} == {
        p for p, _ in faults_of(wrong)
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b"[" * 100_000,
        b"1" * 5_000,
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_in_utf8_is_refused(data: bytes) -> None:
    """Whatever the bytes, the answer is a refusal and not a crash."""
    with pytest.raises(Invalid) as refused:
        parse_json(data)

    assert "invalid_json" == refused.value.reason


def test_of_duplicate_members_the_last_counts() -> None:
    """Contract 1."""
    assert {"a": 2} == parse_json(b'{"a": 1, "a": 2}')


# RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc_hold(target: Any, patch: Any, result: Any) -> None:
    """Merging does what RFC 7396 shows, and leaves its arguments alone."""
    before = json.dumps([target, patch])

    assert result == merge_patch(target, patch)
    assert before == json.dumps([target, patch])


def test_a_patch_touches_only_what_it_names() -> None:
    """One attribute, one address, one preference; the rest stays."""
    patch = {
        "attributes": {"plan": None, "company": {"name": "Ltd"}},
        "addresses": {"mobile_push": ["tok-3"]},
        "channelPreferences": {"email": None, "in_app_push": True},
        "timezone": None,
    }

    patched = patched_profile(read_profile(FULL, "usr_a"), patch, "usr_a")

    assert patched == ProfileInput(
        attributes={"company": {"size": 3, "name": "Ltd"}, "tags": ["a", "b"]},
        email="Ada@Example.org",
        mobile_push=("tok-3",),
        timezone=None,
        locale="de-DE",
        preferences={"in_app_push": True, "mobile_push": False},
        global_opt_out=False,
    )


def test_a_null_takes_a_whole_part_away() -> None:
    """Null removes, at every level."""
    nulls = dict.fromkeys(("attributes", "addresses", "timezone", "locale", "channelPreferences", "globalOptOut"))

    assert EMPTY == patched_profile(read_profile(FULL, "usr_a"), nulls, "usr_a")


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ([], ""),
        ({"nickname": None}, "/nickname"),
        ({"addresses": {"fax": None}}, "/addresses/fax"),
        ({"channelPreferences": {"sms": None}}, "/channelPreferences/sms"),
        ({"attributes": "none"}, "/attributes"),
        ({"attributes": {"n": 2**63}}, "/attributes/n"),
        ({"endUserId": "usr_b"}, "/endUserId"),
    ],
)
def test_a_patch_is_held_to_the_same_rules(patch: Any, path: str) -> None:
    """What a PUT refuses a PATCH refuses, unknown members that it would remove included."""
    with pytest.raises(Invalid) as refused:
        patched_profile(EMPTY, patch, "usr_a")

    assert [path] == [fault.path for fault in refused.value.faults]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(FULL)) | st.text(), inner),
    )
)
def test_no_json_makes_reading_crash(value: Any) -> None:
    """Whatever the JSON, it is a profile or a refusal."""
    for read in (lambda: read_named_profile(value), lambda: patched_profile(EMPTY, value, "usr_a")):
        with suppress(Invalid):
            read()


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (FULL, []),
        ({"endUserId": 5, "createdAt": 1, "attributes": None, "addresses": {"email": None}}, []),
        (
            {"timezone": "Mars", "addresses": {"email": "x", "sms": 1}},
            ["/addresses/email", "/addresses/sms", "/timezone"],
        ),
        ([], [""]),
    ],
)
def test_faults_without_a_person(body: Any, paths: list[str]) -> None:
    """A profile or a patch looked at for itself: what only the server writes is no fault."""
    assert paths == sorted(fault.path for fault in profile_faults(json.dumps(body).encode()))
