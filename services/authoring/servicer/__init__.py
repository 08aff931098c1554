"""The services as the wire knows them: protos in, protos out.

Law: nothing is decided here. What a use case raises passes through; the server's interceptor makes it a status.
"""

from services.authoring.servicer.authoring_servicer import AuthoringServicer
from services.authoring.servicer.draft_servicer import DraftServicer
from services.authoring.servicer.migration_servicer import MigrationServicer
from services.authoring.servicer.workspace_servicer import WorkspaceServicer

__all__ = ["AuthoringServicer", "DraftServicer", "MigrationServicer", "WorkspaceServicer"]
