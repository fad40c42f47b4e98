"""The readers of replies, fuzzed by atheris under coverage, from the replies that are recorded in the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from byteplus_trace._wire.families import FAMILIES

from .figures import Figures
from .transparency import RECORDED

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "build" / "report" / "fuzz"
RUNS, RUNS_THOROUGH = 200_000, 5_000_000


def run(thorough: bool) -> Iterator[Figures]:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-e",
            str(ROOT),
            "atheris",
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
    figures = Figures("the readers of replies, fuzzed by atheris")
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(RECORDED):
            for family in range(len(FAMILIES)):
                Path(folder, f"{number}-{family}").write_bytes(
                    bytes((family, body.startswith((b"data", b"event")), 100)) + body
                )
        done = subprocess.run(
            [str(python), "-m", "tests.report.fuzz_target", f"-runs={RUNS_THOROUGH if thorough else RUNS}", "-max_len=8192", "-seed=1", "-timeout=10", f"-artifact_prefix={folder}/", folder],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    counted = re.findall(r"^(?:Done|stat::number_of_executed_units:|#)\s*(\d+)", done.stderr, re.MULTILINE)
    figures.inputs = int(counted[-1]) if counted else 0
    figures.notes += [
        f"{len(RECORDED)} recorded replies to begin with",
        *re.findall(r"cov: \d+", done.stderr)[-1:],
    ]
    figures.require(not done.returncode, done.stderr[-2_000:])
    yield figures
