"""A typed client of the Journeys REST API, blocking and awaiting.

Law: HTTP and nothing else of ours. It can be taken out of this repository and used alone; all it needs is httpx2.
"""

from journeys_client.client import DEFAULT_URL, AsyncClient, Client
from journeys_client.event_lines import EventLine, Kind, Malformed, read_event_lines
from journeys_client.event_tally import Tally
from journeys_client.events import BatchOutcome, Refused
from journeys_client.mock import MockTransport
from journeys_client.problem import ClientError, Fault, NotUnderstood, Problem, Unreachable
from journeys_client.retry import Retries

__all__ = [
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
