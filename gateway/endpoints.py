"""Endpoints of Amazon Pinpoint among the lines of an import: several lines make one person.

Law: what is an endpoint is told by its shape, and a profile of ours is never taken for one. Of a person's endpoints the
one with the newest EffectiveDate wins, member by member; of two of one date the later line. They are held until the
body has ended, since they come in any order; whoever sends more than is held is told to send them in parts.
Source: pinpoint design 3.3 (Endpoint export); AWS API model `pinpoint/2016-12-01`, EndpointResponse.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from gateway.times import ms_of

MAX_HELD: Final = 128 << 20  # bytes of lines
MAX_LOCALE: Final = 64  # of a profile
_MARKS: Final = ("ChannelType", "EndpointStatus", "EffectiveDate", "OptOut")
_PUSHES: Final = ("PUSH", "GCM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "ADM", "BAIDU")
_PHONES: Final = ("SMS", "VOICE")


class TooMany(Exception):
    """More endpoints than are held."""


def is_endpoint(line: Mapping[str, Any]) -> bool:
    """Whether a line is an EndpointResponse: it has no endUserId, an Id, and what only an endpoint has."""
    return "endUserId" not in line and isinstance(line.get("Id"), str) and any(mark in line for mark in _MARKS)


def person_of(endpoint: Mapping[str, Any]) -> str:
    """Whose endpoint it is: its user's id, else its own."""
    user = endpoint.get("User")
    name = user.get("UserId") if isinstance(user, dict) else None
    return name if isinstance(name, str) and name else str(endpoint["Id"])


@dataclass(slots=True)
class Endpoints:
    """The endpoints of one import, by person."""

    _by_person: dict[str, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    _size: int = 0

    def take(self, line: int, endpoint: Mapping[str, Any], text: bytes) -> None:
        """Hold one. Raises TooMany."""
        self._size += len(text)
        if self._size > MAX_HELD:
            raise TooMany
        self._by_person.setdefault(person_of(endpoint), []).append((_date(endpoint), line, text))

    def profiles(self) -> Iterator[tuple[int, bytes]]:
        """Each person's profile as JSON, with the line of their newest endpoint."""
        for name, held in self._by_person.items():
            held.sort(key=lambda one: one[:2])
            profile = profile_of(name, [msgspec.json.decode(text) for _, _, text in held])
            yield held[-1][1], msgspec.json.encode(profile)


def profile_of(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    """One person's profile from their endpoints, the oldest first."""
    attributes: dict[str, Any] = {}
    own: dict[str, Any] = {}  # of the user: beside an endpoint's attribute of one name it wins
    addresses: dict[str, Any] = {}
    tokens: list[str] = []
    opted: dict[str, bool] = {}
    profile: dict[str, Any] = {"endUserId": name}
    for endpoint in endpoints:
        for member in ("Metrics", "Attributes"):
            attributes |= {key: _plain(value) for key, value in _object(endpoint, member).items() if value != []}
        for member in ("Demographic", "Location"):
            if found := {key: value for key, value in _object(endpoint, member).items() if value is not None}:
                attributes[member] = {**_object(attributes, member), **found}
        own |= {key: _plain(value) for key, value in _object(_object(endpoint, "User"), "UserAttributes").items()}
        demographic = _object(endpoint, "Demographic")
        if _is_zone(zone := demographic.get("Timezone")):
            profile["timezone"] = zone
        locale = demographic.get("Locale")
        if isinstance(locale, str) and 0 < len(locale) <= MAX_LOCALE:
            profile["locale"] = locale
        channel, kind = _channel(endpoint), endpoint.get("ChannelType")
        address = endpoint.get("Address")
        is_usable = isinstance(address, str) and bool(address) and endpoint.get("EndpointStatus") != "INACTIVE"
        if channel is None:
            if is_usable and kind in _PHONES:
                attributes["phoneNumber"] = address
            continue
        is_in = endpoint.get("OptOut") != "ALL"
        opted[channel] = is_in or (channel == "mobile_push" and opted.get(channel, False))
        if not is_usable:
            continue
        if channel == "email":
            addresses["email"] = address
        elif is_in and address not in tokens:
            tokens.append(str(address))
    if tokens:
        addresses["mobile_push"] = tokens
    profile["attributes"] = {**attributes, **own}
    profile["addresses"] = addresses
    profile["channelPreferences"] = opted
    return profile


def _channel(endpoint: Mapping[str, Any]) -> str | None:
    kind = endpoint.get("ChannelType")
    return "email" if kind == "EMAIL" else "mobile_push" if kind in _PUSHES else None


def _plain(value: Any) -> Any:
    """A list of one value as that value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _object(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _date(endpoint: Mapping[str, Any]) -> int:
    text = endpoint.get("EffectiveDate")
    try:
        return ms_of(text) if isinstance(text, str) else 0
    except ValueError:
        return 0


def _is_zone(name: Any) -> bool:
    if not isinstance(name, str) or not name or not name[0].isalpha() or ".." in name or name == "localtime":
        return False
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return False
    return True
