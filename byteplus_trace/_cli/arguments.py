"""Kinds of arguments that several commands take, for argparse."""

from __future__ import annotations

import argparse
from contextlib import suppress


def port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (value := float(text)) < 1e9:
            return value
    raise argparse.ArgumentTypeError(f"{text!r}: write seconds, such as 0.5")
