"""Passwords: hashed slowly on purpose, beside the event loop.

Law: a password is in no log and no repr, and only its hash is stored. Two are worked on at once, since each takes
64 MiB and a sixth of a second. An unknown address costs as much time as a wrong password.
"""

import asyncio
from typing import Final, Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE: Final = 2


class Passwords(Protocol):
    """Makes and checks password hashes."""

    async def hash(self, password: str) -> str:
        """The hash to store."""

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the hash; None matches nothing, as slowly."""


class Argon2Passwords:
    """Argon2id (RFC 9106) by argon2-cffi; without a hasher, with its defaults."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = await self.hash("nobody's")
        async with self._room:
            return await asyncio.to_thread(self._verify, stored or self._decoy, password) and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
