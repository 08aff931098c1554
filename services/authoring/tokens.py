"""Session tokens and API key secrets.

Law: a token is 256 random bits and the workspace they are good for, so that one read finds who it is; stored is
only its hash. Bits of that length need no slow hash.
"""

import hashlib
import secrets
from typing import Final

SESSION: Final = "js_"
API_KEY: Final = "jk_"


def new_token(prefix: str, workspace: str) -> str:
    """A token: `<prefix><projectKey>.<random>`; a project key has no dot."""
    return f"{prefix}{workspace}.{secrets.token_urlsafe(32)}"


def workspace_in(token: str, prefix: str) -> str | None:
    """The workspace a token of ours names; None for a token of another form."""
    workspace, dot, _ = token.partition(".")
    return workspace.removeprefix(prefix) if dot and workspace.startswith(prefix) else None


def hash_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
