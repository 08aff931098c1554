"""Names of things, and the functions that make them.

Law: an id is made in one place and parsed in one place. Stored ids are for ever.
Source: contract 2.3, runtime design 1.
"""

import hashlib
import re
from functools import lru_cache
from typing import NewType
from urllib.parse import unquote

WorkspaceId = NewType("WorkspaceId", str)
JourneyId = NewType("JourneyId", str)
StepId = NewType("StepId", str)
EndUserId = NewType("EndUserId", str)
ExecutionId = NewType("ExecutionId", str)
SendId = NewType("SendId", str)

ARN_PREFIX = "arn:aws:states:us-east-1:0:execution:disp:"
SLOTS = 1024
LANES = 64
MAX_ID_BYTES = 200

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base32, RFC 4648, in lower case
_PAIRS = [one + other for one in _LETTERS for other in _LETTERS]
_SHIFTS = range(120, -1, -10)
_PLAIN = re.compile(r"(?:[A-Za-z0-9.~-]|(?<=[A-Za-z0-9.~-])_(?=[A-Za-z0-9.~-]))+")


def escaped(part: str) -> str:
    """One part of an execution id: unreserved characters and single inner underscores stay, the rest is %XX.

    Because no escaped part holds two underscores in a row or one at an edge, `__` separates without doubt.
    """
    if _PLAIN.fullmatch(part):
        return part
    out: list[str] = []
    for i, char in enumerate(part):
        keep = char.isascii() and (char.isalnum() or char in ".~-")
        if char == "_":
            before, behind = part[i - 1] if i else "_", part[i + 1] if i + 1 < len(part) else "_"
            keep = "_" not in (before, behind)
        out.append(char if keep else "".join(f"%{byte:02X}" for byte in char.encode()))
    return "".join(out)


def execution_id(journey_id: str, version: int, end_user_id: str, event_id: str) -> ExecutionId:
    """`<journeyId>__v<version>__<endUserId>__<eventId>`, each part escaped."""
    return ExecutionId(f"{escaped(journey_id)}__v{version}__{escaped(end_user_id)}__{escaped(event_id)}")


def parts_of(execution: str) -> tuple[str, int, str, str]:
    """Journey, version, end user and event of an execution id; ValueError for anything else."""
    journey, version, user, event = execution.split("__")
    if not re.fullmatch(r"v[1-9][0-9]*", version):
        raise ValueError(f"not an execution id: {execution!r}")
    return unquote(journey), int(version[1:]), unquote(user), unquote(event)


def arn_of(execution: str) -> str:
    """The ARN under which the documented API shows an execution."""
    return ARN_PREFIX + execution


def execution_of_arn(arn: str) -> ExecutionId:
    """The execution id in an ARN; ValueError for anything else."""
    if not arn.startswith(ARN_PREFIX):
        raise ValueError(f"not an execution ARN: {arn!r}")
    return ExecutionId(arn[len(ARN_PREFIX) :])


def correlation_id(execution: str, step: str) -> str:
    """What ties one step of one execution together in audit, messages and logs."""
    return f"{execution}-{step}"


def send_id(execution: str, step: str, visit: int) -> SendId:
    """The id of one promised send: message id and idempotency key at once."""
    return SendId(f"{execution}-{step}-{visit}")


def subject_key(slot: int, secret: bytes, end_user_id: str) -> str:
    """4 hex digits of the slot and a keyed hash: the only form of a person that outlives a forget."""
    return _keyed(slot, secret, end_user_id)


def execution_key(slot: int, secret: bytes, workspace_id: str, execution: str) -> str:
    """The document key of an execution: unique for one decision, and near its subject's other documents."""
    return _keyed(slot, secret, f"{workspace_id}\x1f{execution}")


def lane_of(slot: int) -> int:
    """The part of the timer index a slot lies in."""
    return slot % LANES


def uniform(*parts: str) -> float:
    """A draw in (0, 1) that only its parts decide, never 0: BLAKE2b, 53 bits.

    Source: statistics design 2.1, step 3.
    """
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53 + 2.0**-54


@lru_cache(maxsize=16384)
def _keyed(slot: int, secret: bytes, text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16, key=secret).digest()
    # base64.b32encode takes three times as long; there are two of these in every start.
    n = int.from_bytes(digest, "big") << 2  # 130 bits: 13 pairs of letters
    return f"{slot:04x}" + "".join([_PAIRS[n >> shift & 1023] for shift in _SHIFTS])
