"""The report counts harm, fails by it, and leaves nothing running."""

import dataclasses

import pytest

from tests.report import __main__ as report
from tests.report.figures import Figures, bytes_that_differ
from tests.report.suites import SUITES


@pytest.mark.parametrize(
    "harm",
    [
        {"spans_lost": 1},
        {"bytes_changed": 1},
        {"canaries_leaked": 1},
        {"failures": ["it differs"]},
        {"inputs": 0},
    ],
)
def test_any_harm_makes_a_row_fail_and_so_does_trying_nothing(harm):
    well = {"inputs": 1}

    assert [] == Figures("part", **well).harm
    assert Figures("part", **{**well, **harm}).harm


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [(b"abc", b"abc", 0), (b"abc", b"abd", 1), (b"abc", b"ab", 1), (b"", b"xyz", 3)],
)
def test_bytes_that_differ_are_counted(one, other, count):
    assert count == bytes_that_differ(one, other) == bytes_that_differ(other, one)


def outcome(name, *rows):
    suite = next(each for each in SUITES if each.name == name)
    return report.Outcome(suite, f"python -m tests.report {name}", list(rows))


def test_a_suite_that_fails_makes_the_command_fail(monkeypatch, capsys):
    lost = {"load": 1}
    monkeypatch.setattr(
        report,
        "run",
        lambda suite, _: outcome(suite.name, Figures("p", inputs=1, spans_lost=lost.get(suite.name, 0))),
    )
    for names, status in ((["ends"], 0), (["ends", "load"], 1)):
        monkeypatch.setattr("sys.argv", ["report", "--ci", *names])
        assert status == report.main()
    assert "load: FAILED" in capsys.readouterr().out


def test_a_page_keeps_the_sections_of_suites_that_were_not_run_now():
    first = report.page("", outcome("ends", Figures("forks", inputs=1, calls=1_234)))
    second = report.page(first, outcome("load", Figures("mixed", inputs=1, spans_lost=2)))
    third = report.page(second, outcome("ends", Figures("forks", inputs=1, calls=5_678)))

    assert "1,234" in second
    assert "1,234" not in third
    assert "| 5,678 |" in third
    assert "**Failed:** mixed: 2 spans lost" in third
    assert third.index("## ends") < third.index("## load")


def test_a_suite_that_takes_too_long_is_ended_and_has_failed():
    transparency = dataclasses.replace(SUITES[0], seconds=1)

    found = report.run(transparency, False)

    assert found.failed
    assert ["transparency: not done after 1 s"] == found.failures
