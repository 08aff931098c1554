"""Liquid: the texts that authors write, checked and rendered.

Law: a template can read the values it is given and nothing else: no file, no other template, no clock but the
`now_ms` it is given; and whatever it does, it ends soon and in little memory. What goes wrong is a TemplateFailed
with a sentence. The same text, values and `now_ms` give the same output.
Source: contract 3, "Communications"; shopify.github.io/liquid for the language.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO

from liquid import BoundTemplate, Environment, Markup, Mode, RenderContext, escape, soft_str
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions.path import Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import LiquidError, LocalNamespaceLimitError, LoopIterationLimitError, OutputStreamLimitError
from liquid.expression import Expression
from liquid.filter import liquid_filter, sequence_filter, string_filter, with_context, with_environment
from liquid.undefined import is_undefined

from services.infra.clock import SystemClock, moment

MAX_ITERATIONS: Final = 10_000  # of all loops of one rendering together
MAX_LOCALS: Final = 256 * 1024  # bytes held in assigned and captured variables
MAX_OUTPUT: Final = 2 * 1024 * 1024  # bytes
MAX_TEXT: Final = 1024 * 1024  # characters of a template
MAX_TAGS: Final = 10_000  # of a template; each costs 20 us to compile
_CACHED: Final = 2048  # compiled templates
_NO_TAGS: Final = ("include", "render")  # there is nothing to include
NOW: Final = "\x00now"  # no template can name it
MISSING: Final = "\x00missing"


class TemplateFailed(Exception):
    """A template that cannot be compiled or rendered; `reason` is a sentence for its author."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def template_faults(text: str) -> list[str]:
    """A sentence for each thing wrong with a text: it does not compile, or uses filters that do not exist."""
    return list(_faults(text))


def render(
    text: str,
    values: Mapping[str, Any],
    *,
    html: bool,
    now_ms: int | None = None,
    missing: dict[str, None] | None = None,
) -> str:
    """The text with `values` put in; with `html`, every value is escaped. What is missing renders as nothing.

    `now_ms` is what `"now" | date: ...` means; without it, the machine's clock. `missing` is given the paths that are
    printed and hold nothing. Raises TemplateFailed.
    """
    template = _compiled(text, html)
    if isinstance(template, str):
        raise TemplateFailed(template)
    try:
        return template.render({**values, NOW: now_ms, MISSING: missing})
    except Exception as failure:  # noqa: BLE001  # a filter raises whatever Python raises for its arguments
        raise TemplateFailed(sentence_of(failure)) from None


@lru_cache(maxsize=_CACHED)  # asked when it is read, when it is stored and when it is reviewed
def _faults(text: str) -> tuple[str, ...]:
    template = _compiled(text, False)
    if isinstance(template, str):
        return (template,)
    # An unknown filter compiles, and fails for every person it is rendered for.
    known = template.env.filters
    unknown = dict.fromkeys(name for name in template.filter_names(include_partials=False) if name not in known)
    return tuple(f"There is no filter {name!r}." for name in unknown)


@lru_cache(maxsize=_CACHED)
def _compiled(text: str, html: bool) -> BoundTemplate | str:
    """The compiled template, or what is wrong with it."""
    if len(text) > MAX_TEXT:
        return f"The template has more than {MAX_TEXT:,} characters."
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        return f"The template has more than {MAX_TAGS:,} outputs and tags."
    try:
        return (_HTML if html else _PLAIN).from_string(text)
    except Exception as failure:  # noqa: BLE001  # deep expressions end in a RecursionError, others elsewhere
        return sentence_of(failure)


def sentence_of(failure: Exception) -> str:
    """What went wrong with a template, for its author."""
    match failure:
        case LoopIterationLimitError():
            return f"The template repeats something more than {MAX_ITERATIONS:,} times."
        case LocalNamespaceLimitError():
            return f"The template's variables hold more than {MAX_LOCALS:,} bytes."
        case OutputStreamLimitError():
            return f"The template's output has more than {MAX_OUTPUT:,} bytes."
        case LiquidError():
            message = str(failure.message or "This is not Liquid.")
            context = failure.context()
            return f"{message} (line {context[0]})" if context else message
        case _:
            return f"The template cannot be used: {type(failure).__name__}."


class _Context(RenderContext):
    """Counts what a rendering uses. The library's own counts forget loops that ended, and add up all locals each time."""

    __slots__ = ("_held", "_iterations", "_sizes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._iterations = 0
        self._held = 0
        self._sizes: dict[str, int] = {}

    def assign(self, key: str, val: Any) -> None:
        size = sys.getsizeof(val, 1)
        self._held += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        if self._held > MAX_LOCALS:
            raise LocalNamespaceLimitError("local namespace limit reached", token=None)
        self.locals[key] = val

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self._iterations += length
        if self._iterations > MAX_ITERATIONS:
            raise LoopIterationLimitError("loop iteration limit reached", token=None)


class _Template(BoundTemplate):
    context_class = _Context


def note_missing(expression: Expression, context: RenderContext) -> None:
    """Note a path that is printed and holds nothing; what has a default is not missing."""
    missing = context.globals.get(MISSING)
    if not isinstance(missing, dict):
        return
    left = expression
    if isinstance(expression, FilteredExpression):
        if any(one.name == "default" for one in expression.filters or ()):
            return
        left = expression.left
    if isinstance(left, Path):
        found = left.evaluate(context)
        if found is None or is_undefined(found):
            missing[str(left)] = None


class _Output(OutputNode):
    """`{{ ... }}`."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        written = super().render_to_output(context, buffer)
        # What printed something by itself was there, and need not be looked up again; a filter prints without it too.
        if not written or (isinstance(self.expression, FilteredExpression) and self.expression.filters):
            note_missing(self.expression, context)
        return written


class _OutputTag(Output):
    node_class = _Output


class _Environment(Environment):
    loop_iteration_limit = MAX_ITERATIONS
    local_namespace_limit = MAX_LOCALS
    output_stream_limit = MAX_OUTPUT
    template_class = _Template


def environment_of(html: bool) -> Environment:
    """A language environment with our limits and filters; with `html`, values are escaped."""
    environment = _Environment(tolerance=Mode.STRICT, autoescape=html)
    for name in _NO_TAGS:
        del environment.tags[name]
    environment.add_tag(_OutputTag)
    environment.add_filter("date", _date)
    environment.add_filter("join", _join)
    environment.add_filter("replace", _replace)
    return environment


@with_context
@liquid_filter
def _date(value: object, form: object = None, *, context: RenderContext) -> str:
    """The library's `date` in UTC, and without a clock or a guess of its own: numbers are seconds, texts ISO 8601."""
    if form is not None and value in ("now", "today"):
        now_ms = context.globals.get(NOW)
        when = moment(now_ms if isinstance(now_ms, int) else SystemClock().now_ms())
    else:
        found = _moment_in(value)
        if found is None or form is None:
            return soft_str("" if value is None else value)  # unchanged, as the language's own does
        when = found
    shown = when.strftime(soft_str(form))
    return Markup(shown) if isinstance(form, Markup) else shown


def _moment_in(value: object) -> datetime | None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return moment(int(value * 1000))
        if not isinstance(value, str):
            return None
        if value.isascii() and value.isdigit():
            return moment(int(value) * 1000)
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@string_filter
def _replace(value: str, old: object, new: object = "") -> str:
    """The library's `replace`, refused where its result would be large: two 200 KB texts could make 40 GB."""
    before, after = soft_str(old), soft_str(new)
    if len(after) > len(before) and len(value) + value.count(before) * (len(after) - len(before)) > MAX_OUTPUT:
        raise OutputStreamLimitError("output stream limit reached", token=None)
    return value.replace(before, after)


@with_environment
@sequence_filter
def _join(items: Any, separator: object = " ", *, environment: Environment) -> str:
    """The library's `join`, refused where its result would be large."""
    between = soft_str(separator)
    texts = [item if isinstance(item, str) else soft_str("" if item is None else item) for item in items]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_OUTPUT:
        raise OutputStreamLimitError("output stream limit reached", token=None)
    if not environment.autoescape:
        return between.join(texts)
    # The author's separator is markup where it stands in the template; what it joins never is.
    return (between if isinstance(between, Markup) else escape(between)).join(texts)


_make_range = RangeLiteral._make_range


def _bounded_range(self: RangeLiteral, start: Any, stop: Any) -> range:
    made = _make_range(self, start, stop)
    if made.stop - made.start > MAX_ITERATIONS:
        raise LoopIterationLimitError("loop iteration limit reached", token=None)
    return made


# `(1..999999999) | join` and `reversed` make a list of a range before any limit is asked, and the library has no hook there.
RangeLiteral._make_range = _bounded_range  # type: ignore[method-assign]

_PLAIN: Final = environment_of(html=False)
_HTML: Final = environment_of(html=True)
