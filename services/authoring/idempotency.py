"""The first answers to requests that carried an Idempotency-Key.

Law: one claim at a time, decided by the key's one document. A claim is settled with the answer or given up; one that
nobody settled for a minute is free. An answer is kept for 24 hours.
Source: contract 1; the gateway turns `idempotency_key_reused` into 422.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from services.authoring.repositories import CLAIMS, Claim, StoredAnswer, key_of
from services.domain.errors import Invalid, Unavailable
from services.infra.clock import Clock
from services.infra.documents.port import Delete, Documents, DuplicateKey, StaleRevision, Write

KEPT_MS: Final = 24 * 3_600_000
ABANDONED_MS: Final = 60_000
_SWEPT: Final = 500


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Claim and settle keys."""

    documents: Documents
    clock: Clock

    async def claim(self, workspace: str, key: str, fingerprint: str) -> StoredAnswer | None:
        """The first answer; None: the caller is the first and has to settle.

        Raises Invalid (idempotency_key_reused) for another request, Unavailable while the first is at it.
        """
        now = self.clock.now_ms()
        claim = Claim(
            key=_key(workspace, key),
            fingerprint=fingerprint,
            claimed_at_ms=now,
            expires_at_ms=now + KEPT_MS,
            since_ms=now,
        )
        try:
            await self.documents.insert(CLAIMS, claim)
            return None
        except DuplicateKey:
            before = await self.documents.get(CLAIMS, claim.key)
        if before is not None and not _is_free(before, now):
            if before.fingerprint != fingerprint:
                raise Invalid("idempotency_key_reused", "That Idempotency-Key was used for another request.")
            if before.answer is not None:
                return before.answer
        elif before is not None:
            if before.fingerprint == fingerprint and before.expires_at_ms > now:
                claim = replace(claim, since_ms=before.since_ms)  # the same request, broken off and made again
            try:
                await self.documents.replace(CLAIMS, replace(claim, revision=before.revision + 1))
                return None
            except StaleRevision:
                pass
        raise Unavailable("A request with that Idempotency-Key is being answered; try again.")

    async def since(self, workspace: str, key: str) -> int:
        """When the request that holds a key was made for the first time, however often it was broken off since."""
        held = await self.documents.get(CLAIMS, _key(workspace, key))
        return 0 if held is None else held.since_ms

    async def settle(self, workspace: str, key: str, answer: StoredAnswer | None) -> None:
        """Keep the answer, or give the key up: it is free, and still knows its request. What is settled stays."""
        held = await self.documents.get(CLAIMS, _key(workspace, key))
        if held is None or held.answer is not None:
            return
        try:
            if answer is None:
                if held.claimed_at_ms:
                    await self.documents.replace(CLAIMS, replace(held, revision=held.revision + 1, claimed_at_ms=0))
            else:
                await self.documents.replace(CLAIMS, replace(held, revision=held.revision + 1, answer=answer))
        except StaleRevision:
            pass  # somebody else settled it, or took over what was abandoned

    async def sweep(self) -> None:
        """Remove what is older than a day."""
        now, cursor = self.clock.now_ms(), None
        while True:
            page = await self.documents.scan(CLAIMS, "by_expiry", high=now, after=cursor, limit=_SWEPT)
            writes: list[Write] = [Delete(CLAIMS, claim.key, claim.revision) for claim in page.items]
            if writes:
                await self.documents.write_many(writes)
            if (cursor := page.cursor) is None:
                return


def _is_free(claim: Claim, now_ms: int) -> bool:
    if claim.expires_at_ms <= now_ms:
        return True
    return claim.answer is None and claim.claimed_at_ms + ABANDONED_MS <= now_ms


def _key(workspace: str, key: str) -> str:
    # A client's key may be long and hold anything.
    return key_of(workspace, hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest())
