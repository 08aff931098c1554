"""Text of others on our terminal.

Law: no name, id or message from outside reaches the terminal as it is. What would move the cursor, change the
direction of writing or hide itself is shown as an escape.
"""

import json
from typing import Any


def printable(value: object) -> str:
    """A value as one line that can do no harm; None is empty."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(value: Any) -> str:
    """A value as JSON to read and to parse."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 line`, `2 lines`, `9,276 lines`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
