"""`/messages`, the Anthropic form: input tokens leave out what was cached; thinking is off unless asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .chat import called, example, prompt_tokens
from .templates import document, events
from .tokens import cut, pieces, tokens
from .values import (
    ANSWER,
    REASONING,
    Document,
    FakeReply,
    Memory,
    Received,
    Stream,
    Wording,
    asked,
    json_document,
    model_of,
    required,
    service_status,
)

_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def messages(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    required(body, "messages")
    content, finish = _made(request, body, wording)
    counted = wording.usage if wording.usage is not None else _usage(body, content)
    shared = {
        "id": f"msg_{request.id}",
        "model": model_of(body, wording),
        "stop_reason": _STOPS.get(finish, finish),
        "usage": counted,
        "also": service_status(wording),
    }
    if not body.get("stream"):
        return Document(document("message.json", content=content, **shared))
    last = content[-1]
    return Stream(
        events(
            "messages_stream.sse",
            opening_usage={**counted, "output_tokens": 0},
            thinking=pieces(content[0].get("thinking", "")),
            text=pieces(last.get("text", "")),
            arguments=pieces(json.dumps(last["input"])) if "input" in last else (),
            block={**last, **({"input": {}} if "input" in last else {"text": ""})},
            last=len(content) - 1,
            **shared,
        )
    )


def count_tokens(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    return json_document({"input_tokens": sum(_prompt(asked(request)))})


def _made(request: Received, body: Mapping[str, Any], wording: Wording) -> tuple[list[dict[str, Any]], str]:
    content: list[dict[str, Any]] = []
    thinking = (body.get("thinking") or {}).get("type") == "enabled"
    reasoning = wording.reasoning if wording.reasoning is not None else REASONING if thinking else ""
    if reasoning:
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    choice = body.get("tool_choice") or {}
    named = choice.get("name") if choice.get("type") == "tool" else choice.get("type", "auto")
    tool = called(body.get("tools", ()), named, _answered(body))
    if tool is not None:
        arguments = json.loads(wording.arguments) if wording.arguments else example(tool.get("input_schema"))
        content.append({"type": "tool_use", "id": f"toolu_{request.id}", "name": tool["name"], "input": arguments})  # fmt: skip
        return content, wording.finish_reason or "tool_calls"
    whole = wording.text if wording.text is not None else ANSWER
    text = cut(whole, body.get("max_tokens"))
    content.append({"type": "text", "text": text})
    return content, wording.finish_reason or ("stop" if text == whole else "length")


def _answered(body: Mapping[str, Any]) -> bool:
    content = body["messages"][-1].get("content") if body["messages"] else None
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _prompt(body: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of the messages, and of the system text, which counts as cached."""
    system = body.get("system", "")
    texts = [system] if isinstance(system, str) else [part.get("text", "") for part in system]
    return prompt_tokens(body["messages"])[0], sum(tokens(text) for text in texts)


def _usage(body: Mapping[str, Any], content: list[dict[str, Any]]) -> dict[str, Any]:
    fresh, cached = _prompt(body)
    texts = [
        part.get("thinking") or part.get("text") or json.dumps(part.get("input", "")) for part in content
    ]
    return {
        "input_tokens": fresh,
        "output_tokens": sum(tokens(text) for text in texts),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }
