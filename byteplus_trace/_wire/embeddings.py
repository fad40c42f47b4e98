"""
Embeddings, of text and of mixed media (ModelArk docs 1409291, 2026-11).

`data` is a list or, of mixed media, one object; it is skipped either way, because
decoding vectors costs more than everything else this library does.
"""

from __future__ import annotations

from .capture import with_content
from .plain import PlainReader
from .reader import Asked
from .request import asked as _asked


def asked(body: bytes, capture: bool) -> Asked:
    """What an embeddings request asks for, and of how many inputs."""
    return with_content(_asked(body, counted=True), "embeddings", body, capture)


reader = PlainReader
