"""A workspace's rules about messages, read from its settings once and kept.

Law: settings were validated when they were written; what cannot be read here is left out and logged, because one
bad rule must not stop a workspace.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from services.domain.execution.caps import FrequencyCap
from services.domain.execution.quiet_hours import QuietHours
from services.domain.execution.triggers import Rules
from services.domain.times import DAY_MS, BadDuration, parse_duration

logger = structlog.get_logger(__name__)


def rules_of(settings: Mapping[str, Any]) -> Rules:
    """The rules in `quietHours`, `frequencyCaps` and `dailyCap` (contract 3, Workspace)."""
    quiet, daily = settings.get("quietHours"), settings.get("dailyCap")
    try:
        return Rules(
            quiet_hours=QuietHours(quiet["start"], quiet["end"], quiet.get("behaviour") or "defer") if quiet else None,
            frequency_caps=tuple(
                FrequencyCap(cap["max"], parse_duration(cap.get("per") or "P1D") or DAY_MS, cap.get("channel"))
                for cap in settings.get("frequencyCaps") or ()
            ),
            daily_cap=daily["max"] if daily else None,
        )
    except (BadDuration, KeyError, TypeError, AttributeError) as error:
        logger.error("rules.unreadable", error=f"{type(error).__name__}: {error}")
        return Rules()
