"""A command in a process of its own, as a person runs it who just installed the package."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def bare():
    """An environment without settings, whose spans have nowhere to go."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT") if name in os.environ
    }
    return {**kept, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture(scope="session")
def command(bare):
    """command(*arguments, **environ): the ended process, its output as text."""

    def run(*arguments, **environ):
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "byteplus_trace", *arguments],
            env={**bare, **environ},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run
