"""
The GenAI conventions' metrics, on an OpenTelemetry meter.

Only the names of the conventions as they are now (semantic-conventions-genai, 2026-11):
`gen_ai.client.token.usage` and, for inference, `gen_ai.client.operation.duration` are gone
from there, and whoever records both is counted twice. Calls that make no GenAI claim,
operation `other`, are not recorded.

The conventions' `time_per_output_chunk` is one observation a gap, which costs a fifth of what
reading a chunk does: it is not recorded. The mean of a stream is a series of our own.

An SDK's record costs some 13 us. Durations are worth it; token counts are kept here as
sums that observable counters read when they are collected, and token histograms are only
recorded when asked for. Without a provider there is nothing to pay, and one that is set later
is found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from weakref import finalize

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .._facts import Exchange, Operation, Usage
from .._forks import ForkSafeLock, remake_after_fork
from .._instruments import SECONDS
from .bounds import LONGEST, Bound
from .points import RESULTS
from .provider import Meters, meter_of
from .semconv import (
    CLOUD_REGION,
    ERROR_TYPE,
    OPERATION_NAME,
    PROVIDER_NAME,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context

TOKEN_MODALITY: Final = "gen_ai.token.modality"

INFERENCE: Final = "gen_ai.client.inference."
DURATIONS: Final[dict[Operation, str]] = {
    "chat": INFERENCE + "duration",
    "generate_content": INFERENCE + "duration",
    "embeddings": "gen_ai.client.embeddings.duration",
    "fetch_response": "gen_ai.client.operation.duration",
}
FIRST_CHUNK: Final = INFERENCE + "time_to_first_chunk"

# Of embeddings the conventions have no token counter, only a histogram, which is therefore always recorded.
COUNTED: Final = {"chat", "generate_content"}
INPUT: Final = INFERENCE + "usage.input_tokens"
OUTPUT: Final = INFERENCE + "usage.output_tokens"
CACHE_READ: Final = INFERENCE + "usage.cache_read.input_tokens"
CACHE_WRITE: Final = INFERENCE + "usage.cache_write.input_tokens"
REASONING: Final = INFERENCE + "usage.reasoning.output_tokens"

INPUT_OF_ONE: Final = INFERENCE + "operation.input_tokens"
OUTPUT_OF_ONE: Final = INFERENCE + "operation.output_tokens"
EMBEDDED: Final = "gen_ai.client.embeddings.operation.input_tokens"

_OF_INFERENCE: Final[Sequence[tuple[str, Callable[[Usage], int | None]]]] = (
    (INPUT_OF_ONE, lambda usage: usage.input_tokens),
    (OUTPUT_OF_ONE, lambda usage: usage.output_tokens),
)
TOKENS_OF_ONE: Final[Mapping[Operation, Sequence[tuple[str, Callable[[Usage], int | None]]]]] = {
    "chat": _OF_INFERENCE,
    "generate_content": _OF_INFERENCE,
    "embeddings": ((EMBEDDED, lambda usage: usage.input_tokens),),
}

HISTOGRAMS: Final = {
    INFERENCE + "duration": "From the request to the end of the reply, retries and fallbacks included.",
    "gen_ai.client.embeddings.duration": "From the request to the end of the reply.",
    "gen_ai.client.operation.duration": "From the request to the end of the reply.",
    FIRST_CHUNK: "From the request to the first streamed event that carries output.",
}
TOKEN_HISTOGRAMS: Final = {
    INPUT_OF_ONE: "Input tokens of one operation.",
    OUTPUT_OF_ONE: "Output tokens of one operation.",
    EMBEDDED: "Input tokens of one embeddings operation.",
}
COUNTERS: Final = {
    INPUT: "Input tokens, cache reads included.",
    OUTPUT: "Output tokens, reasoning included.",
    CACHE_READ: "Input tokens that were read from a cache.",
    CACHE_WRITE: "Input tokens that were written to a cache.",
    REASONING: "Output tokens that were reasoning.",
}

TOKENS: Final = tuple(4**power for power in range(14))

ERROR_TYPES: Final = 64
"""How many values `error.type` may take, as in Prometheus."""

Value = str | int
Attributes = dict[str, Value]


class MeterSink:
    """
    Where exchanges become OpenTelemetry metrics.

    Args:
        meters: whose instruments to use; None: the global provider's, whenever it is set.
        token_histograms: record the token counts of each operation too, for percentiles.
        max_models: how many values the attributes for models may take.
    """

    def __init__(
        self,
        meters: Meters | None = None,
        *,
        token_histograms: bool = False,
        max_models: int = 100,
    ) -> None:
        self._meters = meters or Meters()
        self._token_histograms = token_histograms
        self._models = Bound(max_models)
        self._errors = Bound(ERROR_TYPES)
        self._resolved: tuple[metrics.MeterProvider | None, _Instruments | None] = None, None
        self._kind = lru_cache(maxsize=1024)(_Kind)

    def record(self, exchange: Exchange, context: Context | None = None) -> None:
        """Record one exchange; `context` holds its span, so that exemplars lead to it."""
        provider = self._meters.provider
        known, instruments = self._resolved
        if provider is not known:
            instruments = None if provider is None else _instruments_of(provider)
            self._resolved = provider, instruments
        operation = exchange.call.operation
        if instruments is None or operation not in DURATIONS:
            return
        call = exchange.call
        kind = self._kind(
            instruments,
            self._models,
            operation,
            call.provider,
            exchange.host or call.host,
            exchange.port or call.port,
            exchange.region or call.region,
            call.model and call.model[:LONGEST],
            exchange.answer.model,
        )
        who, failure = kind.attributes, self._failure(exchange)
        instruments.record(
            DURATIONS[operation], exchange.duration_seconds, who | failure if failure else who, context
        )
        if operation in COUNTED:
            if call.stream:
                instruments.record(FIRST_CHUNK, exchange.first_chunk_seconds, who, context)
            kind.add(token_counts(exchange))
        if self._token_histograms or operation == "embeddings":
            for histogram, amount in tokens_of_one(exchange):
                instruments.record(histogram, amount, who, context)

    def _failure(self, exchange: Exchange) -> Attributes:
        if exchange.error_type:
            return {ERROR_TYPE: self._errors(exchange.error_type)}
        return {ERROR_TYPE: "_OTHER"} if RESULTS[exchange.outcome] == "error" else {}


class _Kind:
    """
    Calls with the same attributes, and the sums of their tokens.

    An application makes few kinds of call: to keep them saves 1.1% of a call of the SDK's.
    """

    __slots__ = ("_instruments", "_sums", "attributes")

    def __init__(
        self,
        instruments: _Instruments,
        models: Bound,
        operation: str,
        provider: str,
        host: str,
        port: int,
        region: str,
        model: str | None,
        response_model: str | None,
    ) -> None:
        self._instruments = instruments
        self._sums: dict[tuple[str, str], _Sum] = {}
        self.attributes: Attributes = {
            OPERATION_NAME: operation,
            PROVIDER_NAME: provider,
            SERVER_ADDRESS: host,
            SERVER_PORT: port,
            CLOUD_REGION: region,
        }
        if model:
            self.attributes[REQUEST_MODEL] = models(model)
        if response_model:
            self.attributes[RESPONSE_MODEL] = models(response_model)

    def add(self, counts: Sequence[tuple[str, str, int]]) -> None:
        """Add tokens, each with its counter and its modality."""
        sums = self._sums
        with self._instruments.lock:
            for counter, modality, tokens in counts:
                found = sums.get((counter, modality))
                if found is None:
                    attributes = self.attributes | {TOKEN_MODALITY: modality}
                    found = sums[counter, modality] = self._instruments.sum_of(counter, attributes)
                found.tokens += tokens


def token_counts(exchange: Exchange) -> Sequence[tuple[str, str, int]]:
    """
    Counter, modality and tokens, for an operation that is inference.

    Input is split by modality as far as the service did; an operation without usage counts
    a 0, as the conventions ask. What ModelArk counts of an image's area is not in `Usage`.
    """
    usage = exchange.answer.usage or Usage()
    counts: list[tuple[str, str, int]] = []
    unsplit = usage.input_tokens or 0
    for modality, tokens in (
        ("text", usage.text_input_tokens),
        ("image", usage.image_input_tokens),
        ("audio", usage.audio_input_tokens),
    ):
        if tokens:
            counts.append((INPUT, modality, tokens))
            unsplit -= tokens
    if unsplit > 0 or not usage.input_tokens:
        counts.append((INPUT, "unknown", max(unsplit, 0)))

    written = "text" if exchange.call.operation == "chat" and usage.output_tokens else "unknown"
    counts.append((OUTPUT, written, usage.output_tokens or 0))
    if usage.cache_read_tokens:
        counts.append((CACHE_READ, "unknown", usage.cache_read_tokens))
    if usage.cache_write_tokens:
        counts.append((CACHE_WRITE, "unknown", usage.cache_write_tokens))
    if usage.reasoning_tokens:
        counts.append((REASONING, "text", usage.reasoning_tokens))
    return counts


def tokens_of_one(exchange: Exchange) -> Iterator[tuple[str, int]]:
    """What the token histograms observe: nothing of a call that failed or was counted elsewhere."""
    usage = exchange.answer.usage
    if usage is None or RESULTS[exchange.outcome] == "error":
        return
    for histogram, count in TOKENS_OF_ONE.get(exchange.call.operation, ()):
        tokens = count(usage)
        if tokens is not None:
            yield histogram, tokens


class _Sum:
    """The tokens of one counter that have these attributes."""

    __slots__ = ("attributes", "tokens")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.tokens = 0


class _Instruments:
    """The instruments of one provider, and the sums behind its observable counters."""

    __slots__ = ("__weakref__", "_histograms", "_sums", "lock")

    def __init__(self, provider: metrics.MeterProvider) -> None:
        meter = meter_of(provider)
        self.lock = threading.Lock()
        """Whoever touches a sum holds it."""
        remake_after_fork(self)
        self._sums: dict[str, dict[tuple[tuple[str, Value], ...], _Sum]] = {name: {} for name in COUNTERS}
        self._histograms = {
            name: meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets)
            for table, unit, buckets in ((HISTOGRAMS, "s", SECONDS), (TOKEN_HISTOGRAMS, "{token}", TOKENS))
            for name, text in table.items()
        }
        for name, text in COUNTERS.items():
            meter.create_observable_counter(name, [self._reader(name)], "{token}", text)

    def after_fork(self) -> None:
        self.lock = threading.Lock()

    def record(
        self, name: str, amount: float | None, attributes: Attributes, context: Context | None
    ) -> None:
        """Observe what is known."""
        if amount is not None:
            self._histograms[name].record(amount, attributes, context)

    def sum_of(self, name: str, attributes: Attributes) -> _Sum:
        """The sum of a counter with these attributes, made if there is none."""
        return self._sums[name].setdefault(tuple(attributes.items()), _Sum(attributes))

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            with self.lock:
                return [Observation(each.tokens, each.attributes) for each in self._sums[name].values()]

        return read


# An SDK drops the callbacks of an instrument that it has already, so a provider keeps its sums
# over `uninstrument()` and `instrument()`. By its identity: logfire's has no hash.
_by_provider: dict[int, _Instruments] = {}
_by_provider_lock = ForkSafeLock()


def _instruments_of(provider: metrics.MeterProvider) -> _Instruments:
    with _by_provider_lock:
        instruments = _by_provider.get(id(provider))
        if instruments is None:
            instruments = _by_provider[id(provider)] = _Instruments(provider)
            finalize(provider, _by_provider.pop, id(provider), None).atexit = False
        return instruments
