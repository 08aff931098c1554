"""Small exports of Pinpoint, and their translation, for tests."""

import json
from collections import Counter
from typing import Any

from services.authoring.pinpoint.translate import answer
from services.infra.liquid import template_faults

APP = "7d1c0b6e42f94e6d9a53e2f0c4b8a611"
NOW = "2026-09-01T00:00:00.000Z"


def journey(activities: Any, start: Any = "a", **more: Any) -> dict[str, Any]:
    """A GetJourney answer without its wrapper."""
    return {
        "Id": "j1",
        "ApplicationId": APP,
        "Name": "Journey",
        "State": "DRAFT",
        "StartActivity": start,
        "Activities": activities,
        **more,
    }


def email(after: Any = None, template: str = "welcome", **more: Any) -> dict[str, Any]:
    """An EMAIL activity."""
    return {"EMAIL": {"TemplateName": template, **({} if after is None else {"NextActivity": after}), **more}}


def wait(duration: str, after: Any = None) -> dict[str, Any]:
    """A Wait activity."""
    return {"Wait": {"WaitTime": {"WaitFor": duration}, **({} if after is None else {"NextActivity": after})}}


def event(*names: str, of: str | None = None, **more: Any) -> dict[str, Any]:
    """An EventCondition."""
    dimensions = {"EventType": {"DimensionType": "INCLUSIVE", "Values": list(names)}, **more}
    return {"EventCondition": {"Dimensions": dimensions, **({} if of is None else {"MessageActivity": of})}}


def user_is(name: str, *values: str, how: str = "INCLUSIVE") -> dict[str, Any]:
    """A condition on a user attribute."""
    return {"SegmentDimensions": {"UserAttributes": {name: {"AttributeType": how, "Values": list(values)}}}}


def split(condition: Any, yes: Any = None, no: Any = None, **more: Any) -> dict[str, Any]:
    """A ConditionalSplit on one condition."""
    ways = {name: to for name, to in (("TrueActivity", yes), ("FalseActivity", no)) if to is not None}
    return {"ConditionalSplit": {"Condition": {"Conditions": [condition], "Operator": "ALL"}, **more, **ways}}


def template(name: str = "welcome", **more: Any) -> dict[str, Any]:
    """An EMAIL template."""
    return {
        "TemplateName": name,
        "TemplateType": "EMAIL",
        "Version": "1",
        "Subject": "Hi",
        "HtmlPart": "<p>Hi</p>",
        **more,
    }


def segment(key: str, **more: Any) -> dict[str, Any]:
    """A segment."""
    return {"Id": key, "ApplicationId": APP, "Name": key, "SegmentType": "DIMENSIONAL", **more}


class Made:
    """A translation, and short ways to ask about it."""

    def __init__(self, export: Any, **options: Any) -> None:
        body = {"projectKey": "pk_demo", "export": export, "options": {"now": NOW, **options}}
        self.bytes = answer(json.dumps(body).encode(), 0, template_faults)
        whole = json.loads(self.bytes)
        self.bundle: dict[str, Any] = whole["bundle"]
        self.summary: dict[str, Any] = whole["summary"]

    @property
    def journey(self) -> dict[str, Any]:
        """The first journey."""
        found: dict[str, Any] = self.bundle["journeys"][0]
        return found

    @property
    def ids(self) -> list[str]:
        """The ids of its steps."""
        return [step["id"] for step in self.journey["steps"]]

    def step(self, key: str) -> dict[str, Any]:
        """One of its steps."""
        return next(step for step in self.journey["steps"] if step["id"] == key)

    @property
    def codes(self) -> Counter[str]:
        """Every code, with how often it was said."""
        return Counter(one["code"] for one in self.bundle["diagnostics"])

    def said(self, code: str) -> list[dict[str, Any]]:
        """The diagnostics of a code."""
        return [one for one in self.bundle["diagnostics"] if one["code"] == code]
