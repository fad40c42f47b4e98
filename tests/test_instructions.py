"""The guard of what observing costs: which growth fails the check."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "benchmarks" / "instructions.py"
spec = importlib.util.spec_from_file_location("instructions", PATH)
assert spec is not None
assert spec.loader is not None
instructions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(instructions)

COMMITTED = {"metered": {"call": 21.4, "chunk": 2.6}}


@pytest.mark.parametrize(("call", "chunk"), [(21.4, 2.6), (21.9, 2.8), (15.0, 1.0)])
def test_a_share_within_its_limit_passes(call, chunk):
    assert instructions.grown(COMMITTED, {"metered": {"call": call, "chunk": chunk}}) == []


@pytest.mark.parametrize(("call", "chunk", "unit"), [(22.0, 2.6, "call"), (21.4, 2.9, "chunk")])
def test_a_share_that_grew_by_more_than_its_limit_fails(call, chunk, unit):
    (failure,) = instructions.grown(COMMITTED, {"metered": {"call": call, "chunk": chunk}})
    assert f"metered: a {unit} adds" in failure


def test_a_scenario_without_a_committed_figure_fails():
    current = {**COMMITTED, "new": {"call": 1.0, "chunk": 1.0}}
    assert instructions.grown(COMMITTED, current) == ["new: no figure is committed"]


def test_another_version_is_named():
    committed = {"python": "3.11.7", "packages": {"openai": "3.57.0"}}
    current = {"python": "3.11.7", "packages": {"openai": "3.58.0"}}
    assert instructions.different_versions(committed, current) == ["openai 3.58.0 instead of 3.57.0"]
