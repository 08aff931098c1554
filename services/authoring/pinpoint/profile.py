"""Where a value that Pinpoint knew of a person stands in our profile.

Law: one place says so for conditions and for templates, so that both read the same.
Source: pinpoint design 4.3 and 4.4.
"""

from collections.abc import Mapping
from typing import Final

from services.domain.journey.paths import BadPath, read_path

# Members of an endpoint that are no attributes here, as Liquid names them.
_OWN: Final = {
    "User.UserId": "endUserId",
    "Demographic.Timezone": "timezone",
    "Demographic.Locale": "locale",
    "Address": "email",
}
_FLAT: Final = ("User.UserAttributes.", "Attributes.", "Metrics.")  # their names stand in the profile as they are
_NESTED: Final = ("Demographic.", "Location.")


def profile_path(name: str, variable_map: Mapping[str, str]) -> str | None:
    """The dotted path below `attributes` (for conditions) and `subject` (for Liquid); None if the name is none of a person's.

    `name` is Pinpoint's: `User.UserAttributes.PlanType`, `Attributes.x`, `Metrics.x`, `Demographic.Platform`,
    `Location.Country`.
    """
    found = variable_map.get(name)
    if found is None:
        for head in _FLAT:
            if name.startswith(head):
                found = name[len(head) :]
                break
        else:
            found = _OWN.get(name) or (name if name.startswith(_NESTED) else None)
    if not found:
        return None
    try:
        read_path(found)
    except BadPath:
        return None
    return found
