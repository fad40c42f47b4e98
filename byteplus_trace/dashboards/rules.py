"""
What a rule of Prometheus is here, as values, and the file that Prometheus reads.

Which there are is in `recordings.py` and `alerts.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket"]

RUNBOOK = "alerts.md"
"""Beside the rules; written there from `docs/alerts.md`."""


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Alert:
    """
    Args:
        measured: what there always is to see under traffic, one value per thing that can be in trouble.
        too_much: the comparison that makes it an alert, such as `> 0.02`; further conditions follow it.
        summary: one line for a telephone; Prometheus fills in `{{ $labels.job }}` and `{{ $value }}`.
    """

    name: str
    measured: str
    too_much: str
    lasting: str
    severity: Severity
    summary: str
    description: str
    empty_when_well: str = ""
    """Why there may be nothing to measure, for the few where that is so."""

    @property
    def expression(self) -> str:
        return f"{self.measured} {self.too_much}"

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.name.lower()}"


HEADER = """\
# Written by `python -m byteplus_trace.dashboards` from byteplus_trace/dashboards/recordings.py and alerts.py: change it there.
# Prometheus: rule_files: [rules.yml].  What to do when one fires: alerts.md, beside this file.
"""


def rules_file(recordings: Iterable[Recording], alerts: Iterable[Alert]) -> str:
    """
    The rules as YAML. Words are written as JSON strings, which YAML includes.

    They are one group, whose rules are evaluated in their order, so that an alert sees what was recorded just before.
    """
    lines = [HEADER + "groups:", "  - name: modelark", "    rules:"]
    for recording in recordings:
        lines += [
            f"      - record: {recording.name}",
            "        expr: |-",
            f"          {recording.expression}",
        ]
    for alert in alerts:
        lines += [
            f"      - alert: {alert.name}",
            "        expr: |-",
            f"          {alert.expression}",
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.description)}",
            f"          runbook_url: {json.dumps(alert.runbook)}",
        ]
    return "\n".join(lines) + "\n"
