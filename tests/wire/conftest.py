"""Fixtures that read events or a document with the reader of an API family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from byteplus_trace._facts import Answer
from byteplus_trace._wire.sse import EventDecoder

RECORDED = Path(__file__).parent / "recorded"


class Read(NamedTuple):
    """What each event of a stream was, and the answer of all of them."""

    kinds: list[int]
    answer: Answer


@pytest.fixture
def recorded():
    """The bytes of a recording."""
    return lambda name: (RECORDED / name).read_bytes()


@pytest.fixture
def read_events():
    """Events, each a dict, bytes, or a name with either, as a family's reader takes them."""

    def read(family, *events):
        reader = family.reader(False)
        kinds = []
        for event in events:
            name, data = event if isinstance(event, tuple) else ("", event)
            kinds.append(reader.event(name, data if isinstance(data, bytes) else json.dumps(data).encode()))
        return Read(kinds, reader.answer())

    return read


@pytest.fixture
def read_stream():
    """The parts of a stream, as they come from the wire."""

    def read(family, parts):
        decoder, reader = EventDecoder(), family.reader(False)
        events = [event for part in parts for event in decoder.feed(part)] + decoder.flush()
        return Read([reader.event(*event) for event in events], reader.answer())

    return read


@pytest.fixture
def answer():
    """The answer of a document."""

    def read(family, document):
        reader = family.reader(False)
        reader.document(document if isinstance(document, bytes) else json.dumps(document).encode())
        return reader.answer()

    return read


@pytest.fixture
def params():
    """What a request was found to ask for."""

    def ask(family, **fields):
        return dict(family.asked(json.dumps(fields).encode(), False).params)

    return ask
