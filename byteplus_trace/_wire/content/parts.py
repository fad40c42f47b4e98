"""
The parts of which messages are made: texts, reasoning, media, tool calls and their answers.

The APIs' names for a part differ, their forms hardly, so one table serves them all. What
it does not name is exported as it is, by the same laws.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..lenient_json import json_in
from ..text_budget import LONGEST_TEXT, TextBudget
from .media import Part, medium_of, text_or_medium

_DEEPEST = 16

_OPAQUE = frozenset({"encrypted_content", "signature", "headers", "cache_control"})
_SECRET = re.compile(
    "(?:authorization|bearer|cookies?|token|jwt|secret|passw(?:or)?d|passphrase|pwd|credentials?"
    "|(?:api|access|secret|session)[-_ ]?key(?:[-_ ]?id)?)$|private[-_ ]?key",
    re.IGNORECASE,
)

# Of an object of this name, such as `{"kind": "basic"}`, each entry is looked at.
_AUTH = re.compile("auth$", re.IGNORECASE)

_Hidden = Callable[[str, Any], bool]
"""Whether an entry must not be exported, by its name and value."""


def secret(name: str, entry: Any) -> bool:
    """Whether a field is named like a credential."""
    return _SECRET.search(name) is not None or (
        not isinstance(entry, dict) and _AUTH.search(name) is not None
    )


def secret_value(name: str, entry: Any) -> bool:
    """As `secret`, for a schema: the definition of a parameter with such a name is no secret."""
    return not isinstance(entry, dict) and secret(name, entry)


def secret_or_opaque(name: str, entry: Any) -> bool:
    """As `secret`, and also headers and what only the service can read."""
    return name.lower() in _OPAQUE or secret(name, entry)


def decoded(data: bytes | str) -> Any:
    """The JSON value, None where it is not one."""
    return json_in(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))


def plain(value: Any, budget: TextBudget, hidden: _Hidden = secret, depth: int = 0) -> Any:
    """Any JSON value, bounded, without media and without the entries that must not be exported."""
    if isinstance(value, str):
        return text_or_medium(value, budget)
    if isinstance(value, dict | list) and depth == _DEEPEST:
        return "[... deeper levels cut]"
    if isinstance(value, list):
        return _plain_list(value, budget, hidden, depth + 1)
    if isinstance(value, dict):
        return _plain_entries(value, budget, hidden, depth + 1)
    budget.takes()
    return value


def _plain_list(value: list[Any], budget: TextBudget, hidden: _Hidden, depth: int) -> list[Any]:
    items: list[Any] = []
    for item in value:
        if not budget.takes():
            return [*items, f"[... {len(value) - len(items)} items cut]"]
        items.append(plain(item, budget, hidden, depth))
    return items


def _plain_entries(value: Part, budget: TextBudget, hidden: _Hidden, depth: int) -> Part:
    entries: Part = {}
    for name, entry in value.items():
        if not budget.takes():
            return entries | {"...": f"[{len(value) - len(entries)} entries cut]"}
        if not hidden(name, entry):
            entries[budget.text(name)] = plain(entry, budget, hidden, depth)
    return entries


def text_part(text: Any, budget: TextBudget, kind: str = "text") -> Part | None:
    """A text, or with another kind the reasoning; None where it is empty."""
    return {"type": kind, "content": budget.text(text)} if isinstance(text, str) and text else None


def parts_of(content: Any, budget: TextBudget) -> list[Part]:
    """A message's content: a text, or a list of parts."""
    if not isinstance(content, list):
        content = [content]
    parts: list[Part] = []
    for index, source in enumerate(content):
        if not budget.takes():
            parts.append({"type": "cut", "parts": len(content) - index})
            break
        part = _part(source, budget)
        if part is not None:
            parts.append(part)
    return parts


def _part(source: Any, budget: TextBudget) -> Part | None:
    if isinstance(source, str):
        return text_part(source, budget)
    if not isinstance(source, dict):
        return None
    kind = source.get("type")
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    return form(source, budget) if form is not None else other(source, budget)


def other(source: Part, budget: TextBudget) -> Part:
    """A part of a kind that the conventions do not name, as it was received."""
    kind = source.get("type")
    kept = plain(_without(source, "type"), budget, secret_or_opaque)
    return {"type": budget.text(kind) if isinstance(kind, str) else "unknown", **kept}


def chat_parts(source: Part, budget: TextBudget, role: str) -> list[Part]:
    """A message of a chat, or in Anthropic's form, as parts."""
    thought = text_part(source.get("reasoning_content"), budget, "reasoning")
    parts = [thought] if thought is not None else []
    if role == "tool":
        parts.append(tool_response(source.get("tool_call_id"), source.get("content"), budget))
    else:
        parts += parts_of(source.get("content"), budget)
    calls = source.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and budget.takes():
            parts.append(_chat_call(call, budget))
    return parts


def item_parts(item: Any, budget: TextBudget) -> list[Part]:
    """An item of a response's input or output, as parts."""
    if not isinstance(item, dict):
        return []
    kind = item.get("type", "message")
    form = _ITEMS.get(kind) if isinstance(kind, str) else None
    if form is not None:
        return form(item, budget)
    return [
        server_tool_call(item, budget)
        if isinstance(kind, str) and kind.endswith("_call")
        else other(item, budget)
    ]


def _reasoning(item: Part, budget: TextBudget) -> list[Part]:
    written = [item.get("summary"), item.get("content")]
    return [part for source in written if isinstance(source, list) for part in parts_of(source, budget)]


_ITEMS: dict[str, Callable[[Part, TextBudget], list[Part]]] = {
    "message": lambda item, budget: parts_of(item.get("content"), budget),
    "reasoning": _reasoning,
    "function_call": lambda item, budget: [
        tool_call(item.get("call_id"), item.get("name"), item.get("arguments"), budget)
    ],
    "function_call_output": lambda item, budget: [
        tool_response(item.get("call_id"), item.get("output"), budget)
    ],
}


def _chat_call(call: Part, budget: TextBudget) -> Part:
    function = call.get("function")
    if not isinstance(function, dict):
        return other(call, budget)
    return tool_call(call.get("id"), function.get("name"), function.get("arguments"), budget)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def tool_call(identity: Any, name: Any, arguments: Any, budget: TextBudget) -> Part:
    """A tool that the model asks its caller to call."""
    part: Part = {"type": "tool_call", "name": budget.text(_text(name))}
    if isinstance(identity, str):
        part["id"] = budget.text(identity)
    if arguments is not None:
        part["arguments"] = _arguments(arguments, budget)
    return part


def _arguments(source: Any, budget: TextBudget) -> Any:
    """Arguments as values where they are whole JSON, else as the text they are."""
    value = decoded(source) if isinstance(source, str) and len(source) <= LONGEST_TEXT else None
    return plain(source if value is None else value, budget)


def tool_response(identity: Any, response: Any, budget: TextBudget) -> Part:
    """What a tool answered."""
    part: Part = {"type": "tool_call_response"}
    if isinstance(identity, str):
        part["id"] = budget.text(identity)
    part["response"] = parts_of(response, budget) if isinstance(response, list) else plain(response, budget)
    return part


def server_tool_call(source: Part, budget: TextBudget) -> Part:
    """A tool that the service called itself."""
    kind = _text(source.get("type")).removesuffix("_call")
    part: Part = {"type": "server_tool_call", "name": budget.text(_text(source.get("name")) or kind)}
    identity = source.get("id")
    if isinstance(identity, str):
        part["id"] = budget.text(identity)
    part["server_tool_call"] = made = other(
        {"type": kind, **_without(source, "type", "id", "arguments")}, budget
    )
    if "arguments" in source:
        made["arguments"] = _arguments(source["arguments"], budget)
    return part


def _server_tool_response(source: Part, budget: TextBudget) -> Part:
    return {
        "type": "server_tool_call_response",
        "id": budget.text(_text(source.get("tool_use_id"))),
        "server_tool_call_response": other(_without(source, "tool_use_id"), budget),
    }


def _without(source: Part, *names: str) -> Part:
    return {name: value for name, value in source.items() if name not in names}


_Form = Callable[[Part, TextBudget], Part | None]


def _text_in(field: str, kind: str = "text") -> _Form:
    return lambda source, budget: text_part(source.get(field), budget, kind)


def _of(modality: str) -> _Form:
    return lambda source, budget: medium_of(source, budget, modality) or other(source, budget)


_FORMS: dict[str, _Form] = {
    "text": _text_in("text"),
    "input_text": _text_in("text"),
    "output_text": _text_in("text"),
    "summary_text": _text_in("text", "reasoning"),
    "reasoning_text": _text_in("text", "reasoning"),
    "thinking": _text_in("thinking", "reasoning"),
    "redacted_thinking": lambda _source, _budget: None,
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
    "tool_use": lambda source, budget: tool_call(source.get("id"), source.get("name"), source.get("input"), budget),
    "tool_result": lambda source, budget: tool_response(source.get("tool_use_id"), source.get("content"), budget),
    "server_tool_use": server_tool_call,
    "web_search_tool_result": _server_tool_response,
    "web_fetch_tool_result": _server_tool_response,
}  # fmt: skip
