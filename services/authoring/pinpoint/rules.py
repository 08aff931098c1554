"""A journey's rules beside its graph: re-entry, limits, quiet time, windows, state.

Law: workspace settings are never touched; what only they can say is kept and the message names the setting.
Source: pinpoint design 3.1 and 4.1.
"""

from collections.abc import Mapping
from typing import Any

from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.shapes import STATES
from services.authoring.pinpoint.times import is_clock, read_length, write_length
from services.domain.journey.model import Json

_CAPS = ("DailyCap", "TotalCap")


def settings_of(journey: Mapping[str, Any], path: str, notes: Notes) -> dict[str, Json]:
    """The journey's settings; what they cannot say is said."""
    limits, at = journey.get("Limits", {}), step_into(path, "Limits")
    settings: dict[str, Json] = {}
    if (reentry := _reentry(limits, at, notes)) is not None:
        settings["reentry"] = reentry
    rate = limits.get("MessagesPerSecond")
    if rate is not None and 0 < rate <= 1e6:
        settings["sendRate"] = {"perSecond": rate}
    frame = limits.get("TimeframeCap", {})
    caps = [f"{name} {limits[name]:g}" for name in _CAPS if limits.get(name)]
    if frame.get("Cap"):
        caps.append(f"{frame['Cap']:g} in {frame.get('Days', 0):g} days")
    if caps:
        notes.say("limits_not_applied", at, f"{', '.join(caps)}.")
    _say_quiet(journey, path, notes)
    _say_windows(journey, path, notes)
    return settings


def state_of(journey: Mapping[str, Any]) -> str:
    """The journey's state; what is none counts as DRAFT."""
    state = journey.get("State")
    return state if isinstance(state, str) and state in STATES else "DRAFT"


def say_state(state: str, path: str, notes: Notes) -> None:
    """Say what a journey's state in Pinpoint means for the draft."""
    if state in ("ACTIVE", "PAUSED"):
        notes.say("in_flight_not_migrated", step_into(path, "State"))


def _reentry(limits: Mapping[str, Any], path: str, notes: Notes) -> dict[str, Json] | None:
    cap, interval = limits.get("EndpointReentryCap"), limits.get("EndpointReentryInterval")
    if cap is None and not interval:
        return None
    if cap == 1:
        return {"mode": "once"}
    reentry: dict[str, Json] = {"mode": "every_event"}
    if interval:
        length = read_length(interval)
        if length is None:
            notes.say("reentry_approximated", step_into(path, "EndpointReentryInterval"), "It cannot be read.")
        elif length.ms:
            if length.has_calendar_unit:
                notes.say("wait_calendar_unit", step_into(path, "EndpointReentryInterval"))
            reentry["minInterval"] = write_length(length.ms)
    if cap:
        notes.say("reentry_approximated", step_into(path, "EndpointReentryCap"))
    return reentry


def _say_quiet(journey: Mapping[str, Any], path: str, notes: Notes) -> None:
    quiet, at = journey.get("QuietTime", {}), step_into(path, "QuietTime")
    start, end = quiet.get("Start"), quiet.get("End")
    if not start and not end:
        return
    if not (start and end and is_clock(start) and is_clock(end)) or start == end:
        notes.say("quiet_time_not_applied", at, "It names no stretch of the day.")
        return
    behaviour = "defer" if journey.get("WaitForQuietTime") else "skip"
    wanted = f'quietHours {{"start": "{start}", "end": "{end}", "behaviour": "{behaviour}"}} would equal it.'
    notes.say("quiet_time_not_applied", at, wanted)
    notes.say("quiet_time_semantics", at)


def _say_windows(journey: Mapping[str, Any], path: str, notes: Notes) -> None:
    for name in ("OpenHours", "ClosedDays"):
        if journey.get(name):
            at = step_into(path, name)
            if journey.get("SendingSchedule"):
                notes.drop("send_window_unsupported", name, at, journey[name])
            else:
                notes.keep(name, at, journey[name])  # without SendingSchedule it has no effect in Pinpoint either
    if journey.get("SendingSchedule"):
        notes.say("send_window_unsupported", step_into(path, "SendingSchedule"))
    if methods := journey.get("TimezoneEstimationMethods"):
        at = step_into(path, "TimezoneEstimationMethods")
        notes.drop("send_window_unsupported", "TimezoneEstimationMethods", at, methods)
    if (channels := journey.get("JourneyChannelSettings")) is not None:
        at = step_into(path, "JourneyChannelSettings")
        notes.drop("channel_settings_dropped", "JourneyChannelSettings", at, channels)
