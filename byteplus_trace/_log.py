"""The library's logger. A handler or filter that raises costs the line, and never what it was about."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any


class _Logger(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic in its stubs only
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        with suppress(Exception):
            # The line is the caller's, and neither this one's nor the adapter's.
            self.logger.log(level, msg, *args, **{"stacklevel": 3, **kwargs})


logger = _Logger(logging.getLogger("byteplus_trace"), {})
