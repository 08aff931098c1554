"""Who is calling: a member's session, a workspace's key, or the shared secret of the internal routes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs its calls with. The session goes before the API key if both are there.

    `repr()` shows none of them, so that they do not reach logs.
    """

    session: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    internal_key: str | None = field(default=None, repr=False)

    def headers(self, *, bearer: bool) -> Mapping[str, str]:
        """The headers for one call: `Authorization` for an internal one, else the sign-in."""
        if bearer:
            return {"Authorization": f"Bearer {self.internal_key}"} if self.internal_key else {}
        if self.session:
            return {"Cookie": f"session={self.session}"}
        return {"x-api-key": self.api_key} if self.api_key else {}
