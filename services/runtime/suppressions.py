"""Addresses nobody may write to.

Law: one document an address; e-mail addresses compare without case and are shown as they were given first. What is
added, changed or removed is in the audit before the caller is answered, under a keyed hash of the address.
Source: contract 3, Suppressions.
"""

from collections.abc import Iterable, Sequence

import msgspec

from services.domain.errors import Fault, Invalid, Missing, Unavailable
from services.domain.execution.eligibility import normal
from services.domain.journey.members import is_broken
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey, Page, StaleRevision
from services.runtime.acts import Act, Acts, By
from services.runtime.erasure_documents import HIDDEN_SUPPRESSIONS, Marks
from services.runtime.paging import PageRequest, page_of
from services.runtime.subject_documents import SUPPRESSIONS, SuppressionDocument, suppression_key

ATTEMPTS = 30
MAX_ADDRESS = 4_096  # bytes; push tokens are the longest
MAX_REASON = 1_000
NOBODY = By()


class Suppressions:
    """Use cases on the suppression list. All may raise StoreUnavailable."""

    def __init__(
        self, documents: Documents, clock: Clock, acts: Acts | None = None, marks: Marks | None = None
    ) -> None:
        self._documents = documents
        self._marks = marks
        self._clock = clock
        self._acts = acts

    async def put(self, workspace: str, address: str, reason: str, by: By = NOBODY) -> tuple[SuppressionDocument, bool]:
        """Suppress an address, or give another reason; whether it is new. Raises Invalid."""
        if faults := _faults(address, reason):
            raise Invalid("validation_error", "The suppression is not valid.", faults)
        key = suppression_key(workspace, address)
        for _ in range(ATTEMPTS):
            before = await self._documents.get(SUPPRESSIONS, key)
            if before is not None:
                await self._audit(workspace, before.acts)  # whoever wrote it may have died before they were told
                if before.reason == reason:
                    return before, False
            now = self._clock.now_ms()
            document = SuppressionDocument(
                key=key,
                workspace=workspace,
                address=before.address if before else address,
                revision=before.revision + 1 if before else 1,
                reason=reason,
                created_at=before.created_at if before else now,
            )
            acts = await self._acts_of(document, "suppression.changed" if before else "suppression.added", now, by)
            document = msgspec.structs.replace(document, acts=acts)
            try:
                if before is None:
                    await self._documents.insert(SUPPRESSIONS, document)
                else:
                    await self._documents.replace(SUPPRESSIONS, document)
            except (StaleRevision, DuplicateKey):
                continue
            await self._audit(workspace, acts)
            return document, before is None
        raise _contested()

    async def get(self, workspace: str, address: str) -> SuppressionDocument:
        """The suppression of an address. Raises Missing."""
        document = await self._documents.get(SUPPRESSIONS, suppression_key(workspace, address))
        if document is None:
            raise Missing("suppression", address)
        return document

    async def delete(self, workspace: str, address: str, by: By = NOBODY) -> None:
        """Let messages to the address go out again. Raises Missing.

        Also one that is not listed any more, since it belonged to somebody who was forgotten.
        """
        for _ in range(ATTEMPTS):
            if await self._lift_hidden(workspace, address, by):
                return
            document = await self.get(workspace, address)
            # Told before it is done: once it is gone, nobody would be left to tell it.
            # One that failed in between is told under the same id when it is repeated.
            name = f"{document.acts[-1].id}:removed" if document.acts else None
            removed = await self._acts_of(document, "suppression.removed", self._clock.now_ms(), by, name)
            await self._audit(workspace, [*document.acts, *removed])
            try:
                await self._documents.delete(SUPPRESSIONS, document.key, document.revision)
            except StaleRevision:
                continue
            return
        raise _contested()

    async def list(self, workspace: str, page: PageRequest) -> Page[SuppressionDocument]:
        """All of a workspace, by address. Raises Invalid (a foreign cursor)."""
        return await page_of(self._documents, SUPPRESSIONS, "by_address", (workspace,), page)

    async def among(self, workspace: str, addresses: Iterable[str]) -> frozenset[str]:
        """Those of the addresses that are suppressed, as they are compared."""
        keys = {suppression_key(workspace, address): normal(address) for address in addresses}
        if not keys:
            return frozenset()
        found = {keys[key] for key in await self._documents.get_many(SUPPRESSIONS, list(keys))}
        if self._marks is not None:
            hidden = {one for one in keys.values() if await self._marks.hidden(workspace, one) is not None}
            found |= hidden
        return frozenset(found)

    async def _lift_hidden(self, workspace: str, address: str, by: By) -> bool:
        """Whether the address was suppressed in hiding alone, and is no longer."""
        hidden = await self._marks.hidden(workspace, address) if self._marks is not None else None
        if hidden is None:
            return False
        is_listed = await self._documents.get(SUPPRESSIONS, suppression_key(workspace, address)) is not None
        if not is_listed and self._acts is not None:
            hashed = await self._acts.hash_of(workspace, normal(address))
            name = f"{hidden.key.partition(':')[2]}:{hidden.created_at}:removed"
            act = by.act(self._clock.now_ms(), "suppression.removed", {"addressHash": hashed}, name)
            await self._audit(workspace, (act,))
        await self._documents.delete(HIDDEN_SUPPRESSIONS, hidden.key)
        return not is_listed

    async def _acts_of(
        self, document: SuppressionDocument, action: str, now: int, by: By, name: str | None = None
    ) -> tuple[Act, ...]:
        if self._acts is None:
            return ()
        hashed = await self._acts.hash_of(document.workspace, normal(document.address))
        return (by.act(now, action, {"addressHash": hashed}, name),)

    async def _audit(self, workspace: str, acts: Sequence[Act]) -> None:
        if self._acts is not None and acts:
            await self._acts.tell(workspace, acts)


def _contested() -> Unavailable:
    return Unavailable("This suppression is being changed by others; try again.")


def _faults(address: str, reason: str) -> list[Fault]:
    faults = []
    if is_broken(address) or not 0 < len(address.encode()) <= MAX_ADDRESS:
        faults.append(Fault("/address", "out_of_range", f"An address has 1 to {MAX_ADDRESS} bytes."))
    if is_broken(reason) or len(reason) > MAX_REASON:
        faults.append(Fault("/reason", "out_of_range", f"A reason has at most {MAX_REASON} characters."))
    return faults
