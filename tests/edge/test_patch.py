"""instrument() and uninstrument(): what is patched, what is left as it was, and what is said where it cannot be."""

import importlib
import logging
import re
import subprocess
import sys
from types import ModuleType

import httpx
import pytest

import byteplus_trace
from byteplus_trace import SettingError
from byteplus_trace._edge import patch
from byteplus_trace._edge.instrumentation import Instrumentation

PUBLIC = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"
CHAT = {"model": "m", "messages": []}
REPLY = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}]}
KINDS = ("Client", "AsyncClient")


def points(library):
    return [getattr(library, kind).__dict__[patch.POINT] for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_patch_point_is_there(library, kind):
    """It is private: a version that lacks it must be noticed here first."""
    assert callable(getattr(library, kind)._transport_for_url)


def test_everything_is_as_it_was_after_uninstrument(library, instrument):
    before = points(library)

    for _ in range(3):
        instrument()
        assert patch.is_patched(library.__name__)
        byteplus_trace.uninstrument()
        assert before == points(library)
        assert not patch.is_patched(library.__name__)

    assert all(now is then for now, then in zip(points(library), before, strict=True))


def test_off_twice_and_on_twice_are_as_once(library, instrument, recorded):
    byteplus_trace.uninstrument()
    instrument()
    instrument()

    with library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, json=REPLY))
    ) as client:
        client.post(PUBLIC, json=CHAT)

    assert 1 == len(recorded.logical)
    byteplus_trace.uninstrument()
    byteplus_trace.uninstrument()


def test_a_client_of_any_age_is_seen_while_it_is_on(library, instrument, recorded):
    """Made before, during or after: what counts is when it calls."""
    inside = library.MockTransport(lambda _: library.Response(200, json=REPLY))
    old = library.Client(transport=inside)
    old.post(PUBLIC, json=CHAT)
    instrument()
    new = library.Client(transport=inside)
    for client in (old, new):
        client.post(PUBLIC, json=CHAT)
    assert 2 == len(recorded.logical)
    byteplus_trace.uninstrument()
    for client in (old, new):
        client.post(PUBLIC, json=CHAT)

    assert 2 == len(recorded.exporter.get_finished_spans()) // 2


def test_a_subclass_and_its_own_choice_of_transport_are_respected(library, instrument, recorded):
    met = []

    class Own(library.Client):
        def _transport_for_url(self, url):
            met.append(str(url))
            return super()._transport_for_url(url)

    instrument()

    with Own(transport=library.MockTransport(lambda _: library.Response(200, json=REPLY))) as client:
        client.post(PUBLIC, json=CHAT)

    assert [PUBLIC] == met[:1]
    assert 1 == len(recorded.logical)


def test_a_patch_of_somebody_else_on_top_stays(library, instrument, recorded, monkeypatch):
    """Ours cannot be taken off from under it, so it does nothing there."""
    instrument()
    ours = library.Client._transport_for_url
    met = []

    def theirs(self, url):
        met.append(url)
        return ours(self, url)

    monkeypatch.setattr(library.Client, "_transport_for_url", theirs)
    byteplus_trace.uninstrument()
    inside = library.MockTransport(lambda _: library.Response(200, json=REPLY))

    with library.Client(transport=inside) as client:
        assert client._transport_for_url(library.URL(PUBLIC)) is inside
        client.post(PUBLIC, json=CHAT)
        assert [] == recorded.exchanges
        instrument()
        client.post(PUBLIC, json=CHAT)

    assert len(met) >= 2
    assert 1 == len(recorded.exchanges)
    # Leave no wrapper of ours behind for the next test.
    byteplus_trace.uninstrument()
    monkeypatch.undo()
    library.Client._transport_for_url = getattr(ours, "__wrapped__", ours)


def test_a_library_without_the_patch_point_is_one_line_that_says_what_to_do(caplog):
    module = ModuleType("httpx")
    module.__version__ = "9.9"
    module.Client = type("Client", (), {})
    module.AsyncClient = type("AsyncClient", (), {})

    with caplog.at_level(logging.ERROR, "byteplus_trace"):
        patch._patch(module)

    (record,) = caplog.records
    for part in ("httpx 9.9", "transport=byteplus_trace.ModelArkTransport()"):
        assert part in record.getMessage()


def printed_by(source):
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"OTEL_TRACES_EXPORTER": "none"},
    )
    return done.stdout.strip()


IMPORTED = """
import sys, byteplus_trace
from prometheus_client import CollectorRegistry
recorded = []
def on():
    byteplus_trace.instrument(registry=CollectorRegistry(), on_exchange=recorded.append)
def off():
    pass
{order}
import {library} as library
with library.Client(transport=library.MockTransport(lambda _: library.Response(200, json={{"choices": []}}))) as client:
    client.post("https://ark.eu-west.bytepluses.com/api/v3/chat/completions", json={{"model": "m"}})
print(len(recorded))
"""


@pytest.mark.parametrize("order", ["on()", "import {library}; on()", "on(); import {library}; on()"])
def test_whichever_is_imported_first(library, order):
    name = library.__name__
    source = IMPORTED.format(order=order.format(library=name), library=name)

    assert "1" == printed_by(source)


def test_instrumenting_imports_no_library_that_is_not_used():
    source = """
import sys, byteplus_trace
from prometheus_client import CollectorRegistry
byteplus_trace.instrument(registry=CollectorRegistry())
print([name for name in ("httpx", "httpx2", "openai", "requests") if name in sys.modules])
"""
    assert "[]" == printed_by(source)


def test_the_series_go_on_counting_where_they_were(recorded, library):
    inside = library.MockTransport(lambda _: library.Response(200, json=REPLY))
    for expected in (1, 2):
        byteplus_trace.instrument(registry=recorded.registry, tracer_provider=recorded.provider)
        try:
            with library.Client(transport=inside) as client:
                client.post(PUBLIC, json=CHAT)
            assert expected == recorded.series("modelark_operations_total")
        finally:
            byteplus_trace.uninstrument()


def test_the_opentelemetry_instrumentor_is_the_same_thing(recorded, library):
    instrumentor = byteplus_trace.ModelArkInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.provider, registry=recorded.registry)
    try:
        assert patch.is_patched(library.__name__)
        with library.Client(
            transport=library.MockTransport(lambda _: library.Response(200, json=REPLY))
        ) as client:
            client.post(PUBLIC, json=CHAT)
        assert 1 == len(recorded.logical)
    finally:
        instrumentor.uninstrument()

    assert not patch.is_patched(library.__name__)


class OurError(Exception):
    """A fault of ours."""


@pytest.mark.parametrize(
    "place",
    ["byteplus_trace._edge.instrumentation.recognise", "byteplus_trace._edge.instrumentation.Observer"],
)
def test_a_fault_of_ours_costs_telemetry_and_never_the_call(
    library, instrument, recorded, monkeypatch, place, caplog
):
    from byteplus_trace._telemetry import guard

    def boom(*_args, **_kwargs):
        raise OurError

    instrument()
    guard.strict = False
    guard._last_logged.clear()
    module, _, name = place.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, boom)

    with library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, json=REPLY))
    ) as client:
        for _ in range(3):
            assert REPLY == client.post(PUBLIC, json=CHAT).json()

    assert 3 == recorded.series("modelark_telemetry_errors_total")
    (record,) = [record for record in caplog.records if record.name == "byteplus_trace"]
    assert "the call was not affected" in record.getMessage()


def test_a_sink_of_the_users_that_raises_costs_nothing_else(library, instrument, recorded):
    from byteplus_trace._telemetry import guard

    def sink(_exchange):
        raise OurError

    instrument(on_exchange=sink)
    guard.strict = False

    with library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, json=REPLY))
    ) as client:
        assert REPLY == client.post(PUBLIC, json=CHAT).json()

    assert 1 == len(recorded.logical)
    assert 1 == recorded.series("modelark_operations_total", outcome="ok")
    assert 1 == recorded.series("modelark_telemetry_errors_total", where="on_exchange")


@pytest.mark.parametrize("make", [byteplus_trace.client, byteplus_trace.async_client])
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "No API key: pass api_key=, or set ARK_API_KEY"),
        (" ", "No API key: pass api_key=, or set ARK_API_KEY"),
        ("Bearer k", "api_key begins with 'Bearer '. Write the key alone"),
        ("clé", "api_key holds a character that no header may carry"),
        ("a\nb", "api_key holds a character that no header may carry"),
        (b"k", "api_key must be a text, not <bytes>"),
    ],
)
def test_a_ready_client_refuses_what_is_no_key(monkeypatch, make, key, reason):
    monkeypatch.delenv("ARK_API_KEY", raising=False)

    with pytest.raises(SettingError, match=re.escape(reason)):
        make(api_key=key)


def test_a_ready_client_takes_a_key_without_the_end_of_its_line():
    with byteplus_trace.client(api_key="k\n") as client:
        assert "Bearer k" == client.headers["authorization"]


@pytest.mark.parametrize("make", [byteplus_trace.client, byteplus_trace.async_client])
def test_a_ready_client_says_where_a_transport_goes(make):
    with pytest.raises(
        SettingError, match=r"brings its own transport\. Write httpx\.\w+\(transport=\w+\(yours\)\)"
    ):
        make(api_key="k", transport=httpx.HTTPTransport())


def test_a_ready_client_needs_no_instrument(monkeypatch):
    """client(): base URL, key and transport in one."""
    monkeypatch.setenv("ARK_API_KEY", "from-the-environment")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setattr(Instrumentation, "_default", None)
    met = []

    def handler(request):
        met.append(request)
        return httpx.Response(200, json=REPLY)

    with byteplus_trace.client(region="eu-west-1") as client:
        client._transport.transport = httpx.MockTransport(handler)
        client.post("/chat/completions", json=CHAT)

    assert "https://ark.eu-west.bytepluses.com/api/v3/chat/completions" == str(met[0].url)
    assert "Bearer from-the-environment" == met[0].headers["authorization"]
    assert Instrumentation._active is None
