"""
The view in a browser, by textual-serve, on the loopback alone.

A view is a process of its own for each page that is open. It reads from the receiver of this
process, which owns the port and the store. Who may ask is checked as the receiver does, for
the page, its files and its WebSocket; and the page may load nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import textual_serve
from aiohttp import web
from aiohttp.typedefs import Handler
from textual_serve.server import Server

from .guarded import loopback_alone
from .port_in_use import owner
from .receiver import HOST, Receiver
from .view import PORT_VARIABLE, SECRET_VARIABLE

# The page of textual-serve asks a font server for its letters; here it does without.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
)

# What the page of textual-serve lacks: a name for its tab, and keys that work before the first click.
_HEAD = """<title>byteplus-trace watch</title>
<script>
new MutationObserver((_, found) => {
  const keys = document.querySelector("body.-first-byte #terminal .xterm-helper-textarea");
  if (keys) { found.disconnect(); keys.focus(); }
}).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
</script>
</head>"""


class LoopbackServer(Server):
    """textual-serve's, behind the same checks as the receiver, with addresses that the page itself asked for."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.extend([loopback_alone, self._with_policy])
        return app

    @web.middleware
    async def _with_policy(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path == "/" and isinstance(response, web.Response) and response.text:
            response.text = response.text.replace("</head>", _HEAD, 1)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = _POLICY
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: whoever serves says where."""


async def start(receiver: Receiver, port: int, command: Sequence[str]) -> tuple[web.AppRunner, int]:
    """
    Listen; the result is what to clean up, and the port.

    Raises:
        OSError: the port cannot be had.
    """
    os.environ[PORT_VARIABLE] = str(receiver.port)
    os.environ[SECRET_VARIABLE] = receiver.secret
    folder = Path(textual_serve.__file__).parent
    server = LoopbackServer(
        shlex.join(command),
        host="localhost",
        port=port,
        title="byteplus-trace watch",
        statics_path=folder / "static",
        templates_path=folder / "templates",
    )
    runner = web.AppRunner(await server._make_app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError:
        await runner.cleanup()
        raise
    found: int = runner.addresses[0][1]
    server.port = found
    server.public_url = f"http://localhost:{found}"
    return runner, found


def serve(receiver: Receiver, port: int, command: Sequence[str]) -> bool:
    """Serve until Ctrl-C; False where the port cannot be had."""
    return asyncio.run(_serve(receiver, port, command))


async def _serve(receiver: Receiver, port: int, command: Sequence[str]) -> bool:
    try:
        runner, found = await start(receiver, port, command)
    except OSError as error:
        why = (
            f"is in use, probably by {owner(port)}"
            if error.errno == errno.EADDRINUSE
            else f"cannot be had: {error.strerror}"
        )
        print(f"byteplus-trace: port {port} {why}. Choose another --web-port.", file=sys.stderr)
        return False
    print(
        f"Watch calls at  http://localhost:{found}\nReceiving on    http://{HOST}:{receiver.port}\nCtrl-C stops.",
        flush=True,
    )
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        await stopping.wait()
    finally:
        await runner.cleanup()
    return True
