"""A workspace's settings: their defaults, and what may be put in their place.

Law: stored is what differs from the defaults, so a new setting has its default everywhere. What the contract knows
and this version cannot honour yet is refused by name, never kept and ignored.
Source: contract 3, "Workspace".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from services.authoring.changes import MAX_WINDOW_DAYS
from services.authoring.names import MAX_TITLE
from services.authoring.repositories import Workspace
from services.domain.errors import Fault
from services.domain.execution.caps import MAX_PER_MS
from services.domain.journey.members import Members
from services.domain.journey.model import Json

DEFAULT_SENDERS: Final[Mapping[str, Any]] = {
    "email": {"type": "outbox"},
    "in_app_push": {"type": "in_app"},
    "mobile_push": {"type": "outbox"},
}
DEFAULTS: Final[Mapping[str, Any]] = {
    "timezone": "UTC",
    "goalEventWindowDays": 7,
    "holdout": {"percent": 5},
    "frequencyCaps": None,
    "dailyCap": None,
    "quietHours": None,
    "senders": DEFAULT_SENDERS,
    "webhookSecretRef": None,
    "publicUrl": None,
    "maxJourneys": None,
}
_LATER: Final = ("webhookSecretRef",)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_MOST: Final = 1_000_000_000
_IGNORED: Final = ("projectKey",)  # written by the server, accepted back
_URL: Final = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", re.IGNORECASE)


def settings_of(workspace: Workspace) -> dict[str, Any]:
    """All settings, the defaults where nothing else was set."""
    return {**DEFAULTS, **workspace.settings}


def goal_window_of(workspace: Workspace) -> float:
    """The default window of a goal, in days."""
    return float(settings_of(workspace)["goalEventWindowDays"])


def max_journeys_of(workspace: Workspace) -> int | None:
    """How many journeys may be published at once; None: any number."""
    limit: int | None = settings_of(workspace)["maxJourneys"]
    return limit


def read_changes(json: Json) -> tuple[str | None, dict[str, Any], list[Fault]]:
    """The new name (None: unchanged), the settings to change (None gives the default back), and every fault."""
    faults: list[Fault] = []
    members = Members(json, "", faults)
    given = json if isinstance(json, dict) else {}
    for ignored in _IGNORED:
        members.take(ignored)
    name = members.text("name", need="name" in given, least=1, most=MAX_TITLE)
    if name is not None and not name.strip():
        members.fault("name", "missing_member", "The name is empty.")
    read: dict[str, Any] = {
        "timezone": members.zone("timezone"),
        "goalEventWindowDays": members.number("goalEventWindowDays", 0, MAX_WINDOW_DAYS, above=True),
        "holdout": _holdout(members),
        "frequencyCaps": _frequency_caps(members),
        "dailyCap": _daily_cap(members),
        "quietHours": _quiet_hours(members),
        "senders": _senders(members),
        "publicUrl": _public_url(members),
        "maxJourneys": members.whole("maxJourneys", 0, _MOST),
    }
    for later in _LATER:
        read[later] = None
        if members.take(later) is not None:
            members.fault(later, "not_yet_supported", f"{later} cannot be set in this version yet.")
    members.close()
    return name, {key: value for key, value in read.items() if key in given}, faults


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings after the changes: only what differs from the defaults."""
    merged = {**settings, **changes}
    return {key: value for key, value in merged.items() if value is not None and value != DEFAULTS[key]}


def _holdout(members: Members) -> Json:
    inner = members.named("holdout")
    if inner is None:
        return None
    inner.take("percent", need=True)
    percent = inner.number("percent", 0, 100)
    inner.close()
    return {"percent": percent}


def _frequency_caps(members: Members) -> Json:
    caps = []
    for item, at in members.items("frequencyCaps"):
        inner = Members(item, at, members.faults)
        channel = inner.choice("channel", tuple(DEFAULT_SENDERS))
        inner.take("max", need=True)
        most = inner.whole("max", 0, _MOST)
        per = inner.duration("per", above_zero=True)
        if per is not None and per > MAX_PER_MS:
            inner.fault("per", "out_of_range", "The duration a cap looks back is at most 30 days.")
        inner.close()
        # As it was written: a duration is shown in its author's words.
        cap = {"max": most, "per": item.get("per") or "P1D"} if isinstance(item, dict) else {}
        caps.append({**({"channel": channel} if channel else {}), **cap})
    return caps or None


def _daily_cap(members: Members) -> Json:
    inner = members.named("dailyCap")
    if inner is None:
        return None
    inner.take("max", need=True)
    most = inner.whole("max", 0, _MOST)
    inner.close()
    return {"max": most}


def _quiet_hours(members: Members) -> Json:
    inner = members.named("quietHours")
    if inner is None:
        return None
    start = inner.text("start", need=True, pattern=_CLOCK)
    end = inner.text("end", need=True, pattern=_CLOCK)
    behaviour = inner.choice("behaviour", ("defer", "skip")) or "defer"
    inner.close()
    return {"start": start, "end": end, "behaviour": behaviour}


def _senders(members: Members) -> Json:
    inner = members.named("senders")
    if inner is None:
        return None
    for channel, default in DEFAULT_SENDERS.items():
        if inner.take(channel) not in (None, default):
            message = f"Senders other than {default['type']!r} cannot be set for {channel} in this version yet."
            inner.fault(channel, "not_yet_supported", message)
    inner.close()
    return None  # whatever was accepted is the default


def _public_url(members: Members) -> str | None:
    url = members.text("publicUrl", least=1, most=2_048)
    if url is not None and not _URL.fullmatch(url):
        members.fault("publicUrl", "bad_url", "Write the address of a site, like https://journeys.example.com.")
        return None
    return url
