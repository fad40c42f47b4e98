"""
Every Prometheus series, once: name, kind, labels, one sentence of help.

The sink in `prometheus.py` builds its collectors from this table, `points.py` names
its rows, the dashboards and rules are checked against it, and the metric reference
in the documentation is written from it. Adding a series is one row here and one line
in `points.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The buckets of the GenAI conventions (genai-metrics, 2026-11), continued for images and long
# reasoning: the Ark SDKs wait 600 s, the conventions stop at 81.92.
SECONDS = (.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    name: str
    kind: Literal["counter", "histogram", "gauge"]
    labels: tuple[str, ...]
    help: str
    metadata: bool = False
    """Allow-listed metadata keys become labels of this one."""
    exemplars: bool = False
    """Its observations lead to their span."""


OPERATIONS = Instrument(
    "modelark_operations_total", "counter", ("operation", "api", "model", "region", "outcome", "error_type"),
    "ModelArk calls, by how they ended for the caller.", metadata=True)  # fmt: skip
OPERATION_DURATION = Instrument(
    "modelark_operation_duration_seconds", "histogram", ("operation", "model", "region", "stream", "result"),
    "From the request to the end of the reply, retries and fallbacks included.", exemplars=True)  # fmt: skip
FIRST_CHUNK = Instrument(
    "modelark_time_to_first_chunk_seconds", "histogram", ("operation", "model", "region"),
    "From the request to the first streamed event that carries output.", exemplars=True)  # fmt: skip
PER_CHUNK = Instrument(
    "modelark_time_per_output_chunk_seconds", "histogram", ("operation", "model", "region"),
    "Mean gap between a stream's output chunks, one observation a stream.")  # fmt: skip
TOKENS = Instrument(
    "modelark_tokens_total", "counter", ("operation", "model", "region", "type"),
    "Tokens as the service counted them; cache_read, reasoning and *_input are subsets.", metadata=True)  # fmt: skip
IMAGES = Instrument(
    "modelark_images_total", "counter", ("model", "region", "status"),
    "Images generated, and images that failed inside a reply.")  # fmt: skip
VIDEO_TASKS = Instrument(
    "modelark_video_tasks_total", "counter", ("model", "region", "status"),
    "Generation tasks that ended, each counted once, when it is first seen to have ended.")  # fmt: skip
COST = Instrument(
    "modelark_cost_usd_total", "counter", ("operation", "model", "region"),
    "Estimated cost in US dollars, from the dated price table.", metadata=True)  # fmt: skip
IN_FLIGHT = Instrument(
    "modelark_operations_in_flight", "gauge", ("operation",),
    "Calls begun and not yet ended.")  # fmt: skip
ATTEMPTS = Instrument(
    "modelark_attempts_total", "counter", ("operation", "target", "region", "result", "reason"),
    "Sends to a target, retries and fallbacks each counted.")  # fmt: skip
ATTEMPT_DURATION = Instrument(
    "modelark_attempt_duration_seconds", "histogram", ("operation", "target", "region", "result"),
    "From one send to the end of what came of it.", exemplars=True)  # fmt: skip
FALLBACKS = Instrument(
    "modelark_fallbacks_total", "counter", ("operation", "from_target", "to_target", "reason", "result"),
    "Moves from one target to another, and whether the other one answered.")  # fmt: skip
RETRIES = Instrument(
    "modelark_retries_total", "counter", ("operation", "target", "reason"),
    "Repeats to the same target.")  # fmt: skip
SERVER_FALLBACKS = Instrument(
    "modelark_server_fallbacks_total", "counter", ("operation", "model"),
    "Replies that the service itself made with another model.")  # fmt: skip
SKIPPED = Instrument(
    "modelark_targets_skipped_total", "counter", ("target", "reason"),
    "Targets passed over without a send.")  # fmt: skip
BREAKER = Instrument(
    "modelark_breaker_state", "gauge", ("target", "operation"),
    "0 closed, 1 half-open, 2 open.")  # fmt: skip
STREAM_BREAKS = Instrument(
    "modelark_stream_breaks_total", "counter", ("operation", "target", "phase", "reason"),
    "Streams that failed, before or after their first output.")  # fmt: skip
DUPLICATES = Instrument(
    "modelark_possible_duplicates_total", "counter", ("operation", "target", "action"),
    "Second charges avoided (raised), risked (replayed), or likely made by the SDK above (sdk_resend).")  # fmt: skip
TELEMETRY_ERRORS = Instrument(
    "modelark_telemetry_errors_total", "counter", ("where",),
    "Faults of this library's own, swallowed so that no call was affected.")  # fmt: skip
BUILD_INFO = Instrument(
    "modelark_build_info", "gauge", ("version", "httpx", "httpx2", "opentelemetry"),
    "Always 1; the versions at work are the labels.")  # fmt: skip
START_TIME = Instrument(
    "modelark_start_time_seconds", "gauge", ("policy",),
    "When instrument() was called, in seconds since the epoch; the label sums up the policy.")  # fmt: skip

INSTRUMENTS = (
    OPERATIONS, OPERATION_DURATION, FIRST_CHUNK, PER_CHUNK, TOKENS, IMAGES, VIDEO_TASKS, COST, IN_FLIGHT, ATTEMPTS, ATTEMPT_DURATION,
    FALLBACKS, RETRIES, SERVER_FALLBACKS, SKIPPED, BREAKER, STREAM_BREAKS, DUPLICATES, TELEMETRY_ERRORS, BUILD_INFO, START_TIME,
)  # fmt: skip
