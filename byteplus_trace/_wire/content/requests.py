"""
What was asked.

System messages that stand in the conversation stay in it; only instructions that the API
takes beside it become `system_instructions`, as the conventions ask. Tools are defined
flat: type, name, description, parameters. Of a conversation too long to keep, the newest
messages are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._facts import Content
from ..text_budget import Room
from .media import Part, medium
from .parts import chat_parts, decoded, item_parts, other, parts_of, plain, secret_value, text_part

Message = dict[str, Any]


def of_request(family: str, body: bytes) -> Content:
    """The content of a request's body; empty where it cannot be read."""
    form = _REQUESTS.get(family)
    given = decoded(body) if form is not None else None
    return form(given, Room()) if form is not None and isinstance(given, dict) else Content()


def _of_chat(given: Part, room: Room) -> Content:
    return _conversation(given.get("messages"), _chat_message, None, given, room)


def _of_messages(given: Part, room: Room) -> Content:
    return _conversation(given.get("messages"), _chat_message, given.get("system"), given, room)


def _of_responses(given: Part, room: Room) -> Content:
    return _conversation(given.get("input"), _item_message, given.get("instructions"), given, room)


def _of_embeddings(given: Part, room: Room) -> Content:
    """Texts are inputs of their own; mixed media, and tokens, make one input together."""
    inputs = given.get("input")
    if isinstance(inputs, list) and any(isinstance(part, dict | int) for part in inputs):
        inputs = [{"content": inputs}]
    return _conversation(inputs, _embedded, given.get("instructions"), {}, room)


def _of_images(given: Part, room: Room) -> Content:
    parts = parts_of(given.get("prompt"), room)
    avoided = text_part(given.get("negative_prompt"), room, "negative_prompt")
    if avoided is not None:
        parts.append(avoided)
    shown = given.get("image")
    for image in shown if isinstance(shown, list) else [shown]:
        if isinstance(image, str) and room.takes():
            parts.append(medium(image, "image", room))
    return Content(messages=[{"role": "user", "parts": parts}] if parts else [])


_REQUESTS: dict[str, Callable[[Part, Room], Content]] = {
    "chat": _of_chat,
    "responses": _of_responses,
    "messages": _of_messages,
    "embeddings": _of_embeddings,
    "images": _of_images,
}


def _conversation(
    said: Any, form: Callable[[Part, Room], Message], instructions: Any, given: Part, room: Room
) -> Content:
    """Instructions first, then messages from the newest back, then tools, in the room that is left."""
    told = parts_of(instructions, room)
    if isinstance(said, str):
        said = [{"content": said}]
    messages: list[Message] = []
    said = said if isinstance(said, list) else []
    for index in range(len(said) - 1, -1, -1):
        if not room.takes():
            messages.append({"role": "cut", "parts": [{"type": "cut", "messages": index + 1}]})
            break
        one = said[index]
        messages.append(form(one if isinstance(one, dict) else {"content": one}, room))
    messages.reverse()
    return Content(messages, told, _tools(given.get("tools"), room))


def _chat_message(given: Part, room: Room) -> Message:
    role = given.get("role")
    role = room.text(role) if isinstance(role, str) else "user"
    message: Message = {"role": role, "parts": chat_parts(given, room, role)}
    name = given.get("name")
    return message | {"name": room.text(name)} if isinstance(name, str) else message


def _embedded(given: Part, room: Room) -> Message:
    content = given.get("content")
    if isinstance(content, list) and content and isinstance(content[0], int):
        return {"role": "user", "parts": [{"type": "tokens", "count": len(content)}]}
    return _chat_message(given, room)


def _item_message(item: Part, room: Room) -> Message:
    """An item of a response's input. Only messages say their role; of the others the type does."""
    role = item.get("role")
    role = room.text(role) if isinstance(role, str) else _role_of(item.get("type"))
    return {"role": role, "parts": item_parts(item, room)}


def _role_of(kind: Any) -> str:
    if not isinstance(kind, str):
        return "user"
    if kind.endswith("_output"):
        return "tool"
    return "assistant" if kind.endswith("_call") or kind in _MADE else "user"


_MADE = frozenset({"reasoning", "transcription"})


def _tools(given: Any, room: Room) -> list[Part]:
    tools: list[Part] = []
    for index, tool in enumerate(given if isinstance(given, list) else ()):
        if not room.takes():
            tools.append({"type": "cut", "name": f"{len(given) - index} more tools"})
            break
        if isinstance(tool, dict):
            tools.append(_tool(tool, room))
    return tools


def _tool(tool: Part, room: Room) -> Part:
    kind, function = tool.get("type", "function"), tool.get("function")
    if kind not in ("function", "custom"):
        told = other(tool, room)
        return told | {"name": told["name"] if isinstance(told.get("name"), str) else told["type"]}
    source = function if isinstance(function, dict) else tool
    name = source.get("name")
    made: Part = {"type": "function", "name": room.text(name) if isinstance(name, str) else ""}
    if isinstance(source.get("description"), str):
        made["description"] = room.text(source["description"])
    parameters = source.get("parameters", source.get("input_schema"))
    if isinstance(parameters, dict):
        made["parameters"] = plain(parameters, room, secret_value)
    return made
