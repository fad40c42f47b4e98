"""What every test stands on."""

import pytest

from byteplus_trace._telemetry import guard


@pytest.fixture(autouse=True)
def strict_guard():
    """Our own faults are raised here, so that the kindness that hides them from users hides no bug."""
    guard.strict = True
    yield
    guard.strict = False
