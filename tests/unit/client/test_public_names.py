"""What others import must not change by accident."""

import inspect

import journeys_client
from journeys_client import AsyncClient, Client
from journeys_client.resource import Resource

NAMES = [
    "DEFAULT_URL",
    "AsyncClient",
    "BatchOutcome",
    "Client",
    "ClientError",
    "EventLine",
    "Fault",
    "Kind",
    "Malformed",
    "MockTransport",
    "NotUnderstood",
    "Problem",
    "Refused",
    "Retries",
    "Tally",
    "Unreachable",
    "read_event_lines",
]

METHODS = {
    "api_keys": ["create", "delete", "list"],
    "audiences": ["create", "delete", "evaluate", "get", "list", "update"],
    "communications": ["archive", "create", "get", "list", "update"],
    "dev_clock": ["advance"],
    "events": ["post", "post_batch", "send"],
    "executions": ["abort", "get", "list", "retry", "start"],
    "internal": [
        "create_workspace",
        "dead_letters",
        "dispatch",
        "export_bundle",
        "forget_end_user",
        "forget_receipt",
        "import_bundle",
        "replay_dead_letter",
        "start_execution",
        "translate_pinpoint",
    ],
    "journeys": [
        "archive",
        "audit",
        "branch_performance",
        "calibrated_impact",
        "create",
        "get",
        "list",
        "pause",
        "publish",
        "recount_stats",
        "resume",
        "simulate",
        "step_stats",
        "update",
        "version",
        "versions",
        "why",
    ],
    "members": ["create", "delete", "list", "update"],
    "messages": ["list", "report"],
    "session": ["me", "sign_in", "sign_out"],
    "subjects": ["get", "import_", "list", "patch", "put"],
    "suppressions": ["delete", "get", "list", "put"],
    "triggers": ["create", "delete", "get", "list", "update"],
    "workspace": ["audit", "get", "update"],
}


def test_the_package_exports_these_names() -> None:
    """Each is importable, and nothing else is promised."""
    assert NAMES == journeys_client.__all__
    assert all(hasattr(journeys_client, name) for name in NAMES)


def test_a_client_has_these_methods() -> None:
    """Every family and every method, on one list that people read in the diff."""
    with Client() as client:
        families = {name: value for name, value in vars(client).items() if isinstance(value, Resource)}

    assert METHODS == {
        name: sorted(method for method in dir(family) if not method.startswith("_"))
        for name, family in sorted(families.items())
    }


async def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    """One definition serves both, so they cannot drift apart."""
    async with AsyncClient() as awaiting:
        with Client() as blocking:
            for family, methods in METHODS.items():
                for method in methods:
                    one, other = getattr(getattr(blocking, family), method), getattr(getattr(awaiting, family), method)

                    assert inspect.signature(one) == inspect.signature(other)
                    assert one.__doc__
