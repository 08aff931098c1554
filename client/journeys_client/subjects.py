"""The people, and the addresses nobody may send to."""

from collections.abc import Iterable

from journeys_client.call import Call, given, route
from journeys_client.models import Imported, JsonObject, Subject, Suppression
from journeys_client.resource import C_co, Pages, Resource, paged, verb

NDJSON = "application/x-ndjson"
CSV = "text/csv"
_IMPORT_SECONDS = 3_600.0  # the server answers once the last line is stored


class Subjects(Resource[C_co]):
    """`client.subjects`."""

    @paged
    def list(self, *, email: str | None = None, q: str | None = None, page_size: int | None = None) -> Pages[Subject]:
        """People by address or by search, or all of them."""
        return Call("GET", "/api/subjects", given(email=email, q=q, limit=page_size))

    @verb
    def get(self, end_user_id: str) -> Call[Subject]:
        """One person. Raises Problem: not_found."""
        return Call("GET", route("/api/subjects/{}", end_user_id))

    @verb
    def put(self, end_user_id: str, subject: Subject) -> Call[Subject]:
        """Replace all that is known about one person."""
        return Call("PUT", route("/api/subjects/{}", end_user_id), json=subject)

    @verb
    def patch(self, end_user_id: str, changes: JsonObject) -> Call[Subject]:
        """Merge changes in (RFC 7396): null removes."""
        return Call("PATCH", route("/api/subjects/{}", end_user_id), json=changes)

    @verb
    def import_(self, chunks: bytes | Iterable[bytes], *, content_type: str = NDJSON) -> Call[Imported]:
        """Import many people from NDJSON or CSV, streamed as `chunks` come; a bad line costs its neighbours nothing.

        An iterator can be read only once, so 429 and 503 are repeated only for `bytes`.
        """
        content = chunks if isinstance(chunks, bytes) else iter(chunks)
        headers = {"Content-Type": content_type}
        return Call("POST", "/api/subjects:import", content=content, headers=headers, timeout=_IMPORT_SECONDS)


class Suppressions(Resource[C_co]):
    """`client.suppressions`."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Suppression]:
        """All of the workspace."""
        return Call("GET", "/api/suppressions", given(limit=page_size))

    @verb
    def get(self, address: str) -> Call[Suppression]:
        """One of them. Raises Problem: not_found."""
        return Call("GET", route("/api/suppressions/{}", address))

    @verb
    def put(self, address: str, *, reason: str | None = None) -> Call[Suppression]:
        """Let nobody send to this address."""
        body: JsonObject = {} if reason is None else {"reason": reason}
        return Call("PUT", route("/api/suppressions/{}", address), json=body)

    @verb
    def delete(self, address: str) -> Call[None]:
        """Allow this address again."""
        return Call("DELETE", route("/api/suppressions/{}", address))
