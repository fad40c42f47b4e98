"""
What a user imports into Grafana and Prometheus, and the code that it is written by.

Three dashboards, the rules and the data sources are built, and the runbook is copied beside these. They are committed in `grafana/`
beside the files written by hand (compose, provisioning, the Collector's configuration), and
travel in the wheel, so `write()` needs nothing that is not installed: the extra `dashboards`
is for those who change a panel.

    python -m byteplus_trace.dashboards             # write grafana/ anew
    python -m byteplus_trace.dashboards --check     # 1 where it would change
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent
_IN_THE_WHEEL, _IN_THE_CHECKOUT = _HERE / "_grafana", _HERE.parent.parent / "grafana"


def source() -> Path:
    """The folder with the files, of the wheel or of the checkout."""
    return _IN_THE_WHEEL if _IN_THE_WHEEL.is_dir() else _IN_THE_CHECKOUT


def write(directory: Path) -> Iterator[Path]:
    """
    Write all that there is to import into a folder, which is made where it is missing.

    Files of the same names are replaced, others are left alone.
    """
    origin = source()
    for path in sorted(origin.rglob("*")):
        if path.is_file():
            copy = directory / path.relative_to(origin)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            yield copy


def built() -> dict[str, str]:
    """
    The files that are written by code, by their path in `grafana/`; in a checkout.

    Raises:
        ModuleNotFoundError: without the extra `dashboards`.
    """
    from .alerts import ALERTS
    from .consumption import CONSUMPTION
    from .draw import drawn
    from .overview import OVERVIEW
    from .recordings import RECORDINGS
    from .resilience import RESILIENCE
    from .rules import RUNBOOK, rules_file
    from .sources import sources_file

    pages = {f"dashboards/{page.uid}.json": drawn(page) for page in (OVERVIEW, RESILIENCE, CONSUMPTION)}
    runbook = (_HERE.parent.parent / "docs/alerts.md").read_text(encoding="utf-8")
    return {
        **pages,
        "prometheus/rules.yml": rules_file(RECORDINGS, ALERTS),
        f"prometheus/{RUNBOOK}": runbook,
        "provisioning/datasources/modelark.yaml": sources_file(),
    }
