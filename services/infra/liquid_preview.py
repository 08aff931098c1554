"""Liquid for people who may not see what it prints: the same language, with every printed value shown to a mask.

Law: conditions, loops and filters work on the real values, so the text is the one that would be sent; only where a
value is printed does the mask speak. What a template asks for and is not there is named.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from typing import Any, Final, TextIO

from liquid import BoundTemplate, RenderContext, escape
from liquid.ast import Node
from liquid.builtin.expressions.path import Path
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined

from services.infra.liquid import (
    MAX_TAGS,
    MAX_TEXT,
    MISSING,
    NOW,
    TemplateFailed,
    environment_of,
    note_missing,
    sentence_of,
)

# A printed text, and the dotted paths of what it was made of, as far as they hold anything.
Mask = Callable[[str, Sequence[str]], str]

_PREVIEW: Final = "\x00preview"  # no template can name it
_CACHED: Final = 256


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent, masked, and the paths that are printed but hold nothing."""

    text: str
    missing: tuple[str, ...]


@dataclass(slots=True)
class _Watch:
    mask: Mask
    aliases: Mapping[str, frozenset[str]]  # local names -> the roots they were made of


def preview(
    text: str, values: Mapping[str, Any], *, html: bool, now_ms: int | None = None, mask: Mask | None = None
) -> Preview:
    """The text with `values` put in, each as `mask` shows it; without a mask as it is. Raises TemplateFailed."""
    compiled = _compiled(text, html)
    if isinstance(compiled, str):
        raise TemplateFailed(compiled)
    template, aliases = compiled
    missing: dict[str, None] = {}
    watch = _Watch(mask or _as_it_is, aliases)
    try:
        shown = template.render({**values, NOW: now_ms, MISSING: missing, _PREVIEW: watch})
    except Exception as failure:  # noqa: BLE001  # a filter raises whatever Python raises for its arguments
        raise TemplateFailed(sentence_of(failure)) from None
    return Preview(shown, tuple(missing))


def _as_it_is(text: str, sources: Sequence[str]) -> str:
    return text


@lru_cache(maxsize=_CACHED)
def _compiled(text: str, html: bool) -> tuple[BoundTemplate, Mapping[str, frozenset[str]]] | str:
    if len(text) > MAX_TEXT:
        return f"The template has more than {MAX_TEXT:,} characters."
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        return f"The template has more than {MAX_TAGS:,} outputs and tags."
    try:
        template = (_HTML if html else _PLAIN).from_string(text)
        return template, _aliases(template)
    except Exception as failure:  # noqa: BLE001  # deep expressions end in a RecursionError, others elsewhere
        return sentence_of(failure)


def _aliases(template: BoundTemplate) -> Mapping[str, frozenset[str]]:
    """What each local name was made of: a variable that holds a part of a person's name is as private as the name."""
    made: list[tuple[str, set[str]]] = []
    context = RenderContext(template)
    rest: list[Node] = list(template.nodes)
    while rest:
        node = rest.pop()
        heads = {str(path.head()) for expression in node.expressions() for path in _paths(expression)}
        made.extend((str(name), heads) for name in (*node.template_scope(), *node.block_scope()))
        rest.extend(node.children(context))
    roots: dict[str, frozenset[str]] = {}
    moved = True
    while moved:
        moved = False
        for name, heads in made:
            known = roots.get(name, frozenset())
            now = known.union(*({head} | roots.get(head, frozenset()) for head in heads)) if heads else known
            if now != known:
                roots[name] = now
                moved = True
    return roots


def _paths(expression: Expression) -> Iterator[Path]:
    rest: list[Expression] = [expression]
    while rest:
        one = rest.pop()
        if isinstance(one, Path):
            yield one
        rest.extend(one.children())


def _shown(value: Any, expressions: Iterable[Expression], context: RenderContext) -> str:
    plain = to_liquid_string(value, autoescape=context.autoescape)
    watch = context.globals.get(_PREVIEW)
    if not isinstance(watch, _Watch) or not plain or isinstance(value, int | float):
        return plain
    raw = to_liquid_string(value, autoescape=False)
    sources: list[str] = []
    for expression in expressions:
        for path in _paths(expression):
            found = path.evaluate(context)
            if found in (None, "") or is_undefined(found):
                continue
            roots = watch.aliases.get(str(path.head()))
            sources.extend(sorted(roots) if roots else [str(path)])
    masked = watch.mask(raw, sources)
    if masked == raw:
        return plain
    return str(escape(masked)) if context.autoescape else masked


class _Shown(OutputNode):
    """`{{ ... }}`."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        note_missing(self.expression, context)
        return buffer.write(_shown(value, self.expressions(), context))


class _ShownEcho(_Shown, EchoNode):
    """`{% echo ... %}`."""

    __slots__ = ()


class _ShownCycle(CycleNode):
    """`{% cycle ... %}`."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        inner = StringIO()
        super().render_to_output(context, inner)
        return buffer.write(_shown(inner.getvalue(), self.expressions(), context))


class _Output(Output):
    node_class = _Shown


class _Echo(EchoTag):
    node_class = _ShownEcho


class _Cycle(CycleTag):
    node_class = _ShownCycle


def _environment(html: bool) -> Any:
    environment = environment_of(html=html)
    for tag in (_Output, _Echo, _Cycle):
        environment.add_tag(tag)
    return environment


_PLAIN: Final = _environment(html=False)
_HTML: Final = _environment(html=True)
