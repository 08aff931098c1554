"""Activities that are reached, as steps of ours.

Law: one activity is one step, or two where a split hid a wait, or none where nothing of it can run here. What is
missing is left out, never invented. Every step names its next one by id; `Ways` knows which.
Source: pinpoint design 4.2 and 5.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring.bundles.urls import url_fault
from services.authoring.pinpoint.activities import (
    given_percent,
    held_percent,
    is_over,
    shares_of,
)
from services.authoring.pinpoint.comparisons import NEVER, joined
from services.authoring.pinpoint.conditions import Messages, condition_of
from services.authoring.pinpoint.flow import EXIT, Activity
from services.authoring.pinpoint.identity import saved_name, source_id_of
from services.authoring.pinpoint.library import Library
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.substitution import as_text, substituted
from services.authoring.pinpoint.templates import CHANNELS, communication_ref
from services.authoring.pinpoint.times import read_length, read_moment, write_length, write_moment
from services.domain.journey.model import Json

Step = dict[str, Json]
_LAMBDA: Final = re.compile(r"arn:[^\s]+|[A-Za-z0-9:_-]+")


@dataclass(frozen=True, slots=True)
class Ways:
    """Where things lead: `to` gives the member `next` of a way (empty where nobody can say), `own` and `wait` an
    activity's step id and that of the wait before it.
    """

    to: Callable[[Activity, str, str], dict[str, str]]
    own: Callable[[Activity], str]
    wait: Callable[[Activity], str | None]


@dataclass(slots=True)
class Workshop:
    """Makes the steps of one journey."""

    library: Library
    ways: Ways
    messages: Callable[[Activity], Messages]
    journey_id: str
    webhooks: dict[str, str] = field(default_factory=dict)  # step -> the DeliveryUri that cannot be called

    def steps_of(self, activity: Activity, notes: Notes) -> list[Step]:
        """The steps of one activity that is not skipped."""
        step: Step = {"id": self.ways.own(activity)}
        if name := activity.body.get("Description"):
            step["name"] = name
        match activity.kind:
            case "EMAIL" | "PUSH":
                return [{**step, **self._send(activity, notes)}]
            case "SMS":
                return [{**step, **self._sms(activity, notes)}]
            case "CUSTOM":
                return [{**step, **self._webhook(activity, step["id"], notes)}]
            case "Wait":
                at = step_into(activity.path, "Wait", "WaitTime")
                wait = wait_members(activity.body.get("WaitTime", {}), at, notes)
                return [{**step, **wait, **self._next(activity)}]
            case "ConditionalSplit" | "MultiCondition":
                return self._split(activity, step, notes)
            case "RandomSplit":
                return [{**step, **self._random(activity, notes)}]
            case _:
                return [{**step, **self._holdout(activity, notes)}]

    def _next(self, activity: Activity) -> dict[str, str]:
        return self.ways.to(activity, f"{activity.kind}/NextActivity", "next")

    def _send(self, activity: Activity, notes: Notes) -> Step:
        kind, body = str(activity.kind), activity.body
        at = step_into(activity.path, kind)
        send: Step = {"type": "send", "channel": CHANNELS[kind], **self._next(activity)}
        config = body.get("MessageConfig", {})
        if "TimeToLive" in config:
            place = step_into(at, "MessageConfig", "TimeToLive")
            notes.drop("push_ttl", "TimeToLive", place, config["TimeToLive"])
        if not body.get("TemplateName"):
            notes.say("template_missing", step_into(at, "TemplateName"))
            return send
        sender = config.get("FromAddress") or None
        ref = communication_ref(
            self.library, kind, body["TemplateName"], body.get("TemplateVersion"), sender, at, notes
        )
        return {**send, "communicationRef": ref}

    def _sms(self, activity: Activity, notes: Notes) -> Step:
        body, at = activity.body, step_into(activity.path, "SMS")
        say_sms(activity, notes)
        name = body.get("TemplateName")
        if self.library.options.sms == "email":
            step: Step = {"type": "send", "channel": "email", **self._next(activity)}
            if name:
                source = source_id_of(f"SMS/{name}@{body.get('TemplateVersion') or 'active'}")
                step["communicationRef"] = self.library.ref("communication", source)
            notes.say("template_missing", at, "Supply the mail that replaces the SMS.")
            return step
        text = ""
        for found in self.library.templates.get(("SMS", name or ""), {}).values():
            if isinstance(found.value.get("Body"), str):
                made = substituted(found.value["Body"], {}, self.library.options.variable_map)
                text = made.text
        self.webhooks[self.ways.own(activity)] = f"sms:{name or activity.id}"
        notes.say("custom_uri_missing", at, "Give the webhook the address of your SMS provider.")
        payload = {"channel": "sms", "text": text, "template": as_text(name or ""), "endUserId": _WHO}
        return {"type": "webhook", "method": "POST", "body": payload, **self._next(activity)}

    def _webhook(self, activity: Activity, step_id: Json, notes: Notes) -> Step:
        body, at = activity.body, step_into(activity.path, "CUSTOM")
        payload = {"ActivityId": as_text(activity.id), "JourneyId": as_text(self.journey_id), "EndUserId": _WHO}
        if "Data" in body.get("MessageConfig", {}):
            payload["Data"] = as_text(body["MessageConfig"]["Data"])
        step: Step = {"type": "webhook", "method": "POST", **self._url(activity, str(step_id), at, notes)}
        notes.say("custom_payload_differs", at)
        if body.get("EndpointTypes"):
            place = step_into(at, "EndpointTypes")
            notes.drop("custom_endpoint_filter", "EndpointTypes", place, body["EndpointTypes"])
        if body.get("TemplateName"):
            template = {name: body[name] for name in ("TemplateName", "TemplateVersion") if name in body}
            notes.drop("custom_template_dropped", "TemplateName", step_into(at, "TemplateName"), template)
        return {**step, "body": payload, "saveAs": saved_name(str(step_id)), **self._next(activity)}

    def _url(self, activity: Activity, step_id: str, at: str, notes: Notes) -> Step:
        uri = activity.body.get("DeliveryUri")
        place = step_into(at, "DeliveryUri")
        if not uri:
            notes.say("custom_uri_missing", place)
            return {}
        if "://" not in uri and _LAMBDA.fullmatch(uri):
            notes.drop("custom_lambda_unresolved", "DeliveryUri", place, uri)
        elif (fault := "It holds braces." if "{" in uri else url_fault(uri)) is not None:
            notes.drop("custom_url_invalid", "DeliveryUri", place, uri, fault)
        else:
            return {"url": uri}
        self.webhooks[step_id] = uri
        return {}

    def _split(self, activity: Activity, step: Step, notes: Notes) -> list[Step]:
        branch = (
            self._conditional(activity, notes) if activity.kind == "ConditionalSplit" else self._multi(activity, notes)
        )
        at = step_into(activity.path, str(activity.kind), "EvaluationWaitTime")
        wait_id = self.ways.wait(activity)
        if wait_id is None:
            if is_over(activity.body.get("EvaluationWaitTime", {}), self.library.options):
                say_over(activity.body["EvaluationWaitTime"], at, notes)
            return [{**step, **branch}]
        wait = wait_members(activity.body["EvaluationWaitTime"], at, notes)
        cases = branch["branches"]
        if (
            self.library.options.evaluation_wait == "early"
            and len(cases) == 1
            and cases[0].get("condition", NEVER) != NEVER
            and "duration" in wait
        ):
            notes.say("evaluation_wait_early", at)
            early: Step = {
                "type": "wait",
                "mode": "until_condition",
                "condition": cases[0]["condition"],
                "timeout": wait["duration"],
            }
            for member, source, name in (("next", cases[0], "next"), ("onTimeout", branch, "default")):
                if name in source:
                    early[member] = source[name]
            return [{**step, **early}]
        notes.say("evaluation_wait_inserted", at)
        return [{"id": wait_id, **wait, "next": step["id"]}, {**step, **branch}]

    def _conditional(self, activity: Activity, notes: Notes) -> dict[str, Any]:
        found = activity.body.get("Condition", {})
        at = step_into(activity.path, "ConditionalSplit", "Condition")
        messages = self.messages(activity)
        clauses = [
            condition_of(one, step_into(at, "Conditions", i), self.library, notes, messages)
            for i, one in enumerate(found.get("Conditions", ()))
        ]
        how = found.get("Operator")
        if not clauses:
            notes.say("condition_empty", at)
        elif how is None and len(clauses) > 1:
            notes.say("operator_missing", step_into(at, "Operator"))
        case: Step = {"id": "true"}
        predicate = joined("or" if how == "ANY" else "and", clauses) if clauses else None
        if predicate is not None:
            case["condition"] = predicate
        case.update(self._arm(activity, "ConditionalSplit/TrueActivity", "next", notes))
        default = self._arm(activity, "ConditionalSplit/FalseActivity", "default", notes)
        return {"type": "branch", "mode": "condition", "branches": [case], **default}

    def _multi(self, activity: Activity, notes: Notes) -> dict[str, Any]:
        at = step_into(activity.path, "MultiCondition")
        messages = self.messages(activity)
        cases = []
        for i, arm in enumerate(activity.body.get("Branches", ())):
            place = step_into(at, "Branches", i)
            if not arm:
                notes.say("multi_arm_without_condition", place, "The arm is empty and left out.")
                notes.diagnostics[-1] |= {"severity": "warning", "action": "dropped"}
                continue
            case: Step = {"id": f"b{i + 1}"}
            if "Condition" not in arm:
                notes.say("multi_arm_without_condition", place)
            else:
                condition = condition_of(arm["Condition"], step_into(place, "Condition"), self.library, notes, messages)
                if condition is not None:
                    case["condition"] = condition
            case.update(self._arm(activity, f"MultiCondition/Branches/{i}/NextActivity", "next", notes))
            cases.append(case)
        if not activity.body.get("DefaultActivity"):
            notes.say("multi_default_missing", step_into(at, "DefaultActivity"))
        default = self.ways.to(activity, "MultiCondition/DefaultActivity", "default")
        return {"type": "branch", "mode": "condition", "branches": cases, **default}

    def _random(self, activity: Activity, notes: Notes) -> Step:
        at = step_into(activity.path, "RandomSplit")
        say_percentages(activity, notes)
        is_adaptive = self.library.options.random_split == "adaptive"
        notes.say("random_split_adaptive" if is_adaptive else "random_split_static", at)
        arms = []
        for share in shares_of(activity.body):
            arm: Step = {"id": f"a{share.index + 1}"}
            if not is_adaptive:
                arm["weight"] = share.percent
            arms.append(
                {**arm, **self._arm(activity, f"RandomSplit/Branches/{share.index}/NextActivity", "next", notes)}
            )
        return {"type": "branch", "mode": "adaptive" if is_adaptive else "random", "arms": arms}

    def _holdout(self, activity: Activity, notes: Notes) -> Step:
        at = step_into(activity.path, "Holdout")
        notes.say("holdout_as_branch", at)
        percent = held_percent(activity.body)
        held: Step = {"id": "held", "weight": percent, **self.ways.to(activity, EXIT, "next")}
        return {
            "type": "branch",
            "mode": "random",
            "arms": [held, {"id": "go", "weight": 100 - percent, **self._next(activity)}],
        }

    def _arm(self, activity: Activity, way: str, member: str, notes: Notes) -> dict[str, str]:
        """An arm's next step; said where the source names none."""
        if dict(activity.ways).get(way) == EXIT:
            notes.say("arm_to_exit", step_into(activity.path, *way.split("/")))
        return self.ways.to(activity, way, member)


def say_skipped(activity: Activity, notes: Notes, *, is_start: bool) -> None:
    """Say why an activity that a path reaches is no step."""
    kind, body = activity.kind, activity.body
    at = step_into(activity.path, kind) if kind else activity.path
    match kind:
        case None:
            detail = "It is the start: set the trigger's next step." if is_start else ""
            notes.say("activity_empty", activity.path, detail)
        case "SMS":
            say_sms(activity, notes)
        case "ContactCenter":
            notes.drop("contact_center_unsupported", "ContactCenter", at, activity.source)
        case "Wait":
            say_over(body["WaitTime"], step_into(at, "WaitTime"), notes)
        case "Holdout":
            percent = held_percent(body)
            if given_percent(body) is None:
                notes.say("percent_missing", at, "Nobody is held back.")
            elif percent >= 100:
                if body["Percentage"] > 100:
                    notes.say("percent_sum", at)
                notes.say("holdout_all", at)
            if not percent:
                notes.say("holdout_noop", at)
        case "RandomSplit":
            say_percentages(activity, notes)
            notes.say("random_split_static", at, "One arm is left, which everybody takes.")
        case _:
            pass  # an unknown type was said when it was read


def say_sms(activity: Activity, notes: Notes) -> None:
    """Say that there is no such channel, and keep what was to be sent."""
    at = step_into(activity.path, "SMS")
    notes.drop("sms_unsupported", "SMS", at, activity.source)
    if activity.body.get("MessageConfig", {}).get("MessageType") == "TRANSACTIONAL":
        notes.say("sms_transactional", step_into(at, "MessageConfig", "MessageType"))


def say_percentages(activity: Activity, notes: Notes) -> None:
    """Say where the percentages of a random split do not say all."""
    at = step_into(activity.path, "RandomSplit")
    given = [given_percent(arm) for arm in activity.body.get("Branches", ())]
    for i, percent in enumerate(given):
        if percent is None:
            notes.say("percent_missing", step_into(at, "Branches", i, "Percentage"))
    total = sum(percent for percent in given if percent is not None)
    if total > 100 or (total < 100 and None not in given) or (None in given and not total):
        notes.say("percent_sum", at, f"They make {total:g}.")


def say_over(wait: Mapping[str, Any], at: str, notes: Notes) -> None:
    """Say that a wait is removed."""
    notes.say("wait_zero_removed" if "WaitFor" in wait else "wait_past_removed", at)
    if len(wait) == 2:
        notes.say("wait_both_set", at)


def wait_members(wait: Mapping[str, Any], at: str, notes: Notes) -> Step:
    """The members of a wait step; without a time, said, where there is none or it cannot be read."""
    step: Step = {"type": "wait", "mode": "duration"}
    if len(wait) == 2:
        notes.say("wait_both_set", at)
    if "WaitFor" in wait:
        length = read_length(wait["WaitFor"])
        if length is None:
            notes.say("wait_invalid_duration", step_into(at, "WaitFor"))
            return step
        if length.has_calendar_unit:
            notes.say("wait_calendar_unit", step_into(at, "WaitFor"))
        return {**step, "duration": write_length(length.ms)}
    if "WaitUntil" not in wait:
        notes.say("wait_time_missing", at)
        return step
    moment = read_moment(wait["WaitUntil"])
    if moment is None:
        notes.say("wait_invalid_duration", step_into(at, "WaitUntil"))
        return step
    detail = "" if moment.has_offset else "It has no offset and is read as UTC."
    notes.say("wait_until_absolute", step_into(at, "WaitUntil"), detail)
    return {"type": "wait", "mode": "until_time", "at": write_moment(moment.ms)}


_WHO: Final = "{{ subject.endUserId }}"
