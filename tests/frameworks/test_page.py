"""The pages that the suite writes are about the frameworks of its table, and of one run."""

import re
import tomllib
from pathlib import Path

import pytest

from .__main__ import PAGE, REPEATS, ROUTING
from .table import FRAMEWORKS

NAMES = [each.name for each in FRAMEWORKS]


def rows(text):
    """The cells of every row, table by table, without heads."""
    tables = re.findall(r"(?m)(?:^\|.*\|\n?)+", text)
    return [[[cell.strip() for cell in line.strip("|").split(" | ")] for line in each.splitlines()[2:]] for each in tables]  # fmt: skip


@pytest.fixture
def repeats():
    return REPEATS.search(ROUTING.read_text()).group()


def test_each_framework_is_in_each_table_with_what_its_users_write(repeats):
    harm, tracing = rows(PAGE.read_text())
    (repeating,) = rows(repeats)

    assert [NAMES] * 3 == [[row[0] for row in table] for table in (harm, tracing, repeating)]
    assert [each.lines for each in FRAMEWORKS] == [row[-1] for row in harm]


def test_both_pages_are_of_one_run(repeats):
    written = r"Written by `python -m tests.frameworks --write` on \d{4}-\d\d-\d\d, with CPython [\d.]+"

    assert re.findall(written, PAGE.read_text()) == re.findall(written, repeats) != []


def test_the_extra_ark_is_all_that_the_suite_installs_for_the_ark_sdk():
    """The SDK imports sniffio and does not ask for it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (ark,) = [each for each in FRAMEWORKS if each.name == "ark"]

    extra = project["optional-dependencies"]["ark"]
    assert list(ark.requirements) == [re.match(r"[\w-]+", each).group() for each in extra]
