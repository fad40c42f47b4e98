"""
The parts of which messages are made: texts, reasoning, media, tool calls and their answers.

The APIs' names for a part differ, their forms hardly, so one table serves them all. What
it does not name is told as it was given, by the same laws.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..lenient_json import json_in
from ..text_budget import LONGEST_TEXT, Room
from .media import Part, medium_of, text_or_medium

_DEEPEST = 16

_OPAQUE = frozenset({"encrypted_content", "signature", "headers", "cache_control"})
_SECRET = re.compile(
    "(?:authorization|cookies?|token|secret|password|credentials?"
    "|(?:api|access|private|secret)[-_ ]?key(?:[-_ ]?id)?)$",
    re.IGNORECASE,
)

_Unsaid = Callable[[str, Any], bool]
"""Whether an entry, by its name and value, is not to be told."""


def secret(name: str, _entry: Any) -> bool:
    """Named as a credential is."""
    return _SECRET.search(name) is not None


def secret_value(name: str, entry: Any) -> bool:
    """As `secret` in a schema, where what defines a parameter of such a name is none."""
    return not isinstance(entry, dict) and secret(name, entry)


def secret_or_opaque(name: str, entry: Any) -> bool:
    """As `secret`, and also headers and what only the service can read."""
    return name.lower() in _OPAQUE or secret(name, entry)


def decoded(data: bytes | str) -> Any:
    """The JSON value, None where it is not one."""
    return json_in(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))


def plain(value: Any, room: Room, unsaid: _Unsaid = secret, depth: int = 0) -> Any:
    """Any JSON value, bounded, without media and without the entries that are not to be told."""
    if isinstance(value, str):
        return text_or_medium(value, room)
    if isinstance(value, dict | list) and depth == _DEEPEST:
        return "[... deeper levels cut]"
    if isinstance(value, list):
        return _plain_list(value, room, unsaid, depth + 1)
    if isinstance(value, dict):
        return _plain_entries(value, room, unsaid, depth + 1)
    room.takes()
    return value


def _plain_list(value: list[Any], room: Room, unsaid: _Unsaid, depth: int) -> list[Any]:
    items: list[Any] = []
    for item in value:
        if not room.takes():
            return [*items, f"[... {len(value) - len(items)} items cut]"]
        items.append(plain(item, room, unsaid, depth))
    return items


def _plain_entries(value: Part, room: Room, unsaid: _Unsaid, depth: int) -> Part:
    entries: Part = {}
    for name, entry in value.items():
        if not room.takes():
            return entries | {"...": f"[{len(value) - len(entries)} entries cut]"}
        if not unsaid(name, entry):
            entries[room.text(name)] = plain(entry, room, unsaid, depth)
    return entries


def text_part(text: Any, room: Room, kind: str = "text") -> Part | None:
    """A text, or with another kind the reasoning; None where nothing was said."""
    return {"type": kind, "content": room.text(text)} if isinstance(text, str) and text else None


def parts_of(content: Any, room: Room) -> list[Part]:
    """A message's content: a text, or a list of parts."""
    if not isinstance(content, list):
        content = [content]
    parts: list[Part] = []
    for index, given in enumerate(content):
        if not room.takes():
            parts.append({"type": "cut", "parts": len(content) - index})
            break
        part = _part(given, room)
        if part is not None:
            parts.append(part)
    return parts


def _part(given: Any, room: Room) -> Part | None:
    if isinstance(given, str):
        return text_part(given, room)
    if not isinstance(given, dict):
        return None
    kind = given.get("type")
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    return form(given, room) if form is not None else other(given, room)


def other(given: Part, room: Room) -> Part:
    """A part of a kind that the conventions have no word for, as it was given."""
    kind = given.get("type")
    told = plain(_without(given, "type"), room, secret_or_opaque)
    return {"type": room.text(kind) if isinstance(kind, str) else "unknown", **told}


def chat_parts(given: Part, room: Room, role: str) -> list[Part]:
    """A message of a chat, or in Anthropic's form, as parts."""
    thought = text_part(given.get("reasoning_content"), room, "reasoning")
    parts = [thought] if thought is not None else []
    if role == "tool":
        parts.append(tool_response(given.get("tool_call_id"), given.get("content"), room))
    else:
        parts += parts_of(given.get("content"), room)
    calls = given.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and room.takes():
            parts.append(_chat_call(call, room))
    return parts


def item_parts(item: Any, room: Room) -> list[Part]:
    """An item of a response's input or output, as parts."""
    if not isinstance(item, dict):
        return []
    kind = item.get("type", "message")
    form = _ITEMS.get(kind) if isinstance(kind, str) else None
    if form is not None:
        return form(item, room)
    return [
        server_tool_call(item, room)
        if isinstance(kind, str) and kind.endswith("_call")
        else other(item, room)
    ]


def _reasoning(item: Part, room: Room) -> list[Part]:
    written = [item.get("summary"), item.get("content")]
    return [part for given in written if isinstance(given, list) for part in parts_of(given, room)]


_ITEMS: dict[str, Callable[[Part, Room], list[Part]]] = {
    "message": lambda item, room: parts_of(item.get("content"), room),
    "reasoning": _reasoning,
    "function_call": lambda item, room: [
        tool_call(item.get("call_id"), item.get("name"), item.get("arguments"), room)
    ],
    "function_call_output": lambda item, room: [tool_response(item.get("call_id"), item.get("output"), room)],
}


def _chat_call(call: Part, room: Room) -> Part:
    function = call.get("function")
    if not isinstance(function, dict):
        return other(call, room)
    return tool_call(call.get("id"), function.get("name"), function.get("arguments"), room)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def tool_call(identity: Any, name: Any, arguments: Any, room: Room) -> Part:
    """A tool that the model asks its caller to call."""
    part: Part = {"type": "tool_call", "name": room.text(_word(name))}
    if isinstance(identity, str):
        part["id"] = room.text(identity)
    if arguments is not None:
        part["arguments"] = _arguments(arguments, room)
    return part


def _arguments(given: Any, room: Room) -> Any:
    """Arguments as values where they are whole JSON, else as the text they are."""
    value = decoded(given) if isinstance(given, str) and len(given) <= LONGEST_TEXT else None
    return plain(given if value is None else value, room)


def tool_response(identity: Any, response: Any, room: Room) -> Part:
    """What a tool answered."""
    part: Part = {"type": "tool_call_response"}
    if isinstance(identity, str):
        part["id"] = room.text(identity)
    part["response"] = parts_of(response, room) if isinstance(response, list) else plain(response, room)
    return part


def server_tool_call(given: Part, room: Room) -> Part:
    """A tool that the service called itself."""
    kind = _word(given.get("type")).removesuffix("_call")
    part: Part = {"type": "server_tool_call", "name": room.text(_word(given.get("name")) or kind)}
    identity = given.get("id")
    if isinstance(identity, str):
        part["id"] = room.text(identity)
    part["server_tool_call"] = made = other(
        {"type": kind, **_without(given, "type", "id", "arguments")}, room
    )
    if "arguments" in given:
        made["arguments"] = _arguments(given["arguments"], room)
    return part


def _server_tool_response(given: Part, room: Room) -> Part:
    return {
        "type": "server_tool_call_response",
        "id": room.text(_word(given.get("tool_use_id"))),
        "server_tool_call_response": other(_without(given, "tool_use_id"), room),
    }


def _without(given: Part, *names: str) -> Part:
    return {name: value for name, value in given.items() if name not in names}


_Form = Callable[[Part, Room], Part | None]


def _said(field: str, kind: str = "text") -> _Form:
    return lambda given, room: text_part(given.get(field), room, kind)


def _of(modality: str) -> _Form:
    return lambda given, room: medium_of(given, room, modality) or other(given, room)


_FORMS: dict[str, _Form] = {
    "text": _said("text"),
    "input_text": _said("text"),
    "output_text": _said("text"),
    "summary_text": _said("text", "reasoning"),
    "reasoning_text": _said("text", "reasoning"),
    "thinking": _said("thinking", "reasoning"),
    "redacted_thinking": lambda _given, _room: None,
    "image_url": _of("image"),
    "input_image": _of("image"),
    "image": _of("image"),
    "video_url": _of("video"),
    "input_video": _of("video"),
    "input_audio": _of("audio"),
    "audio_url": _of("audio"),
    "file": _of("document"),
    "input_file": _of("document"),
    "document": _of("document"),
    "tool_use": lambda given, room: tool_call(given.get("id"), given.get("name"), given.get("input"), room),
    "tool_result": lambda given, room: tool_response(given.get("tool_use_id"), given.get("content"), room),
    "server_tool_use": server_tool_call,
    "web_search_tool_result": _server_tool_response,
    "web_fetch_tool_result": _server_tool_response,
}  # fmt: skip
