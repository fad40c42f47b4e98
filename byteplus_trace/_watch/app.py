"""
The view: Calls, One call, Now, and the program's output.

It asks its source for what is new four times a second and draws what is on the screen, so a
key is answered at once however much arrives.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.screen import ModalScreen, Screen
from textual.widgets import ContentSwitcher, Input, Static

from .._regions import did_you_mean
from . import now as numbers
from . import shown
from .calls import Call
from .export import NotReplayableError, json_text, pytest_text
from .filtering import NUMBERS, TEXTS, filter_of, not_followed, unknown_fields
from .plain import plain
from .rows import Rows
from .spans import Key, Span
from .status import Source, Status
from .waterfall import Bar, waterfall

REFRESH_SECONDS = 0.25
_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class CallRows(Rows):
    """The table of calls."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.calls: list[Call] = []
        self._empty: frozenset[str] = frozenset()
        self._columns: tuple[int, frozenset[str], shown.Layout] = (0, self._empty, ())

    def columns(self, width: int) -> shown.Layout:
        if self._columns[:2] != (width, self._empty):
            self._columns = width, self._empty, shown.layout(width, self._empty)
        return self._columns[2]

    def line(self, at: int, width: int) -> Text:
        return shown.row(self.calls[at], self.columns(width))

    @property
    def call(self) -> Call | None:
        """The one under the cursor."""
        return self.calls[self.cursor] if self.calls else None

    def show_calls(self, calls: list[Call]) -> None:
        """
        Show other calls. The cursor stays on its call; at the top it stays at the top, where new ones appear.

        Where there is no row for it any more it stays where it was.
        """
        before = self.call
        at = self.cursor
        if before is not None and at > 0:
            key = before.key
            at = next((place for place, call in enumerate(calls) if call.key == key), at)
        self.calls = calls
        self._empty = shown.empty_columns(calls)
        self.show(len(calls), at)


class BarRows(Rows):
    """The waterfall of one call."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.bars: list[Bar] = []

    def line(self, at: int, width: int) -> Text:
        return shown.bar(self.bars[at], width)


class Scrolled(VerticalScroll, can_focus=True):
    """What scrolls, by the keys that move a cursor elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "First", show=False),
        Binding("G", "scroll_end", "Last", show=False),
    ]


class Lines(Scrolled):
    """Text that scrolls."""

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, lines: list[Text]) -> None:
        self.query_one(Static).update(Group(*lines))


_Hints = tuple[tuple[str, str, str], ...]
"""Keys, what they do, and the action that a click on one is."""

_VIEWS: _Hints = (("1", "Calls", "app.view('calls')"), ("2", "Now", "app.view('now')"))
_OUTPUT: _Hints = (("3", "Output", "app.view('output')"),)
_ALWAYS: _Hints = (("?", "Keys", "app.help"), ("q", "Quit", "app.quit"))
_KEYS: dict[str, _Hints] = {
    "calls": (
        ("/", "Filter", "app.filter"),
        ("s", "Sort", "app.sort"),
        ("p", "Pause", "app.pause"),
        ("e", "Export", "app.export"),
    ),
    "now": (("/", "Filter", "app.filter"), ("p", "Pause", "app.pause"), ("b", "By", "app.by")),
    "output": (),
}
_KEYS_OF_ONE_CALL: _Hints = (
    ("esc", "Back", "app.pop_screen"),
    ("tab", "Spans/details", "app.focus_next"),
    ("c", "Copy request id", "screen.copy"),
    ("e", "Export", "screen.export"),
    *_ALWAYS,
)


class Keys(Static):
    """
    The last line: what the keys do, each of which can be clicked.

    Textual's own footer builds its widgets anew with every key, which takes longer than all the rest.
    """

    DEFAULT_CSS = """
    Keys { dock: bottom; height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, hints: _Hints = ()) -> None:
        super().__init__(markup=False)
        self._hints = hints

    def on_mount(self) -> None:
        self.show(self._hints)

    def show(self, hints: _Hints) -> None:
        self._hints = hints
        parts = [part for key, label, _ in hints for part in ((f"{key} ", f"bold {shown.ODD}"), f"{label}  ")]
        self.update(Text.assemble(*parts), layout=False)

    async def on_click(self, event: events.Click) -> None:
        at = event.x - 1
        for key, label, action in self._hints:
            at -= len(key) + len(label) + 3
            if at < 0:
                await self.run_action(action)
                return


class Export(ModalScreen[str | None]):
    """As what a call is exported."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "dismiss('json')", "JSON"),
        Binding("t", "dismiss('test')", "pytest test"),
        Binding("escape", "dismiss(None)", "Back"),
        Binding("ctrl+c", "app.quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        yield Static(
            "Export this call as\n\n  j  JSON: the call and the spans around it\n  t  a pytest test that replays its shape\n\nescape  back",
            markup=False,
        )

    def on_click(self) -> None:
        self.dismiss(None)


_HELP: tuple[tuple[str, frozenset[str], str], ...] = (
    (
        "/",
        frozenset({"slash"}),
        "filter while typing: model:seed team:search error\n"
        'also -error  "two words"  duration>2  first<=0.5  cost>0.01\n'
        "model region outcome error user team session request\n"
        "or the key of any metadata",
    ),
    ("enter", frozenset({"enter"}), "open what the cursor is on"),
    ("escape", frozenset({"escape"}), "back"),
    ("tab", frozenset({"tab"}), "to the next part of the screen"),
    ("s  r", frozenset({"s", "r"}), "sort by the next column, reverse"),
    ("p", frozenset({"p"}), "pause, and go on"),
    ("c", frozenset({"c"}), "copy the request id"),
    ("e", frozenset({"e"}), "export the call as JSON or as a pytest test"),
    ("b", frozenset({"b"}), "Now by model, region or team"),
    ("1 2", frozenset({"1", "2"}), "Calls, Now"),
    ("3", frozenset({"3"}), "the program's output"),
    ("q", frozenset({"q"}), "quit"),
)
"""How keys are written, Textual's names of them, and what they do."""


class Help(ModalScreen[None]):
    """What may be typed in a view: of all keys those that do something there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Back"),
        Binding("ctrl+c", "app.quit", "Quit"),
    ]

    def __init__(self, active: Set[str]) -> None:
        super().__init__()
        self._active = active

    def compose(self) -> ComposeResult:
        lines = [
            f"{written:<9}{line}"
            for label, keys, text in _HELP
            if keys <= self._active
            for written, line in zip((label, *[""] * 9), text.splitlines(), strict=False)
        ]
        yield Static("\n".join(lines), markup=False)

    def on_click(self) -> None:
        self.dismiss()


class OneCall(Screen[None]):
    """One call: a summary, its waterfall, and everything about the span under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back"),
        Binding("tab", "app.focus_next", "Spans/details"),
        Binding("c", "copy", "Copy request id"),
        Binding("e", "export", "Export"),
        Binding("question_mark", "app.help", "Keys"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, source: Source, call: Call) -> None:
        super().__init__()
        self._source = source
        self.call = call
        self._spans: list[Span] = []

    def compose(self) -> ComposeResult:
        yield Static(Group(*shown.summary(self.call)), id="summary", markup=False)
        yield BarRows(id="bars")
        yield Lines(id="details")
        yield Keys(_KEYS_OF_ONE_CALL)

    def on_mount(self) -> None:
        self._read(first=True)
        self.query_one(BarRows).focus()
        self.set_interval(1.0, self._read)

    def _read(self, first: bool = False) -> None:
        """Look again: the caller's own spans around a call end, and arrive, after it."""
        spans = self._source.store.family(self.call.key)
        if not first and len(spans) <= len(self._spans):
            return
        self._spans = spans or self._spans
        rows = self.query_one(BarRows)
        chosen = rows.bars[rows.cursor].span.key if rows.bars else self.call.key
        rows.bars = waterfall(self.call.key, self._spans)
        at = next((place for place, each in enumerate(rows.bars) if each.span.key == chosen), 0)
        rows.show(len(rows.bars), at)
        rows.styles.max_height = max(4, min(len(rows.bars), self.app.size.height * 2 // 5))
        self._details()

    @on(Rows.Moved)
    def _details(self) -> None:
        rows = self.query_one(BarRows)
        details = self.query_one("#details", Lines)
        if rows.bars:
            details.show(shown.details(rows.bars[rows.cursor].span, self._spans))
        else:
            details.show([Text("The spans of this call have made room for newer ones.", shown.ODD)])
        details.scroll_home(animate=False)

    @on(Rows.Chosen)
    def _into_details(self) -> None:
        self.query_one("#details", Lines).focus()

    def action_copy(self) -> None:
        copy_request_id(self.app, self.call)

    def action_export(self) -> None:
        ask_and_export(self.app, self.call, self._spans)


_OF_THE_BASE = frozenset({"view", "filter", "sort", "reverse", "pause", "by", "copy", "export", "leave"})
"""What is done from the app's own screen alone."""


class Watch(App[None]):
    """The view of a source."""

    TITLE = "byteplus-trace watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #status { height: 1; background: $panel; text-wrap: nowrap; }
    #notes { height: auto; max-height: 2; background: $panel; padding: 0 1; }
    #filter { height: 1; border: none; padding: 0 1; background: $surface; }
    #heading { height: 1; text-wrap: nowrap; }
    ContentSwitcher, #calls, CallRows { height: 1fr; }
    #empty { height: 1fr; padding: 1 2; display: none; }
    #calls.empty CallRows { display: none; }
    #calls.empty #empty { display: block; }
    #now, #output, #details { scrollbar-size-vertical: 1; height: 1fr; }
    #summary { height: auto; padding: 0 1; background: $panel; }
    BarRows { height: auto; min-height: 3; }
    #details { border-top: solid $primary; padding: 0 1; }
    #details:focus { border-top: solid $accent; }
    Export, Help { align: center middle; }
    Export > Static, Help > Static { width: auto; max-width: 100%; height: auto; padding: 1 2; background: $panel; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # Before others, so that what is typed ahead is already for the filter, and for that of the right view.
        Binding("1", "view('calls')", "Calls", priority=True),
        Binding("2", "view('now')", "Now", priority=True),
        Binding("3", "view('output')", "Output", priority=True),
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse", show=False),
        Binding("p,space", "pause", "Pause", key_display="p"),
        Binding("b", "by", "By"),
        Binding("c", "copy", "Copy id", show=False),
        Binding("e", "export", "Export"),
        Binding("question_mark", "help", "Keys", key_display="?"),
        Binding("escape", "leave", "Back", show=False),
        Binding("q", "quit", "Quit"),
        # As anywhere in a terminal, where no text is selected to be copied. Textual's own only says which key to press.
        Binding("ctrl+c", "quit", show=False, system=True),
    ]

    def __init__(self, source: Source, *, live: bool = True) -> None:
        super().__init__()
        self.source = source
        self._live = live
        self._drawn: tuple[int, int | None] | None = None
        self._all: list[Call] = []
        self._frozen: tuple[list[Call], int] | None = None
        """While paused: the calls that are shown, and when that was."""
        self._sort = "time"
        self._descending = True
        self._by = "model"
        self._status_drawn = ("", "")
        self._output_drawn: list[str] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="status", markup=False)
        yield Static(id="notes", markup=False)
        yield Input(id="filter", placeholder="model:seed team:search error", compact=True)
        with ContentSwitcher(initial="calls"):
            with Vertical(id="calls"):
                yield Static(id="heading", markup=False)
                yield CallRows(id="rows")
                yield Static(id="empty", markup=False)
            with Scrolled(id="now"):
                yield Static(id="numbers", markup=False)
            yield Lines(id="output")
        yield Keys()

    def on_mount(self) -> None:
        self.theme = "textual-dark"
        self.query_one("#filter", Input).display = False
        self.query_one(CallRows).focus()
        self._draw_keys()
        # A terminal that is closed ends the view as `q` does, and with it the program that runs beside it.
        for number in _ENDINGS:
            with suppress(
                NotImplementedError, RuntimeError, ValueError
            ):  # Windows, another thread than the first
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.look()
        self.set_interval(REFRESH_SECONDS, self._tick)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if len(self.screen_stack) > 1 and action in _OF_THE_BASE:
            return False
        if action in {"filter", "view"} and isinstance(self.focused, Input):
            return False  # a letter like any other there
        if action == "by":
            return self._view == "now"
        if action in {"sort", "export", "copy", "reverse"}:
            return self._view == "calls"
        if action == "view" and parameters == ("output",):
            return bool(self.source.status().program)
        return True

    @property
    def _view(self) -> str:
        # The footer asks before there is anything.
        switchers = self.screen_stack[0].query(ContentSwitcher) if self.screen_stack else None
        return (switchers.first().current if switchers else None) or "calls"

    def _tick(self) -> None:
        # A timer may still fire while the app ends and its widgets go.
        if self.screen_stack:
            with suppress(NoMatches):
                self.look()

    def look(self) -> None:
        """Ask the source, and draw what is new."""
        now = self.source.store.version, self.source.status().exit_status
        if now != self._drawn:
            self._drawn = now
            self._all = self.source.store.calls()
            if self._frozen is None:
                self.draw()
        if self._view == "now" and self._frozen is None:
            self._draw_now()
        if self._view == "output":
            self._draw_output()
        self._draw_status()

    def _draw_keys(self) -> None:
        output = _OUTPUT if self.source.status().program else ()
        hints = (*_VIEWS, *output, *_KEYS[self._view], *_ALWAYS)
        self.screen_stack[0].query_one(Keys).show(hints)

    @property
    def _shown(self) -> list[Call]:
        return self._frozen[0] if self._frozen is not None else self._all

    def _filtered_calls(self) -> list[Call]:
        keeps = filter_of(self.screen_stack[0].query_one("#filter", Input).value)
        return [call for call in self._shown if keeps(call)] if keeps is not None else list(self._shown)

    def draw(self) -> None:
        """Draw the calls anew."""
        base = self.screen_stack[0]
        rows = base.query_one(CallRows)
        calls = self._filtered_calls()
        order = next(column.order for column in shown.COLUMNS if column.name == self._sort)
        calls.sort(key=order, reverse=self._descending)
        rows.show_calls(calls)
        width = rows.width or base.size.width - 1
        heading = shown.heading(rows.columns(width), self._sort, self._descending)
        base.query_one("#heading", Static).update(heading, layout=False)
        base.query_one("#calls").set_class(not calls, "empty")
        if not calls:
            base.query_one("#empty", Static).update(self._why_empty())
        self._draw_status()

    def _why_empty(self) -> Text:
        if self._shown:
            typed = self.screen_stack[0].query_one("#filter", Input).value
            fields = "".join(f"\n\n{_unknown(name)}" for name in unknown_fields(typed, self._shown))
            return Text(
                f"No call fits the filter, of {len(self._shown):,}. escape clears it.{fields}", shown.QUIET
            )
        if not self._live:
            return Text("There are no calls in this file.", shown.QUIET)
        status = self.source.status()
        if status.exit_status is not None:
            return Text.assemble(
                f"{plain(status.program)}.\n\n",
                "No call of it was seen. 3 shows what it wrote.",
            )
        return Text.assemble(
            f"Waiting for spans on {plain(status.place)}.\n\n",
            "In your program:\n\n    import byteplus_trace\n    byteplus_trace.instrument()\n\n",
            ("Spans go here by default. ", shown.QUIET),
            (
                "An application with a tracer provider of its own\nexports them when that provider does.\n\n",
                shown.QUIET,
            ),
            ("Or see calls of a fake ModelArk, from another terminal:\n\n", shown.QUIET),
            "    byteplus-trace traffic",
        )

    def _draw_status(self) -> None:
        status = self.source.status()
        calls = self._shown
        failed = sum(call.failed for call in calls)
        line = Text.assemble(
            (" watch ", "bold reverse"),
            f" {plain(status.place, 60)}  {len(calls):,} call{'' if len(calls) == 1 else 's'}",
        )
        if failed:
            line.append(f"  ✗ {failed:,} failed", shown.BAD)
        if self._frozen is not None:
            line.append(f"  PAUSED, {max(0, len(self._all) - len(calls)):,} more", f"bold {shown.ODD}")
        text = self.screen_stack[0].query_one("#filter", Input).value
        if text:
            kept = self.screen_stack[0].query_one(CallRows).total
            line.append(f"  {kept:,} for {plain(text, 40)}", shown.RESCUED)
        ignored = [f"{plain(term, 40)} cannot be compared" for term in not_followed(text)]
        notes = Text("  ".join([*ignored, *_notes(status)]), shown.ODD)
        drawn = line.markup, notes.plain
        if drawn != self._status_drawn:
            self._status_drawn = drawn
            base = self.screen_stack[0]
            base.query_one("#status", Static).update(line, layout=False)
            base.query_one("#notes", Static).update(notes)
            base.query_one("#notes").display = bool(notes)
            if base.query_one("#calls").has_class("empty"):
                base.query_one("#empty", Static).update(self._why_empty())

    def _draw_now(self) -> None:
        base = self.screen_stack[0]
        width = max(40, base.query_one("#now").size.width - 2)
        calls = self._filtered_calls()
        if self._frozen is not None:
            at = self._frozen[1]
        elif self._live:
            at = time.time_ns()
        else:
            at = max((call.end_ns for call in calls), default=0)
        now = numbers.now(calls, at, self._by)
        store = self.source.store
        regions = numbers.regions(calls, store.attempts(), store.breakers(), at)
        lines = [
            *shown.plots(now, width),
            Text(),
            *shown.regions(regions, width),
            Text(),
            *shown.groups(now, self._by, width),
        ]
        base.query_one("#numbers", Static).update(Group(*lines))

    def _draw_output(self) -> None:
        lines = self.source.output()
        if lines == self._output_drawn:
            return  # else who has just left its end would be taken back there
        self._output_drawn = list(lines)
        output = self.screen_stack[0].query_one("#output", Lines)
        at_end = output.scroll_offset.y >= output.max_scroll_y
        output.show(
            [Text(plain(line)) for line in lines]
            or [Text("The program has written nothing yet.", shown.QUIET)]
        )
        if at_end:
            output.scroll_end(animate=False)

    @on(Rows.Resized)
    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        with suppress(NoMatches):  # as above
            self.draw()
            if self._view == "now":
                self._draw_now()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.action_view(self._view)

    @on(Rows.Chosen)
    def _open(self) -> None:
        call = self.query_one(CallRows).call
        if call is not None:
            self.push_screen(OneCall(self.source, call))

    def action_view(self, name: str) -> None:
        self.query_one(ContentSwitcher).current = name
        self.screen.set_focus(self.query_one(CallRows) if name == "calls" else self.query_one(f"#{name}"))
        if name == "now":
            self._draw_now()
        elif name == "output":
            self._draw_output()
        self._draw_keys()

    def action_filter(self) -> None:
        if self._view == "output":
            self.action_view("calls")
        field = self.query_one("#filter", Input)
        field.display = True
        # At once: `focus()` would let keys that are typed ahead go elsewhere.
        self.screen.set_focus(field)

    def action_leave(self) -> None:
        """Out of the filter, which is cleared; from another view to the calls."""
        field = self.query_one("#filter", Input)
        typing = self.focused is field
        if typing or self._view == "calls":
            field.value = ""
            field.display = False
        self.action_view(self._view if typing else "calls")

    def action_sort(self) -> None:
        self._sort = shown.SORTS[(shown.SORTS.index(self._sort) + 1) % len(shown.SORTS)]
        self._descending = self._sort not in {"model", "region", "outcome", "team"}
        self.draw()

    def action_reverse(self) -> None:
        self._descending = not self._descending
        self.draw()

    def action_pause(self) -> None:
        self._frozen = (self._all, time.time_ns()) if self._frozen is None else None
        self.draw()

    def action_by(self) -> None:
        names = list(numbers.GROUPS)
        self._by = names[(names.index(self._by) + 1) % len(names)]
        self._draw_now()

    def action_help(self) -> None:
        active = set(self.screen.active_bindings)
        if len(self.screen.focus_chain) < 2:
            active.discard("tab")  # Textual's own, in every screen
        self.push_screen(Help(active))

    def action_copy(self) -> None:
        call = self.query_one(CallRows).call
        if call is not None:
            copy_request_id(self, call)

    def action_export(self) -> None:
        call = self.query_one(CallRows).call
        if call is not None:
            ask_and_export(self, call, self.source.store.family(call.key))


def _unknown(field: str) -> str:
    """What to do about a field of the filter that no call has."""
    shown_field = plain(field, 40)
    instead = (
        f" Compare it: {field}>2, {field}<2." if field in NUMBERS else did_you_mean(field, (*TEXTS, *NUMBERS))
    )
    return f"No call has a field {shown_field!r}.{instead}"


def _notes(status: Status) -> list[str]:
    """What a user should know, in short."""
    found = [plain(each) for each in status.troubles]
    if status.program:
        found.append(plain(status.program))
    if status.dropped:
        found.append(f"{status.dropped:,} spans dropped for newer ones")
    if status.rejected:
        found.append(f"{status.rejected:,} spans rejected")
    if status.refused:
        found.append(f"{status.refused:,} requests refused, {plain(status.refusal)}")
    return found


def copy_request_id(app: App[None], call: Call) -> None:
    """Put a call's request id on the clipboard, as far as the terminal allows it."""
    if not call.request_id:
        app.notify("This call has no request id.", markup=False)
        return
    text = plain(call.request_id, 256)
    app.copy_to_clipboard(text)
    app.notify(text, title="Request id copied", markup=False)


def ask_and_export(app: App[None], call: Call, spans: list[Span]) -> None:
    """Ask as what, and write a file; in a browser, download one."""

    def write(kind: str | None) -> None:
        if kind is None:
            return
        try:
            text = json_text(call, spans) if kind == "json" else pytest_text(call, spans)
        except NotReplayableError as error:
            app.notify(plain(str(error)), severity="warning", markup=False)
            return
        name = _file_name(call.key, kind)
        if app.is_web:
            app.deliver_text(io.StringIO(text), save_filename=name)
            return
        try:
            path = _written(Path.cwd(), name, text)
        except OSError as error:
            app.notify(f"{name} cannot be written: {error.strerror}", severity="error", markup=False)
        else:
            app.notify(plain(str(path)), title="Exported", markup=False)

    app.push_screen(Export(), write)


def _file_name(key: Key, kind: str) -> str:
    # Ids of a file that somebody else made may be anything.
    number = "".join(each for each in key[1] if each in "0123456789abcdef")[:16] or "0"
    return f"modelark-call-{number}.json" if kind == "json" else f"test_modelark_call_{number}.py"


def _written(folder: Path, name: str, text: str) -> Path:
    """Write a new file, for its owner alone; nothing that exists is written over."""
    stem, _, ending = name.rpartition(".")
    for number in range(1, 1000):
        path = folder / (name if number == 1 else f"{stem}_{number}.{ending}")
        try:
            with open(path, "x", encoding="utf-8", opener=_for_its_owner) as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(17, "there are too many files of that name")


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
