"""
docs/reference.md: every name that users meet, written from the code that makes them.

    python scripts/reference.py             write it anew
    python scripts/reference.py --check     write nothing; exit 1 where it would change

Series, APIs, settings and closed sets are read from the code. What an attribute means
is said here, in `ATTRIBUTES`; a test holds that it names exactly those that the code sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import byteplus_trace
from byteplus_trace import _config, _facts, _prices
from byteplus_trace._apis import APIS, OTHER
from byteplus_trace._instruments import INSTRUMENTS, SECONDS
from byteplus_trace._policy.replay import KINDS
from byteplus_trace._regions import REGIONS
from byteplus_trace._telemetry import collectors, meter
from byteplus_trace._telemetry.points import TOKEN_TYPES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"

When = Literal["start", "end", "attempt", "content"]


class Attribute(NamedTuple):
    name: str
    type: str
    when: When
    meaning: str


OWN = "byteplus.modelark."

ATTRIBUTES = (
    Attribute("gen_ai.operation.name", "string", "start", "`chat`, `embeddings`, `generate_content` or `fetch_response`"),
    Attribute("gen_ai.provider.name", "string", "start", "`byteplus.modelark`; `volcengine.ark` on volces.com"),
    Attribute("gen_ai.request.model", "string", "start", "the model or endpoint id as the caller wrote it"),
    Attribute("gen_ai.request.stream", "bool", "start", "only where true"),
    Attribute("gen_ai.request.temperature", "double", "start", "as sent"),
    Attribute("gen_ai.request.top_p", "double", "start", "as sent"),
    Attribute("gen_ai.request.top_k", "int", "start", "as sent"),
    Attribute("gen_ai.request.frequency_penalty", "double", "start", "as sent"),
    Attribute("gen_ai.request.presence_penalty", "double", "start", "as sent"),
    Attribute("gen_ai.request.max_tokens", "int", "start", "`max_tokens`, `max_completion_tokens` or `max_output_tokens`"),
    Attribute("gen_ai.request.seed", "int", "start", "as sent"),
    Attribute("gen_ai.request.choice.count", "int", "start", "`n`, where it is not 1"),
    Attribute("gen_ai.request.reasoning.level", "string", "start", "`reasoning_effort`"),
    Attribute("gen_ai.request.previous_response.id", "string", "start", "the response that this one continues"),
    Attribute("gen_ai.request.encoding_formats", "string[]", "start", "of embeddings"),
    Attribute("gen_ai.embeddings.dimension.count", "int", "start", "`dimensions`"),
    Attribute("gen_ai.output.type", "string", "start", "`text`, `json`, `image` or `video`, where the request says so"),
    Attribute("gen_ai.conversation.id", "string", "start", "the request's `conversation`, else `metadata(session=...)`"),
    Attribute("user.id", "string", "start", "`metadata(user=...)`"),
    Attribute("server.address", "string", "start", "the host addressed; at the end, the one that served"),
    Attribute("server.port", "int", "start", "the port, likewise"),
    Attribute("cloud.region", "string", "start", "the region, likewise"),
    Attribute(OWN + "api", "string", "start", "the row of the table of APIs below"),
    Attribute(OWN + "endpoint_id", "string", "start", "the model, where it is an endpoint id (`ep-...`)"),
    Attribute(OWN + "thinking", "string", "start", "`enabled`, `disabled` or `auto`"),
    Attribute(OWN + "service_tier", "string", "start", "asked for; at the end, the one that the reply names"),
    Attribute(OWN + "client_request_id", "string", "start", "the caller's `X-Client-Request-Id`"),
    Attribute(OWN + "sdk_retry", "int", "start", "how often the SDK above has sent this before; only above 0"),
    Attribute(OWN + "embedding.inputs", "int", "start", "how many inputs an embeddings request has"),
    Attribute(OWN + "image.requested", "int", "start", "how many images were asked for"),
    Attribute(OWN + "image.size", "string", "start", "asked for; at the end, that of the first image"),
    Attribute(OWN + "image.width", "int", "start", "as sent"),
    Attribute(OWN + "image.height", "int", "start", "as sent"),
    Attribute(OWN + "image.seed", "int", "start", "as sent"),
    Attribute(OWN + "image.guidance_scale", "double", "start", "as sent"),
    Attribute(OWN + "image.watermark", "bool", "start", "as sent"),
    Attribute(OWN + "image.has_negative_prompt", "bool", "start", "whether there is one; its text is content"),
    Attribute(OWN + "metadata.<key>", "string", "start", "from `metadata()` or the header `x-portkey-metadata`; at most 128 characters"),
    Attribute("gen_ai.response.id", "string", "end", "as the service gave it; of a response that is fetched, as it was asked for"),
    Attribute("gen_ai.response.model", "string", "end", "the model that answered"),
    Attribute("gen_ai.response.finish_reasons", "string[]", "end", "as the service gave them; `error` where a reply failed or stopped early"),
    Attribute("byteplus.modelark.task.status", "string", "end", "of a generation task: `queued`, `running`, `succeeded`, `failed`, `expired`, `cancelled`"),
    Attribute("gen_ai.response.status", "string", "end", "of a response that is fetched: `completed`, `in_progress`, `failed`"),
    Attribute("gen_ai.response.time_to_first_chunk", "double", "end", "seconds to the first event that carries output, reasoning included"),
    Attribute("gen_ai.usage.input_tokens", "int", "end", "cache reads included"),
    Attribute("gen_ai.usage.output_tokens", "int", "end", "reasoning included"),
    Attribute("gen_ai.usage.cache_read.input_tokens", "int", "end", "the part of the input that was read from a cache"),
    Attribute("gen_ai.usage.cache_write.input_tokens", "int", "end", "the part of the input that was written to a cache"),
    Attribute("gen_ai.usage.reasoning.output_tokens", "int", "end", "the part of the output that was reasoning"),
    Attribute("gen_ai.usage.text.input_tokens", "int", "end", "the part of the input that was text"),
    Attribute("gen_ai.usage.image.input_tokens", "int", "end", "the part of the input that was images"),
    Attribute("gen_ai.usage.audio.input_tokens", "int", "end", "the part of the input that was audio"),
    Attribute("error.type", "string", "end", "ModelArk's error code up to its first dot, else the HTTP status, else the exception's class"),
    Attribute(OWN + "error.code", "string", "end", "ModelArk's error code, whole"),
    Attribute(OWN + "outcome", "string", "end", "how the call ended for its caller: see the closed sets"),
    Attribute(OWN + "attempts", "int", "end", "how often it was sent"),
    Attribute(OWN + "target", "string", "end", "who served: the policy's name; without a policy the region"),
    Attribute(OWN + "fallback.from", "string", "end", "the target that the call moved away from"),
    Attribute(OWN + "fallback.reason", "string", "end", "why it moved"),
    Attribute(OWN + "server_fallback", "string", "end", "the model asked for, where the service itself answered with another"),
    Attribute(OWN + "request_id", "string", "end", "the service's `x-request-id`, for its support"),
    Attribute(OWN + "upstream_ms", "int", "end", "the service's own share of the time (`x-envoy-upstream-service-time`)"),
    Attribute(OWN + "time_to_first_answer", "double", "end", "seconds to the first visible text, after any reasoning"),
    Attribute(OWN + "chunks", "int", "end", "of a stream: events that carried output"),
    Attribute(OWN + "cost_usd", "double", "end", "an estimate; only where the price is known"),
    Attribute(OWN + "image.generated", "int", "end", "images made"),
    Attribute(OWN + "image.failed", "int", "end", "images that failed inside a reply"),
    Attribute(OWN + "image.output_tokens", "int", "end", "an area measure, not language tokens"),
    Attribute("http.request.method", "string", "attempt", "the method; `_OTHER` for one that the conventions do not know"),
    Attribute("http.request.method_original", "string", "attempt", "of `_OTHER`, the method as it was sent"),
    Attribute("url.full", "string", "attempt", "without query and credentials"),
    Attribute("http.response.status_code", "int", "attempt", "the status, where a reply came"),
    Attribute("http.request.resend_count", "int", "attempt", "from 1, on all but the first"),
    Attribute(OWN + "attempt.cause", "string", "attempt", "why it was sent: see the closed sets"),
    Attribute("gen_ai.input.messages", "string", "content", "JSON, in the message schema of the GenAI conventions"),
    Attribute("gen_ai.output.messages", "string", "content", "JSON, likewise"),
    Attribute("gen_ai.system_instructions", "string", "content", "JSON, likewise"),
    Attribute("gen_ai.tool.definitions", "string", "content", "JSON, likewise"),
    Attribute("gen_ai.request.stop_sequences", "string[]", "content", "as sent"),
)  # fmt: skip

# On a call's span under "start" or "end", and on each attempt's too.
ON_ATTEMPTS = ("server.address", "server.port", "cloud.region", "error.type",
               OWN + "target", OWN + "error.code", OWN + "request_id")  # fmt: skip

EVENTS = (
    ("retry", "`wait`, `source`", "the same target is asked again, after so many seconds; by `backoff` or `retry-after`"),
    ("fallback", "`from`, `to`, `reason`", "the call moves to another target"),
    ("target.skipped", "`target`, `reason`", "a target is passed over without a send"),
)  # fmt: skip

SECTIONS: Sequence[tuple[str, When, str]] = (
    ("Known when the call starts", "start", "Set when the span starts, so that samplers see them."),
    ("Known when it has ended", "end", ""),
    (
        "On the span of each attempt",
        "attempt",
        "On the call's span where it was sent once, and `attempt_spans` is `when_retried`: then it has no child.",
    ),
    ("Only where content is captured", "content", "Off by default: see [content](tracing.md#content)."),
)


def page() -> str:
    """The whole of docs/reference.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "<!-- written by scripts/reference.py: change the code, then run it -->"
    yield "# Reference"
    yield ""
    yield "Every setting, API, span attribute, series and word that has a fixed meaning."
    for section in (
        _settings,
        _regions,
        _apis,
        _attributes,
        _series,
        _otel_metrics,
        _closed_sets,
        _prices_known,
    ):
        yield ""
        yield from section()


def _settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "Arguments of `byteplus_trace.instrument()`. One left out is taken from the environment variable, then from the"
    yield "TOML or JSON file that `BYTEPLUS_TRACE_CONFIG` names, then from the default. A wrong one raises `SettingError`."
    yield ""
    meanings = _argument_meanings()
    rows = []
    for each in dataclasses.fields(_config.Config):
        variable = f"`{_config.PREFIX}{each.name.upper()}`" if each.name in _config._READERS else "-"
        rows.append((f"`{each.name}`", variable, f"`{_default(each)}`", meanings[each.name]))
    yield from _table(("argument", "environment variable", "default", "meaning"), rows)
    yield ""
    yield "As text: lists are separated by commas, `base_urls` is `URL=REGION,URL=REGION`, `policy` is a path, and switches are"
    yield f"`true` or `false`. `capture_content` also follows `{_config.CAPTURE_VARIABLE}`"
    yield "(`SPAN_ONLY`, `NO_CONTENT`)."


def _argument_meanings() -> dict[str, str]:
    """Argument to meaning, from the `Args:` section of `instrument`."""
    text = inspect.getdoc(byteplus_trace.instrument) or ""
    section = text.partition("Args:\n")[2].partition("\nRaises:")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def _default(setting: dataclasses.Field[Any]) -> Any:
    made = setting.default_factory
    return made() if made is not dataclasses.MISSING else setting.default


def _regions() -> Iterator[str]:
    yield "## Regions"
    yield ""
    rows = [(f"`{each.id}`", f"`{each.base_url}`", f"`{each.provider}`") for each in REGIONS]
    yield from _table(("region", "base URL", "provider"), rows)


def _apis() -> Iterator[str]:
    yield "## APIs"
    yield ""
    yield "Told by the method and the end of the path. Calls of the operation `other` have an attempt span and counters, and make"
    yield "no GenAI claim."
    yield ""
    rows = [(f"`{api.method} {api.pattern}`", api.operation, f"`{api.name}`") for api in APIS]
    rows.append(("anything else under a base URL", OTHER.operation, f"`{OTHER.name}`"))
    yield from _table(("request", "operation", "`byteplus.modelark.api`"), rows)


def _attributes() -> Iterator[str]:
    yield "## Span attributes"
    yield ""
    yield "A call is one CLIENT span, `{operation} {model}`; each send of it is a CLIENT child, named after its method, without"
    yield "any `gen_ai.*`. What is not known is left out. Texts are cut at 256 characters."
    for title, when, note in SECTIONS:
        yield ""
        yield f"### {title}"
        yield ""
        if note:
            yield note
            yield ""
        yield from _table(
            ("attribute", "type", "meaning"),
            [(f"`{each.name}`", each.type, each.meaning) for each in ATTRIBUTES if each.when == when],
        )
        if when == "attempt":
            yield ""
            yield "and, each as above but of this attempt alone:"
            yield ", ".join(f"`{name}`" for name in ON_ATTEMPTS) + "."
    yield ""
    yield "### Events on the call's span"
    yield ""
    yield from _table(("event", "attributes", "meaning"), [(f"`{e}`", a, m) for e, a, m in EVENTS])


def _series() -> Iterator[str]:
    yield "## Prometheus series"
    yield ""
    rows = []
    for each in INSTRUMENTS:
        labels = ", ".join(each.labels) + (", *metadata*" if each.metadata else "")
        rows.append((f"`{each.name}`", each.kind, labels, each.help, f"`{each.otlp}`"))
    yield from _table(("series", "kind", "labels", "meaning", "in OpenTelemetry"), rows)
    yield ""
    yield "*metadata*: the keys that `metadata_labels` allows. With exemplars (`trace_id`, `span_id`):"
    yield ", ".join(f"`{name}`" for name in sorted(row.name for row in INSTRUMENTS if row.exemplars)) + "."
    limits = ", ".join(f"`{label}` {most}" for label, most in sorted(collectors.LIMITS.items()))
    yield "Distinct values of a label before the rest count as `other`: `model` as `max_models` says,"
    yield f"{limits}, a metadata key {collectors.METADATA_VALUES}. Buckets of all histograms, in seconds:"
    yield ", ".join(f"{edge:g}" for edge in SECONDS) + "."


def _otel_metrics() -> Iterator[str]:
    yield "## OpenTelemetry metrics"
    yield ""
    yield "On `meter_provider`, else the global one, else our own. They are those of the GenAI conventions; calls of the"
    yield "operation `other` are not recorded. The series above are there too where `metrics` asks for it."
    yield ""
    rows = [(f"`{name}`", "histogram", meaning) for name, meaning in meter.HISTOGRAMS.items()]
    rows += [
        (
            f"`{name}`",
            "histogram" if name == meter.EMBEDDED else "histogram, with `token_histograms`",
            meaning,
        )
        for name, meaning in meter.TOKEN_HISTOGRAMS.items()
    ]
    rows += [(f"`{name}`", "observable counter", meaning) for name, meaning in meter.COUNTERS.items()]
    yield from _table(("metric", "kind", "meaning"), rows)
    yield ""
    yield f"The counters of tokens have `{meter.TOKEN_MODALITY}`."


def _closed_sets() -> Iterator[str]:
    sets: Iterable[tuple[str, str, Sequence[str]]] = (
        ("`outcome`", "how a call ended for its caller", get_args(_facts.Outcome)),
        ("`result`", "how a call or an attempt ended", get_args(_facts.Result)),
        ("`reason`", "why an attempt failed", get_args(_facts.Reason)),
        ("`reason` of a skipped target", "why it was passed over", get_args(_facts.SkipReason)),
        ("`cause`", "why an attempt was made", get_args(_facts.Cause)),
        ("`type`", "of tokens; those after the first two are parts of them", TOKEN_TYPES),
        ("`status`", "of images", ("generated", "failed")),
        ("`phase`", "of a broken stream", ("before_output", "after_output")),
        ("`action`", "about a second charge: avoided, risked, or the SDK's", get_args(_facts.Duplicate)),
        ("kinds of call", "keys of a policy's `only` and `replay`", KINDS),
    )  # fmt: skip
    yield "## Closed sets"
    yield ""
    rows = [(name, meaning, ", ".join(f"`{value}`" for value in values)) for name, meaning, values in sets]
    yield from _table(("name", "meaning", "values"), rows)
    yield ""
    yield from _table(
        ("`outcome`", "meaning"), [(f"`{value}`", OUTCOMES[value]) for value in get_args(_facts.Outcome)]
    )


OUTCOMES = {
    "ok": "answered at the first attempt",
    "rescued_retry": "answered after a retry of the same target",
    "rescued_fallback": "answered by another target than the first",
    "error": "the caller saw a failure, inside a 200 included",
    "deadline": "the policy's `deadline.total` was spent",
    "cancelled": "the caller stopped reading, or its task was cancelled; not an error",
    "abandoned": "the reply was dropped without being closed",
}


def _prices_known() -> Iterator[str]:
    table = _prices.table()
    yield "## Prices"
    yield ""
    yield f'Costs are estimates, from a table last checked on {table.checked}; the vendor calls its own prices "for reference only".'
    yield "A model that is not in it has no cost, never another model's."
    yield ""
    yield from _table(
        ("models", "source", "read", "said by the vendor"),
        [(", ".join(f"`{i}`" for i in row.ids), row.source, str(row.read), "yes" if row.official else "no") for row in table.rows],
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where it would change")
    check = parser.parse_args().check
    text = page()
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.name} {'differs from the code: run python scripts/reference.py' if check else 'written'}")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main())
