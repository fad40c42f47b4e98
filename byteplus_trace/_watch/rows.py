"""Rows of which only those on the screen are drawn, with a cursor. A call may be one of ten thousand."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .shown import CHOSEN


class Rows(ScrollView, can_focus=True):
    """
    Lines with a cursor.

    A subclass says what stands in a line, `line(at, width)`, and sets `total`.
    """

    DEFAULT_CSS = """
    Rows { scrollbar-size-vertical: 1; overflow-x: hidden; overflow-y: scroll; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "to(0)", "First", show=False),
        Binding("end,G", "to(-1)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    class Resized(Message):
        """There is room for more columns, or for fewer."""

    class Chosen(Message):
        """The row under the cursor is asked for."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.total = 0
        self.cursor = 0

    @property
    def width(self) -> int:
        """The cells of a line, beside the scrollbar."""
        return self.scrollable_content_region.width

    def line(self, at: int, width: int) -> Text:
        """What stands in a row."""
        raise NotImplementedError

    def show(self, total: int, cursor: int) -> None:
        """Draw anew: so many rows, and the cursor on this one."""
        self.total = total
        self.cursor = max(0, min(cursor, total - 1))
        self.virtual_size = Size(self.width, total)
        self._follow()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        at = y + round(self.scroll_y)
        width = self.width
        if at >= self.total:
            return Strip.blank(width, self.rich_style)
        text = self.line(at, width)
        text.end = ""
        style = self.rich_style
        if at == self.cursor:
            style += Style.parse(CHOSEN if self.has_focus else "underline")
        strip = Strip(text.render(self.app.console))
        return strip.apply_style(style).adjust_cell_length(width, style).simplify()

    def _follow(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True, immediate=True)

    def move_to(self, at: int) -> None:
        before = self.cursor
        self.cursor = max(0, min(at, self.total - 1))
        self._follow()
        self.refresh()
        if before != self.cursor:
            self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self.cursor + by * max(1, self.size.height - 1))

    def action_to(self, at: int) -> None:
        self.move_to(at if at >= 0 else self.total - 1)

    def action_choose(self) -> None:
        if self.total:
            self.post_message(self.Chosen())

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    def on_click(self, event: events.Click) -> None:
        at = event.y + round(self.scroll_y)
        if at < self.total:
            self.move_to(at)
            if event.chain > 1:
                self.action_choose()
