"""A call as a tree: on the console, in a notebook, wherever a person looks."""

import asyncio
import io
import sys
from decimal import Decimal

import pytest

from byteplus_trace._cli.findings import Finding, Report
from byteplus_trace._facts import Answer, Attempt, Call, Content, Exchange, Images, Skip, Usage, WireError
from byteplus_trace._telemetry.console import show
from byteplus_trace._telemetry.tree import Node, lines, node_of, plain

SG, EU = "ap-southeast-1", "eu-west-1"
SECRET = "the prompt"


def call(operation="chat", model="seed-2-0-lite-260428", **more):
    content = Content(messages=[{"role": "user", "parts": [{"content": SECRET}]}])
    return Call(operation, "chat_completions", "POST", "https://ark/x", "ark", 443, "/x", SG, model=model, content=content, **more)  # fmt: skip


def attempt(number, target, cause="initial", status=200, waited=0.0, region=SG, **more):
    result = "ok" if status == 200 else "error"
    return Attempt(number, target, region, "ark", 443, "https://ark/x", cause, 0, 0.002, result, status=status, waited_seconds=waited, **more)  # fmt: skip


def exchange(asked=None, attempts=(), answer=None, outcome="ok", seconds=0.0872, **more):
    content = Content(messages=[{"role": "assistant", "parts": [{"content": SECRET}]}])
    answer = answer or Answer(usage=Usage(7, 14, 3, 5), content=content)
    return Exchange(
        asked or call(), tuple(attempts), answer, outcome, 0, seconds, region=SG, target=SG, **more
    )


def drawn(call):
    return "\n".join(plain(line) for line in lines(node_of(call)))


def test_a_call_is_drawn_with_tokens_cost_events_and_every_attempt():
    rescued = exchange(
        attempts=(
            attempt(1, "sg", status=503, error_type="ServerOverloaded", reason="overloaded"),
            attempt(2, "sg", "retry", 503, 0.08, error_type="ServerOverloaded", reason="overloaded"),
            attempt(3, "eu", "fallback", region=EU),
        ),
        outcome="rescued_fallback",
        cost_usd=Decimal("0.00003"),
        first_chunk_seconds=0.05,
        skipped=(Skip("us", "breaker_open"),),
    )

    assert """\
chat seed-2-0-lite-260428                                87 ms  rescued_fallback
│    first chunk after 50 ms
│    tokens: 7 in (3 cached), 14 out (5 reasoning) · about $0.00003
│    * us skipped: breaker_open
│    * retry after 0.08 s
│    * fallback sg -> eu, because of overloaded
├─ POST sg, initial, 503 ServerOverloaded                 2 ms  ap-southeast-1
├─ POST sg, retry, 503 ServerOverloaded                   2 ms  ap-southeast-1
└─ POST eu, fallback, 200                                 2 ms  eu-west-1""" == drawn(rescued)


def test_a_failure_has_its_code_and_the_request_id_that_support_asks_for():
    failed = exchange(
        answer=Answer(error=WireError("ModelNotOpen", message=SECRET)),
        outcome="error",
        error_type="ModelNotOpen",
        request_id="021",
    )

    assert "error ModelNotOpen\n     request 021\n     nothing was sent" in drawn(failed)


def test_images_are_counted_and_one_that_failed_is_one():
    made = exchange(call("generate_content"), answer=Answer(images=Images(generated=3, failed=1)))

    assert "3 images generated · 1 image failed" in drawn(made)


def test_a_call_that_makes_no_claim_is_named_by_its_path():
    assert drawn(exchange(call("other", None))).startswith("POST /x ")


@pytest.mark.parametrize("written", [drawn, Exchange._repr_html_, repr], ids=["tree", "html", "repr"])
def test_content_is_never_shown(written):
    assert SECRET not in written(exchange(attempts=(attempt(1, SG),)))


HOSTILE = "\x1b[31m\x07<script>\n\u202e\x9b1m\x00\ud800"


@pytest.mark.parametrize("written", [drawn, Exchange._repr_html_, repr], ids=["tree", "html", "repr"])
def test_names_and_codes_reach_no_terminal_raw(written):
    hostile = exchange(
        call(model=HOSTILE),
        (attempt(1, HOSTILE, region=HOSTILE, status=500, error_type=HOSTILE, request_id=HOSTILE),),
        Answer(error=WireError(code=HOSTILE)),
        "error",
        request_id=HOSTILE,
        error_type=HOSTILE,
    )

    text = written(hostile)

    assert text.replace("\n", "").isprintable()
    assert written is not Exchange._repr_html_ or "<script>" not in text


def test_events_and_attributes_of_anybody_are_drawn_as_far_as_they_go():
    """Spans that another program sent may hold anything."""
    odd = Node(
        HOSTILE,
        {
            "byteplus.modelark.cost_usd": "much",
            "gen_ai.usage.input_tokens": "many",
            "gen_ai.response.time_to_first_chunk": "late",
        },
        None,
        [("retry", {}), ("fallback", {}), ("target.skipped", {}), (HOSTILE, {})],
        [Node("POST", {})],
    )

    assert all(plain(line).isprintable() and len(plain(line)) <= 80 for line in lines(odd))


def test_a_row_is_cut_at_80_columns():
    assert 80 >= max(map(len, drawn(exchange(call(model="m" * 200), (attempt(1, "t" * 200),))).split("\n")))


def test_an_exchange_is_short_in_a_repl():
    shown = repr(exchange(attempts=(attempt(1, SG),)))

    assert "<Exchange chat seed-2-0-lite-260428: ok after 87 ms, 1 attempt, 'ap-southeast-1'>" == shown


def test_a_notebook_shows_tree_tokens_and_cost_within_a_running_loop():
    async def cell():
        return exchange(attempts=(attempt(1, SG),), cost_usd=Decimal("0.5"))._repr_html_()

    html = asyncio.run(cell())

    assert html.startswith("<pre")
    assert "tokens: 7 in (3 cached), 14 out (5 reasoning) · about $0.5" in html
    assert "└─ POST, initial, 200" in html


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("variable", "value", "coloured"),
    [
        ("NO_COLOR", "1", False),
        ("NO_COLOR", "", True),  # as https://no-color.org has it
        ("TERM", "dumb", False),
        ("TERM", "xterm", True),
    ],
)
def test_a_terminal_has_colours_unless_they_are_not_wanted(monkeypatch, variable, value, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "stdout", Terminal())

    show(exchange())
    assert coloured == ("\x1b[1m" in sys.stdout.getvalue())
    assert coloured == ("\x1b[" in str(Report([Finding("warn", "spans", "nobody listens")])))


def test_an_output_that_cannot_draw_branches_gets_the_words(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)

    show(exchange(attempts=(attempt(1, SG),)))

    assert b"POST, initial, 200" in narrow.buffer.getvalue()


@pytest.mark.parametrize("out", [None, io.StringIO()])
def test_any_output_will_do(monkeypatch, out):
    monkeypatch.setattr(sys, "stdout", out)

    show(exchange())


def test_console_prints_each_call_when_it_has_ended(instrument, ark, http, sg, capsys):
    instrument(console=True)

    http.post(sg + "/chat/completions", {"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": SECRET}]})  # fmt: skip

    out = capsys.readouterr().out
    assert out.startswith("chat seed-2-0-lite-260428")
    assert "└─ POST, initial, 200" in out
    assert SECRET not in out


def test_a_console_that_is_gone_does_not_reach_the_call(instrument, ark, library, sg, monkeypatch):
    from byteplus_trace._telemetry import guard

    monkeypatch.setattr(guard, "strict", False)
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stdout", gone)
    instrument(console=True)

    with library.Client(headers={"Authorization": "Bearer k"}) as client:
        reply = client.post(sg + "/embeddings", json={"model": "m", "input": ["a"]})

    assert 200 == reply.status_code
