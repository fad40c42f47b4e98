"""
Every CPython of this machine from 3.11 on, with the newest dependencies; and the oldest that pyproject.toml allows.

Each in an environment of its own, which is made once, under build/report.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from .figures import Figures

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "build" / "report"
NEWEST = 20
"""The last minor version that is looked for."""
TESTS = (
    "tests/wire",
    "tests/routing",
    "tests/telemetry",
    *(
        f"tests/edge/test_{name}.py"
        for name in ("transparency", "lifecycle", "seeing", "http2", "patch", "routed", "trust")
    ),
    "tests/test_observer.py",
    "tests/test_public.py",
)
NEEDED = ("pytest", "pytest-xdist", "hypothesis", "anyio", "trio", "sniffio", "brotli", "zstandard", "h2", "aiohttp", "requests", "pyyaml", "jsonschema")  # fmt: skip
"""By the tests themselves, in their newest versions."""
SHOWN = ("httpx", "httpx2", "msgspec", "opentelemetry-sdk", "prometheus-client", "wrapt")

DESCRIBE = "import sys, sysconfig; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])), sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"


def interpreters() -> dict[str, str]:
    """Each CPython from 3.11 on, as "3.12.1" or "3.13.0t", and its path: of this process, of PATH and of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [sys.executable, *(str(each) for each in sorted(pyenv.glob("3.*/bin/python3")))]
    for minor in range(11, NEWEST):
        found += [path for suffix in ("", "t") if (path := shutil.which(f"python3.{minor}{suffix}"))]
    named: dict[str, str] = {}
    for path in found:
        done = subprocess.run([path, "-c", DESCRIBE], capture_output=True, text=True, check=False)
        if done.returncode:
            continue  # a shim of pyenv's without its version
        implementation, version, free_threaded = done.stdout.split()
        if implementation == "cpython" and int(version.split(".")[1]) >= 11 and version.startswith("3."):
            named.setdefault(version + "t" * int(free_threaded), path)
    return named


def lowest() -> list[str]:
    """The dependencies, each at the lowest version that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["httpx2"]]
    found = [re.match(r"([\w.-]+)>=([\w.]+)", each) for each in wanted]
    return [f"{each[1]}=={each[2]}" for each in found if each is not None]


def run(_thorough: bool) -> Iterator[Figures]:
    found = interpreters()
    oldest = min(found, key=lambda version: [int(part) for part in version.rstrip("t").split(".")])
    yield tested(f"CPython {oldest}, oldest dependencies", found[oldest], f"{oldest}-oldest", lowest())
    for version, path in found.items():
        yield tested(f"CPython {version}, newest dependencies", path, f"{version}-newest", [])


def tested(part: str, python: str, name: str, pins: list[str]) -> Figures:
    """Run the tests in an environment of this interpreter; each is an input."""
    figures = Figures(part)
    environment = ENVIRONMENTS / name
    inside = environment / "bin" / "python"
    ready = environment / "ready"
    if not ready.exists():
        subprocess.run([python, "-m", "venv", "--clear", str(environment)], check=True)
        command = [str(inside), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", f"{ROOT}[httpx2]", *NEEDED, *pins]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            figures.inputs = 1
            figures.failures.append(f"it cannot be installed: {done.stderr.strip()[-500:]}")
            return figures
        ready.touch()
    listed = subprocess.run(
        [str(inside), "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    )
    versions = {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(listed.stdout)}
    figures.notes.append(", ".join(f"{each} {versions[each]}" for each in SHOWN if each in versions))
    results = environment / "results.xml"
    # Warnings are not errors here: what an old library says of a newer Python is not ours.
    options = [
        "-q",
        "-n",
        "2",
        "-o",
        "filterwarnings=default",
        "--continue-on-collection-errors",
        f"--junitxml={results}",
    ]
    subprocess.run([str(inside), "-m", "pytest", *options, *TESTS], cwd=ROOT, stdout=sys.stderr, check=False)
    counted = ET.parse(results).getroot().iter("testsuite")
    for suite in counted:
        figures.inputs += int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
    for case in ET.parse(results).getroot().iter("testcase"):
        broken = [each for each in case if each.tag in {"failure", "error"}]
        figures.failures += [f"{case.attrib['classname']} {case.attrib['name']}: {each.attrib.get('message', '')[:300]}" for each in broken]  # fmt: skip
    return figures
