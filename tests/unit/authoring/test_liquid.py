"""Liquid: what authors may write, and that it ends."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.infra.liquid import MAX_OUTPUT, TemplateFailed, render, template_faults

VALUES: dict[str, Any] = {
    "subject": {"name": "<Bo>", "n": 3, "tags": ["<a>", None, 2]},
    "event": {"at": "2026-04-30T13:00:00.000Z"},
}
GROW = "{% assign s='aaaaaaaaaa' %}{% for i in (1..13) %}{% assign s = s | append: s %}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "plain", "html"),
    [
        ("Hi {{ subject.name }}!", "Hi <Bo>!", "Hi &lt;Bo&gt;!"),
        ("{{ nobody.at.all | upcase }}-{{ subject.none }}", "-", "-"),
        ("{{ subject.name | default: 'x' }}", "<Bo>", "&lt;Bo&gt;"),
        ("{{ subject.tags | join: '<br>' }}", "<a><br><br>2", "&lt;a&gt;<br><br>2"),
        ("{{ 'a' | replace: 'a', subject.name }}", "<Bo>", "&lt;Bo&gt;"),
        ("{% if subject.n > 2 %}yes{% else %}no{% endif %}", "yes", "yes"),
        ("{% for t in subject.tags %}{{ forloop.index }}{% endfor %}", "123", "123"),
        ("{{ event.at | date: '%Y-%m-%d %H:%M' }}", "2026-04-30 13:00", "2026-04-30 13:00"),
        ("{{ 'now' | date: '%Y-%m-%d' }}", "2026-04-30", "2026-04-30"),
        ("{{ 1777554000 | date: '%H:%M' }}", "13:00", "13:00"),
        ("{{ subject.name | date: '%Y' }}", "<Bo>", "&lt;Bo&gt;"),
        ("{{ nothing | date: '%Y' }}", "", ""),
    ],
)
def test_what_it_renders(text: str, plain: str, html: str) -> None:
    """HTML is escaped where it is HTML, and only there; times are UTC, `now` is what was given."""
    assert plain == render(text, VALUES, html=False, now_ms=1_777_554_000_000)
    assert html == render(text, VALUES, html=True, now_ms=1_777_554_000_000)
    assert [] == template_faults(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ a | nope | nope | also }}", ["There is no filter 'nope'.", "There is no filter 'also'."]),
        ("{% if a %}", ["expected tag endif, found end of expression"]),
        ("a\n{{ b ", ["expected '}}', found end of file (line 2)"]),
        ("{% include 'x' %}", ["unexpected tag 'include' (line 1)"]),
        ("{% render 'x' %}", ["unexpected tag 'render' (line 1)"]),
        ("{% if a %}" * 100, ["block nesting limit reached (line 1)"]),
        ("{{a}}" * 10_001, ["The template has more than 10,000 outputs and tags."]),
        ("x" * (1024 * 1024 + 1), ["The template has more than 1,048,576 characters."]),
        ("{% if " + " and ".join(["a"] * 5_000) + " %}{% endif %}", ["unexpected liquid parsing error"]),
    ],
)
def test_what_is_wrong_is_said(text: str, said: list[str]) -> None:
    """One sentence for each; rendering it fails too."""
    assert said == template_faults(text)
    with pytest.raises(TemplateFailed):
        render(text, {"a": 1}, html=False)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{% for i in (1..1000000000) reversed %}x{% endfor %}",
        "{{ (1..1000000000) | join }}",
        "{% for i in (1..9000) %}{% endfor %}{% for i in (1..9000) %}{% endfor %}",
        "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        "{% tablerow i in (1..20000) %}{% endtablerow %}",
        "{% assign s='aa' %}{% for i in (1..100) %}{% assign s = s | append: s %}{% endfor %}",
        GROW + "{{ s | replace: 'a', s }}",
        GROW + "{{ s | split: '' | join: s }}",
        GROW + "{% for i in (1..1000) %}{{ s }}{% endfor %}",
        GROW + "{% for i in (1..9) %}{% capture t %}{{ t }}{{ s }}{{ s }}{{ s }}{{ s }}{% endcapture %}{% endfor %}",
        "".join(f"{{%assign a{i}=1%}}" for i in range(9_990)),
        "{{ 1 | divided_by: 0 }}",
        "{{ subject.tags | sort }}",
        "{{ 'x' | base64_decode }}",
        "{{ '/w==' | base64_decode }}",
        "{{ 'a' | slice: 'b' }}",
    ],
)
def test_it_ends_soon_and_says_so(text: str) -> None:
    """Loops, growth, bad arguments: a TemplateFailed, quickly."""
    began = time.perf_counter()
    with pytest.raises(TemplateFailed) as failed:
        render(text, VALUES, html=True)

    assert failed.value.reason
    assert time.perf_counter() - began < 2


def test_output_may_be_large_but_not_larger() -> None:
    """Two megabytes."""
    values = {"s": "x" * (MAX_OUTPUT // 2)}
    assert MAX_OUTPUT == len(render("{{ s }}{{ s }}", values, html=False))
    with pytest.raises(TemplateFailed, match="output has more than"):
        render("{{ s }}{{ s }}!", values, html=False)


def test_nothing_of_python_can_be_reached() -> None:
    """Attributes of objects are not members."""
    assert "" == render(
        "{{ subject.__class__ }}{{ s.upper }}{{ subject.tags.append }}", {**VALUES, "s": "x"}, html=False
    )


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", " a ", "|", "date", ": ", "'", '"', "for", "in", "if", "endif", "(1..3)", ".", "\n",
             "endfor", "assign", "=", "9", "capture", "raw", "[", "]", "-", "x", "case", "when", "\ud800"]
        ),
        max_size=30,
    ).map("".join)
)  # fmt: skip
def test_whatever_is_written_is_rendered_or_refused(text: str) -> None:
    """No other exception, and faults and rendering agree on what cannot be compiled."""
    faults = template_faults(text)
    try:
        first = render(text, {"a": 1}, html=False, now_ms=0)
    except TemplateFailed:
        return
    assert [] == [fault for fault in faults if "filter" not in fault]
    assert first == render(text, {"a": 1}, html=False, now_ms=0)


def test_what_is_printed_and_not_there_is_named() -> None:
    """Null and in loops too; not what is only asked about, not what has a default, and each once."""
    missing: dict[str, None] = {}
    text = "{{ a.b }}{{ a.b | upcase }}{% for t in subject.tags %}{{ t.x }}{% endfor %}{{ subject.n }}"
    shown = render(
        f"{text}{{{{ c | default: 1 }}}}{{% if d %}}{{% endif %}}", VALUES, html=True, now_ms=0, missing=missing
    )

    assert "31" == shown
    assert ["a.b", "t.x"] == list(missing)
    assert shown == render(f"{text}1", VALUES, html=True, now_ms=0)
