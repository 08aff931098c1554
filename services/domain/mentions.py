"""Whether a text names one person, told from the person's keyed hash alone.

Law: nothing here knows or needs the person's id. A text names a person if it is their id, or one of the names that
are made of it: an execution's, a send's, a log key.
Source: runtime design 1 (subject key) and 12.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from services.domain import ids

_MOST = 4 * ids.MAX_ID_BYTES * 3  # characters of a text that can be one of our names: journey, person, event, escaped


@dataclass(frozen=True, slots=True)
class Person:
    """A person by hash: `key` is the subject key (which begins with the slot), `secret` the workspace's."""

    workspace: str
    key: str
    secret: bytes

    @property
    def slot(self) -> int:
        """The slot the person lies in."""
        return int(self.key[:4], 16)

    def is_named_by(self, text: str) -> bool:
        """Whether the text is the person's id, or a name made of it."""
        if not text or len(text) > _MOST:
            return False
        if self._is(text):
            return True
        if "__v" in text:  # of an execution, or what begins with one: its ARN, its sends, a correlation id
            parts = text.removeprefix(ids.ARN_PREFIX).split("__")
            return len(parts) >= 3 and self._is(unquote(parts[2]))
        return False

    def is_keyed_by(self, log_key: str) -> bool:
        """Whether records of this key are the person's: `<projectKey>:<endUserId>`."""
        return log_key.startswith(f"{self.workspace}:") and self._is(log_key[len(self.workspace) + 1 :])

    def is_in(self, value: Any) -> bool:
        """Whether any text in a JSON value, or any of its members' names, names the person."""
        waiting = [value]
        while waiting:
            match waiting.pop():
                case str() as text:
                    if self.is_named_by(text):
                        return True
                case Mapping() as members:
                    waiting.extend(members.keys())
                    waiting.extend(members.values())
                case list() | tuple() as items:
                    waiting.extend(items)
        return False

    def without(self, value: Any, instead: str) -> Any:
        """The JSON value with `instead` in the place of every text that names the person."""
        match value:
            case str() as text:
                return instead if self.is_named_by(text) else text
            case Mapping() as members:
                return {self.without(name, instead): self.without(one, instead) for name, one in members.items()}
            case list() | tuple() as items:
                return [self.without(one, instead) for one in items]
            case _:
                return value

    def _is(self, end_user_id: str) -> bool:
        try:
            return ids.subject_key(self.slot, self.secret, end_user_id) == self.key
        except UnicodeEncodeError:  # half of a surrogate pair is nobody's id
            return False
