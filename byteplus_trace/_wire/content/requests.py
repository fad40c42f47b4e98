"""
The content of a request.

System messages that stand in the conversation stay in it; only instructions that the API
takes beside it become `system_instructions`, as the conventions ask. Tools are defined
flat: type, name, description, parameters. Of a conversation too long to keep, the newest
messages are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._facts import Content
from ..text_budget import TextBudget
from .media import Part, medium
from .parts import chat_parts, decoded, item_parts, other, parts_of, plain, secret_value, text_part

Message = dict[str, Any]


def of_request(family: str, body: bytes) -> Content:
    """The content of a request's body; empty where it cannot be read."""
    form = _REQUESTS.get(family)
    source = decoded(body) if form is not None else None
    return form(source, TextBudget()) if form is not None and isinstance(source, dict) else Content()


def _of_chat(source: Part, budget: TextBudget) -> Content:
    return _conversation(source.get("messages"), _chat_message, None, source, budget)


def _of_messages(source: Part, budget: TextBudget) -> Content:
    return _conversation(source.get("messages"), _chat_message, source.get("system"), source, budget)


def _of_responses(source: Part, budget: TextBudget) -> Content:
    return _conversation(source.get("input"), _item_message, source.get("instructions"), source, budget)


def _of_embeddings(source: Part, budget: TextBudget) -> Content:
    """Texts are inputs of their own; mixed media, and tokens, make one input together."""
    inputs = source.get("input")
    if isinstance(inputs, list) and any(isinstance(part, dict | int) for part in inputs):
        inputs = [{"content": inputs}]
    return _conversation(inputs, _embedded, source.get("instructions"), {}, budget)


def _of_images(source: Part, budget: TextBudget) -> Content:
    parts = parts_of(source.get("prompt"), budget)
    avoided = text_part(source.get("negative_prompt"), budget, "negative_prompt")
    if avoided is not None:
        parts.append(avoided)
    shown = source.get("image")
    for image in shown if isinstance(shown, list) else [shown]:
        if isinstance(image, str) and budget.takes():
            parts.append(medium(image, "image", budget))
    return Content(messages=[{"role": "user", "parts": parts}] if parts else [])


_REQUESTS: dict[str, Callable[[Part, TextBudget], Content]] = {
    "chat": _of_chat,
    "responses": _of_responses,
    "messages": _of_messages,
    "embeddings": _of_embeddings,
    "images": _of_images,
}


def _conversation(
    conversation: Any,
    form: Callable[[Part, TextBudget], Message],
    instructions: Any,
    source: Part,
    budget: TextBudget,
) -> Content:
    """Instructions first, then messages from the newest back, then tools, while the budget lasts."""
    kept = parts_of(instructions, budget)
    if isinstance(conversation, str):
        conversation = [{"content": conversation}]
    messages: list[Message] = []
    conversation = conversation if isinstance(conversation, list) else []
    for index in range(len(conversation) - 1, -1, -1):
        if not budget.takes():
            messages.append({"role": "cut", "parts": [{"type": "cut", "messages": index + 1}]})
            break
        one = conversation[index]
        messages.append(form(one if isinstance(one, dict) else {"content": one}, budget))
    messages.reverse()
    return Content(messages, kept, _tools(source.get("tools"), budget))


def _chat_message(source: Part, budget: TextBudget) -> Message:
    role = source.get("role")
    role = budget.text(role) if isinstance(role, str) else "user"
    message: Message = {"role": role, "parts": chat_parts(source, budget, role)}
    name = source.get("name")
    return message | {"name": budget.text(name)} if isinstance(name, str) else message


def _embedded(source: Part, budget: TextBudget) -> Message:
    content = source.get("content")
    if isinstance(content, list) and content and isinstance(content[0], int):
        return {"role": "user", "parts": [{"type": "tokens", "count": len(content)}]}
    return _chat_message(source, budget)


def _item_message(item: Part, budget: TextBudget) -> Message:
    """An item of a response's input. Only messages name their role. The role of others follows from their type."""
    role = item.get("role")
    role = budget.text(role) if isinstance(role, str) else _role_of(item.get("type"))
    return {"role": role, "parts": item_parts(item, budget)}


def _role_of(kind: Any) -> str:
    if not isinstance(kind, str):
        return "user"
    if kind.endswith("_output"):
        return "tool"
    return "assistant" if kind.endswith("_call") or kind in _MADE else "user"


_MADE = frozenset({"reasoning", "transcription"})


def _tools(source: Any, budget: TextBudget) -> list[Part]:
    tools: list[Part] = []
    for index, tool in enumerate(source if isinstance(source, list) else ()):
        if not budget.takes():
            tools.append({"type": "cut", "name": f"{len(source) - index} more tools"})
            break
        if isinstance(tool, dict):
            tools.append(_tool(tool, budget))
    return tools


def _tool(tool: Part, budget: TextBudget) -> Part:
    kind, function = tool.get("type", "function"), tool.get("function")
    if kind not in ("function", "custom"):
        kept = other(tool, budget)
        return kept | {"name": kept["name"] if isinstance(kept.get("name"), str) else kept["type"]}
    source = function if isinstance(function, dict) else tool
    name = source.get("name")
    made: Part = {"type": "function", "name": budget.text(name) if isinstance(name, str) else ""}
    if isinstance(source.get("description"), str):
        made["description"] = budget.text(source["description"])
    parameters = source.get("parameters", source.get("input_schema"))
    if isinstance(parameters, dict):
        made["parameters"] = plain(parameters, budget, secret_value)
    return made
