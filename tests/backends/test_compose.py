"""The compose files, as Docker Compose itself reads them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

GRAFANA = Path(__file__).parent.parent.parent / "grafana"


@pytest.mark.server("docker compose")
@pytest.mark.parametrize(
    "files",
    [
        ("compose.yaml",),
        ("compose.yaml", "compose.desktop.yaml"),
        ("compose.yaml", "compose.valkey.yaml"),
        ("compose.valkey.yaml",),
    ],
    ids=["linux", "desktop", "with valkey", "valkey alone"],
)
def test_compose_understands_the_files_and_publishes_on_the_loopback_alone(docker_compose, files):
    named = [argument for name in files for argument in ("-f", str(GRAFANA / name))]
    done = subprocess.run(
        [*docker_compose, *named, "config", "--format", "json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    if "grafana" in services:
        assert ("network_mode" in services["grafana"]) is ("compose.desktop.yaml" not in files)
    assert ("valkey" in services) is ("compose.valkey.yaml" in files)
