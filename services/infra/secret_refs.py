"""References to secrets: settings name where a secret lies, and never hold it.

Law: a secret is read when it is used and at no other time, and is in no repr, no log and no message. The server's
own secrets have no reference: else whoever may set a mail server's address could have them sent there.
Source: contract 3, "Senders".
"""

import os
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 * 1024
# What this process is configured with; a member of a workspace must not get at it.
_OURS: Final = frozenset({"SYNC_API_KEY", *(f"JOURNEYS_{n}" for n in ("BOOTSTRAP_TOKEN", "STORE", "LOG"))})
_SECRETS_DIR: Final = "JOURNEYS_SECRETS_DIR"
_MACHINE: Final = tuple(map(Path, ("/proc", "/sys", "/dev")))  # /proc/self/environ holds every variable


class CannotResolve(Exception):
    """A reference that leads to no secret; the sentence says why."""


class Secret:
    """A secret text. Shown, it is `***`; only `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends or signs with it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def resolve(reference: str) -> Secret:
    """The secret that `env:NAME` or `file:PATH` (without its last line end) names now. Raises CannotResolve."""
    kind, colon, name = reference.partition(":")
    if colon and name and kind == "env":
        return Secret(_variable(name))
    if colon and name and kind == "file":
        return Secret(_content(name))
    # Whoever puts a secret where a reference belongs must not find it in a log.
    raise CannotResolve("A reference to a secret is env:NAME or file:PATH.")


def _variable(name: str) -> str:
    if name in _OURS:
        raise CannotResolve(f"The variable {name} is the server's own.")
    value = os.environ.get(name)
    if not value:
        raise CannotResolve(f"The variable {name} is not set.")
    return value


def _content(name: str) -> str:
    try:
        path = Path(name).expanduser().resolve(strict=True)
        if _is_ours(path):
            raise CannotResolve(f"The file {name} is the server's own.")
        if not path.is_file():  # reading a pipe would wait for its writer
            raise CannotResolve(f"{name} is no file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise CannotResolve(
            f"The file {name} cannot be read: {(error.strerror or 'no reason given').lower()}."
        ) from None
    except UnicodeDecodeError:
        raise CannotResolve(f"The file {name} is not UTF-8 text.") from None
    except (RuntimeError, ValueError):  # a loop of links, no home, a null byte
        raise CannotResolve("The path of the file cannot be used.") from None
    if len(data) > MAX_BYTES:
        raise CannotResolve(f"The file {name} has more than {MAX_BYTES:,} bytes.")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise CannotResolve(f"The file {name} is empty.")
    return text


def _is_ours(path: Path) -> bool:
    if any(path.is_relative_to(folder) for folder in _MACHINE):
        return True
    secrets = os.environ.get(_SECRETS_DIR)
    return bool(secrets) and path.parent == Path(secrets or "").resolve() and path.name.upper() in _OURS
