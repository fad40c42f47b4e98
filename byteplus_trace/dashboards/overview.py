"""ModelArk overview: is it used, does it work, how fast is it, what does it cost."""

from __future__ import annotations

from .._instruments import (
    ATTEMPTS,
    BUILD_INFO,
    COST,
    FIRST_CHUNK,
    IN_FLIGHT,
    OPERATION_DURATION,
    OPERATIONS,
    PER_CHUNK,
    SERVER_FALLBACKS,
    TELEMETRY_ERRORS,
    TOKENS,
    UNMEASURED,
    Instrument,
)
from .panels import NOW, WHOLE, Page, Panel, Query, Row, figure, lines, stacked
from .promql import Not, named, or_zero, ratio, share

FAILED = ("error", "deadline")
CANCELLED = ("cancelled", "abandoned")
SPENT = ("input", "output")
"""The token types that add up; the others are subsets of these."""

ENDINGS = (
    ("ok", "ok"),
    ("rescued_retry", "rescued by a retry"),
    ("rescued_fallback", "rescued by a fallback"),
    ("error", "failed"),
    ("deadline", "out of time"),
    (CANCELLED, "cancelled by the caller"),
)


def error_ratio(*by: str) -> str:
    return share(NOW.increase(OPERATIONS, *by, outcome=FAILED), NOW.increase(OPERATIONS, *by))


def percentiles(histogram: Instrument) -> tuple[Query, ...]:
    return tuple(
        Query(NOW.quantile(share, histogram), f"p{share * 100:g}", exemplars=True)
        for share in (0.5, 0.95, 0.99)
    )


def per_model(expression: str) -> str:
    """Calls such as fetching a response name no model."""
    return named(expression, "model", "no model")


def unmeasured(width: int) -> Panel:
    return lines(
        "Which calls have no tokens or no cost?",
        "Calls a second that did not fail and are in no figure of tokens (usage) or cost (price): the service reported "
        "no usage, as in a stream without `stream_options.include_usage`, or the price table does not have the model.",
        "reqps",
        Query(per_model(NOW.rate(UNMEASURED, "what", "model")), "{{what}}: {{model}}"),
        width=width,
    )


AT_A_GLANCE = Row(
    "At a glance",
    (
        figure(
            "Calls",
            "ModelArk calls that ended in the time shown.",
            "short",
            or_zero(WHOLE.increase(OPERATIONS)),
        ),
        figure(
            "Failed for the caller",
            "Share of calls whose caller saw an error or ran out of time. A call that a retry or a fallback rescued is "
            "not among them; a request that ModelArk refused as wrong is.",
            "percentunit",
            ratio(or_zero(WHOLE.increase(OPERATIONS, outcome=FAILED)), WHOLE.increase(OPERATIONS)),
            warn_above=(0.01, 0.05),
        ),
        figure(
            "95 of 100 calls end within",
            "From the request to the end of the reply, retries and fallbacks included.",
            "s",
            WHOLE.quantile(0.95, OPERATION_DURATION),
        ),
        figure(
            "95 of 100 streams begin within",
            "From the request to the first streamed event that carries output; reasoning counts as output.",
            "s",
            WHOLE.quantile(0.95, FIRST_CHUNK),
        ),
        figure("In flight now", "Calls begun and not yet ended.", "short", or_zero(NOW.gauge(IN_FLIGHT))),
        figure(
            "Estimated cost",
            "In the time shown, from the dated price table that comes with the library. Calls without a known price are "
            "not in it: *Which calls have no tokens or no cost?* counts them.",
            "currencyUSD",
            or_zero(WHOLE.increase(COST)),
        ),
    ),
)

TRAFFIC = Row(
    "Traffic: how much, and how does it end?",
    (
        stacked(
            "How do calls end?",
            "Calls a second, by what their caller saw. Blue and purple are calls that failed somewhere and were saved; one "
            "that was sent elsewhere at once, past a target in trouble, is ok: see *ModelArk resilience*.",
            "reqps",
            *(Query(or_zero(NOW.rate(OPERATIONS, outcome=outcome)), legend) for outcome, legend in ENDINGS),
            width=12,
        ),
        lines(
            "Which operations are called?",
            "Calls a second. `generate_content` makes images and videos; `other` are files, tokenization and the like.",
            "reqps",
            Query(NOW.rate(OPERATIONS, "operation"), "{{operation}}"),
            width=12,
        ),
        lines(
            "Which models are called?",
            "Calls a second, by the model as the caller wrote it: an `ep-...` is an endpoint of your own.",
            "reqps",
            Query(per_model(NOW.rate(OPERATIONS, "model")), "{{model}}"),
        ),
        lines(
            "Which regions answer?",
            "Calls a second, by the region that served, or the last one tried.",
            "reqps",
            Query(NOW.rate(OPERATIONS, "region"), "{{region}}"),
        ),
        lines(
            "How many calls are under way?",
            "A line that climbs while traffic does not means that replies take longer, or streams are never closed.",
            "short",
            Query(NOW.gauge(IN_FLIGHT, "operation"), "{{operation}}"),
        ),
    ),
)

ERRORS = Row(
    "Errors: what fails, and where?",
    (
        lines(
            "What share of each operation fails?",
            "Failed for the caller, out of all that ended. Nothing where nothing was called.",
            "percentunit",
            Query(error_ratio("operation"), "{{operation}}"),
            at_most=1,
        ),
        lines(
            "What share fails with each model?",
            "Failed for the caller, out of all that ended. One model alone points at its endpoint or its quota.",
            "percentunit",
            Query(per_model(error_ratio("model")), "{{model}}"),
            at_most=1,
        ),
        lines(
            "What share of the attempts fails in each region?",
            "Out of all that was sent there. The region that failed is charged, whichever answered the call in the end; "
            "so this can be high while callers notice nothing.",
            "percentunit",
            Query(
                share(
                    NOW.increase(ATTEMPTS, "region", result="error"),
                    NOW.increase(ATTEMPTS, "region"),
                ),
                "{{region}}",
            ),
            at_most=1,
        ),
        lines(
            "Which errors do callers see?",
            "Failed calls a second, by ModelArk's error code up to its first dot, else the HTTP status, else the "
            "exception.",
            "reqps",
            Query(NOW.rate(OPERATIONS, "error_type", outcome=FAILED), "{{error_type}}"),
            width=16,
        ),
        stacked(
            "How many failed calls are an SDK's repeats?",
            "Failed calls a second. An SDK that repeats a call twice makes three failures of one; the error budget "
            "counts the first alone.",
            "reqps",
            Query(or_zero(NOW.rate(OPERATIONS, outcome=FAILED, repeat=Not(("true",)))), "first"),
            Query(or_zero(NOW.rate(OPERATIONS, outcome=FAILED, repeat="true")), "repeats"),
        ),
    ),
)

LATENCY = Row(
    "Latency: how long do callers wait?",
    (
        lines(
            "How long do calls take?",
            "From the request to the end of the reply. The median, and what 5 and 1 of 100 calls exceed. Each dot is a "
            "call: click it, then *View trace*, to see it in Jaeger.",
            "s",
            *percentiles(OPERATION_DURATION),
            width=12,
        ),
        Panel(
            "Where do the calls' times lie?",
            "The darker a cell, the more calls took that long. Two bands are two kinds of call; a band that rises is a "
            "service that slows down. Dots are calls with a trace.",
            "heatmap",
            "s",
            (Query(NOW.buckets(OPERATION_DURATION), "{{le}}", exemplars=True),),
            12,
        ),
        lines(
            "How long do calls take with each operation?",
            "95 of 100 calls took less. Images and videos take longer than chats by nature.",
            "s",
            Query(NOW.quantile(0.95, OPERATION_DURATION, "operation"), "{{operation}}", exemplars=True),
        ),
        lines(
            "How long do calls take with each model?",
            "95 of 100 calls took less.",
            "s",
            Query(per_model(NOW.quantile(0.95, OPERATION_DURATION, "model")), "{{model}}", exemplars=True),
        ),
        lines(
            "How long do calls take in each region?",
            "95 of 100 calls took less. A gap between regions that grows is the far one's network, or its load.",
            "s",
            Query(NOW.quantile(0.95, OPERATION_DURATION, "region"), "{{region}}", exemplars=True),
        ),
    ),
)

STREAMS = Row(
    "Streams: when does the answer begin, and how fast is it?",
    (
        lines(
            "How long until the first chunk?",
            "Streamed calls only: to the first event that carries output, reasoning included. Dots lead to traces.",
            "s",
            *percentiles(FIRST_CHUNK),
        ),
        lines(
            "How long until the first chunk, by model?",
            "95 of 100 streams began sooner.",
            "s",
            Query(NOW.quantile(0.95, FIRST_CHUNK, "model"), "{{model}}", exemplars=True),
        ),
        lines(
            "How long between chunks?",
            "The mean gap inside each stream; 95 of 100 streams were smoother. Readers notice more than 0.1 s.",
            "s",
            Query(NOW.quantile(0.95, PER_CHUNK, "model"), "{{model}}"),
        ),
    ),
)

CONSUMPTION = Row(
    "Consumption: what is used, and what does it cost?",
    (
        lines(
            "How many tokens a second, of each type?",
            "As the service counts them. `cache_read`, `cache_write` and the `*_input` types are parts of `input`, "
            "`reasoning` is a part of `output`: do not add them up.",
            "short",
            Query(NOW.rate(TOKENS, "type"), "{{type}}"),
            width=6,
        ),
        unmeasured(6),
        lines(
            "What does an hour cost, by model?",
            "Estimated US dollars an hour at the present rate, from the library's dated price table.",
            "currencyUSD",
            Query(f"{NOW.rate(COST, 'model')} * 3600", "{{model}}"),
            width=6,
        ),
        lines(
            "What does an hour cost, by operation and region?",
            "Estimated US dollars an hour at the present rate, from the library's dated price table.",
            "currencyUSD",
            Query(f"{NOW.rate(COST, 'operation', 'region')} * 3600", "{{operation}} in {{region}}"),
            width=6,
        ),
    ),
)

OURSELVES = Row(
    "The telemetry itself",
    (
        lines(
            "Does the service answer with another model?",
            "Replies a second that ModelArk itself made with another model than asked for.",
            "reqps",
            Query(or_zero(NOW.rate(SERVER_FALLBACKS)), "answered by another model"),
        ),
        lines(
            "Has this library failed at anything?",
            "Faults of byteplus-trace a second, swallowed so that no call was affected. Anything but 0 is a bug to "
            "report, with the log lines of the logger `byteplus_trace`.",
            "ops",
            Query(or_zero(NOW.rate(TELEMETRY_ERRORS)), "swallowed faults"),
        ),
        Panel(
            "Which versions are at work?",
            "Of byteplus-trace and the libraries that it watches, and how many processes run them.",
            "table",
            "short",
            (Query(NOW.gauge(BUILD_INFO, *BUILD_INFO.labels, reduce="count"), "processes"),),
        ),
    ),
)

OVERVIEW = Page(
    "modelark-overview",
    "ModelArk overview",
    "Calls to BytePlus ModelArk: traffic, errors, latency, streams, tokens and cost, by operation, model and region.",
    (AT_A_GLANCE, TRAFFIC, ERRORS, LATENCY, STREAMS, CONSUMPTION, OURSELVES),
)
