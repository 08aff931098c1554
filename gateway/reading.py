"""Bodies: one strict JSON reader.

Law: what this reader lets through is UTF-8 text without lone surrogates, numbers are finite doubles or 64-bit
integers, nothing is nested deeper than 64, and of duplicate keys the last counts. No route reads a body otherwise.
Source: contract 1, Limits.
"""

import email
import email.message
import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from gateway.context import CONTEXT
from gateway.errors import Problem, invalid, invalid_json, too_large
from gateway.meaning import all_faults
from gateway.pointers import Fault
from gateway.shapes import SHAPES

MAX_BODY: Final = 1 << 20
MAX_EVENTS_BODY: Final = 5 << 20
MAX_FORM: Final = 64 << 10
MAX_FIELDS: Final = 100
MAX_NESTING: Final = 64
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")

_MAX_INT: Final = 2**63 - 1
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")  # nothing shorter leaves 64 bits
_BYTE: Final = re.compile(r" \(byte (\d+)\)")
_JSON: Final = ("application/json", "application/merge-patch+json")
_DECODE: Final = msgspec.json.Decoder().decode


Also = Callable[[dict[str, Any]], Iterable[Fault]]


def _nothing_else(body: dict[str, Any]) -> Iterable[Fault]:
    return ()


async def body_of(request: web.Request, also: Also = _nothing_else) -> dict[str, Any]:
    """The body as its route declares it: every fault is reported at once (400 validation_error).

    `also` finds what the route itself looks at beside the shape; its members may have any type.
    """
    require_json(request)
    return await _checked(request, parse(await raw_body(request, MAX_BODY)), also)


async def optional_body_of(request: web.Request) -> dict[str, Any]:
    """The same where the body may be left out."""
    data = await raw_body(request, MAX_BODY)
    if not data:
        return {}
    require_json(request)
    return await _checked(request, parse(data), _nothing_else)


async def raw_body(request: web.Request, limit: int) -> bytes:
    """The bytes of the body; 413 beyond `limit`, before they are read where the client says how many come."""
    announced = request.content_length
    if announced is not None and announced > limit:
        raise too_large(f"The body has {announced} bytes; {limit} are taken.")
    if (whole := request[CONTEXT].body) is not None:
        return whole
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)  # after decompression
        if size > limit:
            raise too_large(f"The body has more than the {limit} bytes that are taken.")
        parts.append(chunk)
    return b"".join(parts) if len(parts) != 1 else parts[0]


async def form_of(request: web.Request) -> list[tuple[str, str]]:
    """The fields of a form, in their order; 415 unless it is one, 413 beyond 64 KiB or 100 fields."""
    header = request.headers.get("Content-Type", FORMS[0])
    media = require_media(header, FORMS)
    data = await raw_body(request, MAX_FORM)
    try:
        fields = _parts(header, data) if media == FORMS[1] else parse_qsl(data.decode(), keep_blank_values=True)
    except UnicodeDecodeError:
        raise Problem(400, "bad_request", "The form is not UTF-8.") from None
    if len(fields) > MAX_FIELDS:
        raise too_large(f"The form has more than {MAX_FIELDS} fields.")
    return fields


def require_json(request: web.Request) -> None:
    """415 unless the body is JSON in UTF-8. A body without a media type is taken for JSON."""
    header = request.headers.get("Content-Type")
    if header is None or header == "application/json":
        return
    require_media(header, _JSON)


def require_media(header: str, allowed: tuple[str, ...]) -> str:
    """The media type of a Content-Type that is allowed and in UTF-8; 415 otherwise."""
    media, *parameters = (part.strip().lower() for part in header.split(";"))
    if media not in allowed:
        raise Problem(415, "unsupported_media_type", f"This route takes {', '.join(allowed)}.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise Problem(415, "unsupported_media_type", "Only UTF-8 is taken.")
    return media


def parse(data: bytes) -> Any:
    """The value of a JSON text. Raises Problem 400 invalid_json."""
    try:
        value = _DECODE(data)
    except msgspec.DecodeError as error:
        raise invalid_json(explained(error)) from None
    except UnicodeDecodeError:
        raise invalid_json("The body is not UTF-8.") from None
    except RecursionError:
        raise invalid_json(f"The body is nested deeper than {MAX_NESTING}.") from None
    if (reason := excess(data, value)) is not None:
        raise invalid_json(reason)
    return value


def explained(error: msgspec.DecodeError) -> str:
    """A decoder's complaint as a sentence, with the place where there is one."""
    text = str(error)
    if "out of range" in text:
        return "A number is too large for a finite double."
    if "truncated" in text:
        return "The body is no JSON: it ends too early."
    place = _BYTE.search(text)
    return f"The body is no JSON: something is wrong at byte {place[1]}." if place else "The body is no JSON."


def excess(data: bytes, value: Any) -> str | None:
    """What of a decoded value is beyond the limits, or None. `data` is where it was decoded from."""
    # Both questions need a walk only where the bytes give reason to: more brackets than levels, or 19 digits in a row.
    if data.count(b"[") + data.count(b"{") > MAX_NESTING and nests_deeper(value, MAX_NESTING):
        return f"The body is nested deeper than {MAX_NESTING}."
    if _LONG_NUMBER.search(data) is not None and _has_huge_integer(value):
        return "An integer does not fit into 64 bits."
    return None


def nests_deeper(value: Any, limit: int) -> bool:
    """Whether objects and arrays lie in each other more than `limit` deep; the value itself is the first level."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _parts(header: str, data: bytes) -> list[tuple[str, str]]:
    """The fields of a multipart form; what is no field of text is passed over. The parser refuses nothing."""
    head = b"Content-Type: " + header.encode("utf-8", "replace") + b"\r\n\r\n"
    whole = email.message_from_bytes(head + data)
    found = []
    for part in whole.get_payload() if whole.is_multipart() else []:
        if not isinstance(part, email.message.Message):
            continue
        name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            found.append((name, value.decode()))
    return found


async def _checked(request: web.Request, value: Any, also: Also) -> dict[str, Any]:
    component = _declared(request)
    found = SHAPES.faults(component, value)
    if isinstance(value, dict):
        told = {fault.path for fault in found}
        found += [fault for fault in also(value) if fault.path not in told]
    if found:
        raise invalid(await all_faults(request, component, value, found))
    body: dict[str, Any] = value
    return body


def _declared(request: web.Request) -> str:
    route = request[CONTEXT].route
    if route is None or route.body is None:
        raise RuntimeError("a body is read by a route that declares none")
    return route.body


def _has_huge_integer(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, int) and not -_MAX_INT - 1 <= item <= _MAX_INT:
            return True
    return False
