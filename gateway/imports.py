"""Profiles line by line: NDJSON or CSV, in a stream of any length.

Law: at most one line and one chunk are held at a time, and Pinpoint's endpoints, of which several make one person; a
line that is no profile costs itself alone. A line over 1 MiB ends the import (413): what follows it cannot be told from
its rest.
Source: contract 3, Subjects; RFC 4180 for CSV.
"""

import csv
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from journeys.runtime.v1.subject_service_pb2 import ImportSubjectsRequest

from gateway.columns import Columns, Refused
from gateway.context import SUBJECTS, workspace
from gateway.dto.people import Imported, LineFault
from gateway.endpoints import Endpoints, TooMany, is_endpoint
from gateway.errors import Problem, too_large
from gateway.reading import parse

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
MEDIA: Final = (NDJSON, CSV)
MAX_LINE: Final = 1 << 20
CHUNK: Final = 500
CHUNK_BYTES: Final = 4 << 20  # of one call; gRPC takes more, but not in one bite
MAX_ERRORS: Final = 1000  # listed; all are counted

_BOM: Final = b"\xef\xbb\xbf"


class _Import:
    """What came so far, and the chunk that waits to be sent on."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._workspace = workspace(request)
        self._lines: list[int] = []
        self._profiles: list[bytes] = []
        self._size = 0
        self.received = self.created = self.updated = self.error_count = 0
        self.errors: list[LineFault] = []

    def refuse(self, line: int, code: str, message: str) -> None:
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(LineFault(line=line, code=code, message=message))

    async def add(self, line: int, profile: bytes) -> None:
        self._lines.append(line)
        self._profiles.append(profile)
        self._size += len(profile)
        if len(self._profiles) >= CHUNK or self._size >= CHUNK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if not self._profiles:
            return
        message = ImportSubjectsRequest(workspace=self._workspace, profiles_json=self._profiles)
        lines, self._lines, self._profiles, self._size = self._lines, [], [], 0
        reply = await self._request.app[SUBJECTS].ImportSubjects(message)
        self.created += reply.created
        self.updated += reply.updated
        for fault in reply.faults:
            self.refuse(lines[fault.index], fault.code, fault.message)

    def so_far(self) -> Imported:
        return Imported(
            received=self.received,
            created=self.created,
            updated=self.updated,
            error_count=self.error_count,
            errors=sorted(self.errors, key=lambda fault: fault.line),
        )


async def import_lines(request: web.Request, media: str) -> Imported:
    """Import a request's lines; what was done, and which lines were refused. Raises Problem 413 and 400 (CSV header)."""
    work = _Import(request)
    endpoints = Endpoints()
    try:
        async for line, profile in _records(request, media):
            work.received += 1
            if isinstance(profile, _Endpoint):
                endpoints.take(line, profile.value, profile.text)
            elif isinstance(profile, Refused):
                work.refuse(line, profile.code, profile.message)
            else:
                await work.add(line, profile)
        for line, made in endpoints.profiles():
            await work.add(line, made)
        await work.flush()
    except TooMany:
        await work.flush()
        members = msgspec.to_builtins(work.so_far())
        raise too_large("These are more endpoints than are taken at once; send them in parts.", **members) from None
    except _LineTooLong as error:
        await work.flush()
        members = msgspec.to_builtins(work.so_far())
        raise too_large(
            f"Line {error.line} is longer than {MAX_LINE} bytes; the lines before it are in.", **members
        ) from None
    return work.so_far()


class _LineTooLong(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Endpoint(NamedTuple):
    """A line that is an endpoint of Pinpoint."""

    value: dict[str, Any]
    text: bytes


async def _records(request: web.Request, media: str) -> AsyncIterator[tuple[int, bytes | Refused | _Endpoint]]:
    """Each record with the number of its first line: a profile as JSON, or why it is none."""
    lines = _lines(request)
    if media == NDJSON:
        async for number, line in lines:
            profile = line.removeprefix(_BOM) if number == 1 else line
            if profile.strip():
                yield number, _profile(profile)
        return
    columns: Columns | None = None
    async for number, text in _csv_records(lines):
        if isinstance(text, Refused):
            if columns is None:
                raise Problem(400, "validation_error", text.message)
            yield number, text
            continue
        cells = _cells(text)
        if isinstance(cells, Refused):
            yield number, cells
        elif columns is None:
            columns = Columns(cells)
        elif cells:
            yield number, columns.profile(cells)
    if columns is None:
        raise Problem(400, "validation_error", "A CSV file begins with a line of column names.")


async def _lines(request: web.Request) -> AsyncIterator[tuple[int, bytes]]:
    """The lines of a body with their numbers, with their line ends (a CSV cell may hold one)."""
    rest = bytearray()
    number = 0
    async for chunk in request.content.iter_any():
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            number += 1
            if len(line) > MAX_LINE:
                raise _LineTooLong(number)
            yield number, bytes(line) + b"\n"
        rest = last
        if len(rest) > MAX_LINE:
            raise _LineTooLong(number + 1)
    if rest:
        yield number + 1, bytes(rest)


def _profile(line: bytes) -> bytes | Refused | _Endpoint:
    text = line.strip()
    try:
        value = parse(text)
    except Problem as problem:
        return Refused("invalid_json", problem.detail.replace("The body", "The line"))
    if not isinstance(value, dict):
        return Refused("wrong_type", "A profile is an object.")
    return _Endpoint(value, text) if is_endpoint(value) else text


async def _csv_records(lines: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[tuple[int, str | Refused]]:
    """Lines put together where a quoted cell spans them: while the quotes are odd, the record goes on."""
    pending = bytearray()
    first = 1
    quotes = 0
    async for number, line in lines:
        if number == 1 and line.startswith(_BOM):
            line = line[len(_BOM) :]
        if not pending:
            first = number
        pending += line
        quotes += line.count(b'"')
        if len(pending) > MAX_LINE:
            raise _LineTooLong(first)
        if quotes % 2 == 0:
            yield first, _decoded(bytes(pending))
            pending.clear()
            quotes = 0
    if pending:
        yield first, Refused("broken_csv", "A quoted cell does not end.")


def _decoded(record: bytes) -> str | Refused:
    try:
        return record.decode()
    except UnicodeDecodeError:
        return Refused("invalid_utf8", "The line is not UTF-8.")


def _cells(record: str) -> list[str] | Refused:
    """The cells of a record; a blank line has none."""
    try:
        return next(csv.reader([record], strict=True), []) if record.strip("\r\n") else []
    except csv.Error:
        return Refused("broken_csv", "The quotes of the record are wrong.")


csv.field_size_limit(MAX_LINE)  # of the whole process; its own default is an eighth of a line
