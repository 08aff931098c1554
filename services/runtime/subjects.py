"""The people of a workspace: put, get, patch, list, import, and what journeys write into profiles.

Law: one guarded write a change. A writer that named the state it read (ETag) is refused when that is gone; one
that did not is given the newer state and tries again. An effect of a journey is applied once, by its intent's id.
Whatever changes what a person may be sent is in the audit before the caller is answered.
Source: contract 3, Subjects; runtime design 7.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.domain.errors import Fault, Invalid, Missing, Unavailable, Unmatched
from services.domain.execution.walk import put_at
from services.infra.clock import Clock
from services.infra.documents.port import (
    Documents,
    DuplicateKey,
    Insert,
    Outcome,
    Page,
    Replace,
    StaleRevision,
)
from services.runtime.acts import ALL_CHANNELS, Act, Acts, By
from services.runtime.erasure_documents import Marks
from services.runtime.paging import PageRequest, bytes_of, page_of
from services.runtime.profiles import ProfileInput, parse_json, patched_profile, read_named_profile, read_profile
from services.runtime.subject_documents import (
    EFFECTS_KEPT,
    SUBJECTS,
    SubjectDocument,
    empty_subject,
    subject_document_key,
)

ATTEMPTS = 30  # of a write that met another: a person has one lane and few writers
MAX_IMPORT = 1_000
ANY = "*"  # as an ETag: whatever is there, but something
NOBODY = By()
_FORGOTTEN = "This person was forgotten; put the profile itself to make them known again."

Change = Callable[[SubjectDocument | None], SubjectDocument | None]


@dataclass(frozen=True, slots=True)
class ImportFault:
    """One line of an import that was refused; `index` counts from 0."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a batch: a line of one id after another of the same counts as an update."""

    created: int
    updated: int
    faults: tuple[ImportFault, ...]


OnChange = Callable[[str, Sequence[str]], Awaitable[None]]


class Subjects:
    """Use cases on profiles. All may raise StoreUnavailable, and Unavailable if writers keep meeting."""

    def __init__(
        self,
        documents: Documents,
        clock: Clock,
        on_change: OnChange | None = None,
        acts: Acts | None = None,
        marks: Marks | None = None,
    ) -> None:
        self._documents = documents
        self._marks = marks
        self._clock = clock
        self._on_change = on_change  # told of people whose profile is another one, before the answer is given
        self._acts = acts

    async def get(self, workspace: str, end_user_id: str) -> SubjectDocument:
        """The person's profile. Raises Missing."""
        document = await self._documents.get(SUBJECTS, subject_document_key(workspace, end_user_id))
        if document is None:
            raise Missing("subject", end_user_id)
        return document

    async def put(
        self, workspace: str, end_user_id: str, profile_json: bytes, etag: str | None = None, by: By = NOBODY
    ) -> tuple[SubjectDocument, bool]:
        """Replace the profile; whether it was made. Raises Invalid, Unmatched.

        A person who was forgotten is known again from here on.
        """
        profile = read_profile(parse_json(profile_json), end_user_id)
        existed = False
        reinstated_at: int | None = None
        if self._marks is not None and etag is None:  # with an ETag there has to be a profile, so nobody to bring back
            reinstated_at = await self._marks.reinstate(workspace, end_user_id, self._clock.now_ms())

        def replaced(document: SubjectDocument | None) -> SubjectDocument:
            nonlocal existed
            existed = document is not None
            after = written(workspace, end_user_id, document, profile, self._clock.now_ms())
            return after if document is not None else msgspec.structs.replace(after, reinstated_at=reinstated_at)

        document = await self._change(workspace, end_user_id, etag, replaced, by)
        await self._tell(workspace, [end_user_id])
        return document, not existed

    async def patch(
        self, workspace: str, end_user_id: str, merge_patch_json: bytes, etag: str | None = None, by: By = NOBODY
    ) -> SubjectDocument:
        """Merge into the profile (RFC 7396). Raises Missing, Invalid, Unmatched."""
        patch = parse_json(merge_patch_json)

        def merged(document: SubjectDocument | None) -> SubjectDocument:
            if document is None:
                raise Missing("subject", end_user_id)
            profile = patched_profile(profile_in(document), patch, end_user_id)
            return written(workspace, end_user_id, document, profile, self._clock.now_ms())

        document = await self._change(workspace, end_user_id, etag, merged, by)
        await self._tell(workspace, [end_user_id])
        return document

    async def prefer(
        self,
        workspace: str,
        end_user_id: str,
        channels: Mapping[str, bool],
        by: By,
        *,
        global_opt_out: bool | None = None,
    ) -> SubjectDocument:
        """Opt the person in or out of these channels, or of everything; what is so already stays. Raises Missing."""
        result: SubjectDocument | None = None

        def changed(document: SubjectDocument | None) -> SubjectDocument | None:
            nonlocal result
            if document is None:
                raise Missing("subject", end_user_id)
            news = {name: value for name, value in channels.items() if document.preferences.get(name, True) != value}
            opted_out = document.global_opt_out if global_opt_out is None else global_opt_out
            result = document
            if not news and opted_out == document.global_opt_out:
                return None
            result = msgspec.structs.replace(
                document,
                revision=document.revision + 1,
                preferences={**document.preferences, **news},
                global_opt_out=opted_out,
                updated_at=self._clock.now_ms(),
            )
            return result

        await self._write(workspace, end_user_id, changed, by)
        await self._tell(workspace, [end_user_id])
        assert result is not None
        return result

    async def list(
        self, workspace: str, page: PageRequest, email: str | None = None, query: str | None = None
    ) -> Page[SubjectDocument]:
        """People by id; or those with an e-mail address (without case); or those whose id or address holds a text.

        A page of a search may be short and still have a next one. Raises Invalid (a foreign cursor).
        """
        if email is not None:
            key = (workspace, email.lower())
            return await page_of(self._documents, SUBJECTS, "by_email", key, page, weigh=bytes_of)
        keep = None if query is None else _holding(query.lower())
        return await page_of(self._documents, SUBJECTS, "by_id", (workspace,), page, keep, weigh=bytes_of)

    async def import_batch(self, workspace: str, profiles_json: Sequence[bytes], by: By = NOBODY) -> Imported:
        """Put up to 1,000 profiles, each on its own, those of one id in the order given. Raises Invalid (too many)."""
        if len(profiles_json) > MAX_IMPORT:
            message = f"A batch has at most {MAX_IMPORT} profiles."
            raise Invalid("batch_too_large", message, [Fault("/profiles", "batch_too_large", message)])
        faults: list[ImportFault] = []
        profiles: dict[str, ProfileInput] = {}
        lines: dict[str, list[int]] = {}
        for index, line in enumerate(profiles_json):
            try:
                end_user_id, profile = read_named_profile(parse_json(line))
            except Invalid as refusal:
                faults.append(ImportFault(index, refusal.reason, _told(refusal)))
            else:
                # Each replaces the whole profile, so of one person only the last has to be written.
                profiles[end_user_id] = profile
                lines.setdefault(end_user_id, []).append(index)
        if self._marks is not None:
            # A list may be older than the person's wish, so it brings nobody back: a PUT of the one profile does.
            for _, gone in await self._marks.forgotten([(workspace, end_user_id) for end_user_id in profiles]):
                del profiles[gone]
                faults.extend(ImportFault(index, "subject_forgotten", _FORGOTTEN) for index in lines.pop(gone))
            faults.sort(key=lambda fault: fault.index)
        accepted = sum(map(len, lines.values()))
        created = await self._put_all(workspace, profiles, by)
        await self._tell(workspace, list(profiles))
        return Imported(created, accepted - created, tuple(faults))

    async def apply_effect(self, workspace: str, end_user_id: str, intent_id: str, values: Mapping[str, Any]) -> bool:
        """Set attributes at dotted paths, once for all time; False if this intent had done so before.

        A person nobody knows yet gets a profile.
        """
        applied = is_missing = False
        may_make = self._marks is None

        def changed(document: SubjectDocument | None) -> SubjectDocument | None:
            nonlocal applied, is_missing
            is_missing = document is None and not may_make
            if is_missing:
                return None
            now = self._clock.now_ms()
            before = document or empty_subject(workspace, end_user_id, now)
            applied = intent_id not in before.applied_effects
            if not applied:
                return None
            attributes = dict(before.attributes)
            for path, value in values.items():
                put_at(attributes, tuple(path.split(".")), value)
            return msgspec.structs.replace(
                before,
                revision=before.revision + 1 if document else 1,
                attributes=attributes,
                applied_effects=(*before.applied_effects, intent_id)[-EFFECTS_KEPT:],
                updated_at=now,
            )

        await self._write(workspace, end_user_id, changed, NOBODY)
        if is_missing and self._marks is not None and not await self._marks.forgotten([(workspace, end_user_id)]):
            may_make = True
            await self._write(workspace, end_user_id, changed, NOBODY)
        if applied:
            await self._tell(workspace, [end_user_id])
        return applied

    async def without_tokens(self, workspace: str, end_user_id: str, tokens: Sequence[str]) -> None:
        """Take push tokens from the profile that their provider no longer knows."""

        def changed(document: SubjectDocument | None) -> SubjectDocument | None:
            left = tuple(one for one in document.mobile_push if one not in tokens) if document else ()
            if document is None or left == document.mobile_push:
                return None
            return msgspec.structs.replace(
                document, revision=document.revision + 1, mobile_push=left, updated_at=self._clock.now_ms()
            )

        await self._write(workspace, end_user_id, changed, NOBODY)

    async def _tell(self, workspace: str, end_user_ids: Sequence[str]) -> None:
        if self._on_change is not None and end_user_ids:
            await self._on_change(workspace, end_user_ids)

    async def _change(
        self,
        workspace: str,
        end_user_id: str,
        etag: str | None,
        change: Callable[[SubjectDocument | None], SubjectDocument],
        by: By,
    ) -> SubjectDocument:
        result: SubjectDocument | None = None

        def guarded(document: SubjectDocument | None) -> SubjectDocument:
            nonlocal result
            if etag is not None and (document is None or etag not in (ANY, document.etag)):
                raise Unmatched("precondition_failed", "The profile has changed since it was read.")
            result = change(document)
            return result

        await self._write(workspace, end_user_id, guarded, by)
        assert result is not None
        return result

    async def _write(self, workspace: str, end_user_id: str, change: Change, by: By) -> None:
        """Read, change, write under guard, and again if somebody came between; a change to None writes nothing."""
        key = subject_document_key(workspace, end_user_id)
        for attempt in range(ATTEMPTS):
            before = await self._documents.get(SUBJECTS, key)
            if before is not None:
                await self._audit(workspace, before.acts)  # whoever wrote these may have died before they were told
            after = change(before)
            if after is None:
                return
            after = self._with_acts(before, after, by)
            try:
                if before is None:
                    await self._documents.insert(SUBJECTS, after)
                else:
                    await self._documents.replace(SUBJECTS, after)
            except (StaleRevision, DuplicateKey):
                await asyncio.sleep(0 if attempt < 3 else 0.001 * attempt)
                continue
            await self._audit(workspace, after.acts)
            return
        raise Unavailable("This profile is being changed by others; try again.")

    def _with_acts(self, before: SubjectDocument | None, after: SubjectDocument, by: By) -> SubjectDocument:
        """The document with what its write does to preferences, and no more with what the one before did."""
        changes = preference_changes(before, after)
        if self._acts is None or not (changes or after.acts):
            return after
        who = after.end_user_id
        told = [{"endUserId": who, "channel": channel, "old": old, "new": new} for channel, old, new in changes]
        acts = tuple(by.act(after.updated_at, "preferences.changed", metadata) for metadata in told)
        return msgspec.structs.replace(after, acts=acts)

    async def _audit(self, workspace: str, acts: Sequence[Act]) -> None:
        if self._acts is not None and acts:
            await self._acts.tell(workspace, acts)

    async def _put_all(self, workspace: str, profiles: Mapping[str, ProfileInput], by: By) -> int:
        """Write all profiles, one read and one write a round; how many people are new."""
        made: set[str] = set()
        waiting = list(profiles)
        if not waiting:
            return 0
        for attempt in range(ATTEMPTS):
            keys = [subject_document_key(workspace, end_user_id) for end_user_id in waiting]
            stored = await self._documents.get_many(SUBJECTS, keys)
            await self._audit(workspace, [act for document in stored.values() for act in document.acts])
            now = self._clock.now_ms()
            writes: list[Insert[SubjectDocument] | Replace[SubjectDocument]] = []
            for end_user_id, key in zip(waiting, keys, strict=True):
                before = stored.get(key)
                after = written(workspace, end_user_id, before, profiles[end_user_id], now)
                after = self._with_acts(before, after, by)
                writes.append(Insert(SUBJECTS, after) if before is None else Replace(SUBJECTS, after))
            outcomes = await self._documents.write_many(writes)
            unsettled, acts = [], list[Act]()
            for end_user_id, write, outcome in zip(waiting, writes, outcomes, strict=True):
                if isinstance(write, Insert) and outcome in (Outcome.APPLIED, Outcome.IN_DOUBT):
                    made.add(end_user_id)  # in doubt, it is written again as an update and was new all the same
                if outcome is not Outcome.APPLIED:
                    unsettled.append(end_user_id)
                else:
                    acts.extend(write.document.acts)
            await self._audit(workspace, acts)
            if not unsettled:
                return len(made)
            waiting = unsettled
            await asyncio.sleep(0 if attempt < 3 else 0.001 * attempt)
        raise Unavailable("Some of these profiles are being changed by others; try again.")


def preference_changes(before: SubjectDocument | None, after: SubjectDocument) -> list[tuple[str, bool, bool]]:
    """What the gate would answer otherwise than before: channel (or `all`), was opted in, is opted in.

    Nobody has said anything of a channel that is absent, so it is opted in.
    """
    old, was_out = (before.preferences, before.global_opt_out) if before else ({}, False)
    if old == after.preferences and was_out == after.global_opt_out:
        return []
    channels = sorted({*old, *after.preferences})
    found = [(channel, old.get(channel, True), after.preferences.get(channel, True)) for channel in channels]
    found.append((ALL_CHANNELS, not was_out, not after.global_opt_out))
    return [(channel, was, now) for channel, was, now in found if was != now]


def written(
    workspace: str, end_user_id: str, before: SubjectDocument | None, profile: ProfileInput, now: int
) -> SubjectDocument:
    """The document that holds this profile now; what a client cannot write stays as it was."""
    return SubjectDocument(
        key=subject_document_key(workspace, end_user_id),
        workspace=workspace,
        end_user_id=end_user_id,
        revision=before.revision + 1 if before else 1,
        attributes=profile.attributes,
        email=profile.email,
        email_lower=None if profile.email is None else profile.email.lower(),
        mobile_push=profile.mobile_push,
        timezone=profile.timezone,
        locale=profile.locale,
        preferences=profile.preferences,
        global_opt_out=profile.global_opt_out,
        applied_effects=before.applied_effects if before else (),
        reinstated_at=before.reinstated_at if before else None,
        created_at=before.created_at if before else now,
        updated_at=now,
    )


def profile_in(document: SubjectDocument) -> ProfileInput:
    """What a client could have written to get this document."""
    return ProfileInput(
        attributes=document.attributes,
        email=document.email,
        mobile_push=document.mobile_push,
        timezone=document.timezone,
        locale=document.locale,
        preferences=document.preferences,
        global_opt_out=document.global_opt_out,
    )


def _holding(text: str) -> Callable[[SubjectDocument], bool]:
    return lambda document: text in document.end_user_id.lower() or text in (document.email_lower or "")


def _told(refusal: Invalid) -> str:
    """All faults of a line in one sentence, since a line has room for one."""
    told = "; ".join(f"{fault.path or '/'}: {fault.message}" for fault in refusal.faults[:5])
    return told or refusal.message
