"""What a person decides about messages by a link in one of them, and the links themselves.

Law: a link leads to its own person and no other; a person who is not known any more is not brought back by one.
What was decided is in the audit, with the actor `subject`, and acts before the next send is planned.
Source: contract 3, Subjects (preferences page) and Workspace (publicUrl); RFC 8058.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from services.domain.errors import Expired, Fault, Invalid, Missing
from services.domain.journey.model import CHANNELS
from services.infra.clock import Clock
from services.runtime.acts import SUBJECT, By
from services.runtime.catalog import Catalog, WorkspaceInfo
from services.runtime.preference_tokens import BadToken, Claim, claim_of, token_of, workspace_in
from services.runtime.subject_documents import SubjectDocument
from services.runtime.subjects import Subjects

DEFAULT_URL = "http://127.0.0.1:8080"  # contract 1: where the gateway is unless somebody says otherwise


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows. `channels` are all there are, with whether the person takes messages by them."""

    workspace_name: str
    channels: Mapping[str, bool]
    global_opt_out: bool
    channel: str


class Links:
    """Makes the links. `public_url` is where the gateway is found, unless the workspace says otherwise."""

    def __init__(self, catalog: Catalog, public_url: Callable[[], str]) -> None:
        self._catalog = catalog
        self._public_url = public_url

    def __call__(self, workspace: str, end_user_id: str, channel: str, now_ms: int) -> str:
        """The address of the person's page, which takes a one-click unsubscribe from `channel` too.

        "" where the workspace is not known.
        """
        info = self._catalog.workspace(workspace)
        if info is None:
            return ""
        own = info.settings.get("publicUrl")
        site = (own if isinstance(own, str) and own else self._public_url()).rstrip("/")
        # What could end a header or an attribute is escaped; what is escaped already stays as it is.
        site = quote(site, safe="/:@!$&()*+,;=-._~%[]")
        return f"{site}/preferences/{token_of(info.subject_secret, workspace, end_user_id, channel, now_ms)}"


class Preferences:
    """Use cases by token. All raise Missing (no link of ours, or nobody known) and Expired."""

    def __init__(self, subjects: Subjects, catalog: Catalog, clock: Clock) -> None:
        self._subjects = subjects
        self._catalog = catalog
        self._clock = clock

    async def show(self, token: str) -> Shown:
        """What the person takes at present."""
        claim, info = await self._claim(token)
        return _shown(claim, info, await self._subjects.get(claim.workspace, claim.end_user_id))

    async def change(self, token: str, channels: Mapping[str, bool], global_opt_out: bool | None) -> Shown:
        """Opt in and out of what is named. Raises Invalid for a channel there is none of."""
        claim, info = await self._claim(token)
        if unknown := channels.keys() - set(CHANNELS):
            message = f"A channel is one of {', '.join(CHANNELS)}."
            raise Invalid("validation_error", message, [Fault(f"/{min(unknown)}", "unknown_value", message)])
        by = By(SUBJECT, "page")
        person = claim.workspace, claim.end_user_id
        return _shown(claim, info, await self._subjects.prefer(*person, channels, by, global_opt_out=global_opt_out))

    async def unsubscribe(self, token: str) -> Shown:
        """Opt out of the channel of the message the link stood in."""
        claim, info = await self._claim(token)
        by = By(SUBJECT, "one_click")
        person = claim.workspace, claim.end_user_id
        return _shown(claim, info, await self._subjects.prefer(*person, {claim.channel: False}, by))

    async def _claim(self, token: str) -> tuple[Claim, WorkspaceInfo]:
        try:
            info = await self._catalog.known(workspace_in(token))
            if info is None:
                raise BadToken
            claim = claim_of(info.subject_secret, token)
        except BadToken:
            raise Missing("page of preferences", "behind this link") from None
        if claim.expires_at <= self._clock.now_ms():
            raise Expired("This link has expired.")
        return claim, info


def _shown(claim: Claim, info: WorkspaceInfo, document: SubjectDocument) -> Shown:
    channels = {channel: document.preferences.get(channel, True) for channel in CHANNELS}
    return Shown(info.name, channels, document.global_opt_out, claim.channel)
