"""The declarations: which routes there are, and who may call them."""

from collections import Counter

from gateway.declaration import Role
from gateway.routes import ALL, MODULES

VIEWER, EDITOR, OWNER, INTERNAL, PUBLIC = Role.VIEWER, Role.EDITOR, Role.OWNER, Role.INTERNAL, Role.PUBLIC

# Every route of the contract, read from it by a person; the routes are compared with this, not the other way round.
CONTRACT = {
    ("POST", "/api/session"): PUBLIC,
    ("DELETE", "/api/session"): VIEWER,
    ("GET", "/api/me"): VIEWER,
    ("GET", "/api/journeys"): VIEWER,
    ("POST", "/api/journeys"): EDITOR,
    ("GET", "/api/journeys/{id}"): VIEWER,
    ("PATCH", "/api/journeys/{id}"): EDITOR,
    ("GET", "/api/journeys/{id}/versions"): VIEWER,
    ("GET", "/api/journeys/{id}/versions/{version}"): VIEWER,
    ("POST", "/api/journeys/{id}/publish"): EDITOR,
    ("POST", "/api/journeys/{id}/pause"): EDITOR,
    ("POST", "/api/journeys/{id}/resume"): EDITOR,
    ("POST", "/api/journeys/{id}/archive"): EDITOR,
    ("GET", "/api/journeys/{id}/audit"): VIEWER,
    ("GET", "/api/journeys/{id}/executions"): VIEWER,
    ("POST", "/api/journeys/{id}/executions"): EDITOR,
    ("GET", "/api/journeys/{id}/executions/{executionId}"): VIEWER,
    ("POST", "/api/journeys/{id}/executions/{executionId}/abort"): EDITOR,
    ("POST", "/api/journeys/{id}/executions/{executionId}/retry"): EDITOR,
    ("GET", "/api/journeys/{id}/step-stats"): VIEWER,
    ("GET", "/api/journeys/{id}/branch-performance"): VIEWER,
    ("GET", "/api/journeys/{id}/calibrated-impact"): VIEWER,
    ("GET", "/api/journeys/{id}/stream"): VIEWER,
    ("POST", "/api/journeys/{id}/stats/recount"): EDITOR,  # ours: for `journeys stats recount`
    ("GET", "/api/journeys/{id}/why"): VIEWER,
    ("POST", "/api/journeys/{id}/simulate"): VIEWER,
    ("POST", "/api/journeys/{id}/backtests"): EDITOR,
    ("GET", "/api/journeys/{id}/backtests/{backtestId}"): VIEWER,
    ("DELETE", "/api/journeys/{id}/backtests/{backtestId}"): EDITOR,
    ("GET", "/api/journey-triggers"): VIEWER,
    ("POST", "/api/journey-triggers"): EDITOR,
    ("GET", "/api/journey-triggers/{id}"): VIEWER,
    ("PATCH", "/api/journey-triggers/{id}"): EDITOR,
    ("DELETE", "/api/journey-triggers/{id}"): EDITOR,
    ("GET", "/api/audiences"): VIEWER,
    ("POST", "/api/audiences"): EDITOR,
    ("GET", "/api/audiences/{id}"): VIEWER,
    ("PATCH", "/api/audiences/{id}"): EDITOR,
    ("DELETE", "/api/audiences/{id}"): EDITOR,
    ("POST", "/api/audiences/{id}/evaluate"): VIEWER,
    ("GET", "/api/communications"): VIEWER,
    ("POST", "/api/communications"): EDITOR,
    ("GET", "/api/communications/{id}"): VIEWER,
    ("PATCH", "/api/communications/{id}"): EDITOR,
    ("DELETE", "/api/communications/{id}"): EDITOR,
    ("GET", "/api/journey-templates"): VIEWER,
    ("POST", "/api/journey-templates/{id}/use"): EDITOR,
    ("GET", "/api/subjects"): VIEWER,
    ("POST", "/api/subjects:import"): EDITOR,
    ("GET", "/api/subjects/{endUserId}"): VIEWER,
    ("PUT", "/api/subjects/{endUserId}"): EDITOR,
    ("PATCH", "/api/subjects/{endUserId}"): EDITOR,
    ("GET", "/api/suppressions"): VIEWER,
    ("GET", "/api/suppressions/{address}"): VIEWER,
    ("PUT", "/api/suppressions/{address}"): EDITOR,
    ("DELETE", "/api/suppressions/{address}"): EDITOR,
    ("GET", "/preferences/{token}"): PUBLIC,
    ("POST", "/preferences/{token}"): PUBLIC,
    ("GET", "/api/workspace"): VIEWER,
    ("PATCH", "/api/workspace"): OWNER,
    ("GET", "/api/workspace/audit"): VIEWER,
    ("GET", "/api/workspace/members"): OWNER,
    ("POST", "/api/workspace/members"): OWNER,
    ("PATCH", "/api/workspace/members/{userId}"): OWNER,
    ("DELETE", "/api/workspace/members/{userId}"): OWNER,
    ("GET", "/api/workspace/api-keys"): OWNER,
    ("POST", "/api/workspace/api-keys"): OWNER,
    ("DELETE", "/api/workspace/api-keys/{id}"): OWNER,
    ("POST", "/api/events"): EDITOR,
    ("GET", "/api/messages"): VIEWER,
    ("POST", "/api/messages/{messageId}/events"): EDITOR,
    ("GET", "/api/in-app"): VIEWER,
    ("POST", "/api/in-app/{messageId}/read"): EDITOR,
    ("POST", "/api/journeys/internal/start-execution"): INTERNAL,
    ("POST", "/api/journeys/internal/dispatch"): INTERNAL,
    ("POST", "/api/journeys/internal/workspaces"): INTERNAL,
    ("POST", "/api/journeys/internal/forget-end-user"): INTERNAL,
    ("GET", "/api/journeys/internal/forget-end-user/{receiptId}"): INTERNAL,
    ("POST", "/api/journeys/internal/translate-pinpoint"): INTERNAL,
    ("POST", "/api/journeys/internal/import-bundle"): INTERNAL,
    ("POST", "/api/journeys/internal/export-bundle"): INTERNAL,
    ("GET", "/api/journeys/internal/dead-letters"): INTERNAL,  # ours: for `journeys dlq`
    ("POST", "/api/journeys/internal/dead-letters/replay"): INTERNAL,
    ("POST", "/api/dev/clock"): EDITOR,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): PUBLIC,
    ("GET", "/api/openapi.json"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/"): PUBLIC,
}

NOT_BUILT: set[str] = set()


def test_every_route_of_the_contract_is_declared_with_its_role() -> None:
    """No more, no fewer, and each for whom the contract says."""
    assert CONTRACT == {(route.method, route.path): route.role for route in ALL}


def test_what_is_not_built_is_listed() -> None:
    """A part that lands takes its route off this list."""
    assert NOT_BUILT == {route.name for route in ALL if not route.built}


def test_no_route_is_declared_twice() -> None:
    """Neither the path nor the name, which is the operation's id."""
    assert 1 == max(Counter((route.method, route.path) for route in ALL).values())
    assert 1 == max(Counter(route.name for route in ALL).values())


def test_every_handler_says_what_it_does() -> None:
    """The first line is the summary in the documentation."""
    assert [] == [route.name for route in ALL if not route.summary.endswith(".")]
    assert len(MODULES) == len({module.__name__ for module in MODULES})


def test_what_creates_honours_the_idempotency_key() -> None:
    """Every POST that answers 201, a backtest, a version, events, and the import, which says what became of each."""
    creating = {route.path for route in ALL if route.method == "POST" and route.status == 201}
    creating |= {"/api/journeys/internal/import-bundle", "/api/journeys/{id}/backtests"}
    creating |= {"/api/journeys/{id}/publish", "/api/events"}

    assert creating == {route.path for route in ALL if route.creates}
