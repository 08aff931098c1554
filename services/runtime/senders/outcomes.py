"""How a send can end, besides well.

Law: a call that has not returned normally ends as exactly one of these, and the sender that knows the protocol
chooses. Permanent and Temporary are said only where it is certain that nothing was accepted; InDoubt is everything
else. The sentences may be stored and shown: no secret and no address is in them.

    SendFailed          port.py: certainly not sent
      Permanent         and a repeat would fail the same way
    Temporary           certainly not sent, worth a repeat
    InDoubt             nobody knows: the sender's promise decides
"""

import re
from dataclasses import dataclass
from typing import Final

from services.domain.messaging.masking import masked_address
from services.runtime.senders.port import SendFailed

MAX_REASON: Final = 200
_ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\"']+@[^\s<>()\[\],;:\"']+")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class Permanent(SendFailed):
    """Refused for good. `status` is the protocol's, where it gave one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Temporary(Exception):
    """Refused for now; `retry_after` is how many milliseconds the other side asks us to wait, if it does."""

    def __init__(self, reason: str, retry_after: int | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.status = status


class InDoubt(Exception):
    """Handed over, and no answer came."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unregistered:
    """Addresses that the provider no longer knows: they are to be taken from the person's profile."""

    workspace: str
    end_user_id: str
    channel: str
    tokens: tuple[str, ...]


def shown(text: str) -> str:
    """A provider's words as they may be stored: on one line, e-mail addresses masked, not longer than 200 characters."""
    plain = _BLANK.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return _ADDRESS.sub(lambda found: masked_address(found[0]), plain)[:MAX_REASON]
