"""
The API families: how the requests and the replies of each are read.

Content capture gathers content beside what is always read. Its module is imported only
where capture is on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from .._apis import Api, FamilyName
from .._facts import Answer
from .chat import ChatReader
from .embeddings import EmbeddingsReader
from .fetched import FetchedReader
from .images import ImagesReader
from .messages import MessagesReader
from .plain import CountReader, LabelReader, ListReader, PlainReader, TokensReader
from .reader import Asked, Reader
from .request import asked
from .responses import ResponsesReader
from .sse import DONE
from .tasks import TaskReader
from .unlisted import UnlistedReader

if TYPE_CHECKING:
    from .content import Collector


@dataclass(frozen=True, slots=True)
class Family:
    """One API family."""

    make_reader: Callable[[], Reader]
    content: str | None = None
    """The form of its content; None where none of it is ever exported."""
    silent: bool = False
    """Its replies have no readable content."""
    counts_inputs: bool = False
    listed: bool = True
    """Its API is in the table. Of any other no request is read, and no large reply."""

    def asked(self, body: bytes, capture: bool) -> Asked:
        """Read a request's body, with its content where `capture` asks for it. An unreadable one gives an empty `Asked`."""
        if not self.listed:
            return Asked()
        found = asked(body, counted=self.counts_inputs)
        if not capture or self.content is None:
            return found
        from .content import of_request

        return replace(found, content=of_request(self.content, body))

    def reader(self, capture: bool) -> Reader:
        """A fresh reader for one reply."""
        if not capture or self.content is None or self.silent:
            return self.make_reader()
        from .content import Collector

        return _Capturing(self.make_reader(), Collector(self.content))


class _Capturing:
    """A reader, and beside it what gathers the content of the same reply."""

    __slots__ = ("_collector", "_reader")

    def __init__(self, reader: Reader, collector: Collector) -> None:
        self._reader = reader
        self._collector = collector

    def event(self, name: str, data: bytes) -> int:
        if data != DONE:
            self._collector.event(name, data)
        return self._reader.event(name, data)

    def document(self, body: bytes) -> bool:
        self._collector.document(body)
        return self._reader.document(body)

    def answer(self) -> Answer:
        return replace(self._reader.answer(), content=self._collector.content())


chat = Family(ChatReader, "chat")
responses = Family(ResponsesReader, "responses")
fetched = Family(FetchedReader, "responses")
messages = Family(MessagesReader, "messages")
images = Family(ImagesReader, "images")
embeddings = Family(EmbeddingsReader, "embeddings", silent=True, counts_inputs=True)
tasks = Family(TaskReader)
plain = Family(PlainReader)
lists = Family(ListReader)
tokens = Family(TokensReader)
labels = Family(LabelReader)
counts = Family(CountReader)
unlisted = Family(UnlistedReader, listed=False)

FAMILIES: dict[FamilyName, Family] = {
    "chat": chat,
    "responses": responses,
    "fetched": fetched,
    "messages": messages,
    "images": images,
    "embeddings": embeddings,
    "tasks": tasks,
    "plain": plain,
    "lists": lists,
    "tokens": tokens,
    "labels": labels,
    "counts": counts,
    "unlisted": unlisted,
}


def family_of(api: Api) -> Family | None:
    """How this API is read; None for a download, which is only counted."""
    return FAMILIES[api.family] if api.family is not None else None
