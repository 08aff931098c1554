"""How fast an export of Pinpoint becomes a bundle: 500 journeys of 40 activities, in the process that does it."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

JOURNEYS = 500
ACTIVITIES = 40
RUNS = 3
NOW = "2026-09-01T00:00:00.000Z"

Figure = tuple[str, float, str]


def figures() -> Iterator[Figure]:
    """The best of three runs: starting the process, reading, translating and writing."""
    request = json.dumps({"projectKey": "pk_demo", "export": project(), "options": {"now": NOW}}).encode()
    seconds = min(_run(request) for _ in range(RUNS))
    yield "pinpoint.journeys_per_second", JOURNEYS / seconds, "1/s"
    yield "pinpoint.seconds", seconds, "s"
    # The largest of all processes this one waited for, in KiB.
    yield "pinpoint.rss_mb", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, "MB"


def project() -> dict[str, Any]:
    """A project with segments and templates for all that its journeys name."""
    texts = "<p>Hello {{User.UserAttributes.FirstName}}</p>" * 50
    return {
        "journeys": [journey(number) for number in range(JOURNEYS)],
        "segments": [
            {
                "Id": f"seg{i}",
                "ApplicationId": "app",
                "Name": f"Segment {i}",
                "SegmentType": "DIMENSIONAL",
                "Dimensions": {"UserAttributes": {"PlanType": {"AttributeType": "INCLUSIVE", "Values": ["trial"]}}},
            }
            for i in range(100)
        ],
        "templates": [
            {"TemplateName": f"t{i}", "TemplateType": "EMAIL", "Version": "1", "Subject": "Hi", "HtmlPart": texts}
            for i in range(200)
        ],
    }


def journey(number: int) -> dict[str, Any]:
    """Forty activities of all kinds, each leading to the next or the one after it."""
    names = [f"a{number:04}x{i:03}" for i in range(ACTIVITIES)]
    ahead = [*names, "", ""]
    event = {"DimensionType": "INCLUSIVE", "Values": ["user.signed_up"]}
    start = {"EventFilter": {"FilterType": "ENDPOINT", "Dimensions": {"EventType": event}}}
    return {
        "Id": f"{number:032x}",
        "ApplicationId": "app",
        "Name": f"Journey {number}",
        "State": "ACTIVE",
        "StartActivity": names[0],
        "StartCondition": {"EventStartCondition": start},
        "Limits": {"DailyCap": 2, "EndpointReentryCap": 1, "MessagesPerSecond": 50},
        "Activities": {
            name: _activity(i, number, ahead[i + 1], ahead[i + 2], names[max(0, i - 2)]) for i, name in enumerate(names)
        },
    }


def _activity(i: int, number: int, first: str, second: str, mail: str) -> dict[str, Any]:
    arms: list[dict[str, Any]]
    match i % 7:
        case 0 | 3:
            config = {"FromAddress": "hello@shop.example.com"}
            return {"EMAIL": {"MessageConfig": config, "TemplateName": f"t{(number + i) % 200}", "NextActivity": first}}
        case 1:
            return {"Wait": {"WaitTime": {"WaitFor": "P3D"}, "NextActivity": first}}
        case 2:
            opened = {"DimensionType": "INCLUSIVE", "Values": ["_email.open"]}
            condition = {"EventCondition": {"Dimensions": {"EventType": opened}, "MessageActivity": mail}}
            return {
                "ConditionalSplit": {
                    "Condition": {"Conditions": [condition], "Operator": "ANY"},
                    "EvaluationWaitTime": {"WaitFor": "PT24H"},
                    "TrueActivity": first,
                    "FalseActivity": second,
                }
            }
        case 4:
            arms = [{"Condition": {"SegmentCondition": {"SegmentId": f"seg{number % 100}"}}, "NextActivity": first}]
            return {"MultiCondition": {"Branches": arms, "DefaultActivity": second}}
        case 5:
            arms = [{"Percentage": 50, "NextActivity": first}, {"Percentage": 50, "NextActivity": second}]
            return {"RandomSplit": {"Branches": arms}}
        case _:
            return {"SMS": {"TemplateName": "s", "NextActivity": first}}


def _run(request: bytes) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-P", "-m", "services.authoring.pinpoint", "0"]
    answer = json.loads(subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True).stdout)
    seconds = time.perf_counter() - started
    assert answer["summary"]["journeys"]["translated"] == JOURNEYS
    return seconds
