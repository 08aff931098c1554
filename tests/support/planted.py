"""A person whose every trace can be recognised, and the search for what is left of them.

Law: whatever form a trace takes in a store (as it is, escaped in an execution's id, quoted in an address, escaped in
JSON), it is looked for.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from services.domain.ids import escaped
from tests.support.memory import MemoryDocuments, MemoryLog

USER = "usr_Änne_Plantéd/42 x"
EMAIL = "Aenne.Planted@Example.com"
PHONE = "+49 170 5550199"
TOKEN = "planted-push-token-7f3a"
CITY = "Plantagenhausen-Überlingen"
ORDER = "order-planted-9131"
TRACES = (USER, EMAIL, PHONE, TOKEN, CITY, ORDER, "aenne.planted")

PROFILE = {
    "attributes": {"firstName": "Änne-Planted", "city": CITY, "phone": PHONE},
    "addresses": {"email": EMAIL, "mobile_push": [TOKEN]},
}


def forms(traces: Iterable[str] = TRACES) -> list[bytes]:
    """Every spelling of every trace, as bytes; those without case are looked for in lower case as well."""
    found: set[str] = set()
    for trace in traces:
        found |= {trace, trace.lower(), escaped(trace), quote(trace), quote(trace, safe=""), quote_plus(trace)}
        found |= {quote(escaped(trace), safe=""), json.dumps(trace)[1:-1], quote(trace, safe="").lower()}
    return [form.encode() for form in sorted(found)]


def left_in(name: str, content: bytes) -> list[str]:
    """Where in some bytes which trace is."""
    return [f"{name}: {form.decode()}" for form in forms() if form in content]


def left_in_documents(documents: MemoryDocuments) -> list[str]:
    """What can be read of the person in any collection, keys included."""
    return [
        trace
        for collection, rows in documents.everything().items()
        for key, body in rows.items()
        for trace in left_in(f"{collection} {key}", key.encode() + b"\n" + body)
    ]


def left_in_log(log: MemoryLog, topics: Iterable[str]) -> list[str]:
    """What can be read of the person in any of the topics: keys, values, headers."""
    return [
        trace
        for topic in topics
        for one in log.all(topic)
        for trace in left_in(
            f"{topic}/{one.partition}/{one.offset}",
            b"\n".join([one.key.encode(), one.value, *(value for _, value in one.headers)]),
        )
    ]


def left_in_folder(folder: Path) -> list[str]:
    """What can be read of the person in any byte of any file."""
    return list(_left_in_files(folder))


def _left_in_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield from left_in(path.name, path.read_bytes())
