"""Fixtures of journeys kept beside their code: who walks, what happens, and how it must go.

A file is a JSON object: `journey` (its id) and `cases`. A case has a `name`, what `POST .../simulate` takes
(`subjectId` or `subjectAttributes`, `event`, `events`, `startAt`, `version`, `overrides`), and `expect`.

Law: `expect` says what must be so; what it does not name may be anything. An object is compared member by member, a
list item by item and in full. `steps` stands for the ids of the trace, in order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from journeys_cli.outcome import Failed

SHOWN = 200  # characters of a value in a complaint


@dataclass(frozen=True, slots=True)
class Fixture:
    """One file."""

    name: str
    journey: str
    cases: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one case went; no complaints: as expected."""

    suite: str
    name: str
    complaints: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"file": self.suite, "case": self.name, "passed": not self.complaints, "complaints": self.complaints}


def read_fixture(file: Path) -> Fixture:
    """One file. Raises Failed, naming the file and what is wrong with it."""
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise Failed(f"{file}: not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("journey"), str):
        raise Failed(f"{file}: holds no `journey`, the id of the one to try")
    cases = document.get("cases")
    if not isinstance(cases, list) or not cases:
        raise Failed(f"{file}: holds no `cases`")
    for i, case in enumerate(cases):
        if not isinstance(case, dict) or not isinstance(case.get("name"), str):
            raise Failed(f"{file}: case {i + 1} has no `name`")
        if not isinstance(case.get("expect"), dict) or not case["expect"]:
            raise Failed(f"{file}: case {i + 1} has no `expect`")
    return Fixture(file.name, document["journey"], tuple(cases))


def differences(expected: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each place where the result is not as expected."""
    steps = [entry.get("stepId") for entry in result.get("trace", [])]
    yield from _differences(expected, {**result, "steps": steps}, "")


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """The results as JUnit XML, one suite a file."""
    root = ElementTree.Element("testsuites", {"name": "journeys", **_counts(verdicts)})
    for name in dict.fromkeys(verdict.suite for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.suite == name]
        suite = ElementTree.SubElement(root, "testsuite", {"name": _xml_text(name), **_counts(mine)})
        for verdict in mine:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml_text(Path(name).stem), name=_xml_text(verdict.name), time="0"
            )
            if verdict.complaints:
                failure = ElementTree.SubElement(case, "failure", message=_xml_text(verdict.complaints[0]))
                failure.text = _xml_text("\n".join(verdict.complaints))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            yield f"{path or '/'}: expected an object, got {_shown(found)}"
            return
        for name, value in expected.items():
            if name in found:
                yield from _differences(value, found[name], f"{path}/{name}")
            elif value is not None:
                yield f"{path}/{name}: expected {_shown(value)}, got nothing"
    elif isinstance(expected, list) and isinstance(found, list) and any(isinstance(one, dict) for one in expected):
        if len(expected) != len(found):
            yield f"{path}: expected {len(expected)} items, got {len(found)}"
        for i, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _differences(one, other, f"{path}/{i}")
    elif expected != found or isinstance(expected, bool) is not isinstance(found, bool):
        yield f"{path or '/'}: expected {_shown(expected)}, got {_shown(found)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _counts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    failures = sum(1 for verdict in verdicts if verdict.complaints)
    return {"tests": str(len(verdicts)), "failures": str(failures), "errors": "0"}


def _xml_text(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(
        c if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff") else "?"
        for c in text
    )
