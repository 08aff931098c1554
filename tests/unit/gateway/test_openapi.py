"""The API's description and the two pages."""

import re
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import pages
from gateway.declaration import Role
from gateway.openapi import description_of
from gateway.routes import ALL


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """What /api/openapi.json holds."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(description_of(ALL, "1.2.3", "https://x.example")))
    return found


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    """By the validator of the people who write the standard."""
    assert [] == list(OpenAPIV31SpecValidator(document).iter_errors())
    assert "3.1.0" == document["openapi"]


def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    """With its role, its security and a problem for everything that goes wrong."""
    for route in ALL:
        operation = document["paths"][route.path][route.method.lower()]
        expected: list[Any] = {Role.PUBLIC: [], Role.INTERNAL: [{"internal": []}]}.get(
            route.role, [{"session": []}, {"apiKey": []}]
        )

        assert expected == operation["security"], route.name
        assert str(route.role) == operation["x-role"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]


def test_every_status_that_is_told_of_is_in_it(document: dict[str, Any]) -> None:
    """Those of a route's own words, those of its role, body, keys and tags; the successes with the answer's shape."""

    def of(method: str, path: str) -> set[str]:
        return set(document["paths"][path][method]["responses"]) - {"default"}

    assert {"200", "201", "400", "401", "403", "404", "409", "413", "415", "422"} == of(
        "post", "/api/journeys/{id}/executions"
    )
    assert {"200", "401", "404"} == of("get", "/api/journeys/{id}")
    assert {"200", "400", "401", "402", "403", "404", "409", "412", "413", "415", "422"} == of(
        "post", "/api/journeys/{id}/publish"
    )
    assert {"204", "401", "403"} == of("delete", "/api/session")
    assert {"200", "404", "410"} == of("get", "/preferences/{token}")
    both = document["paths"]["/api/subjects/{endUserId}"]["put"]["responses"]
    assert both["200"]["content"] == both["201"]["content"]
    assert ("Location" in both["201"]["headers"], "Location" in both["200"]["headers"]) == (True, False)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """And every component is used."""
    text = msgspec.json.encode(document).decode()
    targets = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))

    assert set() == targets - document["components"]["schemas"].keys()
    assert set() == document["components"]["schemas"].keys() - targets


def test_bodies_are_described_by_what_checks_them(document: dict[str, Any]) -> None:
    """Closed objects with the members of the contract."""
    journey = document["components"]["schemas"]["JourneyCreate"]

    assert journey["additionalProperties"] is False
    assert {"name", "description", "audienceId", "triggerContractId", "goalEventName", "steps"} <= set(
        journey["properties"]
    )


def test_the_pages_load_nothing(document: dict[str, Any]) -> None:
    """No script, no image, no font, no address of anybody's: they work without a network."""
    for page in (pages.home("1.2.3", "<here>"), pages.docs(ALL, "1.2.3")):
        text = page.decode()

        assert not re.search(r"<script|<img|<link|src=|@import|url\(|https?://", text)
        assert "1.2.3" in text
        assert "<here>" not in text


def test_the_documentation_has_every_route_and_every_code() -> None:
    """A problem's `type` leads to its code there."""
    text = pages.docs(ALL, "1").decode()

    assert [] == [route.path for route in ALL if f"<code>{route.path}</code>" not in text]
    assert [] == [code for code in ("stale_update", "invalid_json", "payload_too_large") if f'id="{code}"' not in text]
