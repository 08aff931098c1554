"""Addresses nobody may write to.

Law: one document an address; e-mail addresses compare without case and are shown as they were given first.
Source: contract 3, Suppressions.
"""

from collections.abc import Iterable

import msgspec

from services.domain.errors import Fault, Invalid, Missing, Unavailable
from services.domain.execution.eligibility import normal
from services.domain.journey.members import is_broken
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey, Page, StaleRevision
from services.runtime.paging import PageRequest, page_of
from services.runtime.subject_documents import SUPPRESSIONS, SuppressionDocument, suppression_key

ATTEMPTS = 30
MAX_ADDRESS = 4_096  # bytes; push tokens are the longest
MAX_REASON = 1_000


class Suppressions:
    """Use cases on the suppression list. All may raise StoreUnavailable."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def put(self, workspace: str, address: str, reason: str) -> tuple[SuppressionDocument, bool]:
        """Suppress an address, or give another reason; whether it is new. Raises Invalid."""
        if faults := _faults(address, reason):
            raise Invalid("validation_error", "The suppression is not valid.", faults)
        key = suppression_key(workspace, address)
        for _ in range(ATTEMPTS):
            before = await self._documents.get(SUPPRESSIONS, key)
            try:
                if before is None:
                    document = SuppressionDocument(
                        key=key,
                        workspace=workspace,
                        address=address,
                        reason=reason,
                        created_at=self._clock.now_ms(),
                    )
                    await self._documents.insert(SUPPRESSIONS, document)
                    return document, True
                document = msgspec.structs.replace(before, revision=before.revision + 1, reason=reason)
                await self._documents.replace(SUPPRESSIONS, document)
                return document, False
            except (StaleRevision, DuplicateKey):
                continue
        raise Unavailable("This suppression is being changed by others; try again.")

    async def get(self, workspace: str, address: str) -> SuppressionDocument:
        """The suppression of an address. Raises Missing."""
        document = await self._documents.get(SUPPRESSIONS, suppression_key(workspace, address))
        if document is None:
            raise Missing("suppression", address)
        return document

    async def delete(self, workspace: str, address: str) -> None:
        """Let messages to the address go out again. Raises Missing."""
        document = await self.get(workspace, address)
        await self._documents.delete(SUPPRESSIONS, document.key)

    async def list(self, workspace: str, page: PageRequest) -> Page[SuppressionDocument]:
        """All of a workspace, by address. Raises Invalid (a foreign cursor)."""
        return await page_of(self._documents, SUPPRESSIONS, "by_address", (workspace,), page)

    async def among(self, workspace: str, addresses: Iterable[str]) -> frozenset[str]:
        """Those of the addresses that are suppressed, as they are compared."""
        keys = {suppression_key(workspace, address): normal(address) for address in addresses}
        if not keys:
            return frozenset()
        found = await self._documents.get_many(SUPPRESSIONS, list(keys))
        return frozenset(keys[key] for key in found)


def _faults(address: str, reason: str) -> list[Fault]:
    faults = []
    if is_broken(address) or not 0 < len(address.encode()) <= MAX_ADDRESS:
        faults.append(Fault("/address", "out_of_range", f"An address has 1 to {MAX_ADDRESS} bytes."))
    if is_broken(reason) or len(reason) > MAX_REASON:
        faults.append(Fault("/reason", "out_of_range", f"A reason has at most {MAX_REASON} characters."))
    return faults
