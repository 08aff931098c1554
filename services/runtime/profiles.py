"""A person's profile, read from the JSON a client sent.

Law: all faults at once, each with a JSON Pointer; what only the server writes is ignored, so that a client can
send back what it read; a null is an absent member. A patch is merged first and then read as a whole.
Source: contract 1 (limits) and 3 (Subjects); RFC 7396.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.domain.errors import Fault, Invalid
from services.domain.ids import MAX_ID_BYTES
from services.domain.journey.members import Members, free_faults, is_broken, items, shown, wrong_type
from services.domain.journey.model import CHANNELS, Json
from services.domain.times import is_zone

SERVER_MEMBERS = ("createdAt", "updatedAt", "etag")
MAX_EMAIL = 320  # RFC 3696, erratum 1690: 64 for the mailbox, 255 for the host, and the sign between
MAX_LOCALE = 64
_IGNORED = ("endUserId", "projectKey", *SERVER_MEMBERS)
_FIXED = ("addresses", "channelPreferences")  # objects of fixed members: a null in them means absent


@dataclass(frozen=True, slots=True)
class ProfileInput:
    """A profile as a client may write it."""

    attributes: dict[str, Json]
    email: str | None
    mobile_push: tuple[str, ...]
    timezone: str | None
    locale: str | None
    preferences: dict[str, bool]
    global_opt_out: bool


def parse_json(data: bytes) -> Json:
    """JSON in UTF-8; of duplicate members the last counts. Raises Invalid `invalid_json`.

    Numbers that no double and no 64-bit integer holds are let through: reading names them by their place.
    """
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise Invalid("invalid_json", "This is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise Invalid("invalid_json", f"This is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise Invalid("invalid_json", "This JSON is nested too deeply.") from None
    except ValueError:  # NaN and its like, or a number of thousands of digits
        raise Invalid("invalid_json", "This is not JSON: a number in it is none.") from None


def read_profile(value: Json, end_user_id: str) -> ProfileInput:
    """A whole profile of that person. Raises Invalid `validation_error` with every fault.

    `endUserId` may be left out, since the caller has said who is meant; another one's is a fault.
    """
    faults: list[Fault] = []
    if fault := end_user_id_fault(end_user_id):
        faults.append(fault)
    members = Members(value, "", faults)
    named = members.take("endUserId")
    if named is not None and not isinstance(named, str):
        faults.append(wrong_type("/endUserId", named, "a string"))
    elif named is not None and named != end_user_id:
        members.fault("endUserId", "wrong_id", "The profile names somebody else.")
    profile = _read(members)
    if faults:
        raise _invalid(faults)
    return profile


def read_named_profile(value: Json) -> tuple[str, ProfileInput]:
    """A profile that says itself whose it is. Raises Invalid `validation_error` with every fault."""
    faults: list[Fault] = []
    members = Members(value, "", faults)
    end_user_id = members.take("endUserId", need=True)
    if end_user_id is not None and not isinstance(end_user_id, str):
        faults.append(wrong_type("/endUserId", end_user_id, "a string"))
    elif end_user_id is not None and (fault := end_user_id_fault(end_user_id)):
        faults.append(fault)
    profile = _read(members)
    if faults:
        raise _invalid(faults)
    return end_user_id, profile


def patched_profile(current: ProfileInput, patch: Json, end_user_id: str) -> ProfileInput:
    """The profile with a merge patch (RFC 7396) applied. Raises Invalid `validation_error` with every fault.

    In `addresses` and `channelPreferences` and at the top, a null takes the member away and an unknown member is
    a fault, null or not; within `attributes` names are free and the RFC holds to the letter.
    """
    if not isinstance(patch, dict):
        raise _invalid([wrong_type("", patch, "an object")])
    merged = profile_json(current)
    for name, value in patch.items():
        if name == "attributes" and not free_faults(value, ""):
            merged[name] = merge_patch(merged["attributes"], value)
        elif name in _FIXED and isinstance(value, dict):
            merged[name] = {**merged[name], **value}
        else:
            merged[name] = value
    return read_profile(merged, end_user_id)


def profile_faults(data: bytes) -> list[Fault]:
    """Everything that is wrong with a profile or a merge patch of one, whoever's it is; never raises."""
    nobody = ProfileInput({}, None, (), None, None, {}, global_opt_out=False)
    try:
        value = parse_json(data)
        # Whose profile it is says the path: what a client read and sends back names the same person.
        patch = {name: one for name, one in value.items() if name not in _IGNORED} if isinstance(value, dict) else value
        patched_profile(nobody, patch, "-")
    except Invalid as refusal:
        return list(refusal.faults)
    return []


def profile_json(profile: ProfileInput) -> dict[str, Json]:
    """A profile as a client reads and writes it, without the id."""
    return {
        "attributes": profile.attributes,
        "addresses": {"email": profile.email, "mobile_push": list(profile.mobile_push)},
        "timezone": profile.timezone,
        "locale": profile.locale,
        "channelPreferences": profile.preferences,
        "globalOptOut": profile.global_opt_out,
    }


def merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7396, section 2. Neither argument is changed; nesting must be within the limits."""
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def end_user_id_fault(end_user_id: str) -> Fault | None:
    """What is wrong with an end user's id: empty, over 200 bytes, or not text."""
    if is_broken(end_user_id):
        return Fault("/endUserId", "bad_text", "The id holds half of a surrogate pair.")
    if not 0 < len(end_user_id.encode()) <= MAX_ID_BYTES:
        return Fault("/endUserId", "out_of_range", f"An id has 1 to {MAX_ID_BYTES} bytes.")
    return None


def is_address(text: str) -> bool:
    """Whether the text can be an e-mail address: one @ with something on both sides, no space or control sign."""
    mailbox, _, host = text.partition("@")
    return bool(mailbox and host) and "@" not in host and text.isprintable() and " " not in text


def _read(members: Members) -> ProfileInput:
    email, mobile_push = _addresses(members.named("addresses"))
    profile = ProfileInput(
        attributes=_attributes(members),
        email=email,
        mobile_push=mobile_push,
        timezone=_zone(members),
        locale=members.text("locale", most=MAX_LOCALE),
        preferences=_preferences(members.named("channelPreferences")),
        global_opt_out=members.flag("globalOptOut", False),
    )
    for name in SERVER_MEMBERS:
        members.take(name)
    members.close()
    return profile


def _attributes(members: Members) -> dict[str, Json]:
    value = members.take("attributes")
    if value is None:
        return {}
    if not isinstance(value, dict):
        members.faults.append(wrong_type(members.path("attributes"), value, "an object"))
        return {}
    members.free("attributes")
    return value


def _addresses(members: Members | None) -> tuple[str | None, tuple[str, ...]]:
    if members is None:
        return None, ()
    email = members.text("email", most=MAX_EMAIL)
    if email is not None and not is_address(email):
        members.fault("email", "bad_email", f"{shown(email)} is no e-mail address.")
    tokens: list[str] = []
    listed = members.take("mobile_push")
    for token, at in [] if listed is None else items(listed, members.path("mobile_push"), members.faults):
        if not isinstance(token, str):
            members.faults.append(wrong_type(at, token, "a string"))
        elif not token or is_broken(token):
            members.faults.append(Fault(at, "bad_text", "A token is text, and not empty."))
        else:
            tokens.append(token)
    members.close()
    return email, tuple(tokens)


def _zone(members: Members) -> str | None:
    zone = members.text("timezone")
    if zone is not None and not is_zone(zone):
        members.fault("timezone", "bad_timezone", f"{shown(zone)} is no time zone; write it like Europe/Berlin.")
        return None
    return zone


def _preferences(members: Members | None) -> dict[str, bool]:
    if members is None:
        return {}
    given = [channel for channel in CHANNELS if members.take(channel) is not None]
    preferences = {channel: members.flag(channel, False) for channel in given}
    members.close()
    return preferences


def _invalid(faults: list[Fault]) -> Invalid:
    return Invalid("validation_error", "The profile is not valid.", faults)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
