"""
`/chat/completions` and its relatives for contexts, bots and batches.

A system message counts as cached, an image part as 256 tokens. Where a request has
tools and its last message is not a tool's, the first tool (or the one chosen) is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .templates import document, events
from .tokens import cut, pieces, tokens
from .values import (
    ANSWER,
    REASONING,
    Document,
    FakeReply,
    Memory,
    Received,
    RefusedError,
    Stream,
    Wording,
    asked,
    model_of,
    required,
    service_status,
)

IMAGE_TOKENS = 256
_NOT_THINKING = ("deepseek-v3", "skylark-")
_BOT = "bot_chat"


def chat(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    messages = required(body, "messages")
    _check(body)
    made = _made(body, messages, wording)
    count = body.get("n", 1)
    usage = wording.usage if wording.usage is not None else _usage(body, messages, made, count, memory)
    shared = {
        "id": request.id,
        "created": request.created,
        "model": model_of(body, wording),
        "service_tier": _tier(body),
    }
    also = service_status(wording)
    counted = _bot_usage(usage, shared["model"]) if request.api == _BOT else {"usage": usage}
    if not body.get("stream"):
        choice = {"logprobs": None, "message": made["message"]}
        choices = [{"finish_reason": made["finish_reason"], "index": i, **choice} for i in range(count)]
        return Document(document("chat.json", choices=choices, also={**counted, **also}, **shared))
    options = body.get("stream_options") or {}
    deltas = [delta for index in range(count) for delta in _deltas(made, index)]
    running = _running(usage, made, len(deltas)) if options.get("chunk_include_usage") else None
    chunks = [
        {"choices": [delta], "running": running[at] if running else None} for at, delta in enumerate(deltas)
    ]
    wanted = counted if options.get("include_usage") and usage else None
    return Stream(events("chat_stream.sse", chunk=chunks, counted=wanted, also=also, **shared))


def create_context(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    count = prompt_tokens(required(body, "messages"))[0]
    context_id = f"ctx-{request.created}-{next(memory.numbers)}"
    memory.contexts[context_id] = count
    return Document(
        document(
            "context.json",
            id=context_id,
            model=model_of(body, wording),
            mode=body.get("mode", "session"),
            ttl=body.get("ttl", 86400),
            truncation_strategy=body.get("truncation_strategy", {"type": "rolling_tokens"}),
            prompt_tokens=count,
        )
    )


def thinks(model: str, thinking: Any) -> bool:
    """Whether a model thinks: those that can do, unless the request turns it off."""
    return (thinking or {}).get("type") != "disabled" and not model.startswith(_NOT_THINKING)


def example(schema: Mapping[str, Any] | None) -> Any:
    """A value that fits a JSON schema, near enough."""
    schema = schema or {}
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items"))]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(kind, "text")


def called(
    tools: Sequence[Mapping[str, Any]], choice: str | None, answered: bool
) -> Mapping[str, Any] | None:
    """The function that the model calls: the one chosen, else the first; none once a tool has answered."""
    if not tools or choice == "none" or answered:
        return None
    return next((tool for tool in tools if tool["name"] == choice), tools[0])


def structured(asked_format: Mapping[str, Any] | None) -> str:
    """The usual answer, in the form that was asked for; chat nests the schema, responses do not."""
    asked_format = asked_format or {}
    match asked_format.get("type"):
        case "json_schema":
            return json.dumps(example(asked_format.get("json_schema", asked_format).get("schema")))
        case "json_object":
            return '{"answer": "Hello!"}'
    return ANSWER


def prompt_tokens(messages: Any) -> tuple[int, int, int]:
    """All tokens of the messages, those of images, and those of system messages (which count as cached)."""
    total = images = cached = 0
    for message in messages:
        content = message.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        text = sum(tokens(part.get("text", "")) for part in parts)
        pictures = IMAGE_TOKENS * sum("image_url" in part for part in parts)
        total += text + pictures
        images += pictures
        cached += text if message.get("role") in {"system", "developer"} else 0
    return total, images, cached


def _check(body: Mapping[str, Any]) -> None:
    if "max_tokens" in body and "max_completion_tokens" in body:
        message = "max_tokens and max_completion_tokens cannot be set together."
        raise RefusedError(400, "InvalidParameter", message)
    off = (body.get("thinking") or {}).get("type") == "disabled"
    if off and body.get("reasoning_effort", "minimal") != "minimal":
        raise RefusedError(400, "InvalidParameter", "reasoning_effort needs thinking.", "reasoning_effort")
    if not 1 <= body.get("n", 1) <= 5:
        raise RefusedError(400, "InvalidParameter", "n must be between 1 and 5.", "n")


def _made(body: Mapping[str, Any], messages: Any, wording: Wording) -> dict[str, Any]:
    """The message of one choice, with what it is made of."""
    reasoning = wording.reasoning
    if reasoning is None:
        reasoning = REASONING if thinks(str(body.get("model", "")), body.get("thinking")) else ""
    message: dict[str, Any] = {"content": "", "role": "assistant"}
    if reasoning:
        message["reasoning_content"] = reasoning
    tool = _tool(body, messages)
    if tool is not None:
        arguments = wording.arguments or json.dumps(example(tool.get("parameters")))
        function = {"name": tool["name"], "arguments": arguments}
        message["tool_calls"] = [{"id": f"call_{tool['name']}", "type": "function", "function": function}]
        text, finish = arguments, "tool_calls"
    else:
        whole = wording.text if wording.text is not None else structured(body.get("response_format"))
        text = message["content"] = cut(whole, body.get("max_completion_tokens", body.get("max_tokens")))
        finish = "stop" if text == whole else "length"
    return {
        "message": message,
        "text": text,
        "reasoning": reasoning,
        "finish_reason": wording.finish_reason or finish,
    }


def _tool(body: Mapping[str, Any], messages: Any) -> Mapping[str, Any] | None:
    tools = [tool["function"] for tool in body.get("tools", ()) if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    answered = bool(messages) and messages[-1].get("role") == "tool"
    return called(tools, choice if isinstance(choice, str) else choice["function"]["name"], answered)


def _usage(
    body: Mapping[str, Any], messages: Any, made: Mapping[str, Any], count: int, memory: Memory
) -> dict[str, Any]:
    prompt, images, cached = prompt_tokens(messages)
    if "context_id" in body:
        if body["context_id"] not in memory.contexts:
            raise RefusedError(404, "NotFound.ContextID", "The context does not exist.", "context_id")
        cached += memory.contexts[body["context_id"]]
        prompt += memory.contexts[body["context_id"]]
    reasoning = tokens(made["reasoning"]) * count
    completion = tokens(made["text"]) * count + reasoning
    details = {"cached_tokens": cached, **({"image_tokens": images} if images else {})}
    return {
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _running(usage: Mapping[str, Any], made: Mapping[str, Any], chunks: int) -> list[dict[str, Any]]:
    """Usage so far on each chunk; the last is the whole."""
    completion = usage.get("completion_tokens", 0)
    prompt = usage.get("prompt_tokens", 0)
    so_far = [min(completion, at + 1) for at in range(chunks - 1)] + [completion]
    return [{**usage, "completion_tokens": made, "total_tokens": prompt + made} for made in so_far]


def _deltas(made: Mapping[str, Any], index: int) -> Iterator[dict[str, Any]]:
    for piece in pieces(made["reasoning"]):
        yield {"delta": {"content": "", "reasoning_content": piece, "role": "assistant"}, "index": index}
    for at, call in enumerate(made["message"].get("tool_calls", ())):
        name = {"name": call["function"]["name"], "arguments": ""}
        opening = {"index": at, "id": call["id"], "type": "function", "function": name}
        yield {"delta": {"content": "", "role": "assistant", "tool_calls": [opening]}, "index": index}
        for piece in pieces(call["function"]["arguments"]):
            more = {"index": at, "function": {"arguments": piece}}
            yield {"delta": {"content": "", "role": "assistant", "tool_calls": [more]}, "index": index}
    for piece in pieces(made["message"]["content"]):
        yield {"delta": {"content": piece, "role": "assistant"}, "index": index}
    yield {
        "delta": {"content": "", "role": "assistant"},
        "finish_reason": made["finish_reason"],
        "index": index,
    }


def _tier(body: Mapping[str, Any]) -> str:
    tier = body.get("service_tier", "auto")
    return tier if tier in {"flex", "fast"} else "default"


def _bot_usage(usage: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """What a bot has in place of `usage` (Volcengine docs 1526787): the count of each model that it called."""
    counted = {key: usage.get(key, 0) for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    models = [{"name": model, **counted}]
    return {
        "bot_usage": {"model_usage": models, "action_usage": [], "action_details": []},
        "metadata": {},
    }
