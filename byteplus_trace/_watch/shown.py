"""
Calls, spans and numbers as lines of a terminal.

Every text of a span passes `plain` first, and stands in a `Text`, which parses no
markup. How a call ended is a sign and a colour, and the colours are Okabe and Ito's, which a
colour-blind person can tell apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from .._telemetry import semconv as sc
from .._telemetry import tree
from .breakers import Breaker
from .calls import Call, call_of, holds_attempt, is_attempt
from .now import Now, Numbers, RegionNow
from .plain import plain, plain_lines
from .spans import SPAN_KINDS, Span
from .waterfall import Bar

GOOD: Final = "#009E73"
RESCUED: Final = "#56B4E9"
BAD: Final = "#FF8A4C"
"""Vermillion, lighter than Okabe and Ito's, for a dark ground."""
ODD: Final = "#E69F00"
QUIET: Final = "#9a9a9a"
CHOSEN: Final = "on #1f4a6b"

SIGNS: Final = {
    "ok": ("·", GOOD),
    "rescued_retry": ("↻", RESCUED),
    "rescued_fallback": ("→", RESCUED),
    "error": ("✗", f"bold {BAD}"),
    "deadline": ("✗", f"bold {BAD}"),
    "cancelled": ("-", ODD),
    "abandoned": ("-", ODD),
}
BREAKERS: Final = {"closed": ("·", GOOD), "half-open": ("◐", ODD), "open": ("✗", f"bold {BAD}")}

_NEVER: Final = -1.0


def clock(ns: int, digits: int = 0) -> str:
    """The local time of day."""
    try:
        moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)).astimezone()
    except (OverflowError, ValueError, OSError):
        return "?"
    return moment.strftime("%H:%M:%S") + (
        f".{ns // 10 ** (9 - digits) % 10**digits:0{digits}d}" if digits else ""
    )


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 100 else f"{min(value, 9_999_999):.0f} s"


def count(value: float | None) -> str:
    if value is None:
        return ""
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e5, "k")):
        if value >= limit:
            return f"{value / (limit if unit != 'k' else 1e3):.4g}{unit}"
    return f"{value:.0f}"


def dollars(value: float | None) -> str:
    """To four digits behind the point, and to six where it is less than a cent."""
    if value is None:
        return ""
    if value >= 1:
        return f"${value:,.2f}" if value < 1e9 else f"${value:.3g}"
    if value >= 0.01:
        return f"${value:.4f}"
    return "$" + (f"{value:.6f}".rstrip("0").rstrip(".") or "0")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of calls."""

    name: str
    title: str
    sizes: tuple[tuple[int, int], ...]
    """Ranks and widths, growing: the lower the rank, the narrower a terminal may be that still has room for this."""
    most: int
    read: Callable[[Call], Any]
    text: Callable[[Call], str]
    order: Callable[[Call], Any]
    right: bool = False


def _number(read: Callable[[Call], float | None]) -> Callable[[Call], float]:
    def order(call: Call) -> float:
        value = read(call)
        return _NEVER if value is None else value

    return order


def _textual(name: str, title: str, most: int, *sizes: tuple[int, int]) -> Column:
    read: Callable[[Call], str] = attrgetter(name)
    return Column(name, title, sizes, most, read, read, lambda call: read(call).lower())


def _numeric(
    name: str, title: str, rank: int, width: int, field: str, write: Callable[[float | None], str]
) -> Column:
    read: Callable[[Call], float | None] = attrgetter(field)
    return Column(
        name,
        title,
        ((rank, width),),
        width + 1,
        read,
        lambda call: write(read(call)),
        _number(read),
        right=True,
    )


_start: Final[Callable[[Call], int]] = attrgetter("start_ns")
# A terminal of 80 has room for the whole region and outcome, and for the date of the usual models.
# Without a column for it, the code of an error stands in place of the outcome.
COLUMNS: Final = (
    Column("time", "time", ((1, 8),), 8, _start, lambda call: clock(call.start_ns), _start),
    _textual("operation", "operation", 16, (9, 14)),
    _textual("model", "model", 31, (2, 15), (8, 20)),
    _textual("region", "region", 16, (6, 14)),
    _textual("outcome", "outcome", 18, (3, 13), (6, 18)),
    _textual("error", "error code", 26, (10, 16)),
    _numeric("duration", "took", 4, 7, "seconds", seconds),
    _numeric("first", "first", 7, 7, "first_chunk", seconds),
    _numeric("in", "in", 5, 5, "tokens_in", count),
    _numeric("out", "out", 5, 5, "tokens_out", count),
    _numeric("cached", "cached", 12, 6, "cached", count),
    _numeric("reasoning", "reason", 12, 6, "reasoning", count),
    _numeric("cost", "cost", 6, 9, "cost", dollars),
    _textual("team", "team", 14, (11, 8)),
    _textual("user", "user", 14, (11, 8)),
    _textual("session", "session", 16, (13, 8)),
)
SORTS: Final = ("time", "duration", "first", "in", "out", "cost", "model", "region", "outcome", "team")

Layout = tuple[tuple[Column, int], ...]


def empty_columns(calls: Sequence[Call]) -> frozenset[str]:
    """The columns in which none of these calls has anything; of no calls, none."""
    if not calls:
        return frozenset()
    # Without a loop in Python: there may be ten thousands, several times a second. A zero is something.
    nothing = {None, ""}
    return frozenset(column.name for column in COLUMNS if nothing.issuperset(map(column.read, calls)))


def layout(width: int, without: Set[str] = frozenset()) -> Layout:
    """The columns that a width has room for, and how wide each of them is."""
    sizes = [
        (rank, column.name, cells)
        for column in COLUMNS
        if column.name not in without
        for rank, cells in column.sizes
    ]
    widths: dict[str, int] = {}
    spare = width + 1
    for _, name, cells in sorted(sizes, key=lambda size: size[0]):
        more = cells - widths.get(name, -1)  # a new column has a blank behind it
        if more <= spare:
            widths[name] = cells
            spare -= more
    for column in COLUMNS:
        if column.name in widths:
            more = min(spare, column.most - widths[column.name])
            widths[column.name] += more
            spare -= more
    return tuple((column, widths[column.name]) for column in COLUMNS if column.name in widths)


def heading(columns: Layout, sort: str, descending: bool) -> Text:
    """The titles, with a mark at the column that rows are sorted by."""
    line = Text()
    for column, width in columns:
        mark = ("▾" if descending else "▴") if column.name == sort else ""
        line.append(_cell(column.title + mark, width, column.right), "bold" if mark else f"bold {QUIET}")
        line.append(" ")
    return line


def row(call: Call, columns: Layout) -> Text:
    """A call in one line."""
    sign, colour = SIGNS.get(call.outcome, ("?", ODD))
    has_error_column = any(column.name == "error" for column, _ in columns)
    line = Text()
    for column, width in columns:
        text = plain(column.text(call), 200)
        style = ""
        if column.name == "outcome":
            text = f"{sign} {text if has_error_column or not call.failed else plain(call.error, 200) or text}"
            style = colour
        elif column.name == "error":
            style = BAD if call.failed else QUIET
        elif column.name == "time":
            style = QUIET
        cell = _cell(_model(text, width) if column.name == "model" else text, width, column.right)
        line.append(cell, style)
        line.append(" ")
    return line


def _cell(text: str, width: int, right: bool = False) -> str:
    """A text in exactly so many cells."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + "…"
    padding = " " * (width - length)
    return padding + text if right else text + padding


def _model(text: str, width: int) -> str:
    """A model in at most so many cells, cut in the middle: its end is its date."""
    if cell_len(text) <= width:
        return text
    end = text[-6:]
    while cell_len(end) > (width - 1) // 2:
        end = end[1:]
    return set_cell_size(text, max(0, width - 1 - cell_len(end))) + "…" + end


def summary(call: Call) -> list[Text]:
    """A call in a few lines."""
    sign, colour = SIGNS.get(call.outcome, ("?", ODD))
    first = Text.assemble(
        (f"{sign} {plain(call.outcome, 40)}", colour),
        f"  {seconds(call.seconds)}  {plain(call.operation, 60)} {plain(call.model, 80)}  ",
        f"{plain(call.region, 40)}  {clock(call.start_ns, 3)}",
    )
    lines = [first]
    facts = [
        ("error", plain(call.error, 120)),
        ("first chunk", seconds(call.first_chunk)),
        ("tokens", _tokens(call)),
        ("cost", dollars(call.cost)),
        ("user", plain(call.user, 60)),
        ("team", plain(call.team, 60)),
        ("session", plain(call.session, 60)),
    ]
    line = Text()
    for name, text in facts:
        if text:
            line.append(f"{name} ", QUIET).append(text + "  ")
    lines.append(line)
    if call.request_id:
        lines.append(Text.assemble(("request id ", QUIET), plain(call.request_id, 256)))
    return lines


def _tokens(call: Call) -> str:
    parts = [
        f"{count(value)} {name}"
        for value, name in (
            (call.tokens_in, "in"),
            (call.tokens_out, "out"),
            (call.cached, "cached"),
            (call.reasoning, "reasoning"),
        )
        if value is not None
    ]
    return ", ".join(parts)


def bar(each: Bar, width: int) -> Text:
    """A span of the waterfall: its name as a tree, how long it took, and when."""
    span = each.span
    colour = BAD if span.status == "error" else {"call": GOOD, "attempt": RESCUED}.get(each.role, QUIET)
    name_width = max(20, min(60, width * 2 // 5))
    name = "  " * min(each.depth, 12) + _named(each)
    room = max(4, width - name_width - 10)
    begin = min(room - 1, int(each.begins * room))
    length = max(1, min(room - begin, round((each.ends - each.begins) * room)))
    return Text.assemble(
        (_cell(name, name_width), "bold" if each.role == "call" else ""),
        (_cell(seconds(span.seconds), 8, right=True) + "  ", QUIET if span.status != "error" else BAD),
        " " * begin,
        (("▒" if span.status == "error" else "█") * length, colour),
    )


def _named(each: Bar) -> str:
    span = each.span
    if each.role != "attempt":
        sign = "▸ " if each.role == "call" else ""
        return sign + plain(span.name, 100)
    ended = [span.attributes.get(name) for name in (sc.HTTP_STATUS, sc.ERROR_CODE)]
    if not ended[1]:
        ended[1] = span.attributes.get(sc.ERROR_TYPE)
    result = " ".join(dict.fromkeys(plain(str(part), 60) for part in ended if part is not None))
    return f"{plain(span.text(sc.TARGET), 40)}, {plain(span.text(sc.ATTEMPT_CAUSE), 20)} {result}"


def details(span: Span, around: Sequence[Span] = ()) -> list[Text]:
    """
    A span's events and all of its attributes, and the conversation where it was captured.

    Of a call also its tree, as the console and the demo draw it; `around` has its attempts.
    """
    lines = [
        Text.assemble((plain(span.name, 256), "bold"), (f"  {SPAN_KINDS[span.kind if 0 <= span.kind <= 5 else 0]}", QUIET)),
        Text.assemble(
            ("from ", QUIET), plain(span.service, 80) or "-", ("  by ", QUIET), plain(span.scope, 80) or "-",
            ("  trace ", QUIET), plain(span.trace_id, 32), ("  span ", QUIET), plain(span.span_id, 16),
        ),
    ]  # fmt: skip
    if span.status == "error":
        lines.append(Text(f"error {plain(span.message)}", BAD))
    if span.shortened:
        lines.append(Text(f"{span.shortened} texts, attributes or events were cut or omitted", ODD))
    if call_of(span) is not None and not is_attempt(span):
        lines += [Text(), *_tree(span, around)]
    lines.extend(_events(span))
    talk = list(conversation(span))
    if talk:
        lines += [Text(), Text("Conversation", "bold"), *talk]
    lines += [Text(), Text("Attributes", "bold")]
    for name, value in span.attributes.items():
        if name in _CONTENT:
            continue
        lines.append(Text.assemble((plain(name, 256), RESCUED), "  ", plain(_written(value))))
    return lines


_CONTENT: Final = {
    sc.SYSTEM_INSTRUCTIONS: "system",
    sc.INPUT_MESSAGES: "",
    sc.OUTPUT_MESSAGES: "",
    sc.TOOL_DEFINITIONS: "tools",
}


_KINDS: Final[dict[tree.Kind, str]] = {
    "ok": GOOD,
    "rescued": RESCUED,
    "failed": BAD,
    "stopped": ODD,
    "detail": QUIET,
    "event": ODD,
    "attempt": "",
    "failed attempt": BAD,
}


# A terminal of 80, without what surrounds the details and their scrollbar.
_TREE_WIDTH: Final = tree.WIDTH - 3


def _tree(call: Span, around: Sequence[Span]) -> Iterator[Text]:
    attempts = sorted(
        (span for span in around if is_attempt(span) and span.parent_id == call.span_id),
        key=lambda span: span.start_ns,
    )
    nodes = [_node(attempt) for attempt in attempts]
    if not nodes and holds_attempt(call):
        nodes = [tree.Node(call.text(sc.HTTP_METHOD), call.attributes, call.seconds)]
    for line in tree.lines(_node(call, nodes)):
        yield Text(tree.plain(line, _TREE_WIDTH), _KINDS[line.kind])


def _node(span: Span, attempts: Sequence[tree.Node] = ()) -> tree.Node:
    events = [(event.name, event.attributes) for event in span.events]
    return tree.Node(span.name, span.attributes, span.seconds, events, attempts)


def _events(span: Span) -> Iterator[Text]:
    if span.events:
        yield Text()
        yield Text("Events", "bold")
    for event in span.events:
        after = seconds(max(0, event.at_ns - span.start_ns) / 1e9)
        attributes = "  ".join(
            f"{plain(name, 60)}={plain(_written(value), 200)}" for name, value in event.attributes.items()
        )
        yield Text.assemble((f"+{after}  ", QUIET), (plain(event.name, 100), ODD), f"  {attributes}")


def conversation(span: Span) -> Iterator[Text]:
    """The messages, only where content was captured."""
    for name, role in _CONTENT.items():
        text = span.text(name)
        if not text:
            continue
        try:
            messages = json.loads(text)
        except (ValueError, RecursionError):
            messages = text  # cut by the bounds, or no JSON
        for each in messages if isinstance(messages, list) else [messages]:
            yield from _message(each, role)


def _message(message: Any, role: str) -> Iterator[Text]:
    parts = [message]
    if isinstance(message, dict) and isinstance(message.get("parts"), list):
        role, parts = str(message.get("role", role)), message["parts"]
    yield Text(plain(role or "message", 40), f"bold {ODD}")
    for part in parts:
        content = part.get("content") if isinstance(part, dict) else part
        kind = part.get("type") if isinstance(part, dict) else None
        style = f"italic {QUIET}" if kind == "reasoning" else ""
        is_text = kind in {"text", "reasoning"} and isinstance(content, str)
        for line in plain_lines(str(content) if is_text else _written(part), longest=20_000):
            yield Text(f"  {line}", style)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "…"


_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def plot(values: Sequence[float | None], width: int, colour: str) -> Text:
    """Values as small bars, the highest one full; a value that is not known leaves a gap."""
    wide = _resampled(values, width)
    highest = max((value for value in wide if value is not None), default=0.0)
    bars = "".join(
        " " if not value or highest <= 0 else _BLOCKS[max(1, min(8, round(value / highest * 8)))]
        for value in wide
    )
    return Text(bars, colour)


def _resampled(values: Sequence[float | None], width: int) -> list[float | None]:
    """As many values as there is room for: the highest of neighbours, or each of them several times."""
    if not values or width <= 0:
        return []
    found: list[float | None] = []
    for at in range(width):
        first = at * len(values) // width
        last = max(first + 1, (at + 1) * len(values) // width)
        known = [value for value in values[first:last] if value is not None]
        found.append(max(known) if known else None)
    return found


def plots(now: Now, width: int) -> list[Text]:
    """The last minutes, one line a number: its name, its plot, what it is over all, and its highest."""
    whole, step, minutes = now.whole, now.step_seconds, now.step_seconds * len(now.steps) / 60
    # Less than one call a second is easier to read by the minute.
    unit, unit_seconds = ("calls/s", 1) if whole.calls >= minutes * 60 else ("calls/min", 60)
    rows: list[tuple[str, Iterable[float | None], Callable[[float | None], str], str, str]] = [
        (
            unit,
            (each.calls / step * unit_seconds for each in now.steps),
            _rate,
            _rate(whole.calls / step / len(now.steps) * unit_seconds),
            RESCUED,
        ),
        ("failed", (float(each.failed) for each in now.steps), count, _share(whole), BAD),
        ("p50", (each.p50 for each in now.steps), seconds, seconds(whole.p50), GOOD),
        ("p95", (each.p95 for each in now.steps), seconds, seconds(whole.p95), GOOD),
        ("first chunk", (each.first_chunk for each in now.steps), seconds, seconds(whole.first_chunk), GOOD),
        ("tokens in", (float(each.tokens_in) for each in now.steps), count, count(whole.tokens_in), RESCUED),
        (
            "tokens out",
            (float(each.tokens_out) for each in now.steps),
            count,
            count(whole.tokens_out),
            RESCUED,
        ),
        ("cost", (each.cost for each in now.steps), dollars, dollars(whole.cost), ODD),
    ]
    # A step is two cells wide at most.
    room = max(10, min(2 * len(now.steps), width - 12 - 11 - 14))
    lines = [
        Text.assemble(
            (_cell(f"{minutes:g} minutes", 12), f"bold {QUIET}"),
            " " * room,
            (_cell("all", 11, right=True) + _cell("highest", 14, right=True), f"bold {QUIET}"),
        )
    ]
    for name, each, write, of_all, colour in rows:
        values = list(each)
        highest = max((value for value in values if value is not None), default=None)
        lines.append(
            Text.assemble(
                _cell(name, 12), plot(values, room, colour), _cell(of_all, 11, right=True),
                (_cell(write(highest) if highest else "", 14, right=True), QUIET),
            )
        )  # fmt: skip
    return lines


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _share(numbers: Numbers) -> str:
    return f"{numbers.failed} ({numbers.failed / numbers.calls:.0%})" if numbers.failed else "0"


_GROUP: Final = (
    ("calls", 8),
    ("failed", 12),
    ("p50", 9),
    ("p95", 9),
    ("first", 9),
    ("in", 8),
    ("out", 8),
    ("cost", 10),
)


def groups(now: Now, by: str, width: int) -> list[Text]:
    """The numbers of each model, region or team."""
    room, shown = _group_columns(width)
    head = Text(_cell(by, room), f"bold {QUIET}")
    for name, wide in shown:
        head.append(_cell(name, wide, right=True), f"bold {QUIET}")
    lines = [head]
    for name, each in now.groups:
        text = plain(name, 200) or "(none)"
        line = Text(_cell(_model(text, room) if by == "model" else text, room))
        _append_numbers(line, each, shown)
        lines.append(line)
    return lines


def _group_columns(width: int) -> tuple[int, list[tuple[str, int]]]:
    shown = list(_GROUP)
    while shown and width - sum(wide for _, wide in shown) < 16:
        shown.remove(next(each for each in (*reversed(shown[4:-1]), *reversed(shown)) if each in shown))
    return min(40, width - sum(wide for _, wide in shown)), shown


def _append_numbers(line: Text, each: Numbers, shown: Sequence[tuple[str, int]]) -> None:
    texts = {
        "calls": count(each.calls), "failed": _share(each), "p50": seconds(each.p50), "p95": seconds(each.p95),
        "first": seconds(each.first_chunk), "in": count(each.tokens_in), "out": count(each.tokens_out), "cost": dollars(each.cost),
    }  # fmt: skip
    for name, wide in shown:
        line.append(_cell(texts[name], wide, right=True), BAD if name == "failed" and each.failed else "")


_REGION: Final = (("calls", 6), ("failed", 8), ("attempts", 10), ("failed", 8))


def regions(found: Sequence[RegionNow], width: int) -> list[Text]:
    """Each target with its breaker, and where that is known from."""
    of_region = 15
    room = max(
        8, min(30, width - of_region - sum(wide for _, wide in _REGION) - len("  ◐ half-open (inferred)"))
    )
    titles = "".join(_cell(name, wide, right=True) for name, wide in _REGION)
    lines = [Text(_cell("target", room) + _cell("region", of_region) + titles + "  breaker", f"bold {QUIET}")]
    for each in found:
        line = Text(
            _cell(plain(each.target, 100), room - 1) + " " + _cell(plain(each.region, 100), of_region)
        )
        values = (each.calls, each.failed, each.attempts, each.failed_attempts)
        for (name, wide), value in zip(_REGION, values, strict=True):
            line.append(_cell(count(value), wide, right=True), BAD if name == "failed" and value else "")
        line.append("  ").append_text(breaker(each.breaker))
        lines.append(line)
    return lines


def breaker(known: Breaker | None) -> Text:
    """The state of a breaker; inferred ones say so."""
    if known is None:
        return Text("-", QUIET)
    sign, colour = BREAKERS[known.state]
    return Text.assemble(
        (f"{sign} {known.state}", colour), (" (inferred)" if known.source == "inferred" else "", QUIET)
    )
