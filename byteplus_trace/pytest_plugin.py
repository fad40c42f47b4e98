"""
Fixtures for tests of code that calls ModelArk. Opt in from your `conftest.py`:

    pytest_plugins = ["byteplus_trace.pytest_plugin"]

`modelark` is a fake ModelArk of two regions; `modelark_exchanges` instruments the test
against it and holds what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .testing import Captured, ModelArk, capture


@pytest.fixture
def modelark() -> Iterator[ModelArk]:
    """A fake ModelArk of two regions, new for each test."""
    with ModelArk() as ark:
        yield ark


@pytest.fixture
def modelark_exchanges(modelark: ModelArk) -> Iterator[Captured]:
    """What the test's calls to `modelark` were: `.exchanges`, `.spans`, `.sample(name, **labels)`."""
    with capture(base_urls=modelark.base_urls) as seen:
        yield seen
