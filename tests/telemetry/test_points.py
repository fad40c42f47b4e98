"""Which series an exchange moves, and by how much."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

import byteplus_trace
from byteplus_trace._facts import Images, Skip, Usage
from byteplus_trace._instruments import (
    BREAKER,
    DUPLICATES,
    FALLBACKS,
    INSTRUMENTS,
    RESCUES,
    RETRIES,
    SECONDS,
    SKIPPED,
)
from byteplus_trace._telemetry.bounds import Bound
from byteplus_trace._telemetry.guard import PLACES
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.zero_series import Targets, at_start, of_call

MODEL, REGION = "seed-2-0-lite-260228", "ap-southeast-1"


def moved(exchange, *names):
    """Points without the common beginning of their names, of the series asked for."""
    found = [
        (row.name.removeprefix("modelark_"), *labels, amount) for row, labels, amount in points(exchange)
    ]
    return [point for point in found if not names or point[0] in names]


def test_a_plain_chat_moves_seven_series(exchange):
    call = exchange(seconds=0.7, usage=Usage(input_tokens=7, output_tokens=2), cost_usd="0.5")

    assert moved(call) == [
        ("operations_total", "chat", "chat_completions", MODEL, REGION, "ok", "", "false", 1),
        ("operation_duration_seconds", "chat", MODEL, REGION, "false", "ok", "false", 0.7),
        ("tokens_total", "chat", MODEL, REGION, "input", 7),
        ("tokens_total", "chat", MODEL, REGION, "output", 2),
        ("cost_usd_total", "chat", MODEL, REGION, 0.5),
        ("attempts_total", "chat", MODEL, REGION, REGION, "ok", "none", 1),
        ("attempt_duration_seconds", "chat", REGION, REGION, "ok", 1.0),
    ]


def test_a_stream_records_its_first_chunk_and_its_mean_gap(exchange):
    call = exchange(stream=True, first_chunk_seconds=0.5, last_chunk_seconds=2.5, chunks=5)

    assert moved(call, "time_to_first_chunk_seconds", "time_per_output_chunk_seconds") == [
        ("time_to_first_chunk_seconds", "chat", MODEL, REGION, 0.5),
        ("time_per_output_chunk_seconds", "chat", MODEL, REGION, 0.5),
    ]


def test_a_single_chunk_has_no_gap(exchange):
    call = exchange(stream=True, first_chunk_seconds=0.5, last_chunk_seconds=0.5, chunks=1)

    assert moved(call, "time_per_output_chunk_seconds") == []


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ("ok", "ok"),
        ("rescued_retry", "ok"),
        ("rescued_fallback", "ok"),
        ("error", "error"),
        ("deadline", "error"),
        ("cancelled", "cancelled"),
        ("abandoned", "cancelled"),
    ],
)
def test_every_outcome_has_its_result(exchange, outcome, result):
    assert moved(exchange(outcome=outcome), "operation_duration_seconds")[0][-3] == result


def test_tokens_are_counted_by_type_and_only_where_known(exchange):
    usage = Usage(
        input_tokens=100, output_tokens=0, cache_read_tokens=80, reasoning_tokens=None, image_input_tokens=60
    )

    assert [point[-2:] for point in moved(exchange(usage=usage), "tokens_total")] == [
        ("input", 100),
        ("cache_read", 80),
        ("image_input", 60),
    ]


def test_a_fetched_response_counts_no_tokens_again(exchange):
    call = exchange("fetch_response", usage=Usage(input_tokens=7, output_tokens=2))

    assert moved(call, "tokens_total") == []


def test_the_area_of_an_image_is_no_token(exchange):
    call = exchange(
        "generate_content", images=Images(generated=3, failed=1, output_tokens=16_384), cost_usd="0.09"
    )

    assert moved(call, "tokens_total", "images_total", "cost_usd_total") == [
        ("images_total", MODEL, REGION, "generated", 3),
        ("images_total", MODEL, REGION, "failed", 1),
        ("cost_usd_total", "generate_content", MODEL, REGION, 0.09),
    ]


def test_a_call_without_attempts_counts_at_the_region_addressed(exchange):
    """As when every target was passed over, or the caller stopped before the first send."""
    call = exchange(attempts=(), outcome="cancelled", model=None)

    assert moved(call) == [
        ("operations_total", "chat", "chat_completions", "", REGION, "cancelled", "", "false", 1),
        ("operation_duration_seconds", "chat", "", REGION, "false", "cancelled", "false", 1.0),
        ("unmeasured_calls_total", "usage", "", "chat", 1),
        ("unmeasured_calls_total", "price", "", "chat", 1),
    ]


def test_a_rescue_counts_where_from_where_to_and_why(exchange, attempt):
    call = exchange(
        outcome="rescued_fallback",
        attempts=[
            attempt("sg", result="error", reason="rate_limit", status=429),
            attempt("sg", cause="retry", result="error", reason="overloaded", status=429),
            attempt("eu", region="eu-west-1", cause="fallback"),
        ],
        skipped=[Skip("eu-mini", "breaker_open")],
    )

    assert moved(call, "retries_total", "fallbacks_total", "targets_skipped_total") == [
        ("retries_total", "chat", "sg", "rate_limit", 1),
        ("fallbacks_total", "chat", MODEL, "sg", "eu", "overloaded", "ok", 1),
        ("targets_skipped_total", "chat", "eu-mini", "breaker_open", 1),
    ]
    assert [point[1:] for point in moved(call, "attempts_total")] == [
        ("chat", MODEL, "sg", REGION, "error", "rate_limit", 1),
        ("chat", MODEL, "sg", REGION, "error", "overloaded", 1),
        ("chat", MODEL, "eu", "eu-west-1", "ok", "none", 1),
    ]


def test_a_probe_that_another_target_failed_into_is_a_fallback(exchange, attempt):
    call = exchange(
        outcome="error",
        attempts=[
            attempt("sg", result="error", reason="connect", status=None),
            attempt("eu", cause="probe", result="error", reason="timeout", status=None),
        ],
    )

    assert moved(call, "fallbacks_total") == [
        ("fallbacks_total", "chat", MODEL, "sg", "eu", "connect", "error", 1)
    ]


@pytest.mark.parametrize(("chunks", "phase"), [(0, "before_output"), (4, "after_output")])
def test_a_broken_stream_records_whether_output_had_begun(exchange, attempt, chunks, phase):
    cut = attempt("sg", result="error", reason="cut")
    call = exchange(stream=True, outcome="error", attempts=[cut], chunks=chunks)

    assert moved(call, "stream_breaks_total") == [("stream_breaks_total", "chat", "sg", phase, "cut", 1)]


def test_a_stream_abandoned_for_another_target_broke_before_output(exchange, attempt):
    call = exchange(
        stream=True,
        outcome="rescued_fallback",
        attempts=[attempt("sg", result="error", reason="overloaded"), attempt("eu", cause="fallback")],
        chunks=9,
    )

    assert moved(call, "stream_breaks_total") == [
        ("stream_breaks_total", "chat", "sg", "before_output", "overloaded", 1)
    ]


@pytest.mark.parametrize("status", [None, 429, 500])
def test_a_stream_that_never_began_did_not_break(exchange, attempt, status):
    refused = attempt("sg", result="error", reason="timeout", status=status)

    assert moved(exchange(stream=True, outcome="error", attempts=[refused]), "stream_breaks_total") == []


def test_a_document_that_fails_is_no_broken_stream(exchange, attempt):
    empty = attempt("sg", result="error", reason="empty")

    assert moved(exchange(outcome="error", attempts=[empty]), "stream_breaks_total") == []


def test_the_services_own_fallback_and_a_possible_duplicate_are_counted(exchange):
    call = exchange(server_fallback="seed-2-0-pro", duplicate="replayed")

    assert moved(call, "server_fallbacks_total", "possible_duplicates_total") == [
        ("server_fallbacks_total", "chat", MODEL, 1),
        ("possible_duplicates_total", "chat", REGION, "replayed", 1),
    ]


def test_every_point_has_as_many_values_as_its_series_has_labels(exchange, attempt):
    call = exchange(
        stream=True,
        outcome="error",
        attempts=[
            attempt("sg", result="error", reason="cut"),
            attempt("eu", cause="fallback", result="error"),
        ],
        usage=Usage(1, 1),
        images=Images(1, 1),
        first_chunk_seconds=0.1,
        last_chunk_seconds=0.2,
        chunks=2,
        server_fallback="m",
        duplicate="raised",
        task_ended="failed",
        unknown=(("event", "x"),),
        skipped=[Skip("x", "zone")],
        cost_usd="1",
    )
    found = points(call)

    assert all(len(labels) == len(row.labels) for row, labels, _ in found)
    assert {row.name for row, _, _ in found} == {row.name for row in INSTRUMENTS} - {
        "modelark_retries_total",  # this call had none
        "modelark_rescues_total",  # it failed
        "modelark_unmeasured_calls_total",
        "modelark_operations_in_flight",
        "modelark_oldest_operation_start_seconds",
        "modelark_breaker_state",
        "modelark_breaker_openings_total",
        "modelark_health_store_up",
        "modelark_health_store_errors_total",
        "modelark_telemetry_errors_total",
        "modelark_process_start_time_seconds",
        "modelark_build_info",
        "modelark_instrumented_time_seconds",
    }


@pytest.mark.parametrize(
    ("call", "repeat"),
    [({"sdk_retry": 2}, "true"), ({"duplicate": "sdk_resend"}, "true"), ({"duplicate": "replayed"}, "false")],
    ids=["marked", "unmarked", "no repeat of the SDK's"],
)
def test_a_call_that_an_sdk_repeats_is_marked(exchange, call, repeat):
    points_of = moved(exchange(**call), "operations_total", "operation_duration_seconds")

    assert [point[-2] for point in points_of] == [repeat, repeat]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ({"usage": Usage(7, 2), "cost_usd": "0"}, []),
        ({"usage": Usage(7, 2)}, ["price"]),
        ({"stream": True}, ["usage", "price"]),
        ({"outcome": "cancelled"}, ["usage", "price"]),
        ({"outcome": "error"}, []),
        ({"operation": "embeddings"}, ["usage", "price"]),
        ({"operation": "generate_content", "images": Images(1, 0), "cost_usd": "0.03"}, []),
        ({"operation": "generate_content", "images": Images(1, 0)}, ["price"]),
        ({"operation": "generate_content", "api": "video_task_create"}, []),
        ({"operation": "other", "task_ended": "succeeded", "usage": Usage(None, 9)}, ["price"]),
        ({"operation": "other", "task_ended": "failed"}, []),
        ({"operation": "other"}, []),
        ({"operation": "fetch_response"}, []),
    ],
    ids=str,
)
def test_what_is_charged_and_not_known_is_counted(exchange, call, what):
    assert [point[1] for point in moved(exchange(**call), "unmeasured_calls_total")] == what


@pytest.mark.parametrize(
    ("outcome", "skipped", "rescue"),
    [
        ("ok", [], []),
        ("ok", [Skip("eu", "breaker_open", "eu-west-1")], [("eu-west-1", "breaker")]),
        ("ok", [Skip("x", "zone", REGION), Skip("eu", "cooldown", "eu-west-1")], [("eu-west-1", "breaker")]),
        ("ok", [Skip("eu", "model", "eu-west-1")], []),
        ("rescued_fallback", [Skip("eu", "breaker_open", "eu-west-1")], [(REGION, "fallback")]),
        ("rescued_retry", [], [(REGION, "retry")]),
        ("error", [Skip("eu", "breaker_open", "eu-west-1")], []),
    ],
)
def test_a_rescue_counts_once_at_the_region_that_failed_the_call(exchange, attempt, outcome, skipped, rescue):
    attempts = [attempt("sg", result="error", reason="timeout"), attempt("eu", region="eu-west-1")]
    call = exchange(outcome=outcome, skipped=skipped, attempts=attempts if outcome != "ok" else attempts[1:])

    assert [point[2:4] for point in moved(call, "rescues_total")] == rescue


TARGETS = Targets((("sg", "ap-southeast-1"), ("eu", "eu-west-1")))
NO_POLICY = Targets(())


@pytest.mark.parametrize("targets", [NO_POLICY, TARGETS], ids=["no policy", "policy"])
@pytest.mark.parametrize("operation", ["chat", "embeddings", "generate_content", "fetch_response", "other"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_start_names_each_series_once_and_all_its_labels(exchange, operation, targets, stream):
    started = [*at_start(targets), *of_call(exchange(operation, stream=stream).call, targets)]

    assert all(len(labels) == len(row.labels) for row, labels in started)
    assert len(started) == len(set(started))


def test_what_a_call_can_move_stood_at_zero_before(exchange, attempt):
    """Whichever region serves: but histograms, for whose many lines the region that serves is waited for."""
    call = exchange(
        stream=True,
        outcome="rescued_fallback",
        attempts=[
            attempt("sg", result="error", reason="cut"),
            attempt("eu", region="eu-west-1", cause="fallback"),
        ],
        usage=Usage(1, 1, 1, 1),
        server_fallback="m",
        duplicate="raised",
        skipped=[Skip("sg", "breaker_open", REGION)],
    )
    started = set(of_call(call.call, TARGETS))
    unstarted = {row.name for row, labels, _ in points(call) if (row, labels) not in started}

    assert call.region == "eu-west-1"
    assert unstarted == {"modelark_operation_duration_seconds"}


def test_an_image_and_a_video_start_what_they_can_cost(exchange):
    def consumption(api):
        call = exchange("generate_content", api=api).call
        found = {(row.name, *labels) for row, labels in of_call(call, NO_POLICY)}
        return {each for each in found if "cost" in each[0] or "images" in each[0] or "video" in each[0]}

    assert consumption("images") == {
        ("modelark_cost_usd_total", "generate_content", MODEL, REGION),
        ("modelark_images_total", MODEL, REGION, "generated"),
        ("modelark_images_total", MODEL, REGION, "failed"),
    }
    assert consumption("video_task_create") == {
        ("modelark_cost_usd_total", "other", MODEL, REGION),
        *(
            ("modelark_video_tasks_total", MODEL, REGION, status)
            for status in ("succeeded", "failed", "expired", "cancelled")
        ),
    }


def test_what_needs_a_policy_does_not_start_without_one(exchange):
    started = {row for row, _ in [*at_start(NO_POLICY), *of_call(exchange().call, NO_POLICY)]}

    assert not started & {RETRIES, SKIPPED, FALLBACKS, RESCUES, DUPLICATES, BREAKER}


def test_the_moves_that_start_grow_with_the_targets_and_not_with_their_square(exchange):
    def moves(count):
        targets = Targets([(f"t{n}", "eu-west-1") for n in range(count)])
        return {labels[2:4] for row, labels in of_call(exchange().call, targets) if row is FALLBACKS}

    assert len(moves(4)) == 12
    assert len(moves(12)) == 11


def test_every_place_where_a_fault_can_be_met_is_counted_from_zero():
    """A place that is not in `PLACES` is named here."""
    found = set()
    for path in Path(byteplus_trace.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                if name in {"fault", "guard", "telemetry_error"}:
                    found.add(node.args[0].value)

    # `redact` is raised as an error of its own, and counted as that.
    assert found == set(PLACES) - {"redact"}, "PLACES in _telemetry/guard.py has to name each place"


def test_buckets_are_close_where_calls_take_their_time():
    """And each threshold of an alert is one, so that nothing is guessed on its two sides."""
    close = [bound for bound in SECONDS if 0.3 <= bound <= 120]

    assert close[0] == 0.3
    assert close[-1] == 120
    assert all(later / earlier < 1.47 for earlier, later in pairwise(close))
    assert {10, 60} <= set(SECONDS)


@pytest.mark.parametrize("row", INSTRUMENTS, ids=lambda row: row.name)
def test_the_opentelemetry_name_translates_into_the_prometheus_name(row):
    """As Prometheus and the Collector do it: dots become underscores, then the unit, then `_total`."""
    translated = row.otlp.replace(".", "_")
    if row.unit:
        translated += {"s": "_seconds"}[row.unit]
    if row.kind == "counter":
        translated += "_total"

    assert translated == row.name


def test_a_label_takes_so_many_values_and_then_other():
    bound = Bound(2)

    assert [bound(value) for value in ("a", "b", "c", "a", "", "other")] == [
        "a",
        "b",
        "other",
        "a",
        "",
        "other",
    ]


def test_a_value_that_cannot_be_encoded_is_admitted_without_what_spoils_it():
    assert Bound(2)("caf\udce9") == "caf?"
