"""A Portkey gateway config, read as a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._errors import SettingError
from .policy import Policy


def is_gateway_config(table: Mapping[str, Any]) -> bool:
    """Whether a mapping is in the shape of Portkey's configs."""
    return "strategy" in table or "provider" in table or "virtual_key" in table


def from_gateway_config(_table: Mapping[str, Any]) -> Policy:
    raise SettingError("Gateway configs cannot be read yet.")
