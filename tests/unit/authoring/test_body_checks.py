"""What bodies mean, looked at without doing what they ask."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meaning import READ_BY_AUTHORING
from gateway.schemas import COMPONENTS
from services.authoring.body_checks import KINDS, faults_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_both_sides_know_the_same_kinds() -> None:
    """What the gateway asks about is read here, under the names of the API's description."""
    assert READ_BY_AUTHORING == KINDS
    assert set(COMPONENTS) >= KINDS


@pytest.mark.parametrize(
    ("kind", "body", "paths"),
    [
        ("JourneyCreate", {"name": "", "id": "A", "goalEventWindowDays": 0}, ["/name", "/goalEventWindowDays", "/id"]),
        ("JourneyUpdate", {"id": "A", "settings": {"maxDuration": "P1Y"}}, ["/settings/maxDuration"]),
        ("TriggerContractUpdate", {"eventName": "", "subjectFieldPath": "."}, ["/eventName", "/subjectFieldPath"]),
        ("AudienceCreate", {"subjectIds": [5, ""]}, ["/subjectIds/1"]),
        ("CommunicationUpdate", {"body": "{% if %}", "commType": "spam"}, ["/commType", "/body"]),
        ("WorkspaceUpdate", {"createdAt": 1, "holdout": {"percent": -1}}, ["/holdout/percent"]),
        ("WorkspaceCreate", {"projectKey": "A B", "ownerEmail": "x"}, ["/ownerEmail", "/projectKey"]),
        ("MemberAdd", {"email": "x", "password": ""}, ["/email", "/password"]),
        ("ApiKeyCreate", {"name": " "}, ["/name"]),
        ("SignIn", {"email": 5}, []),
    ],
)
def test_faults_of_meaning(kind: str, body: dict[str, Any], paths: list[str]) -> None:
    """Those of the members that have the type they should have; what is missing is the shape's to say."""
    assert paths == [fault.path for fault in faults_of(kind, body)]


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_whatever_comes_is_read(kind: str, data: st.DataObject) -> None:
    """Any JSON in any member: an answer, never an exception."""
    members = sorted(COMPONENTS[kind]["properties"])
    body = data.draw(st.dictionaries(st.sampled_from(members), JSON, max_size=4))

    assert all(fault.path == "" or fault.path.startswith("/") for fault in faults_of(kind, body))
