"""Pinpoint's template text as Liquid. Pinpoint design 4.4 (Liquid), and 9.13."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authoring.pinpoint.substitution import read_defaults, substituted
from services.infra.liquid import render, template_faults


def shown(text: str, subject: dict[str, Any] | None = None, defaults: dict[str, str] | None = None) -> str:
    """The text in Liquid, rendered for a person."""
    made = substituted(text, defaults or {}, {})
    return render(made.text, {"subject": subject or {}}, html=False)


def test_a_variable_prints_the_persons_value() -> None:
    """Of whichever kind."""
    text = "{{User.UserAttributes.FirstName}} {{Attributes.x}} {{ Metrics.n }} {{User.UserId}} {{Address}}"
    subject = {"FirstName": "Ana", "x": "y", "n": 3, "endUserId": "u1", "email": "a@example.com"}

    assert "Ana y 3 u1 a@example.com" == shown(text, subject)


def test_a_missing_value_prints_its_default_or_nothing() -> None:
    """As in Pinpoint."""
    assert "Hi there, !" == shown("Hi {{Attributes.a}}, {{Attributes.b}}!", defaults={"Attributes.a": "there"})


@pytest.mark.parametrize("default", ['a "quoted" one', "it's", "both ' and \"", "{{ x }} {% y %}", "100 %}", "a\nb"])
def test_a_default_is_text_whatever_it_holds(default: str) -> None:
    """No quote ends it, no brace in it is code."""
    assert default == shown("{{Attributes.a}}", defaults={"Attributes.a": default})


def test_the_options_rename_variables() -> None:
    """And the communication lists them under their new names."""
    made = substituted("{{User.UserAttributes.FirstName}}", {}, {"User.UserAttributes.FirstName": "firstName"})

    assert ("{{ subject.firstName }}", {"firstName"}) == (made.text, made.variables)


@pytest.mark.parametrize("name", ["First Name", "größe", "a-b", "else", "1st"])
def test_a_name_that_is_no_word_stands_in_brackets(name: str) -> None:
    """And finds its value."""
    assert "x" == shown(f"{{{{Attributes.{name}}}}}", {name: "x"})


@pytest.mark.parametrize(
    "text",
    [
        "{% assign x = 1 %}{{ x | upcase }}",
        "{{ 'now' | date: '%Y' }}",
        "{% raw %}",
        "{% endraw %}{{ subject.secret | upcase }}",
        "{{ subject.secret | upcase }}",
        "{{#if (eq a b)}}x{{/if}}",
        "{{dateFormat Attributes.x 'YYYY'}}",
        "{{#if Attributes.a}} never closed",
        "{{/if}} never opened",
        "{ { %} }} {{ {{{ {{{{ {%%} {",
        "{{{{{{",
    ],
)
def test_what_is_not_understood_stays_text(text: str) -> None:
    """Never code, whatever it looks like."""
    assert text == shown(text, {"secret": "s", "a": "1"})


def test_blocks_of_the_plainest_kind_are_translated() -> None:
    """If with else, each with this."""
    text = "{{#if Attributes.vip}}Dear{{else}}Hi{{/if}}{{#each Attributes.items}}[{{this}}]{{/each}}"

    assert "Dear[a][b]" == shown(text, {"vip": "yes", "items": ["a", "b"]})
    assert "Hi" == shown(text)


def test_three_braces_are_escaped_like_two() -> None:
    """With a warning."""
    made = substituted("{{{Attributes.x}}}", {}, {})

    assert "{{ subject.x }}" == made.text
    assert ["template_variable_unmapped"] == [code for code, _ in made.said]


def test_a_variable_in_a_link_is_escaped_by_the_mail() -> None:
    """No filter of ours is added; HTML escapes by itself."""
    made = substituted('<a href="{{Attributes.url}}">x</a>', {}, {})

    assert '<a href="&#34;&gt;">x</a>' == render(made.text, {"subject": {"url": '">'}}, html=True)


def test_recommendations_print_nothing() -> None:
    """Said."""
    made = substituted("a{{Recommendations.Name.[0]}}b", {}, {})

    assert ("ab", ["template_recommender"]) == (made.text, [code for code, _ in made.said])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", {}),
        ('{"User.UserAttributes.A": "x"}', {"User.UserAttributes.A": "x"}),
        (
            '{"User": {"UserAttributes": {"A": "x", "B": 1}}}',
            {"User.UserAttributes.A": "x", "User.UserAttributes.B": "1"},
        ),
        ("nonsense", None),
        ("[1]", None),
        ('{"a": NaN}', None),
        ("[" * 100_000, None),
    ],
)
def test_defaults_are_nested_or_dotted(text: str, found: dict[str, str] | None) -> None:
    """Or none at all."""
    assert found == read_defaults(text)


@given(st.text(st.sampled_from("{}%#/ ax.\"'|-!\n"), max_size=60))
def test_any_text_compiles_and_shows_no_secret(text: str) -> None:
    """Every mixture of braces is Liquid afterwards, and prints nothing it was not meant to."""
    made = substituted(text, {}, {})

    assert [] == template_faults(made.text)
    assert "SECRET" not in render(made.text, {"event": {"a": "SECRET"}, "a": "SECRET", "subject": {}}, html=False)


@given(st.text(max_size=200).filter(lambda text: "{{" not in text and "\r" not in text))  # Liquid's lines end in \n
def test_text_without_variables_is_printed_as_it_is(text: str) -> None:
    """Any characters."""
    assert text == shown(text)


def test_600000_characters_are_translated() -> None:
    """The longest template Pinpoint takes, in all directions of writing."""
    text = ("שלום 😀 {{Attributes.x}} " * 30_000)[:600_000]

    assert "שלום 😀 y" in substituted(text, {}, {}).text.replace("{{ subject.x }}", "y")
