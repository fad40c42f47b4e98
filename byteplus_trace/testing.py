"""
A ModelArk of your own: a fake service with two regions, for tests of code that calls ModelArk.

    from byteplus_trace.testing import ModelArk

    with ModelArk() as ark:
        ark.region("ap-southeast-1").fails(503, times=1)
        client = openai.OpenAI(base_url=ark.base_url("ap-southeast-1"), api_key="any")
        ...
        assert 2 == len(ark.region("ap-southeast-1").requests)

It is a real server on the loopback, so any client, SDK, sync or async code meets real
sockets: refused connections, resets, streams cut in the middle. Faults are met in
the order in which they were added. One with `times` is gone once used so often; one
without stays until `recovers()`. Tokens are counted so that a test can state them: one for each word and
each punctuation mark (`tokens`).

`capture()` instruments for the length of a `with` and keeps what was recorded:

    with ModelArk() as ark, capture(base_urls=ark.base_urls) as seen:
        ...
        assert ["ok"] == [exchange.outcome for exchange in seen.exchanges]

Importing this module loads neither pytest, nor httpx, nor OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._fake.region import FakeRegion
from ._fake.server import Loop
from ._fake.tokens import tokens
from ._fake.values import Received

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from ._facts import Exchange

__all__ = ("Captured", "FakeRegion", "ModelArk", "Received", "capture", "tokens")

REGIONS = ("ap-southeast-1", "eu-west-1")


class ModelArk:
    """
    A fake ModelArk with one port per region. A context manager; also `start()` and `stop()`.

    Args:
        regions: their names, in the order of `base_urls`.
        ports: the port of each region; free ones where None.
        keeps: how many requests the log of a region holds; None: all.
        compress: answer with gzip, deflate or br (where installed) to clients that accept it.
        vague: answer a path that the service does not have with an empty 200, as BytePlus does, and not with a 404.
    """

    def __init__(
        self,
        regions: Sequence[str] = REGIONS,
        *,
        ports: Sequence[int] | None = None,
        keeps: int | None = None,
        compress: bool = False,
        vague: bool = False,
    ) -> None:
        if isinstance(regions, str):
            raise TypeError(f"regions={regions!r}: write a list, such as [{regions!r}]")
        self._names = tuple(regions)
        self._ports = tuple(ports) if ports is not None else (0,) * len(self._names)
        if len(self._ports) != len(self._names):
            raise ValueError(f"{len(self._ports)} ports for {len(self._names)} regions: give one each")
        self._keeps = keeps
        self._compress = compress
        self._vague = vague
        self._regions: dict[str, FakeRegion] = {}
        self._loop: Loop | None = None

    def __enter__(self) -> ModelArk:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> ModelArk:
        """Listen. Starting what runs changes nothing."""
        if self._loop is None:
            self._loop = Loop()
            for name, port in zip(self._names, self._ports, strict=True):
                self._regions[name] = FakeRegion(
                    name, port, compress=self._compress, keeps=self._keeps, vague=self._vague
                )
                self._regions[name].start(self._loop)
        return self

    def stop(self) -> None:
        """End every connection, hanging ones too. The logs of requests stay readable."""
        loop, self._loop = self._loop, None
        if loop is not None:
            for region in self.regions:
                region.stop()
            loop.stop()

    def region(self, name: str) -> FakeRegion:
        """One region: script it, and read the requests that it received."""
        try:
            return self._regions[name]
        except KeyError:
            known = ", ".join(self._names)
            hint = "" if self._regions else " Start it first."
            raise LookupError(f"This ModelArk has no region {name!r} (it has: {known}).{hint}") from None

    @property
    def regions(self) -> tuple[FakeRegion, ...]:
        """All regions, in the order of the argument."""
        return tuple(self._regions.values())

    def base_url(self, name: str) -> str:
        """The base URL of a region, for any SDK's `base_url=`."""
        return self.region(name).base_url

    @property
    def base_urls(self) -> dict[str, str]:
        """Base URL to region, as `byteplus_trace.instrument(base_urls=...)` takes them."""
        return {region.base_url: region.name for region in self.regions}

    @property
    def requests(self) -> list[Received]:
        """The requests that all regions received, in the order of arrival."""
        return sorted((r for region in self.regions for r in region.requests), key=lambda r: r.at_ms)  # fmt: skip


class Captured:
    """What `capture()` recorded. Reading any of it flushes pending telemetry first."""

    def __init__(self, also: Callable[[Exchange], None] | None = None) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._exchanges: list[Exchange] = []
        self._also = also

    @property
    def exchanges(self) -> list[Exchange]:
        """The finished exchanges, oldest first."""
        self._flush()
        return list(self._exchanges)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The finished spans in the order in which they ended: attempts before their call."""
        self._flush()
        return list(self._exporter.get_finished_spans())

    def sample(self, name: str, **labels: str) -> float:
        """
        The value of a Prometheus series, such as `modelark_operations_total`, summed over the labels not named.

        0.0 where there is none.
        """
        self._flush()
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _take(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        if self._also is not None:
            self._also(exchange)

    def _flush(self) -> None:
        import byteplus_trace

        byteplus_trace.flush()


@contextmanager
def capture(**settings: Any) -> Iterator[Captured]:
    """
    Instrument while the `with` lasts, and keep exchanges, spans and series in memory.

    Args:
        settings: as of `byteplus_trace.instrument()`, such as `base_urls=ark.base_urls` or `policy=`.

    Raises:
        RuntimeError: the process is instrumented already, with other destinations.
        SettingError: a setting cannot be followed.
    """
    import byteplus_trace

    from ._edge.instrumentation import Instrumentation

    if Instrumentation._active is not None:
        raise RuntimeError(
            "byteplus_trace is instrumented already, so capture() would see nothing: call uninstrument() first."
        )
    also = settings.pop("on_exchange", None)
    seen = Captured(also)
    ours = {"tracer_provider": seen.tracer_provider, "registry": seen.registry, "on_exchange": seen._take}  # fmt: skip
    byteplus_trace.instrument(**{**ours, **settings})
    try:
        yield seen
    finally:
        byteplus_trace.flush()
        byteplus_trace.uninstrument()
        seen.tracer_provider.shutdown()
