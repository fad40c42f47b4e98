"""Every key and view of the app, driven as a person does."""

import asyncio
import contextlib
import json
import re
import time

import pytest

pytest.importorskip("textual", reason="the extra 'watch' is not installed")

from textual import events
from textual.widgets import ContentSwitcher, Input, Static

from byteplus_trace._watch.app import BarRows, CallRows, Export, Help, Keys, OneCall, Watch
from byteplus_trace._watch.status import Status
from byteplus_trace._watch.store import Store

SMALL, LARGE = (80, 24), (200, 60)
EVIL = "\x1b[2J\x1b]52;c;aGk=\x07\r\n[bold red]x[/][@click=app.quit]\u202e\x9b31m"


class Held:
    """A source without a receiver."""

    def __init__(self, *spans, **status):
        self.store = Store()
        self.store.add(spans)
        self._status = status
        self.lines = []

    def status(self):
        counts = self.store.counts()
        return Status(
            **{
                "place": "127.0.0.1:4318",
                "received": counts.received,
                "dropped": counts.dropped,
                **self._status,
            }
        )

    def output(self):
        return self.lines


@pytest.fixture
def source(make):
    """Three traces: a rescue inside the caller's own span, an embedding, and a failure."""
    spans = make.spans(
        make.attempt(3, 2, at=1.0, status=503, error="ServerOverloaded"),
        make.attempt(4, 2, at=1.2, target="eu", region="eu-west-1", cause="fallback"),
        make.call(
            2, trace=1, parent=1, at=1, lasts=0.5, outcome="rescued_fallback", team="search", user="u-7", tokens_in=17, tokens_out=14,
            cost=0.00003, first=0.143, request_id="req-0217", target="eu", region="eu-west-1",
            events=[("fallback", {"from": "sg", "to": "eu", "reason": "overloaded"}), ("target.skipped", {"target": "sg", "reason": "breaker_open"})],
            **{"gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Name three rivers."}]}]),
               "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Rhine"}]}])},
        ),
        {"trace": 1, "id": 1, "name": "GET /rivers", "at": 0.9, "lasts": 1.0},
        make.call(10, at=2, lasts=0.03, model="skylark-embedding", operation="embeddings", api="embeddings", team="shop"),
        make.attempt(12, 11, trace=11, at=3, status=429, error="QuotaExceeded", lasts=0.2),
        make.call(11, at=3, outcome="error", code="QuotaExceeded", team="search", request_id="req-11"),
    )  # fmt: skip
    return Held(*spans)


def drive(source, size=SMALL, *, live=True):
    """drive(source)(steps): run the app, and the coroutine function `steps(app, pilot)`."""

    def decorate(steps):
        async def run():
            app = Watch(source, live=live)
            async with app.run_test(size=size, notifications=True) as pilot:
                await pilot.pause()
                await steps(app, pilot)

        asyncio.run(run())

    return decorate


def screen_text(app):
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips)


async def appears(app, pilot, text):
    """Wait until a notice is on the screen."""
    for _ in range(500):
        if text in " ".join(screen_text(app).split()):
            return
        await pilot.pause(0.02)
    raise AssertionError(screen_text(app))


def models(app):
    return [call.model for call in app.query_one(CallRows).calls]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_calls_stand_newest_first_and_new_ones_appear(source, make, size):
    @drive(source, size)
    async def _(app, pilot):
        assert ["seed-2-0-lite-260428", "skylark-embedding", "seed-2-0-lite-260428"] == models(app)
        text = screen_text(app)
        assert re.search(r"QuotaExceeded .*\n.*skylark-.*edding .*\n.*rescued_fallback ", text)
        assert "3 calls" in text
        assert "1 failed" in text

        source.store.add(make.spans(make.call(20, at=9, model="the newest")))
        app.look()
        await pilot.pause()

        assert "the newest" == models(app)[0]
        assert "the newest" in screen_text(app).splitlines()[2]


def test_a_wide_terminal_has_every_column_that_is_not_empty(source, make):
    @drive(source, LARGE)
    async def _(app, pilot):
        heading = screen_text(app).splitlines()[1]
        for title in ("cached", "reason", "session"):
            assert title not in heading

    tokens = {"gen_ai.usage.cache_read.input_tokens": 0, "gen_ai.usage.reasoning.output_tokens": 0}
    source.store.add(make.spans(make.call(40, session="s-1", **tokens)))

    @drive(source, LARGE)
    async def _(app, pilot):
        heading = screen_text(app).splitlines()[1]
        for title in (
            "time▾",
            "operation",
            "model",
            "region",
            "outcome",
            "error code",
            "took",
            "first",
            "in",
            "out",
            "cached",
            "reason",
            "cost",
            "team",
            "user",
            "session",
        ):
            assert title in heading
        (row,) = [line for line in screen_text(app).splitlines() if "rescued_fallback" in line]
        assert heading.index("cost") + 4 == row.index("$0.00003") + 8
        for cell in ("chat", "eu-west-1", "500 ms", "143 ms", "17", "14", "$0.00003", "search", "u-7"):
            assert cell in row


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_usual_values_are_not_cut_and_a_model_keeps_its_date(make, columns):
    usual = {"first": 0.2, "tokens_in": 170, "tokens_out": 1400, "cost": 0.00123, "team": "search"}
    calls = (
        make.call(1, outcome="rescued_fallback", **usual),
        make.call(2, at=1, model="skylark-embedding-vision-251215", operation="generate_image", **usual),
    )

    @drive(Held(*make.spans(*calls)), (columns, 24))
    async def _(app, pilot):
        heading, second, first = screen_text(app).splitlines()[1:4]
        assert "error code" not in heading
        assert "→ rescued_fallback " in first
        assert " ap-southeast-1 " in first
        assert "251215 " in second
        if columns == 80:
            assert " seed-2-0-…260428 " in first
        else:
            assert f" {make.model} " in first
            assert " generate_image " in second


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_code_of_an_error_is_not_cut(make, columns):
    usual = {"first": 0.2, "tokens_in": 170, "tokens_out": 1400, "cost": 0.00123, "team": "search"}
    source = Held(*make.spans(make.call(1, **usual)))

    @drive(source, (columns, 24))
    async def _(app, pilot):
        assert "error code" not in screen_text(app)
        source.store.add(make.spans(make.call(2, at=1, outcome="error", code="ServerOverloaded", **usual)))
        app.look()
        await pilot.pause()
        assert " ServerOverloaded " in screen_text(app)
        if columns > 80:
            assert " chat " in screen_text(app)
        if columns == 200:
            assert "error code" in screen_text(app).splitlines()[1]


def test_a_row_never_has_more_cells_than_the_terminal(source, make):
    source.store.add(
        make.spans(
            make.call(30, at=8, model="河流" * 40, team="x" * 300, cost=1e17, tokens_in=2**62, lasts=1e9)
        )
    )
    for width in (20, 40, 79, 80, 120, 200):

        @drive(source, (width, 24))
        async def _(app, pilot):
            assert {app.size.width} == {strip.cell_length for strip in app.screen._compositor.render_strips()}


def test_the_filter_works_while_it_is_typed(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("slash", *"team:search")
        assert 2 == len(models(app))
        await pilot.press(*" error")
        assert 1 == len(models(app))
        assert "3 calls  ✗ 1 failed  1 for team:search error" in screen_text(app)
        await pilot.press(*" xyz")
        await pilot.pause()
        assert "No call fits the filter, of 3" in screen_text(app)
        await pilot.press("escape")
        assert 3 == len(models(app))
        assert "" == app.query_one("#filter", Input).value


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("duration>2s", "duration>2s cannot be compared"),
        ("modle:seed", "No call has a field 'modle'. Did you mean 'model'?"),
        ("duration:2", "No call has a field 'duration'. Compare it: duration>2, duration<2."),
        ("tier:gold", "No call has a field 'tier'."),
    ],
)
def test_a_filter_that_cannot_be_meant_so_says_so(source, typed, shown):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("slash", *typed)
        await pilot.pause()
        assert shown in screen_text(app)


def test_the_filter_of_now_is_typed_in_now(source):
    @drive(source, live=False)
    async def _(app, pilot):
        await pilot.press("2", "slash", *"team:shop")
        await pilot.pause()
        assert "now" == app.query_one(ContentSwitcher).current
        assert re.search(r"skylark-embedding +1 ", screen_text(app))
        assert "seed-2-0" not in screen_text(app)
        await pilot.press("enter", "b")
        assert re.search(r"^ ?region +calls", screen_text(app), re.MULTILINE)
        await pilot.press("slash", "escape")
        await pilot.pause()
        assert "now" == app.query_one(ContentSwitcher).current
        assert "" == app.query_one("#filter", Input).value
        assert "search" not in screen_text(app)
        await pilot.press("escape")
        assert "calls" == app.query_one(ContentSwitcher).current


@pytest.mark.parametrize(("view", "name"), [("1", "calls"), ("2", "now")])
def test_a_view_and_a_filter_may_be_typed_at_once(source, view, name):
    """As over a slow connection, where keys arrive together."""

    @drive(source)
    async def _(app, pilot):
        await pilot.press("1" if view == "2" else "2")
        for key, letter in ((view, view), ("slash", "/"), ("2", "2"), ("x", "x")):
            app.post_message(events.Key(key, letter))
        await pilot.pause(0.1)
        assert (name, "2x") == (app.query_one(ContentSwitcher).current, app.query_one("#filter", Input).value)


def test_keys_typed_into_the_filter_are_no_commands(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("slash", *"qpse/12")
        assert "qpse/12" == app.query_one("#filter", Input).value
        await pilot.press("enter")
        assert app.focused is app.query_one(CallRows)


@pytest.mark.parametrize("keys", ["", "2", "slash", "enter", "e", "question_mark", "enter e"])
def test_ctrl_c_quits_from_everywhere(source, keys):
    @drive(source)
    async def _(app, pilot):
        await pilot.press(*keys.split(), "ctrl+c")
        await pilot.pause()
        assert app._exit


def test_rows_are_sorted_by_any_column(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("s")  # by duration, the longest first
        assert "took▾" in screen_text(app)
        assert [0.5, 0.25, 0.03] == [round(call.seconds, 2) for call in app.query_one(CallRows).calls]
        await pilot.press("r")
        assert [0.03, 0.25, 0.5] == [round(call.seconds, 2) for call in app.query_one(CallRows).calls]
        seen = set()
        for _ in range(10):
            await pilot.press("s")
            seen.add(
                re.search(r"(\w[\w ]*)[▾▴]", screen_text(app).splitlines()[1])[1]
                if re.search("[▾▴]", screen_text(app))
                else "none"
            )
        assert "time" in seen


@pytest.mark.parametrize("key", ["p", "space"])
def test_a_pause_holds_the_rows_and_counts_what_arrives(source, make, key):
    @drive(source)
    async def _(app, pilot):
        await pilot.press(key)
        source.store.add(make.spans(make.call(20, at=9), make.call(21, at=9)))
        app.look()
        await pilot.pause()
        assert 3 == len(models(app))
        assert "PAUSED, 2 more" in screen_text(app)
        await pilot.press(key)
        assert 5 == len(models(app))


def test_the_cursor_stays_on_its_call_and_the_top_stays_the_top(source, make):
    @drive(source)
    async def _(app, pilot):
        rows = app.query_one(CallRows)
        await pilot.press("down")
        assert "skylark-embedding" == rows.call.model
        source.store.add(make.spans(make.call(20, at=9)))
        app.look()
        assert (2, "skylark-embedding") == (rows.cursor, rows.call.model)
        await pilot.press("home")
        source.store.add(make.spans(make.call(21, at=10)))
        app.look()
        assert 0 == rows.cursor


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [
        ("down down up", 1),
        ("j j k", 1),
        ("end", 99),
        ("G", 99),
        ("end home", 0),
        ("end g", 0),
        ("pagedown", 20),
        ("pagedown pageup", 0),
        ("up", 0),
        ("end down", 99),
    ],
)
def test_the_cursor_moves(make, keys, cursor):
    @drive(Held(*make.spans(*(make.call(number, at=number) for number in range(1, 101)))))
    async def _(app, pilot):
        await pilot.press(*keys.split())
        rows = app.query_one(CallRows)
        assert cursor == rows.cursor
        assert rows.scroll_y <= rows.cursor < rows.scroll_y + rows.size.height


def test_a_click_chooses_and_a_double_click_opens(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.click(CallRows, offset=(5, 1))
        assert 1 == app.query_one(CallRows).cursor
        await pilot.click(CallRows, offset=(5, 2), times=2)
        assert isinstance(app.screen, OneCall)


def test_the_keys_in_the_last_line_can_be_clicked(source):
    @drive(source)
    async def _(app, pilot):
        line = screen_text(app).splitlines()[-1]
        await pilot.click(Keys, offset=(line.index("2 Now") + 1, 0))
        await pilot.pause()
        assert "now" == app.query_one(ContentSwitcher).current
        await pilot.click(Keys, offset=(screen_text(app).splitlines()[-1].index("1 Calls") + 1, 0))
        await pilot.press("enter")
        await pilot.click("OneCall Keys", offset=(1, 0))
        await pilot.pause()
        assert not isinstance(app.screen, OneCall)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_one_call_has_its_waterfall_events_attributes_and_conversation(source, size):
    @drive(source, size)
    async def _(app, pilot):
        await pilot.press("end", "enter")
        await pilot.pause()
        text = screen_text(app)
        for part in (
            "rescued_fallback",
            "req-0217",
            "GET /rivers",
            "▸ chat seed-2-0-lite",
            "sg, initial 503",
            "eu, fallback 200",
        ):
            assert part in text
        bars = app.screen.query_one(BarRows)
        assert ["around", "call", "attempt", "attempt"] == [each.role for each in bars.bars]
        assert "call" == bars.bars[bars.cursor].role
        whole = details(app)
        for part in (
            "* fallback sg -> eu, because of overloaded",
            "├─ POST sg, initial, 503 ServerOverloaded",
            "└─ POST eu, fallback, 200",
            "from=sg",
            "to=eu",
            "Conversation",
            "user",
            "Name three rivers.",
            "Rhine",
            "byteplus.modelark.metadata.team",
            "search",
        ):
            assert part in whole
        await pilot.press("down")
        assert "http.response.status_code  503" in details(app)
        await pilot.press("tab")
        assert app.focused is app.screen.query_one("#details")
        await pilot.press("escape")
        assert not isinstance(app.screen, OneCall)


def test_a_terminal_of_80_has_room_for_the_tree_of_a_call(make):
    spans = make.spans(make.attempt(2, 1, at=1), make.call(1, at=1, outcome="rescued_fallback"))

    @drive(Held(*spans))
    async def _(app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        assert re.search(r"└─ POST.* ms  ap-southeast-1 *▁*", screen_text(app))
        assert re.search(r"chat seed-2-0-lite-260428 .* ms  rescued_fallback *", details(app))
        assert all(
            len(line) <= 77 for line in details(app).splitlines() if "─ POST" in line or "rescued" in line
        )


@pytest.mark.parametrize("view", ["details", "output", "now"])
def test_all_that_scrolls_is_moved_by_the_same_keys(source, view):
    source._status = {"program": "app.py runs"}
    source.lines = [f"line {number}" for number in range(100)]

    @drive(source, (80, 12))
    async def _(app, pilot):
        await pilot.press(*{"details": ["enter", "tab"], "output": ["3"], "now": ["2"]}[view])
        await pilot.pause()
        scrolled = app.screen.query_one(f"#{view}")
        for keys, top in (("g", 0), ("j j", 2), ("k", 1), ("G", scrolled.max_scroll_y), ("g", 0)):
            await pilot.press(*keys.split())
            await pilot.wait_for_scheduled_animations()
            app.look()
            await pilot.pause()
            assert top == scrolled.scroll_y, keys


def details(app):
    group = app.screen.query_one("#details").query_one(Static).content
    return "\n".join(line.plain for line in group.renderables)


def test_the_enclosing_span_is_shown_when_it_arrives(source, make):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("enter")
        assert 2 == len(app.screen.query_one(BarRows).bars)
        source.store.add(make.spans({"trace": 11, "id": 99, "name": "POST /orders", "at": 2.9, "lasts": 1}))
        app.screen._read()
        assert 3 == len(app.screen.query_one(BarRows).bars)


def test_without_captured_content_there_is_no_conversation(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("enter")
        assert "Conversation" not in details(app)


@pytest.mark.parametrize("open_first", [True, False])
def test_the_request_id_is_copied(source, open_first):
    @drive(source)
    async def _(app, pilot):
        await pilot.press(*(["enter"] if open_first else []), "c")
        assert "req-11" == app.clipboard
        await appears(app, pilot, "Request id copied")


def test_a_call_without_a_request_id_says_so(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("down", "c")
        await appears(app, pilot, "no request id")


@pytest.mark.parametrize("open_first", [True, False])
def test_a_call_is_exported(source, tmp_path, monkeypatch, open_first):
    monkeypatch.chdir(tmp_path)

    @drive(source)
    async def _(app, pilot):
        await pilot.press("end", *(["enter"] if open_first else []), "e")
        assert isinstance(app.screen, Export)
        await pilot.press("j")
        await pilot.press("e", "t")
        await pilot.press("e", "j")
        await pilot.press("e", "escape")

    written = sorted(path.name for path in tmp_path.iterdir())
    assert [
        "modelark-call-0000000000000002.json",
        "modelark-call-0000000000000002_2.json",
        "test_modelark_call_0000000000000002.py",
    ] == written
    assert "rescued_fallback" == json.loads((tmp_path / written[0]).read_text())["call"]["outcome"]
    assert "def test_chat_rescued_fallback" in (tmp_path / written[2]).read_text()


def test_an_export_that_cannot_be_is_said(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @drive(Held(*make.spans(make.call(1, api="files"))))
    async def _(app, pilot):
        await pilot.press("e", "t")
        await appears(app, pilot, "only JSON")
        monkeypatch.setattr("byteplus_trace._watch.app._written", refuse)
        await pilot.press("e", "j")
        await appears(app, pilot, "cannot be written")

    assert [] == list(tmp_path.iterdir())


def refuse(*arguments):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_now_has_the_numbers_of_the_last_minutes(make, size):
    start = time.time() - make.noon / 1e9 - 20
    skip = ("target.skipped", {"target": "sg", "reason": "breaker_open"})
    spans = make.spans(
        *(
            make.call(
                number, at=start + number, team="search", tokens_in=100, cost=0.01, first=0.1, target="sg"
            )
            for number in range(1, 9)
        ),
        make.call(
            10,
            at=start,
            outcome="error",
            model="another",
            team="shop",
            target="eu",
            region="eu-west-1",
            events=[skip],
        ),
    )

    @drive(Held(*spans), size)
    async def _(app, pilot):
        await pilot.press("2")
        await pilot.pause()
        text = screen_text(app)
        for part in (
            "calls/min",
            "failed",
            "1 (11%)",
            "p50",
            "p95",
            "first chunk",
            "tokens in",
            "tokens out",
            "cost",
            "$0.08",
            "✗ open (inferred)",
        ):
            assert part in text
        assert re.search(r"calls/min +.*[▁▂▃▄▅▆▇█] +1\.8 +", text)
        assert re.search(r"model .*calls", text)
        await pilot.press("b")
        assert re.search(r"region .*calls", screen_text(app))
        await pilot.press("b")
        await pilot.pause()
        assert re.search(r"search +8", screen_text(app))
        await pilot.press("p")
        await pilot.pause(0.3)
        assert "PAUSED" in screen_text(app)
        await pilot.press("1")
        assert "calls" == app.query_one(ContentSwitcher).current


def test_an_opened_file_ends_where_its_last_call_ended(source):
    @drive(source, live=False)
    async def _(app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert "1 (33%)" in screen_text(app)


@pytest.mark.parametrize(("calls", "shown"), [(299, r"calls/min .* 59\.8 "), (300, r"calls/s .* 1\.0 ")])
def test_fewer_calls_than_one_a_second_are_counted_by_the_minute(make, calls, shown):
    start = time.time() - make.noon / 1e9 - 60
    spans = make.spans(*(make.call(number, at=start, trace=number) for number in range(1, calls + 1)))

    @drive(Held(*spans))
    async def _(app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert re.search(shown, screen_text(app))


@pytest.mark.parametrize("status", [0, 1])
def test_without_calls_of_a_program_that_has_ended_it_waits_for_none(status):
    source = Held(program="app.py runs")

    @drive(source)
    async def _(app, pilot):
        assert "Waiting" in screen_text(app)
        source._status = {"program": f"app.py ended with {status}", "exit_status": status}
        app.look()
        await pilot.pause()
        text = screen_text(app)
        assert f"app.py ended with {status}." in text
        assert "3 shows what it wrote" in text
        assert "Waiting" not in text


def test_a_program_that_ends_without_a_call_is_waited_for_no_longer():
    held = Held(program="app.py runs")

    @drive(held)
    async def _(app, pilot):
        assert "Waiting" in screen_text(app)
        held._status.update(program="app.py ended with 1", exit_status=1)
        app.look()
        await pilot.pause()
        assert "3 shows what it wrote" in screen_text(app)
        assert "Waiting" not in screen_text(app)


@pytest.mark.parametrize(
    ("live", "shown"),
    [
        (True, "Waiting for spans on 127.0.0.1:4318"),
        (True, "byteplus-trace traffic"),
        (False, "no calls in this file"),
    ],
)
def test_without_calls_it_says_what_to_do(live, shown):
    @drive(Held(), live=live)
    async def _(app, pilot):
        assert shown in screen_text(app)
        await pilot.press("enter", "c", "e", "down", "2", "b", "1", "s", "r")
        assert not isinstance(app.screen, (OneCall, Export))


def test_the_programs_output_is_a_view_of_its_own(source):
    source._status = {"program": "python app.py: runs"}
    source.lines = [f"line {number} \x1b[2J" for number in range(100)]

    @drive(source)
    async def _(app, pilot):
        assert "python app.py: runs" in screen_text(app)
        await pilot.press("3")
        await pilot.pause(0.1)
        assert "line 99 \\x1b[2J" in screen_text(app)
        source.lines.append("one more")
        await pilot.pause(0.6)
        assert "one more" in screen_text(app)


def test_without_a_program_there_is_no_view_of_its_output(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("3")
        assert "calls" == app.query_one(ContentSwitcher).current


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_keys_are_explained(source, size):
    @drive(source, size)
    async def _(app, pilot):
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.pause()
        assert "filter while typing" in screen_text(app)
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("view", "program", "keys"),
    [
        ("1", "", "/ enter escape s r p c e 1 2 q"),
        ("1", "app.py runs", "/ enter escape s r p c e 1 2 3 q"),
        ("2", "", "/ escape p b 1 2 q"),
        ("3", "app.py runs", "/ escape p 1 2 3 q"),
        ("enter", "app.py runs", "enter escape tab c e q"),
    ],
)
def test_the_help_lists_the_keys_that_work_in_this_view(source, size, view, program, keys):
    source._status = {"program": program}

    @drive(source, size)
    async def _(app, pilot):
        await pilot.press(view)
        await pilot.press("question_mark")
        await pilot.pause()
        lines = app.screen.query_one(Static).content.splitlines()
        assert keys.split() == " ".join(line[:9] for line in lines).split()
        for line in lines:
            assert line in screen_text(app)


def test_what_goes_wrong_is_in_the_first_lines(make):
    troubled = Held(
        troubles=["forwarding to x: HTTP 500"],
        refused=2,
        refusal="415: no",
        rejected=3,
        dropped=4,
        received=9,
    )

    @drive(troubled, LARGE)
    async def _(app, pilot):
        line = screen_text(app).splitlines()[1]
        for part in (
            "forwarding to x: HTTP 500",
            "4 spans dropped",
            "3 spans rejected",
            "2 requests refused, 415: no",
        ):
            assert part in line


def test_q_ends_it(source):
    @drive(source)
    async def _(app, pilot):
        await pilot.press("enter", "q")
        assert app._exit


def hostile(make):
    everything = dict.fromkeys(("model", "operation", "region", "outcome", "code", "team", "user", "session", "request_id", "target", "error.type", "gen_ai.input.messages", "gen_ai.output.messages", EVIL, "byteplus.modelark.metadata." + EVIL), EVIL)  # fmt: skip
    messages = json.dumps(
        [
            {"role": EVIL, "parts": [{"type": "text", "content": EVIL}, EVIL, 5, {EVIL: [EVIL]}]},
            EVIL,
            None,
            [[]],
        ]
    )
    events = [(EVIL, {EVIL: EVIL}), ("target.skipped", {"target": EVIL, "reason": "breaker_open"})]
    attempt = make.attempt(5, 4, trace=4, target=EVIL, cause=EVIL, region=EVIL, error=EVIL)
    return make.spans(
        make.call(1, **everything, events=events, name=EVIL),
        make.call(2, **{**everything, "gen_ai.input.messages": messages}, name=EVIL, lasts=1e9),
        make.call(3, user="x" * 1_000_000, **{"gen_ai.output.messages": "[" * 100_000}, name=EVIL),
        attempt,
        make.call(4, events=[("e", {})] * 5000, **{f"k{number}": EVIL for number in range(300)}),
        service=EVIL,
    )


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_nothing_of_a_hostile_span_reaches_the_terminal_raw(make, monkeypatch, tmp_path, size):
    monkeypatch.chdir(tmp_path)
    source = Held(*hostile(make), troubles=[EVIL], refusal=EVIL, refused=1, program=EVIL, place=EVIL)
    source.lines = [EVIL]
    seen = []

    def look(app):
        strips = app.screen._compositor.render_strips()
        seen.extend(segment.text for strip in strips for segment in strip if segment.control is None)
        for strip in strips:
            assert not any(segment.style and segment.style.link for segment in strip)

    @drive(source, size)
    async def _(app, pilot):
        look(app)
        for number in range(4):
            await pilot.press("home", *["down"] * number, "enter")
            await pilot.pause()
            for _ in range(3):
                look(app)
                await pilot.press("down")
            await pilot.press("tab", "pagedown")
            look(app)
            await pilot.press("c")
            await pilot.pause(0.05)
            look(app)
            assert app.clipboard.isprintable()
            for key in ("j", "t"):
                await pilot.press("e", key)
                await pilot.pause()
                look(app)
            await pilot.press("escape")
        for key in ("2", "b", "b", "3", "1"):
            await pilot.press(key)
            await pilot.pause()
            look(app)
        await pilot.press("slash", *"x1b", "enter")
        await pilot.pause()
        look(app)

    assert len(seen) > 500
    assert [] == [text for text in seen if not text.isprintable()]
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text.replace("\n", "").isprintable()
        if path.suffix == ".py":
            compile(text, path.name, "exec")


def test_a_change_of_size_lays_the_columns_out_anew(source):
    @drive(source)
    async def _(app, pilot):
        assert "team" not in screen_text(app).splitlines()[1]
        await pilot.resize_terminal(*LARGE)
        await pilot.pause()
        assert "team" in screen_text(app).splitlines()[1]


def test_a_call_whose_spans_were_dropped_is_still_shown(make):
    source = Held(*make.spans(make.call(1)))

    @drive(source)
    async def _(app, pilot):
        source.store.most_spans = 0
        with contextlib.suppress(KeyError):
            source.store._drop()
        await pilot.press("enter")
        await pilot.pause()
        assert "made room for newer ones" in screen_text(app)
