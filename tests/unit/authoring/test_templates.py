"""The five journey templates as files."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.authoring.bundles.form import Kind
from services.authoring.templates.catalogue import IDS, template, templates
from services.domain.errors import Missing
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk

EXAMPLES = Path(__file__).parents[3] / "examples" / "journeys"
_KINDS = {"audience": "audiences", "contract": "triggerContracts", "communication": "communications"}


def as_in_examples(value: Any) -> Any:
    """A body of a bundle with refs as the example files write them."""
    if isinstance(value, list):
        return [as_in_examples(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        f"{name[:-3]}Id" if name.endswith("Ref") else name: f"$ref:{item.partition(':')[2]}"
        if name.endswith("Ref")
        else as_in_examples(item)
        for name, item in value.items()
    }


@pytest.mark.parametrize("name", IDS)
def test_a_template_is_the_example_of_its_name(name: str) -> None:
    """So that what is shown and walked is what is copied. Who sends is the customer's to say."""
    example = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    found = template(name)
    for item in found.bundle.items:
        if item.kind is Kind.JOURNEY:
            wanted = dict(example["journey"])
        else:
            wanted = dict(example[_KINDS[item.kind]][item.ref.partition(":")[2]])
            wanted.pop("from", None)
            wanted.pop("subjectType", None)

        assert wanted == as_in_examples(item.body)


def test_each_is_found_by_its_id() -> None:
    """And nothing else is."""
    assert IDS == tuple(one.id for one in templates())
    with pytest.raises(Missing):
        template("nothing")


@pytest.mark.parametrize("name", IDS)
async def test_a_copy_can_be_published_as_it_is(desk: Desk, name: str) -> None:
    """No warning, no refusal; and a second copy too."""
    for _ in range(2):
        copied = await desk.authoring.use_template(WORKSPACE, name, ANN)
        published = await desk.authoring.publish(WORKSPACE, copied.journey.journey.id, ANN)

        assert () == copied.journey.warnings
        assert 1 == published.journey.latest_version
