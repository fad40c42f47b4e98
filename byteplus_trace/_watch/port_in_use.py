"""Who has a port that we want, as far as one can find out, and what to do."""

from __future__ import annotations

import http.client
import os
import re
from contextlib import suppress
from pathlib import Path

from .plain import plain
from .receiver import HOST, SERVER

_LISTENING = "0A"


def explained(port: int) -> str:
    """Why the port cannot be had, and what to do."""
    free = port + 1
    return (
        f"port {port} is in use, probably by {owner(port)}.\n"
        f"Stop that first. Or leave it there: byteplus-trace watch --port {free} --forward http://localhost:{port}\n"
        f"receives on another port and passes everything on; your program then needs\n"
        f"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:{free} in its environment."
    )


def owner(port: int) -> str:
    """Who probably has it, by what it answers and by the processes of this machine that can be looked at."""
    server = _answers(port)
    process = _process(port)
    if server == SERVER:
        return "another byteplus-trace watch" + (f" ({process})" if process else "")
    if process:
        return process
    return "Jaeger or an OpenTelemetry Collector, perhaps in Docker (docker ps --filter publish=" + f"{port})"


def _answers(port: int) -> str | None:
    """The name that the server there gives itself."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().headers.get("Server")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _process(port: int) -> str | None:
    """The process that listens, on Linux, where it is ours to look at."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    with suppress(OSError):
        for number in filter(str.isdigit, os.listdir("/proc") if inodes else ()):
            with suppress(OSError):
                for each in os.listdir(f"/proc/{number}/fd"):
                    with suppress(OSError):
                        if os.readlink(f"/proc/{number}/fd/{each}") in inodes:
                            return f"{_command(number)} (process {number})"
    return None


def _command(number: str) -> str:
    """The name of a process. Not its arguments, which may have secrets in them."""
    arguments = Path(f"/proc/{number}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    name = Path(arguments[0]).name
    if re.fullmatch(r"python[\d.]*", name):
        script = next((Path(each).name for each in arguments[1:] if each and not each.startswith("-")), "")
        name = f"{name} {script}".strip()
    return plain(name, 60) or "a process"
