"""May this be sent to this person now? May this person enter?

Law: one evaluator, called before a trigger and before each send, by production and by dry runs alike. Every
check is listed with its inputs, in the contract's order; the first that fails is the reason. Not being
eligible is a decision, never an error. Source: contract 5 (Eligibility) and 2.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.execution.caps import daily_room, frequency_room, respect_caps
from services.domain.execution.quiet_hours import respect_quiet_hours
from services.domain.execution.triggers import Profile, View

Check = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says: `reason` is None where everything passed."""

    reason: str | None
    checks: tuple[Check, ...]


def send_verdict(channel: str, email: str | None, view: View, now: int, send_id: str) -> Verdict:
    """The gate before a send, in order: suppression, opt_out, address, quiet_hours, frequency_cap.

    `email` is the execution's own address where its event brought one, else None. `send_id` is the send's own
    name under the caps.
    """
    addresses = addresses_of(channel, email, view.profile)
    rules = view.rules
    frequency = frequency_room(rules.frequency_caps, view.reservations, now, channel, send_id)
    daily = daily_room(rules.daily_cap, view.reservations, now, view.zone, send_id)
    return _verdict(
        (
            respect_suppression(addresses, view.suppressed),
            respect_opt_out(channel, view.profile),
            have_an_address(channel, addresses),
            respect_quiet_hours(rules.quiet_hours, now, view.zone),
            respect_caps(channel, frequency, daily),
        ),
        view.overrides,
    )


def respect_suppression(addresses: Sequence[str], suppressed: frozenset[str]) -> Check:
    """No message to an address on the list (all of them, where there are several)."""
    hits = sum(1 for address in addresses if normal(address) in suppressed)
    blocked = bool(addresses) and hits == len(addresses)
    return _check("suppression", not blocked, "suppression_match", {"addresses": len(addresses), "suppressed": hits})


def respect_opt_out(channel: str, profile: Profile) -> Check:
    """No message to whoever opted out of everything, or of the channel."""
    preference = profile.preferences.get(channel)
    blocked = profile.global_opt_out or preference is False
    return _check("opt_out", not blocked, "opt_out", {"globalOptOut": profile.global_opt_out, "preference": preference})


def have_an_address(channel: str, addresses: Sequence[str]) -> Check:
    """A message needs somewhere to go; the in-app store always has room."""
    passed = channel == "in_app_push" or bool(addresses)
    return _check("address", passed, "no_address", {"channel": channel, "addresses": len(addresses)})


def addresses_of(channel: str, email: str | None, profile: Profile) -> tuple[str, ...]:
    """Where a channel reaches a person."""
    if channel == "email":
        address = email or profile.email
        return (address,) if address else ()
    if channel == "mobile_push":
        return tuple(profile.mobile_push)
    return ()


def normal(address: str) -> str:
    """An address as the suppression list compares it: e-mail addresses without case."""
    return address.lower() if "@" in address else address


def _check(name: str, passed: bool, reason: str, inputs: Mapping[str, Any]) -> Check:
    if passed:
        return {"check": name, "passed": True, "inputs": inputs}
    return {"check": name, "passed": False, "reason": reason, "inputs": inputs}


def stands(check: Check, overrides: frozenset[str]) -> Check:
    """The check with whether its refusal is passed over; one that passed stays as it is."""
    if check["passed"] or check["check"] not in overrides:
        return check
    return {**check, "overridden": True}


def _verdict(checks: tuple[Check, ...], overrides: frozenset[str]) -> Verdict:
    if overrides:
        checks = tuple(stands(check, overrides) for check in checks)
    refused = (check["reason"] for check in checks if not check["passed"] and "overridden" not in check)
    return Verdict(next(refused, None), checks)
