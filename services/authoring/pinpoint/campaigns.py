"""Campaigns as journeys of one send.

Law: a campaign's treatments and its holdout are arms of one random branch before the sends; what a campaign sends over
a channel that we lack is kept aside.
Source: pinpoint design 3.3 and 4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.authoring.pinpoint.entry import Entry, event_entry, say_schedule
from services.authoring.pinpoint.identity import source_id_of
from services.authoring.pinpoint.journeys import MAX_DESCRIPTION, Translated
from services.authoring.pinpoint.library import MAX_TITLE, Found, Library, hashed
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.shapes import CAMPAIGN, fitted
from services.authoring.pinpoint.substitution import substituted
from services.authoring.pinpoint.templates import CHANNELS, communication_ref
from services.authoring.pinpoint.times import read_moment, write_moment
from services.domain.journey.model import Json

ENDED: Final = ("COMPLETED", "DELETED", "INVALID")
_TEMPLATE_KINDS: Final = {"EmailTemplate": "EMAIL", "PushTemplate": "PUSH", "InAppTemplate": "INAPP"}
_PUSHES: Final = (
    "DefaultPushNotificationMessage",
    "DefaultMessage",
    "GCMMessage",
    "APNSMessage",
    "ADMMessage",
    "BaiduMessage",
)
_FREQUENCIES: Final = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True, slots=True)
class _Arm:
    """One treatment: its step's id, its share in percent, its configuration and where that stands."""

    id: str
    percent: float
    config: Mapping[str, Any]
    path: str


def campaign_state(value: Mapping[str, Json]) -> str:
    """A campaign's status; empty if it says none."""
    state = value.get("State")
    status = state.get("CampaignStatus") if isinstance(state, dict) else None
    return status if isinstance(status, str) else ""


def translate_campaign(found: Found, source_id: str, library: Library) -> Translated:
    """Translate one campaign."""
    ref = library.ref("journey", source_id)
    notes = library.notes.of(ref)
    campaign = fitted(found.value, CAMPAIGN, found.path, notes) or {}
    entry = _entry(campaign, found.path, source_id, library, notes)
    held = _percent(campaign.get("HoldoutPercent"))
    arms = _arms(campaign, found.path)
    sends = {arm.id: step for arm in arms if (step := _send(arm, library, notes)) is not None}
    if campaign.get("Hook"):
        notes.drop("campaign_hook", "Hook", step_into(found.path, "Hook"), campaign["Hook"])
    if campaign.get("Limits"):
        notes.say("limits_not_applied", step_into(found.path, "Limits"))
    if campaign.get("Schedule", {}).get("QuietTime", {}).get("Start"):
        notes.say("quiet_time_not_applied", step_into(found.path, "Schedule", "QuietTime"))
    steps: list[dict[str, Json]] = []
    start = "exit"
    if len(arms) > 1 or held:
        notes.say("campaign_treatments", found.path)
        ways = [{"id": arm.id, "weight": arm.percent, "next": arm.id if arm.id in sends else "exit"} for arm in arms]
        if held:
            ways.append({"id": "held", "weight": held, "next": "exit"})
        drawn = [way for way in ways if way["weight"]]
        if len(drawn) > 1 and sends:
            steps.append({"id": "treatments", "type": "branch", "mode": "random", "arms": drawn})
            start = "treatments"
        elif drawn:
            start = str(drawn[0]["next"])
            sends = {name: step for name, step in sends.items() if name == start}
    elif sends:
        start = arms[0].id
    steps += [{"id": name, **step} for name, step in sends.items()]
    if not sends:
        notes.say("journey_empty", found.path)
        notes.keep("Campaign", found.path, found.value)
    notes.say("goal_missing", found.path)
    notes.keep_whole("Campaign", found.path, found.value)
    return Translated(
        tuple(_objects(campaign, source_id, ref, entry, start, steps, library)),
        is_empty=not sends,
    )


def _objects(
    campaign: Mapping[str, Any],
    source_id: str,
    ref: str,
    entry: Entry,
    start: str,
    steps: list[dict[str, Json]],
    library: Library,
) -> list[dict[str, Json]]:
    name = (campaign.get("Name") or source_id).strip() or "Campaign"
    kept = {member[0].lower() + member[1:]: value for member, value in campaign.items()}
    whole = [{"id": "trigger", **entry.trigger, "next": start}, *steps, {"id": "exit", "type": "exit"}]
    made = []
    for i, (event, contract) in enumerate(entry.contracts):
        copy_id = f"{source_id}#{event}" if i else source_id
        title = f"{name[: MAX_TITLE - 100]} ({event[:90]})" if len(entry.contracts) > 1 else name[:MAX_TITLE]
        made.append(
            {
                "ref": library.ref("journey", copy_id) if i else ref,
                "sourceId": source_id_of(copy_id),
                "name": title,
                "description": campaign.get("Description", "")[:MAX_DESCRIPTION],
                "audienceRef": entry.audience_ref,
                "triggerContractRef": contract,
                "goalEventName": None,
                "steps": whole,
                "settings": {},
                "sourceState": campaign_state(campaign),
                "extensions": {"pinpoint": kept},
            }
        )
    return made


def _entry(campaign: Mapping[str, Any], path: str, source_id: str, library: Library, notes: Notes) -> Entry:
    schedule, at = campaign.get("Schedule", {}), step_into(path, "Schedule")
    start_ms = say_schedule(schedule, at, library, notes)
    if schedule.get("IsLocalTime"):
        notes.say("local_time_dropped", step_into(at, "IsLocalTime"))
    frequency = schedule.get("Frequency", "ONCE")
    if frequency in ("EVENT", "IN_APP_EVENT"):
        event: dict[str, Any] = {"EventFilter": schedule.get("EventFilter", {})}
        if campaign.get("SegmentId"):
            event["SegmentId"] = campaign["SegmentId"]
        return event_entry(event, at, source_id, library, notes)
    if campaign.get("SegmentId"):
        audience = library.audience_ref(campaign["SegmentId"], step_into(path, "SegmentId"), notes)
    else:
        notes.say("audience_missing", path, "The campaign names no segment.")
        audience = library.ref("audience", f"{source_id}#missing")
    if "SegmentVersion" in campaign:
        notes.say("audience_version_ignored", step_into(path, "SegmentVersion"))
    trigger: dict[str, Json] = {"type": "trigger", "mode": "schedule"}
    first = read_moment(schedule.get("StartTime"))
    if frequency in _FREQUENCIES and first is not None:
        notes.say("campaign_recurrence", step_into(at, "Frequency"))
        trigger |= {"rrule": _rule(frequency, first.ms, schedule.get("EndTime")), "timezone": "UTC"}
    elif start_ms is not None and frequency == "ONCE":
        trigger["at"] = write_moment(start_ms)
    return Entry(trigger, audience)


def _rule(frequency: str, first_ms: int, end: Json) -> str:
    first = _EPOCH + timedelta(milliseconds=first_ms)
    parts = [f"FREQ={frequency}"]
    if frequency == "WEEKLY":
        parts.append(f"BYDAY={_DAYS[first.weekday()]}")
    elif frequency == "MONTHLY":
        parts.append(f"BYMONTHDAY={first.day}")
    if frequency != "HOURLY":
        parts.append(f"BYHOUR={first.hour}")
    parts += [f"BYMINUTE={first.minute}", "BYSECOND=0"]
    last = read_moment(end)
    if last is not None:
        parts.append(f"UNTIL={_EPOCH + timedelta(milliseconds=last.ms):%Y%m%dT%H%M%SZ}")
    return ";".join(parts)


def _arms(campaign: Mapping[str, Any], path: str) -> list[_Arm]:
    """The default treatment, which has the remainder, and the additional ones."""
    shares = []
    for i, treatment in enumerate(campaign.get("AdditionalTreatments", ())):
        percent = _percent(treatment.get("SizePercent"))
        shares.append(_Arm(f"treatment_{i + 1}", percent, treatment, step_into(path, "AdditionalTreatments", i)))
    rest = 100 - _percent(campaign.get("HoldoutPercent")) - sum(arm.percent for arm in shares)
    return [_Arm("send", max(0.0, rest), campaign, path), *shares]


def _percent(value: Json) -> float:
    return value if isinstance(value, int | float) and 0 <= value <= 100 else 0


def _send(arm: _Arm, library: Library, notes: Notes) -> dict[str, Json] | None:
    """The send step of a treatment; None, said, where its channel does not exist here."""
    own = notes.at_step(arm.id)
    for member, found in arm.config.get("TemplateConfiguration", {}).items():
        at = step_into(arm.path, "TemplateConfiguration", member)
        kind = _TEMPLATE_KINDS.get(member)
        if kind is None:
            own.drop(
                "sms_unsupported" if member == "SMSTemplate" else "template_channel_unsupported", member, at, found
            )
        elif not found.get("Name"):
            own.say("template_missing", at)
        else:
            sender = _sender(arm.config) if kind == "EMAIL" else None
            ref = communication_ref(library, kind, found["Name"], found.get("Version"), sender, at, own)
            return {"type": "send", "channel": CHANNELS[kind], "communicationRef": ref, "next": "exit"}
    return _inline(arm, library, own)


def _sender(config: Mapping[str, Any]) -> str | None:
    email = config.get("MessageConfiguration", {}).get("EmailMessage")
    sender = email.get("FromAddress") if isinstance(email, dict) else None
    return sender if isinstance(sender, str) and sender else None


def _inline(arm: _Arm, library: Library, notes: Notes) -> dict[str, Json] | None:
    """A message written into the campaign itself."""
    messages = arm.config.get("MessageConfiguration", {})
    at = step_into(arm.path, "MessageConfiguration")
    email = messages.get("EmailMessage")
    push = next((messages[name] for name in _PUSHES if isinstance(messages.get(name), dict)), None)
    in_app = messages.get("InAppMessage")
    content: dict[str, Any]
    if isinstance(email, dict) and any(email.get(name) for name in ("Title", "HtmlBody", "Body")):
        channel = "email"
        content = {"subject": email.get("Title"), "body": email.get("HtmlBody"), "text": email.get("Body")}
    elif push is not None:
        channel = "mobile_push"
        content = {"title": push.get("Title"), "body": push.get("Body")}
    elif isinstance(in_app, dict):
        channel = "in_app_push"
        pages = in_app.get("Content")
        first = pages[0] if isinstance(pages, list) and pages and isinstance(pages[0], dict) else {}
        content = {"title": _text_in(first, "HeaderConfig", "Header"), "body": _text_in(first, "BodyConfig", "Body")}
    else:
        for name, found in messages.items():
            code = "sms_unsupported" if name == "SMSMessage" else "template_channel_unsupported"
            notes.drop(code, name, step_into(at, name), found)
        if not messages:
            notes.say("template_missing", at)
        return None
    source_id = source_id_of(f"campaign/{notes.object_ref}/{arm.id}")
    ref = library.ref("communication", source_id)
    variables: set[str] = set()
    for member, text in content.items():
        if isinstance(text, str):
            made = substituted(text, {}, library.options.variable_map)
            content[member] = made.text
            variables |= made.variables
            for code, detail in made.said:
                notes.say(code, step_into(at, member), detail)
        else:
            content[member] = None
    is_broken = any(library.template_faults(text) for text in content.values() if text)
    if is_broken:
        notes.say("template_helper_unsupported", at)
        content = {}
    library.communications[ref] = hashed(
        {
            "ref": ref,
            "sourceId": source_id,
            "name": _name_of(arm),
            "commType": "marketing",
            "channel": channel,
            **dict.fromkeys(("subject", "body", "text", "title", "data")),
            **content,
            "from": _sender(arm.config) if channel == "email" else None,
            "variables": sorted(variables),
            "placeholder": is_broken,
            "extensions": {"pinpoint": {"source": messages}},
        }
    )
    return {"type": "send", "channel": channel, "communicationRef": ref, "next": "exit"}


def _name_of(arm: _Arm) -> str:
    name = arm.config.get("Name") or arm.config.get("TreatmentName") or arm.id
    return str(name).strip()[:MAX_TITLE] or arm.id


def _text_in(page: Mapping[str, Any], config: str, member: str) -> str | None:
    found = page.get(config)
    text = found.get(member) if isinstance(found, dict) else None
    return text if isinstance(text, str) else None
