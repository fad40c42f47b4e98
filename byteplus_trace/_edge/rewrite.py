"""
The request that really leaves: the caller's own object, unless something must change.

What may change, and nothing else: `x-portkey-*` headers are taken off a call that goes
straight to ModelArk; a trace context is put in where that was asked for; a policy's
target brings its origin, its credential, its model and its parameters; `include_usage`
asks for usage. Then the caller keeps its request and a copy goes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from .._apis import BY_NAME
from .._config import Config
from .._facts import Call
from .._forwarding import credential, travelling_query, travels
from .._recognise import PORTKEY_PREFIX
from .._telemetry.guard import guard
from .._wire.json_patch import spliced
from .._wire.lenient_json import UNREADABLE, json_in
from .library import Library

if TYPE_CHECKING:
    from .._telemetry.recorder import AttemptSpan


def target_url(library: Library, url: Any, base_url: str | None, path: str) -> Any:
    """The URL of a call at a target: its base URL, the call's path, and what of the caller's query travels there."""
    if base_url is None:
        return url
    there = library.url(base_url + path)
    is_same = origin(there) == origin(url)
    if is_same and there.raw_path == url.raw_path.partition(b"?")[0]:
        return url
    query = url.query if is_same else travelling_query(url.query.decode("ascii")).encode("ascii")
    return there.copy_with(query=query) if query else there


def rewritten_body(body: bytes, changes: Mapping[str, Any], include_usage: bool) -> bytes:
    """
    A body with top-level fields changed, and usage asked for.

    Everything else travels as it was written, byte for byte, in its order. A body that
    is no JSON object, or needs no change, is returned as it is.
    """
    if not changes and not include_usage:
        return body
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        document = json_in(body)
        if not isinstance(document, dict):
            return body
        return spliced(body, _written(changes, include_usage, document.get("stream_options")))
    options = fields.get("stream_options")
    written = _written(changes, include_usage, json_in(options) if options is not None else None)
    return msgspec.json.encode({**fields, **{name: msgspec.Raw(value) for name, value in written.items()}})


def asks_usage(config: Config, call: Call) -> bool:
    """Whether we ask for a stream's usage, because its caller did not."""
    return (
        config.include_usage
        and call.stream
        and BY_NAME[call.api].usage_on_request
        and not call.params.get("include_usage")
    )


def injected(span: AttemptSpan | None) -> dict[str, str]:
    """The headers that carry the trace context of an attempt."""
    headers: dict[str, str] = {}
    if span is not None:
        with guard("propagating the trace context"):
            span.inject(headers)
    return headers


def _written(changes: Mapping[str, Any], include_usage: bool, options: Any) -> dict[str, bytes]:
    """The fields that change, as JSON. `options` are the caller's `stream_options`."""
    if include_usage and "stream_options" not in changes:
        usage = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        changes = {**changes, "stream_options": usage}
    return {name: msgspec.json.encode(value) for name, value in changes.items()}


def outgoing(
    library: Library,
    request: Any,
    *,
    url: Any,
    api_key: str | None = None,
    forwarded: frozenset[str] = frozenset(),
    body: bytes | None = None,
    stripped: bool = False,
    injected: Mapping[str, str] | None = None,
    timeouts: Mapping[str, float | None] | None = None,
    plain_encoding: bool = False,
    trace: Any = None,
) -> Any:
    """A copy of a request with what must change, changed; `forwarded` are headers that travel to another origin too."""
    headers = request.headers.copy()
    moved = origin(url) != origin(request.url)
    for name in list(headers) if stripped or moved else ():
        lower = name.lower()
        if (stripped and lower.startswith(PORTKEY_PREFIX)) or (moved and not travels(lower, forwarded)):
            del headers[name]
    if moved:
        headers["Host"] = url.netloc.decode("ascii")
    if api_key is not None and api_key != credential(headers):
        headers.pop("x-api-key", None)
        headers["Authorization"] = f"Bearer {api_key}"
    if injected:
        headers.update(injected)
    if plain_encoding:
        headers["Accept-Encoding"] = "identity"
    stream = request.stream
    if body is not None:
        headers.pop("Transfer-Encoding", None)
        headers["Content-Length"] = str(len(body))
        stream = library.byte_stream(body)
    extensions = dict(request.extensions)
    # httpcore would send the caller's path and query in place of the URL's, and ask for the caller's host.
    if url is not request.url:
        extensions.pop("target", None)
    if moved:
        extensions.pop("sni_hostname", None)
    if timeouts is not None:
        extensions["timeout"] = timeouts
    if trace is not None:
        extensions["trace"] = trace
    return library.request(request.method, url, headers=headers, stream=stream, extensions=extensions)


def origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
