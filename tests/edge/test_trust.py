"""Nothing of ours, and nothing that users plug into us, can raise into a call."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor

import byteplus_trace
from byteplus_trace import Policy, Target, _background
from byteplus_trace._edge import health_store, kill_switch
from byteplus_trace._edge.instrumentation import Instrumentation
from byteplus_trace._edge.watchdog import Watchdog
from byteplus_trace._routing.attempt_end import LONGEST_RETRY_AFTER_SECONDS
from byteplus_trace._telemetry import guard
from byteplus_trace._telemetry.bounds import LONGEST, Bound
from byteplus_trace._telemetry.collectors import Series
from byteplus_trace._telemetry.exporting import own_provider

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}


@pytest.fixture
def lenient():
    """As for users: our own faults are swallowed."""
    guard.strict = False
    guard._last_logged.clear()


@pytest.fixture
def raising_log_handler():
    class Raising(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    handler = Raising()
    logger = logging.getLogger("byteplus_trace")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def raising(error):
    def function(*_):
        raise error

    return function


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_a_sink_and_a_log_handler_that_raise_cost_no_call(
    http, instrument, sg, lenient, raising_log_handler, error
):
    instrument(on_exchange=raising(error))

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code


def test_a_counter_that_raises_costs_no_call(http, instrument, sg, lenient, monkeypatch):
    instrument(on_exchange=raising(ValueError("no")))
    monkeypatch.setattr(guard, "on_fault", raising(FileNotFoundError("the directory is gone")))

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code


def test_a_processor_that_raises_at_the_start_costs_the_span_alone(http, instrument, recorded, sg, lenient):
    class Raising(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise ValueError("no")

    recorded.provider.add_span_processor(Raising())
    instrument()

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code
    assert 1 == len(recorded.exchanges)
    assert 1 == recorded.series("modelark_operations_total", outcome="ok")


def test_another_context_runtime_costs_no_call(http, instrument, recorded, sg, monkeypatch):
    """ddtrace's tokens, for one, have no `var`."""
    detached = []
    monkeypatch.setattr("opentelemetry.context.attach", lambda _: SimpleNamespace(name="token"))
    monkeypatch.setattr("opentelemetry.context.detach", detached.append)
    instrument()

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code
    assert detached


class _Used:
    """A token of OpenTelemetry's own kind in all but its variable."""

    class var:  # noqa: N801 - the name of the attribute
        reset = staticmethod(raising(RuntimeError("the token has been used already")))


@pytest.mark.parametrize(
    "token", [_Used, SimpleNamespace(var=ContextVar("theirs"))], ids=["used", "no token"]
)
def test_a_token_that_cannot_be_given_back_costs_no_call(http, instrument, recorded, sg, monkeypatch, token):
    monkeypatch.setattr("opentelemetry.context.attach", lambda _: token)
    monkeypatch.setattr("opentelemetry.context.detach", lambda _: None)
    instrument()

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code
    assert 1 == len(recorded.exchanges)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_the_background_thread_outlives_what_its_jobs_raise(lenient, error):
    done = threading.Event()
    _background.start()
    _background.put(raising(error))
    _background.put(done.set)

    assert done.wait(5)


def test_a_watchdog_without_a_thread_bounds_nothing_and_raises_nothing(monkeypatch, lenient):
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))

    assert Watchdog().after(0, lambda: None) is None


def test_the_earliest_alarm_rings_first_and_one_called_off_does_not():
    rung, over = [], threading.Event()
    watchdog = Watchdog()
    watchdog.after(0.02, over.set)
    watchdog.after(0.01, lambda: rung.append("second"))
    watchdog.after(0.005, lambda: rung.append("called off")).call_off()
    watchdog.after(0, lambda: rung.append("first"))

    assert over.wait(5)
    assert ["first", "second"] == rung


def test_one_thread_waits_for_all_alarms():
    def watching():
        return sum(each.name == "byteplus-trace-watchdog" for each in threading.enumerate())

    before, watchdog = watching(), Watchdog()
    for _ in range(20):
        watchdog.after(600, lambda: None)

    assert before + 1 == watching()


def test_alarms_that_were_called_off_are_not_kept_until_their_time():
    watchdog = Watchdog()
    for _ in range(10_000):
        watchdog.after(600, lambda: None).call_off()
    lasting = [watchdog.after(600, lambda: None) for _ in range(100)]

    assert len(watchdog._alarms) <= 2 * len(lasting)
    assert all(any(alarm is each for _, _, each in watchdog._alarms) for alarm in lasting)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_forks_while_locks_are_held_works():
    program = """
import os, random, time
from byteplus_trace import Policy, Target
from byteplus_trace._routing.health import Health
from byteplus_trace._routing.resend import Key, Prior, Resends
from byteplus_trace._routing.steps import Failure
from byteplus_trace._telemetry.bounds import Bound
policy = Policy(targets=[Target("sg", region="ap-southeast-1"), Target("eu", region="eu-west-1", api_key="k")])
health, resends, bound = Health(policy, time.monotonic, random.Random(1)), Resends(time.monotonic), Bound(5)
for _ in range(20):
    health.failed("sg", "chat", "overloaded")
while health.admit("sg", "chat", insist=True) != "probe":
    pass
key = Key("task", "https://h/", b"digest")
resends.remember(key, Prior(1, None, Failure("reset", True), False))
for each in (health, resends, bound):
    each._lock.acquire()
child = os.fork()
if not child:
    assert health.admit("sg", "chat", insist=True) == "probe"
    assert bound("m") == "m" and resends.recall(key) is None
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert (
        0
        == subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=30, check=False).returncode
    )


@pytest.mark.parametrize("name", ["ModelArkTransport", "httpx2"])
def test_a_library_that_is_imported_after_instrument(name):
    program = f"import byteplus_trace; byteplus_trace.instrument(); byteplus_trace.{name}"
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}

    assert (
        0
        == subprocess.run(
            [sys.executable, "-c", program], env=environment, timeout=60, check=False
        ).returncode
    )


def test_an_exchange_can_be_pickled_and_copied(http, instrument, recorded, ark, sg):
    """With all that it may hold: metadata, parameters, content, a fallback and its cost."""
    ark.region("ap-southeast-1").refuses()
    targets = [
        Target(region, region=region, base_url=ark.base_url(region), api_key="k")
        for region in ("ap-southeast-1", "eu-west-1")
    ]
    instrument(capture_content=True, policy=Policy(targets))
    with byteplus_trace.metadata(team="search"):
        http.post(sg + "/chat/completions", {**CHAT, "temperature": 0.5, "stop": ["."]})
    (exchange,) = recorded.exchanges

    assert ({"team": "search"}, "rescued_fallback") == (exchange.call.metadata, exchange.outcome)
    assert exchange.answer.content is not None
    assert exchange.cost_usd is not None
    assert exchange == pickle.loads(pickle.dumps(exchange)) == copy.deepcopy(exchange)


def test_a_label_value_is_cut():
    assert LONGEST == len(Bound(5)("m" * 1_000_000))


def test_a_year_of_retry_after_is_five_minutes(http, instrument, ark, sg):
    from byteplus_trace._classify import RATE
    from byteplus_trace._routing.attempt_end import AttemptEnd, asked_wait

    candidate = SimpleNamespace(retry=byteplus_trace.Retry())

    assert LONGEST_RETRY_AFTER_SECONDS == asked_wait(candidate, AttemptEnd(RATE, 429, 31_536_000.0))


@pytest.mark.parametrize("explicit", [False, True])
def test_the_kill_switch_passes_every_call_and_says_so(
    http, instrument, recorded, sg, library, monkeypatch, caplog, explicit
):
    kill_switch._log_once.cache_clear()
    monkeypatch.setenv("BYTEPLUS_TRACE_DISABLED", "1")
    names = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2
    kind = names.ModelArkTransport if http.colour == "sync" else names.AsyncModelArkTransport
    options = {"transport": kind(on_exchange=recorded.exchanges.append)} if explicit else {}
    instrument()

    async def post(client):
        return await client.post(sg + "/chat/completions", json=CHAT)

    def sync_post(client):
        return client.post(sg + "/chat/completions", json=CHAT)

    assert 200 == http.run(sync_post if http.colour == "sync" else post, **options).status_code
    assert [] == recorded.exchanges
    assert ["BYTEPLUS_TRACE_DISABLED is set" in record.message for record in caplog.records] == [True]


def test_a_step_of_the_wall_clock_moves_no_span_out_of_its_call(
    http, instrument, recorded, ark, sg, monkeypatch
):
    steps = iter(range(10_000))
    now = time.time_ns()
    # Each look at the wall clock is an hour before the one before it.
    monkeypatch.setattr(
        "byteplus_trace._observer.time.time_ns", lambda: now - next(steps) * 3_600_000_000_000
    )
    ark.region("ap-southeast-1").fails(503, times=1)
    instrument(
        policy=Policy(
            targets=[
                Target("sg", region="ap-southeast-1", base_url=ark.base_url("ap-southeast-1"), api_key="k"),
                Target("eu", region="eu-west-1", base_url=ark.base_url("eu-west-1"), api_key="k"),
            ]
        )
    )

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    (call,) = recorded.logical
    for span in (*recorded.attempts, *call.events):
        times = (span.start_time, span.end_time) if hasattr(span, "start_time") else (span.timestamp,)
        assert all(call.start_time <= each <= call.end_time for each in times)


LOCK = re.compile(r"\b(?:Lock|RLock|Condition|Semaphore)\(\)")

# A lock of one call that is under way: no call of the parent goes on in a child.
OF_ONE_CALL = {"_edge/executors.py"}
# These serve from a process that nobody forks.
OF_PROCESSES_OF_THEIR_OWN = {"_fake", "_watch"}


def test_every_module_that_holds_a_lock_makes_it_anew_in_a_child():
    package = Path(byteplus_trace.__file__).parent
    holding = {
        str(path.relative_to(package)): path.read_text()
        for path in package.rglob("*.py")
        if LOCK.search(path.read_text())
        and path.relative_to(package).parts[0] not in OF_PROCESSES_OF_THEIR_OWN
    }

    assert OF_ONE_CALL < holding.keys()
    for name in holding.keys() - OF_ONE_CALL - {"_forks.py"}:
        assert "remake_after_fork(" in holding[name], name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_finds_every_registered_lock_free_and_its_background_thread_at_work():
    program = """
import os, threading
import httpx, byteplus_trace
from byteplus_trace import _background, _forks
from byteplus_trace._edge import patch, watchdog
from byteplus_trace._telemetry.in_flight import InFlight, InFlightInFiles
from byteplus_trace._telemetry.meter import _Instruments
from byteplus_trace._telemetry.metric_exporting import OwnMeterProvider
from byteplus_trace._telemetry.otlp_series import Sums
from byteplus_trace._telemetry.provider import Meters
from opentelemetry.sdk.metrics import MeterProvider
byteplus_trace.instrument()
provider = MeterProvider()
made = [_Instruments(provider), InFlightInFiles(print, print), OwnMeterProvider(None, []), Sums(Meters())]
made.append(_forks.ForkSafeLock())
calls = InFlight()
calls.begins("the parent's", 1)
class Failing:
    def after_fork(self):
        raise ValueError("no")
failing = [Failing() for _ in range(20)]
for each in failing:
    _forks.remake_after_fork(each)
def locks():
    for each in {*made, *_forks._registered}:
        for name in ("_lock", "lock", "_working", "_changed"):
            lock = getattr(each, name, None)
            if lock is not None and not isinstance(lock, _forks.ForkSafeLock):
                yield each, lock
held = threading.Event()
def hold():
    for _, lock in locks():
        lock.acquire()
    held.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
assert held.wait(5)
parents = {id(lock) for _, lock in locks()}
assert len(parents) > 5
child = os.fork()
if not child:
    for each, lock in locks():
        assert lock.acquire(timeout=5), each
        lock.release()
    assert 0 == calls.count()
    done = threading.Event()
    _background.put(done.set)
    assert done.wait(5)
    byteplus_trace.uninstrument()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, timeout=60, check=False
    )

    assert 0 == done.returncode


def test_where_no_thread_can_start_what_was_noticed_waits_for_a_flush(
    http, instrument, recorded, sg, lenient, monkeypatch
):
    monkeypatch.setattr(_background, "_thread", None)
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
    instrument()
    monkeypatch.undo()

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code
    assert 1 == len(recorded.logical)


def test_where_no_thread_can_start_metrics_are_not_served(caplog, monkeypatch):
    monkeypatch.setattr(byteplus_trace.prometheus.Server, "take", raising(RuntimeError("no new thread")))

    assert byteplus_trace.prometheus.serve(0) is None
    assert "Metrics are not served" in caplog.text


def test_where_no_thread_can_start_a_worker_does_not_wait_for_the_port(caplog, monkeypatch):
    server = byteplus_trace.prometheus.Server(9464, "127.0.0.1", None)
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", raising(RuntimeError("no new thread")))
        server.wait()

    server.stop()
    assert "does not wait for port 9464" in caplog.text


def test_where_no_thread_can_start_no_spans_are_exported(caplog, monkeypatch):
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", raising(RuntimeError("no new thread")))

        assert own_provider(None, {"OTEL_TRACES_EXPORTER": "console"}) is None

    assert "No spans are exported: no new thread." in caplog.text


def test_where_no_thread_can_start_a_process_knows_its_own_health_alone(
    http, instrument, sg, lenient, monkeypatch
):
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    monkeypatch.setattr(health_store, "_stores", {})
    monkeypatch.setattr(health_store, "FIRST_READ_SECONDS", 0)
    monkeypatch.setattr(health_store, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
    policy = Policy([Target("sg", region="ap-southeast-1", base_url=sg)])
    instrument(policy=policy, health_store="redis://127.0.0.1:1/0")
    monkeypatch.undo()

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code


def test_a_call_under_a_frozen_clock_takes_no_time(http, instrument, recorded, sg, monkeypatch):
    """As freezegun freezes it: every reader of the clock sees the same."""
    instrument()
    monkeypatch.setattr(time, "perf_counter", lambda: 1_893_456_000.0)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    (exchange,) = recorded.exchanges
    assert [0.0, 0.0] == [exchange.duration_seconds, exchange.attempts[0].duration_seconds]


def returning(value):
    return lambda *_, **__: value


@pytest.mark.parametrize(
    "redact",
    [raising(SystemExit(3)), raising(asyncio.CancelledError()), returning(None), returning(b"bytes")],
    ids=["ends the process", "cancels", "nothing", "bytes"],
)
@pytest.mark.parametrize("status", [200, 429])
def test_a_redact_that_gives_no_text_costs_the_content_alone(
    http, instrument, recorded, ark, sg, lenient, redact, status
):
    if status != 200:
        ark.region("ap-southeast-1").fails(status)
    instrument(capture_content=True, redact=redact)

    assert status == http.post(sg + "/chat/completions", CHAT).status_code

    assert "gen_ai.input.messages" not in recorded.one.attributes
    assert recorded.series("modelark_telemetry_errors_total", where="redact") > 0
    assert 1 == recorded.series("modelark_operations_total")


class _Tracers(trace.TracerProvider):
    """A provider of somebody's own, whose tracers make this span."""

    def __init__(self, start_span, get_tracer=None):
        self._start_span = start_span
        self._get_tracer = get_tracer

    def get_tracer(self, *_, **__):
        if self._get_tracer is not None:
            return self._get_tracer()
        return SimpleNamespace(start_span=self._start_span)


class _Odd(trace.NonRecordingSpan):
    def __init__(self, get_span_context):
        self.get_span_context = get_span_context


@pytest.mark.parametrize(
    "provider",
    [
        _Tracers(None, get_tracer=raising(OSError("no tracer"))),
        _Tracers(returning(None)),
        _Tracers(returning(_Odd(raising(OSError("no context"))))),
        _Tracers(returning(_Odd(returning(None)))),
    ],
    ids=["no tracer", "no span", "a context that raises", "no context"],
)
@pytest.mark.parametrize("routed", [True, False])
def test_a_tracer_provider_that_fails_costs_the_spans_alone(
    http, instrument, recorded, sg, lenient, provider, routed
):
    policy = Policy([Target("sg", region="ap-southeast-1", base_url=sg)]) if routed else None
    instrument(tracer_provider=provider, policy=policy)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    assert 1 == recorded.series("modelark_operations_total", outcome="ok")
    assert 1 == recorded.series("modelark_operation_duration_seconds_count")
    assert 1 == recorded.series("modelark_attempts_total")
    assert 1 == len(recorded.exchanges)


def test_a_meter_provider_that_fails_costs_its_own_metrics_alone(
    http, instrument, recorded, sg, lenient, monkeypatch
):
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    made = provider.get_meter("here").create_histogram("here")
    monkeypatch.setattr(type(made), "record", raising(OSError("no")))
    instrument(metrics="both", meter_provider=provider)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    assert 1 == recorded.series("modelark_operation_duration_seconds_count")
    assert recorded.series("modelark_tokens_total") > 0


def test_a_log_handler_may_make_a_call_whatever_is_logged(library, instrument, sg, lenient, monkeypatch):
    """Under a lock of ours too: here a call notices that the files of Prometheus are full."""
    statuses = []

    def call(model):
        with library.Client(headers={"Authorization": "Bearer k"}, timeout=5) as client:
            reply = client.post(sg + "/chat/completions", json={**CHAT, "model": model})
            statuses.append(reply.status_code)

    class Calling(logging.Handler):
        def emit(self, record):
            call("the handler's")

    def full(*_):
        monkeypatch.setattr(Series, "child", child)
        raise OSError(28, "No space left on device")

    instrument()
    child, handler = Series.child, Calling()
    monkeypatch.setattr(Series, "child", full)
    logging.getLogger("byteplus_trace").addHandler(handler)
    caller = threading.Thread(target=call, args=["the application's"], daemon=True)
    try:
        caller.start()
        caller.join(10)
    finally:
        logging.getLogger("byteplus_trace").removeHandler(handler)

    assert [200, 200] == statuses


def test_a_call_of_a_log_handler_amid_the_first_call_of_a_transport_passes(library, lenient, monkeypatch):
    """The defaults are built when a transport is first called, and a line may be logged of that."""
    names = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2
    sent = []

    def answer(_request):
        sent.append(True)
        return library.Response(200, json={"id": "1"})

    client = library.Client(transport=names.ModelArkTransport(library.MockTransport(answer)))
    url = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"

    class Calling(logging.Handler):
        def emit(self, record):
            client.post(url, json=CHAT)

    def build(_settings):
        logging.getLogger("byteplus_trace").warning("no exporter is installed")
        raise OSError("and so there are none")

    handler = Calling()
    logging.getLogger("byteplus_trace").addHandler(handler)
    monkeypatch.setattr(Instrumentation, "_default", None)
    monkeypatch.setattr(Instrumentation, "build", build)
    caller = threading.Thread(target=client.post, args=[url], kwargs={"json": CHAT}, daemon=True)
    try:
        caller.start()
        caller.join(10)
    finally:
        logging.getLogger("byteplus_trace").removeHandler(handler)

    assert not caller.is_alive()
    # The application's, and one of the handler's for each line: none is logged once for each of these.
    assert 3 <= len(sent) <= 10


@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_what_a_send_raises_is_raised_although_its_http_span_fails(
    http, instrument, recorded, library, sg, lenient, method
):
    lost = library.ReadError("lost")

    class Raising(SpanProcessor):
        pass

    setattr(Raising, method, raising(ValueError("no")))
    recorded.provider.add_span_processor(Raising())
    instrument(http_spans="otel")

    with pytest.raises(library.ReadError) as raised:
        http.run(
            lambda client: client.post(sg + "/chat/completions", json=CHAT),
            transport=library.MockTransport(raising(lost)),
        )

    assert raised.value is lost
