"""A workspace's settings: their defaults, and what may be put in their place.

Law: stored is what differs from the defaults, so a new setting has its default everywhere. Secrets are named, never
held, and a name that leads to none is refused when it is set.
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
from services.domain.journey.members import Members, escaped, wrong_type
from services.domain.journey.model import Json
from services.infra.secret_refs import CannotResolve, resolve

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
_TYPES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("outbox", "smtp", "http"),
    "in_app_push": ("in_app", "http"),
    "mobile_push": ("outbox", "fcm", "http"),
}
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_MOST: Final = 1_000_000_000
_IGNORED: Final = ("projectKey",)  # written by the server, accepted back
_ADDRESS: Final = re.compile(r"https?://[^\s/?#@]+(?:[/?#]\S*)?", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(r"[^/?#]*//[^/?#]*@")
_HOST: Final = re.compile(r"[^\s/@]+")
_ONE_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
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


def timezone_of(workspace: Workspace) -> str:
    """The zone of everybody and everything that names none of its own."""
    zone: str = settings_of(workspace)["timezone"]
    return zone


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
        "webhookSecretRef": _secret_ref(members, "webhookSecretRef"),
        "publicUrl": _public_url(members),
        "maxJourneys": members.whole("maxJourneys", 0, _MOST),
    }
    members.close()
    return name, {key: value for key, value in read.items() if key in given}, faults


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings after the changes: only what differs from the defaults."""
    merged = {**settings, **changes}
    if changes.get("senders") is not None:  # a channel that is not named keeps its sender
        merged["senders"] = {**DEFAULT_SENDERS, **(settings.get("senders") or {}), **changes["senders"]}
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
    given = members.take("senders")
    read = {channel: _sender(inner, channel) or DEFAULT_SENDERS[channel] for channel in DEFAULT_SENDERS}
    inner.close()
    return {channel: sender for channel, sender in read.items() if isinstance(given, dict) and channel in given}


def _sender(members: Members, channel: str) -> Json:
    """How one channel's messages leave, as it was written; null gives the default back."""
    one = members.named(channel)
    if one is None:
        return None
    kind = one.choice("type", _TYPES_OF[channel], need=True)
    match kind:
        case "smtp":
            host = one.text("host", need=True, least=1, most=253)
            if host is not None and not _HOST.fullmatch(host):
                one.fault("host", "bad_host", "Write a host like mail.example.com; who signs in is told by `username`.")
            one.take("port", need=True)
            one.whole("port", 1, 65_535)
            one.choice("security", ("none", "starttls", "tls"), need=True)
            one.text("username", most=320)
            _secret_ref(one, "passwordRef")
            one.text("from", need=True, least=3, most=320, pattern=_ONE_LINE)
            one.text("replyTo", most=320, pattern=_ONE_LINE)
        case "http":
            _address(one, "url", need=True)
            for name, value in one.pairs("headers"):
                at = f"{one.path('headers')}/{escaped(name)}"
                if not isinstance(value, str):
                    one.faults.append(wrong_type(at, value, "a string"))
                elif not _HEADER.fullmatch(name) or not _ONE_LINE.fullmatch(value or "-"):
                    one.faults.append(Fault(at, "invalid_header", "A header has a name of HTTP's and is one line."))
            _secret_ref(one, "secretRef")
            one.take("idempotent", need=True)
            one.flag("idempotent", False)
        case "fcm":
            one.text("projectId", need=True, least=1, most=100)
            _secret_ref(one, "credentialsRef", need=True)
            _address(one, "endpoint")
        case _:
            pass
    one.close()
    return members.take(channel)


def _secret_ref(members: Members, name: str, *, need: bool = False) -> str | None:
    """A reference that leads to a secret now: what cannot be resolved is refused here, not at the first send."""
    reference = members.text(name, need=need, most=4_096)
    if reference is None:
        return None
    try:
        resolve(reference)
    except CannotResolve as refusal:
        members.fault(name, "cannot_resolve", str(refusal))
        return None
    return reference


def _address(members: Members, name: str, *, need: bool = False) -> None:
    url = members.text(name, need=need, most=2_048)
    if url is not None and _CREDENTIALS.match(url):
        members.fault(name, "url_with_credentials", "An address holds no user name and no password.")
    elif url is not None and not _ADDRESS.fullmatch(url):
        members.fault(name, "bad_url", "Write an address like https://mail.example.com/send.")


def _public_url(members: Members) -> str | None:
    url = members.text("publicUrl", least=1, most=2_048)
    if url is not None and not _URL.fullmatch(url):
        members.fault("publicUrl", "bad_url", "Write the address of a site, like https://journeys.example.com.")
        return None
    return url
