"""
Other libraries beside us, in an environment of their own: the caller gets what it gets without us, and every call is recorded.

Each is switched on before us and after us, in a process of its own.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byteplus_trace.testing import ModelArk

from .beside import NEIGHBOURS
from .figures import Figures, bytes_that_differ

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "build" / "report" / "neighbours"
SERVERS = ("uvicorn", "gunicorn", "uvloop", "gevent")
OTHERS = ("openai", "pytest", "anyio", "trio", "brotli", "zstandard", "hypothesis")
"""What the calls themselves need."""

DOCUMENT = b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Rhine"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
STREAM = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":0,"item_id":"i","output_index":0,"content_index":0,"delta":"Rhine","logprobs":[]}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":1,"response":{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}\n\n'
)


def python() -> Path:
    return ENVIRONMENT / "bin" / "python"


def installed() -> dict[str, str]:
    """Distribution to version, of the environment; what is missing is installed first, where it can be had."""
    if not python().exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip("install", "-e", f"{ROOT}[httpx2]")
    wanted = {distribution for distribution, *_ in NEIGHBOURS.values()} | {*SERVERS, *OTHERS}
    for name in sorted(wanted - versions().keys()):
        pip("install", name, check=False)
    return versions()


def pip(*arguments: str, check: bool = True) -> None:
    command = [str(python()), "-m", "pip", arguments[0], "-q", "--disable-pip-version-check", *arguments[1:]]
    subprocess.run(command, check=check, stdout=sys.stderr)


def versions() -> dict[str, str]:
    done = subprocess.run(
        [str(python()), "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    )
    return {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(done.stdout)}


def run(_thorough: bool) -> Iterator[Figures]:
    have = installed()
    for name, (distribution, *_) in NEIGHBOURS.items():
        if distribution in have:
            yield beside(name, f"{distribution} {have[distribution]}")
    missing = [distribution for distribution, *_ in NEIGHBOURS.values() if distribution not in have]
    yield servers(have, [f"cannot be had here: {each}" for each in missing])


def beside(name: str, version: str) -> Figures:
    figures = Figures(name, notes=[version])
    with ModelArk() as fake:
        region = fake.regions[0]
        region.replays(DOCUMENT, on="chat_completions")
        region.replays(STREAM, content_type="text/event-stream", on="responses")
        found = {how: once(name, how, region.base_url) for how in ("alone", "first", "last")}
    alone = found.pop("alone")
    if "replies" not in alone:
        figures.inputs = 1
        last = alone.get("error", "").strip().splitlines()[-1:]
        if last and last[0].startswith(("ModuleNotFoundError", "ImportError")):
            figures.notes.append(f"not tried: it does not import here, also without us ({last[0]})")
        else:
            figures.failures.append(f"it does not run without us: {alone.get('error')}")
        return figures
    for how, got in found.items():
        figures.inputs += 1
        if "replies" not in got:
            figures.failures.append(f"we are switched on {how}: {got.get('error')}")
            continue
        figures.calls += len(got["replies"])
        for one, other in zip(alone["replies"], got["replies"], strict=True):
            figures.require(one[0] == other[0], f"we are switched on {how}: {other[0]} and not {one[0]}")
            figures.bytes_changed += bytes_that_differ(base64.b64decode(one[1]), base64.b64decode(other[1]))
        recorded = got["recorded"]
        figures.spans_lost += max(0, len(got["replies"]) - int(recorded.pop("exchanges")))
        figures.failures += [
            f"we are switched on {how}: {count:.0f} {what}" for what, count in recorded.items() if count
        ]
    return figures


def once(name: str, how: str, url: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(python()), "-m", "tests.report.beside", name, how, url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": done.stderr[-1_500:]}
    return found


SERVE = """
import json, sys
from tests.report.ends import of_processes
from tests.report.programs import loops_and_servers
programs, skipped = loops_and_servers()
print(json.dumps(of_processes("loops and servers", programs, skipped).as_dict()))
"""


def servers(have: dict[str, str], notes: list[str]) -> Figures:
    """The ends of processes that need a server or a loop of others."""
    done = subprocess.run(
        [str(python()), "-c", SERVE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        return Figures("loops and servers", inputs=1, failures=[done.stderr[-1_500:]])
    figures = Figures(**json.loads(done.stdout.strip().splitlines()[-1]))
    figures.notes += [", ".join(f"{name} {have[name]}" for name in SERVERS if name in have), *notes]
    return figures
