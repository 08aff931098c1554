"""The fidelity report as Markdown and as a page of HTML that needs nothing else.

Law: whatever stands in an export is text here: names and messages are escaped for the language they are put into.
"""

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from journeys_cli.fidelity import EXACT, VERDICTS, ActivityReport, Finding, JourneyReport, ProjectReport

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")
_HEADINGS: Final = ("activity", "type", "verdict", "people-paths", "what to do")
_MANY: Final = 10**15
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #d8dee4; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.exact { color: #116329; } .approximated { color: #7d4e00; } .unsupported { color: #a40e26; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e6e9ec; } th, td { border-color: #343b42; }
  .exact { color: #6fdd8b; } .approximated { color: #eac55f; } .unsupported { color: #ff8f9c; }
}
"""


def markdown(report: ProjectReport) -> str:
    """The report in Markdown."""
    return "\n".join(_markdown(report)).rstrip() + "\n"


def html(report: ProjectReport) -> str:
    """The report as a page."""
    title = f"Pinpoint project {escape(report.application_id)}"
    body = "\n".join(_html(report))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _markdown(report: ProjectReport) -> Iterator[str]:
    yield f"# Pinpoint project {_plain(report.application_id)}"
    yield ""
    for line in _summary(report):
        yield line
        yield ""
    yield "| journey | exact | approximated | unsupported | people-paths | ready |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for journey in report.journeys:
        cells = [_plain(journey.name), *(f"{journey.count(verdict)}" for verdict in VERDICTS)]
        yield f"| {' | '.join([*cells, _number(journey.paths), journey.completeness])} |"
    for journey in report.journeys:
        yield ""
        yield f"## {_plain(journey.name)}"
        yield ""
        if journey.blockers:
            yield f"Publish would refuse: {_plain(', '.join(journey.blockers))}."
            yield ""
        if journey.activities:
            yield f"| {' | '.join(_HEADINGS)} |"
            yield "| --- | --- | --- | ---: | --- |"
            for one in journey.activities:
                todo = "; ".join(f"{found.code}: {_plain(found.message)}" for found in one.findings) or _none(one)
                yield f"| {_plain(one.id)} | {_plain(one.type)} | {one.verdict} | {_number(one.paths)} | {todo} |"
            yield ""
        yield from _listed(journey.findings)
    for name, findings in report.elsewhere:
        yield ""
        yield f"## {_plain(name)}"
        yield ""
        yield from _listed(findings)


def _listed(findings: Iterable[Finding]) -> Iterator[str]:
    for found in findings:
        yield f"- {found.severity}, {found.code}: {_plain(found.message)}"


def _html(report: ProjectReport) -> Iterator[str]:
    for line in _summary(report):
        yield f"<p>{escape(line)}</p>"
    yield "<table><tr><th>journey</th><th>exact</th><th>approximated</th><th>unsupported</th>"
    yield "<th>people-paths</th><th>ready</th></tr>"
    for number, journey in enumerate(report.journeys):
        counts = "".join(f'<td class="number">{journey.count(verdict)}</td>' for verdict in VERDICTS)
        yield (
            f'<tr><td><a href="#j{number}">{escape(journey.name)}</a></td>{counts}'
            f'<td class="number">{_number(journey.paths)}</td><td>{escape(journey.completeness)}</td></tr>'
        )
    yield "</table>"
    for number, journey in enumerate(report.journeys):
        yield from _html_journey(number, journey)
    for name, findings in report.elsewhere:
        yield f"<h2>{escape(name)}</h2>"
        yield from _html_listed(findings)


def _html_journey(number: int, journey: JourneyReport) -> Iterator[str]:
    yield f'<h2 id="j{number}">{escape(journey.name)}</h2>'
    if journey.blockers:
        yield f"<p>Publish would refuse: {escape(', '.join(journey.blockers))}.</p>"
    if journey.activities:
        yield f"<table><tr>{''.join(f'<th>{heading}</th>' for heading in _HEADINGS)}</tr>"
        for one in journey.activities:
            todo = "<br>".join(f"{escape(found.code)}: {escape(found.message)}" for found in one.findings)
            yield (
                f"<tr><td>{escape(one.id)}</td><td>{escape(one.type)}</td>"
                f'<td class="{one.verdict}">{one.verdict}</td>'
                f'<td class="number">{_number(one.paths)}</td><td>{todo or _none(one)}</td></tr>'
            )
        yield "</table>"
    yield from _html_listed(journey.findings)


def _html_listed(findings: Iterable[Finding]) -> Iterator[str]:
    items = [f"<li>{escape(one.severity)}, {escape(one.code)}: {escape(one.message)}</li>" for one in findings]
    if items:
        yield f"<ul>{''.join(items)}</ul>"


def _summary(report: ProjectReport) -> Iterator[str]:
    total = sum(len(journey.activities) for journey in report.journeys)
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in VERDICTS)
    yield f"{len(report.journeys)} journeys with {total} activities: {counts}. {report.kept_aside} values are kept aside."
    if report.is_partial:
        yield "The export is one page of more: what is missing may be in the others."
    yield "People-paths are the ways from a journey's start to its end that lead through an activity."


def _none(activity: ActivityReport) -> str:
    return "nothing" if activity.verdict == EXACT else ""


def _number(count: int | None) -> str:
    if count is None:
        return "?"
    if count < _MANY:
        return f"{count:,}"
    digits = str(count)
    return f"{digits[0]}.{digits[1]}e{len(digits) - 1}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
