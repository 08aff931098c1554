"""Rendering for people who may not see what is printed."""

from collections.abc import Sequence

import pytest

from services.infra.liquid import TemplateFailed, render
from services.infra.liquid_preview import preview

VALUES = {
    "subject": {"name": "Ann", "plan": "pro", "tags": ["x", "y"], "none": None, "score": 7},
    "event": {"orderId": "o<1>"},
}


def starred(text: str, sources: Sequence[str]) -> str:
    """A mask that shows where it was asked, and of what."""
    return f"[{text}:{','.join(sources)}]"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("Hi {{ subject.name }}!", "Hi [Ann:subject.name]!"),
        ("{{ subject.name | upcase | slice: 0, 2 }}", "[AN:subject.name]"),
        ("{% assign n = subject.name | downcase %}{{ n }}", "[ann:subject]"),
        ("{% for t in subject.tags %}{{ t }}{% endfor %}", "[x:subject][y:subject]"),
        ("{% if subject.plan == 'pro' %}yes{% endif %}", "yes"),
        ("{{ subject.score }}", "7"),
        ("{{ 'a' | append: subject.name }}", "[aAnn:subject.name]"),
        ("{{ subject.missing | default: 'friend' }}", "[friend:]"),
        ("{% cycle subject.plan, 'b' %}", "[pro:subject.plan]"),
        ("{% liquid echo subject.plan %}", "[pro:subject.plan]"),
    ],
)
def test_every_printed_value_is_shown_to_the_mask_with_its_sources(template: str, shown: str) -> None:
    """Conditions, filters and loops work on the real values."""
    assert shown == preview(template, VALUES, html=False, mask=starred).text


def test_a_masked_value_is_escaped_in_html() -> None:
    """A mask's own signs are text, too."""
    made = preview("{{ event.orderId }}", VALUES, html=True, mask=lambda text, sources: f"<{text[0]}>")

    assert "&lt;o&gt;" == made.text


@pytest.mark.parametrize("html", [True, False])
def test_without_a_mask_the_text_is_the_one_that_is_sent(html: bool) -> None:
    """The same language, the same escapes."""
    template = "{{ event.orderId }} {{ subject.tags | join: '<' }} {{ subject.nope }}{% cycle 'a', 'b' %}"

    assert render(template, VALUES, html=html) == preview(template, VALUES, html=html).text


def test_what_is_printed_and_not_there_is_named() -> None:
    """Null too; not what is only asked about, and not what has a default."""
    template = "{{ subject.a.b }}{{ subject.none }}{{ subject.c | default: 1 }}{% if subject.d %}{% endif %}"

    assert ("subject.a.b", "subject.none") == preview(template, VALUES, html=False).missing


@pytest.mark.parametrize(
    "template", ["{{ x", "{% for i in (1..100000) %}{{ i }}{% endfor %}", "{{ 1 | divided_by: 0 }}"]
)
def test_what_fails_fails_as_in_production(template: str) -> None:
    """With a sentence."""
    with pytest.raises(TemplateFailed) as failed:
        preview(template, VALUES, html=False)
    with pytest.raises(TemplateFailed) as expected:
        render(template, VALUES, html=False)

    assert expected.value.reason == failed.value.reason
