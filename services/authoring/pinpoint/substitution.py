"""Pinpoint's template text as Liquid.

Law: only what is understood becomes code. Everything else of the text stays text, whatever braces it holds: a run of
braces that Liquid might read stands between `{% raw %}` and `{% endraw %}`, and never more than that run.
Source: pinpoint design 3.3 (Substitution) and 4.4 (Liquid).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring.pinpoint.profile import profile_path
from services.domain.journey.model import Json

MAX_DEFAULTS: Final = 10_000
_TAG: Final = re.compile(r"\{\{\{([^{}]{0,1000})\}\}\}|\{\{([^{}]{0,1000})\}\}")
_BRACES: Final = re.compile(r"\{+%|\{\{+|\{+\Z|\{+(?=\{)")
_NAME: Final = re.compile(r"[^\s(){}\[\]\"'|=<>!#/&^~`,;%]+(?: [^\s(){}\[\]\"'|=<>!#/&^~`,;%]+)*")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIQUID_WORDS: Final = ("and", "blank", "contains", "else", "empty", "false", "for", "if", "in", "nil", "none", "not",
                        "null", "or", "reversed", "true", "undefined", "with")  # fmt: skip
_PLAIN_DEFAULT: Final = re.compile(r"[^{}%\n\r]*")
_RECOMMENDED: Final = ("Recommendations", "RecommendationItems")
_ROOTS: Final = ("Attributes.", "Metrics.", "User.", "Demographic.", "Location.")


@dataclass(slots=True)
class Substituted:
    """A text in Liquid: the variables of the subject it prints, and what was said, as (code, detail)."""

    text: str
    variables: set[str] = field(default_factory=set)
    said: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    """An open block: where its opening stands in the output, its source, what closes it; `word` is `if` or `each`."""

    word: str
    index: int
    source: str
    is_understood: bool
    elses: list[tuple[int, str]] = field(default_factory=list)


def substituted(text: str, defaults: Mapping[str, str], variable_map: Mapping[str, str]) -> Substituted:
    """The text with Pinpoint's variables and the plainest blocks in Liquid, the rest as it is."""
    return _Translation(defaults, variable_map).of(text)


def read_defaults(text: str) -> dict[str, str] | None:
    """DefaultSubstitutions: JSON text, nested or with dotted names, as one map of dotted names; None if it is no such."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found: dict[str, str] = {}
    stack: list[tuple[str, Json]] = [(str(name), inner) for name, inner in reversed(list(value.items()))]
    while stack:
        name, inner = stack.pop()
        if isinstance(inner, dict):
            stack.extend((f"{name}.{key}", deeper) for key, deeper in reversed(list(inner.items())))
        elif isinstance(inner, list) or len(found) >= MAX_DEFAULTS or len(name) > 1_000:
            return None
        elif inner is not None:
            found[name] = inner if isinstance(inner, str) else json.dumps(inner)
    return found


def as_text(text: str) -> str:
    """Text that Liquid prints as it is."""
    return _BRACES.sub(lambda run: f"{{% raw %}}{run[0]}{{% endraw %}}", text) if "{" in text else text


class _Translation:
    """One text on its way."""

    def __init__(self, defaults: Mapping[str, str], variable_map: Mapping[str, str]) -> None:
        self._defaults = defaults
        self._map = variable_map
        self._out: list[str] = []
        self._open: list[_Block] = []
        self._made = Substituted("")

    def of(self, text: str) -> Substituted:
        end = 0
        for tag in _TAG.finditer(text):
            self._out.append(as_text(text[end : tag.start()]))
            end = tag.end()
            triple = tag[1] is not None
            self._tag((tag[1] if triple else tag[2]).strip(), tag[0], is_triple=triple)
        self._out.append(as_text(text[end:]))
        for block in self._open:  # never closed: what was taken for their code is text
            if block.is_understood:
                self._unsupported(block.source)
            self._as_source(block)
        self._made.text = "".join(self._out)
        return self._made

    def _tag(self, inner: str, source: str, *, is_triple: bool) -> None:
        word, _, rest = inner.partition(" ")
        if word in ("#if", "#each", "#unless") or word.startswith(("#", "^")):
            self._opening(word, rest.strip(), source)
        elif word.startswith("/"):
            self._closing(word[1:], source)
        elif inner in ("else", "^") and self._open:
            self._else(source)
        elif inner.startswith("!"):
            self._say("template_variable_unmapped", f"The comment {source[:80]} is left out.")
        else:
            self._variable(inner, source, is_triple=is_triple)

    def _variable(self, name: str, source: str, *, is_triple: bool) -> None:
        if name in ("this", ".") and any(block.word == "each" and block.is_understood for block in self._open):
            self._out.append("{{ item }}")
        elif name.startswith(_RECOMMENDED):
            self._say("template_recommender", f"{source[:80]}.")
            self._out.append(as_text(self._defaults.get(name, "")))
        elif not _NAME.fullmatch(name) or not self._is_variable(name):
            self._text(source)
        else:
            if is_triple:
                self._say("template_variable_unmapped", f"{source[:80]} was not escaped; here it is.")
            self._out.append(self._printed(name, source))

    def _is_variable(self, name: str) -> bool:
        """A name with a blank is a helper with an argument, unless it is one of ours: `Attributes.First Name`."""
        return " " not in name or name.startswith(_ROOTS) or name in self._map

    def _printed(self, name: str, source: str) -> str:
        default = self._defaults.get(name)
        place = self._place(name)
        if place is None:
            self._say("template_variable_unmapped", f"{source[:80]}.")
            place = _place(name)
            if place is None:
                return as_text(default or "")
        if not default:
            return f"{{{{ {place} }}}}"
        quote = '"' if '"' not in default else "'"
        if quote not in default and _PLAIN_DEFAULT.fullmatch(default):
            return f"{{{{ {place} | default: {quote}{default}{quote} }}}}"
        return f"{{% if {place} %}}{{{{ {place} }}}}{{% else %}}{as_text(default)}{{% endif %}}"

    def _place(self, name: str) -> str | None:
        """What Liquid calls a variable of Pinpoint's; None if it is none."""
        path = profile_path(name, self._map)
        place = None if path is None else _place(path)
        if place is not None and path is not None and path not in ("endUserId", "email", "timezone", "locale"):
            self._made.variables.add(path)
        return place

    def _opening(self, word: str, argument: str, source: str) -> None:
        place = None
        if word in ("#if", "#each") and _NAME.fullmatch(argument) and self._is_variable(argument):
            place = self._place(argument)
        block = _Block(word[1:], len(self._out), source, place is not None)
        self._open.append(block)
        if place is None:
            self._text(source)
        else:
            self._out.append(f"{{% if {place} %}}" if word == "#if" else f"{{% for item in {place} %}}")

    def _else(self, source: str) -> None:
        block = self._open[-1]
        if block.is_understood:
            block.elses.append((len(self._out), source))
            self._out.append("{% else %}")
        else:
            self._text(source)

    def _closing(self, word: str, source: str) -> None:
        if not self._open or self._open[-1].word != word.strip():
            self._text(source)
            return
        block = self._open.pop()
        if block.is_understood and len(block.elses) > 1:
            self._as_source(block)
            block.is_understood = False
        if block.is_understood:
            self._out.append("{% endif %}" if word.strip() == "if" else "{% endfor %}")
        else:
            self._text(source)

    def _as_source(self, block: _Block) -> None:
        for index, source in [(block.index, block.source), *block.elses]:
            self._out[index] = as_text(source)

    def _text(self, source: str) -> None:
        self._unsupported(source)
        self._out.append(as_text(source))

    def _unsupported(self, source: str) -> None:
        self._say("template_helper_unsupported", f"{source[:80]}.")

    def _say(self, code: str, detail: str) -> None:
        self._made.said.append((code, detail))


def _place(path: str) -> str | None:
    """`subject` and the path in Liquid, brackets where a name is no word; None if no quotes fit it."""
    place = "subject"
    for name in path.split("."):
        if _WORD.fullmatch(name) and name not in _LIQUID_WORDS:
            place += f".{name}"
        elif '"' not in name and not set(name) & set("{}%\n\r"):
            place += f'["{name}"]'
        elif "'" not in name and not set(name) & set("{}%\n\r"):
            place += f"['{name}']"
        else:
            return None
    return place


def _refuse(text: str) -> Any:
    raise ValueError(text)
