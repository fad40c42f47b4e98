"""
Every series, once: name, kind, labels, one sentence of help.

`prometheus_client`'s collectors and OpenTelemetry's instruments are both made from this
table, `points.py` names its rows, the dashboards and rules are checked against it, and the
metric reference in the documentation is written from it. Adding a series is one row here
and one line in `points.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# In seconds. Between 0.3 and 120 each bound is some 1.4 times the one before: no percentile there is further off than that.
# 10 and 60 are thresholds of alerts. The Ark SDKs wait for 600.
SECONDS = (
    .01, .02, .04, .08, .15,
    .3, .42, .6, .85, 1.2, 1.7, 2.4, 3.5, 5, 7, 10, 14, 20, 29, 42, 60, 85, 120,
    240, 420, 660,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    name: str
    """In Prometheus."""
    kind: Literal["counter", "histogram", "gauge"]
    labels: tuple[str, ...]
    help: str
    otlp: str
    """In OpenTelemetry: what Prometheus' and the Collector's translation make `name` of."""
    metadata: bool = False
    """Allow-listed metadata keys become labels of this one."""
    exemplars: bool = False
    """Its observations lead to their span."""

    @property
    def unit(self) -> str:
        """In OpenTelemetry. Empty where a unit would add a suffix to the name: `1` of a gauge adds `_ratio`."""
        return "s" if self.name.endswith("_seconds") else ""


OPERATIONS = Instrument(
    "modelark_operations_total", "counter", ("operation", "api", "model", "region", "outcome", "error_type", "repeat"),
    "ModelArk calls, by how they ended for the caller; repeat: an SDK sent the same call before.",
    "modelark.operations", metadata=True)  # fmt: skip
OPERATION_DURATION = Instrument(
    "modelark_operation_duration_seconds", "histogram", ("operation", "model", "region", "stream", "result", "repeat"),
    "From the request to the end of the reply, retries and fallbacks included.",
    "modelark.operation.duration", exemplars=True)  # fmt: skip
FIRST_CHUNK = Instrument(
    "modelark_time_to_first_chunk_seconds", "histogram", ("operation", "model", "region"),
    "From the request to the first streamed event that carries output.",
    "modelark.time_to_first_chunk", exemplars=True)  # fmt: skip
PER_CHUNK = Instrument(
    "modelark_time_per_output_chunk_seconds", "histogram", ("operation", "model", "region"),
    "Mean gap between a stream's output chunks, one observation a stream.",
    "modelark.time_per_output_chunk")  # fmt: skip
TOKENS = Instrument(
    "modelark_tokens_total", "counter", ("operation", "model", "region", "type"),
    "Tokens as the service counted them; cache_read, cache_write, reasoning and *_input are subsets.",
    "modelark.tokens", metadata=True)  # fmt: skip
IMAGES = Instrument(
    "modelark_images_total", "counter", ("model", "region", "status"),
    "Images generated, and images that failed inside a reply.",
    "modelark.images")  # fmt: skip
VIDEO_TASKS = Instrument(
    "modelark_video_tasks_total", "counter", ("model", "region", "status"),
    "Generation tasks that ended, each counted once, when it is first seen to have ended.",
    "modelark.video_tasks")  # fmt: skip
COST = Instrument(
    "modelark_cost_usd_total", "counter", ("operation", "model", "region"),
    "Estimated cost in US dollars, from the dated price table.",
    "modelark.cost_usd", metadata=True)  # fmt: skip
UNMEASURED = Instrument(
    "modelark_unmeasured_calls_total", "counter", ("what", "model", "operation"),
    "Calls that did not fail and whose tokens (usage) or cost (price) are not known, so that no series has them.",
    "modelark.unmeasured_calls", metadata=True)  # fmt: skip
IN_FLIGHT = Instrument(
    "modelark_operations_in_flight", "gauge", ("operation",),
    "Calls begun and not yet ended.",
    "modelark.operations.in_flight")  # fmt: skip
OLDEST = Instrument(
    "modelark_oldest_operation_start_seconds", "gauge", ("operation",),
    "When the oldest call under way began, in Unix time; +Inf where none is.",
    "modelark.oldest_operation.start")  # fmt: skip
RESCUES = Instrument(
    "modelark_rescues_total", "counter", ("operation", "region", "by"),
    "Calls answered although a region failed them, by that region: by retry, by fallback, or by breaker (elsewhere at once).",
    "modelark.rescues")  # fmt: skip
ATTEMPTS = Instrument(
    "modelark_attempts_total", "counter", ("operation", "model", "target", "region", "result", "reason"),
    "Sends to a target, retries and fallbacks each counted.",
    "modelark.attempts")  # fmt: skip
ATTEMPT_DURATION = Instrument(
    "modelark_attempt_duration_seconds", "histogram", ("operation", "target", "region", "result"),
    "From one send to the end of its reply.",
    "modelark.attempt.duration", exemplars=True)  # fmt: skip
FALLBACKS = Instrument(
    "modelark_fallbacks_total", "counter", ("operation", "model", "from_target", "to_target", "reason", "result"),
    "Moves from one target to another, and whether the other one answered.",
    "modelark.fallbacks")  # fmt: skip
RETRIES = Instrument(
    "modelark_retries_total", "counter", ("operation", "target", "reason"),
    "Repeats to the same target.",
    "modelark.retries")  # fmt: skip
SERVER_FALLBACKS = Instrument(
    "modelark_server_fallbacks_total", "counter", ("operation", "model"),
    "Replies that the service itself made with another model.",
    "modelark.server_fallbacks")  # fmt: skip
SKIPPED = Instrument(
    "modelark_targets_skipped_total", "counter", ("operation", "target", "reason"),
    "Targets passed over without a send.",
    "modelark.targets_skipped")  # fmt: skip
BREAKER = Instrument(
    "modelark_breaker_state", "gauge", ("target", "operation"),
    "0 closed, 1 half-open, 2 open.",
    "modelark.breaker.state")  # fmt: skip
BREAKER_OPENINGS = Instrument(
    "modelark_breaker_openings_total", "counter", ("target", "operation", "source"),
    "Openings of a breaker, by who saw the failures: this process (own) or another one (fleet).",
    "modelark.breaker.openings")  # fmt: skip
HEALTH_STORE_UP = Instrument(
    "modelark_health_store_up", "gauge", ("store",),
    "1 while health is shared through the store, 0 while this process goes on alone.",
    "modelark.health_store.up")  # fmt: skip
HEALTH_STORE_ERRORS = Instrument(
    "modelark_health_store_errors_total", "counter", ("store", "reason"),
    "Failures of the health store, and content in it that was not understood.",
    "modelark.health_store.errors")  # fmt: skip
STREAM_BREAKS = Instrument(
    "modelark_stream_breaks_total", "counter", ("operation", "target", "phase", "reason"),
    "Streams that failed, before or after their first output.",
    "modelark.stream_breaks")  # fmt: skip
DUPLICATES = Instrument(
    "modelark_possible_duplicates_total", "counter", ("operation", "target", "action"),
    "Second charges avoided (raised), risked (replayed), or likely made by the SDK above (sdk_resend).",
    "modelark.possible_duplicates")  # fmt: skip
UNKNOWN = Instrument(
    "modelark_unknown_total", "counter", ("what", "name"),
    "Error codes (error_code) and stream events (event) that this version does not know; the first 64 names.",
    "modelark.unknown")  # fmt: skip
TELEMETRY_ERRORS = Instrument(
    "modelark_telemetry_errors_total", "counter", ("where",),
    "Faults of this library's own, swallowed so that no call was affected.",
    "modelark.telemetry_errors")  # fmt: skip
START_TIME = Instrument(
    "modelark_process_start_time_seconds", "gauge", (),
    "When this process began to count, in Unix time: all that its counters show was counted since.",
    "modelark.process.start_time")  # fmt: skip
BUILD_INFO = Instrument(
    "modelark_build_info", "gauge", ("version", "httpx", "httpx2", "opentelemetry"),
    "Always 1; the versions at work are the labels.",
    "modelark.build_info")  # fmt: skip
INSTRUMENTED = Instrument(
    "modelark_instrumented_time_seconds", "gauge", ("policy",),
    "When instrument() was called, in Unix time; the label sums up the policy.",
    "modelark.instrumented.time")  # fmt: skip

INSTRUMENTS = (
    OPERATIONS, OPERATION_DURATION, FIRST_CHUNK, PER_CHUNK, TOKENS, IMAGES, VIDEO_TASKS, COST, UNMEASURED, IN_FLIGHT, OLDEST,
    RESCUES, ATTEMPTS, ATTEMPT_DURATION, FALLBACKS, RETRIES, SERVER_FALLBACKS, SKIPPED, BREAKER, BREAKER_OPENINGS,
    HEALTH_STORE_UP, HEALTH_STORE_ERRORS, STREAM_BREAKS, DUPLICATES, UNKNOWN, TELEMETRY_ERRORS, START_TIME, BUILD_INFO, INSTRUMENTED,
)  # fmt: skip
