"""Programs that end, fork or are ended while calls are open; each knows how many calls it makes."""

from __future__ import annotations

import importlib.util
import signal
from dataclasses import dataclass

BEGIN = """
import os, signal, ssl, sys, threading, time
import httpx, byteplus_trace
from byteplus_trace import Breaker, Policy, Retry, Target
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

url, path = sys.argv[1:]
BODY = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
# One for all: reading certificates while another thread forks leaves OpenSSL's lock taken in the child.
TLS = ssl.create_default_context()
OPTIONS = {"headers": {"Authorization": "Bearer key"}, "timeout": 60, "trust_env": False, "verify": TLS}


class ToFile(SpanExporter):
    def export(self, spans):
        for span in spans:
            if "gen_ai.operation.name" in span.attributes:
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(file, (span.name + "\\n").encode())
                os.close(file)
        return SpanExportResult.SUCCESS


def instrument(**settings):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ToFile()))
    byteplus_trace.instrument(tracer_provider=provider, base_urls={url: "ap-southeast-1"}, **settings)


def policy():
    targets = [Target("sg", region="ap-southeast-1", base_url=url, api_key="k")]
    return Policy(targets, breaker=Breaker(ratio=None, consecutive=None))


def call(client=None):
    with httpx.Client(**OPTIONS) as client:
        client.post(url + "/chat/completions", json=BODY).raise_for_status()


def opened(client):
    request = client.build_request("POST", url + "/chat/completions", json={**BODY, "stream": True})
    reply = client.send(request, stream=True)
    parts = reply.iter_raw()
    next(parts)
    return reply, parts


def ready():
    print("ready", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and what is expected of it."""

    name: str
    source: str
    calls: int
    status: int = 0
    flags: tuple[str, ...] = ()
    sigterm: bool = False
    """It is ended by SIGTERM once it has said that it is ready."""
    hangs: bool = False
    """Streams stay silent after two events."""

    @property
    def ends_badly(self) -> bool:
        """Whether what ends it is not the end of its work."""
        return bool(self.sigterm or self.status or self.hangs)


def program(name: str, source: str, calls: int, **options: object) -> Program:
    return Program(name, BEGIN + source, calls, **options)  # type: ignore[arg-type]


OPEN = """
instrument({settings})
call()
client = httpx.Client(**OPTIONS)
kept = [opened(client) for _ in range(3)]
"""
CHILD_CALLS = """
instrument(policy=policy())
client = httpx.Client(**OPTIONS)
kept = opened(client)
child = os.fork()
if child == 0:
    call()
    call()
    byteplus_trace.flush()
    os._exit(0)
status = os.waitpid(child, 0)[1]
call()
kept[0].close()
byteplus_trace.flush()
sys.exit(os.waitstatus_to_exitcode(status))
"""
# A child never gets the lock of an import that was under way at the fork, which is Python's: so one call comes before.
FORKS_AMID_CALLS = """
instrument(policy=policy())
call()
def work():
    for _ in range(20):
        call()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        call()
        byteplus_trace.flush()
        os._exit(0)
    bad += os.waitpid(child, 0)[1] != 0
for thread in threads:
    thread.join()
byteplus_trace.flush()
sys.exit(bad)
"""
MULTIPROCESSING = """
import multiprocessing
instrument()
child = multiprocessing.get_context("fork").Process(target=call)
child.start()
child.join()
call()
sys.exit(child.exitcode)
"""
IN_A_DAEMON = """
instrument({settings})
began = threading.Event()
def read():
    with httpx.Client(**OPTIONS) as client:
        reply, parts = opened(client)
        began.set()
        list(parts)
threading.Thread(target=read, daemon=True).start()
began.wait(30)
"""

PROGRAMS = [
    program("ends with nothing open", "instrument()\ncall()\n", 1),
    program("ends with streams open", OPEN.format(settings=""), 4),
    program("ends with streams open, -X dev", OPEN.format(settings=""), 4, flags=("-X", "dev")),
    program("ends with streams open, under a policy", OPEN.format(settings="policy=policy()"), 4),
    program("ends by an exception", OPEN.format(settings="") + "raise ValueError\n", 4, status=1),
    program("ends by sys.exit in a stream", OPEN.format(settings="") + "sys.exit(7)\n", 4, status=7),
    program("ends while a thread reads", IN_A_DAEMON.format(settings=""), 1, hangs=True),
    program("ends while a thread reads, routed", IN_A_DAEMON.format(settings="policy=policy()"), 1, hangs=True),
    program("is switched off with streams open", OPEN.format(settings="") + "byteplus_trace.uninstrument()\n[list(parts) for _, parts in kept]\n", 4),
    program("forks with a stream open", CHILD_CALLS, 4),
    program("forks while threads call", FORKS_AMID_CALLS, 91, flags=("-W", "ignore")),
    program("starts a child of multiprocessing", MULTIPROCESSING, 2, flags=("-W", "ignore")),
    program("SIGTERM with streams open", OPEN.format(settings="") + "byteplus_trace.flush_on_sigterm()\nready()\ntime.sleep(60)\n", 4, status=-signal.SIGTERM, sigterm=True),
    program("SIGTERM while a thread reads", IN_A_DAEMON.format(settings="policy=policy()") + "byteplus_trace.flush_on_sigterm()\nready()\ntime.sleep(60)\n", 1, status=-signal.SIGTERM, sigterm=True, hangs=True),
    program("SIGTERM that a handler turns into an exit", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n" + OPEN.format(settings="") + "byteplus_trace.flush_on_sigterm()\nready()\ntime.sleep(60)\n", 4, status=3, sigterm=True),
]  # fmt: skip

ON_UVLOOP = """
import asyncio, uvloop
instrument()
async def main():
    async with httpx.AsyncClient(**OPTIONS) as client:
        for _ in range(3):
            await client.post(url + "/chat/completions", json=BODY)
        async with client.stream("POST", url + "/chat/completions", json={**BODY, "stream": True}) as reply:
            await anext(reply.aiter_raw())
uvloop.run(main())
"""
ON_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
"""
ON_GEVENT_WORK = """
instrument(policy=policy())
jobs = [gevent.spawn(call) for _ in range(10)]
gevent.joinall(jobs, raise_error=True)
"""
UVICORN = """
import asyncio, uvicorn
instrument()
{before}
kept = []
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            client = httpx.AsyncClient(**OPTIONS)
            for _ in range(3):
                (await client.post(url + "/chat/completions", json=BODY)).raise_for_status()
            request = client.build_request("POST", url + "/chat/completions", json={{**BODY, "stream": True}})
            reply = await client.send(request, stream=True)
            await anext(reply.aiter_raw())
            kept.append(reply)
            await send({{"type": "lifespan.startup.complete"}})
        {shutdown}
        await send({{"type": "lifespan.shutdown.complete"}})
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        ready()
Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on")).run()
"""
GUNICORN = """
from gunicorn.app.base import BaseApplication
client = httpx.Client(**OPTIONS)
kept = []
class Application(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("workers", 1)
        self.cfg.set("loglevel", "critical")
        self.cfg.set("post_worker_init", begin)
    def load(self):
        return lambda environ, start: []
def begin(worker):
    instrument()
    call()
    kept.extend(opened(client) for _ in range(3))
    ready()
Application().run()
"""


def loops_and_servers() -> tuple[list[Program], list[str]]:
    """Those whose library is installed, and a sentence for each that is not."""
    sigterm = {"sigterm": True, "hangs": True}
    found = {
        "uvicorn": [
            program("uvicorn, SIGTERM with a stream open, flush_on_sigterm()", UVICORN.format(before="byteplus_trace.flush_on_sigterm()", shutdown="pass"), 4, status=-signal.SIGTERM, **sigterm),
            program("uvicorn, SIGTERM, flushed in the lifespan", UVICORN.format(before="", shutdown="await kept.pop().aclose(); await asyncio.to_thread(byteplus_trace.flush)"), 4, status=-signal.SIGTERM, **sigterm),
        ],
        "gunicorn": [program("gunicorn, SIGTERM with streams open", GUNICORN, 4, **sigterm)],
        "uvloop": [program("uvloop", ON_UVLOOP, 4)],
        "gevent": [Program("gevent", ON_GEVENT + BEGIN + ON_GEVENT_WORK, 10)],
    }  # fmt: skip
    programs = [
        each for name, programs in found.items() if importlib.util.find_spec(name) for each in programs
    ]
    return programs, [f"{name} is not installed" for name in found if not importlib.util.find_spec(name)]
