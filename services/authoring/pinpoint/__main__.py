"""One translation as a process of its own: the request on stdin, the answer on stdout.

Law: it writes nothing else and holds nothing afterwards. Exit status 0: stdout is the answer. 3: stdout is a refusal,
`{"reason", "message", "faults": [[path, code, message]]}`. Anything else is a bug, or the machine stopped it.
"""

import contextlib
import gc
import resource
import sys
from typing import Final

import msgspec

from services.authoring.pinpoint.translate import answer
from services.domain.errors import Invalid
from services.infra.liquid import template_faults

REFUSED: Final = 3
MAX_MEMORY: Final = 2 << 30  # of addresses; a hostile body may ask for more, and gets a refusal


def main(now_ms: int) -> int:
    """Translate once."""
    gc.disable()  # values are made once and kept to the end; nothing here makes circles
    # A container may forbid it; it has a limit of its own then.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    try:
        made = answer(sys.stdin.buffer.read(), now_ms, template_faults)
    except Invalid as refused:
        faults = [(fault.path, fault.code, fault.message) for fault in refused.faults]
        made = msgspec.json.encode({"reason": refused.reason, "message": refused.message, "faults": faults})
        sys.stdout.buffer.write(made)
        return REFUSED
    except MemoryError:
        reason = b'{"reason":"payload_too_large","message":"The body needs more memory than is taken.","faults":[]}'
        sys.stdout.buffer.write(reason)
        return REFUSED
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
