"""The shapes of bodies, as JSON Schema.

Law: a shape says which members there are and of which type. What they mean, whether they fit together and whether
they are complete is the domain's to say, at once or at publish.
"""

from typing import Final

from gateway.schemas import journey, library, migration, people, predicate, running, simulation, steps, workspace
from gateway.schemas.words import Schema, Union

COMPONENTS: Final[dict[str, Schema]] = {
    **journey.COMPONENTS,
    **steps.COMPONENTS,
    **predicate.COMPONENTS,
    **library.COMPONENTS,
    **people.COMPONENTS,
    **workspace.COMPONENTS,
    **running.COMPONENTS,
    **simulation.COMPONENTS,
    **migration.COMPONENTS,
}
UNIONS: Final[dict[str, Union]] = {**steps.UNIONS, **predicate.UNIONS, **workspace.UNIONS}
