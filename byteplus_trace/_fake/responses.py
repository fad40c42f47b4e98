"""
`/responses`: create, streamed or whole, and what was stored.

Strict as the service is: a field that it does not know, or a previous response that
this region does not hold, is a 400. Instructions, and the conversation before, count
as cached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .chat import called, example, prompt_tokens, structured, thinks
from .templates import document, events
from .tokens import cut, pieces, tokens
from .values import (
    REASONING,
    Document,
    Memory,
    Received,
    RefusedError,
    Reply,
    Stream,
    Wording,
    asked,
    json_document,
    model_of,
    required,
    service_status,
)

_FIELDS = frozenset(
    [
        "model",
        "input",
        "instructions",
        "previous_response_id",
        "store",
        "stream",
        "max_output_tokens",
        "temperature",
        "top_p",
        "thinking",
        "reasoning",
        "text",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tool_calls",
        "include",
        "caching",
        "context_management",
        "expire_at",
        "service_tier",
        "session",
        "prompt_cache_key",
        "safety_identifier",
    ]
)
_KNOWN_WITHIN = {"reasoning": {"effort"}, "text": {"format"}}
_THREE_DAYS = 259_200
_STORED = 10_000


def create(request: Received, memory: Memory, wording: Wording) -> Reply:
    _check_fields(request.json)
    body = asked(request)
    before = _before(body, memory)
    items = _items(required(body, "input"))
    made = _made(request, body, items, wording)
    usage = wording.usage if wording.usage is not None else _usage(body, items, made, before)
    shared = {
        "created": request.created,
        "id": f"resp_{request.id}",
        "max_output_tokens": body.get("max_output_tokens", 32768),
        "model": model_of(body, wording),
        "thinking": body.get("thinking", {"type": "enabled"}),
        "caching": body.get("caching", {"type": "disabled"}),
        "store": body.get("store", True),
        "expire_at": body.get("expire_at", request.created + _THREE_DAYS),
    }
    also = _also(body, wording)
    opening = json.loads(document("response_opening.json", also=also, **shared))
    if made["status"] == "incomplete":
        also["incomplete_details"] = {"reason": "length"}
    whole = document(
        "response.json", output=made["output"], status=made["status"], usage=usage, also=also, **shared
    )
    response = json.loads(whole)
    if shared["store"]:
        if len(memory.responses) >= _STORED:
            oldest = next(iter(memory.responses))
            del memory.responses[oldest], memory.conversations[oldest]
        memory.responses[shared["id"]] = {"response": response, "items": items}
        memory.conversations[shared["id"]] = usage.get("total_tokens", 0)
    if not body.get("stream"):
        return Document(whole)
    return Stream(events("responses_stream.sse", opening=opening, response=response, **_streamed(made)))


def get(request: Received, memory: Memory, wording: Wording) -> Reply:
    return json_document(_stored(request, memory)["response"])


def delete(request: Received, memory: Memory, wording: Wording) -> Reply:
    _stored(request, memory)
    name = _named(request)
    del memory.responses[name], memory.conversations[name]
    return json_document({"id": name, "object": "response", "deleted": True})


def input_items(request: Received, memory: Memory, wording: Wording) -> Reply:
    items = [
        {"id": f"msg_{at}", "type": "message", **item}
        for at, item in enumerate(_stored(request, memory)["items"])
    ]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return json_document({"object": "list", "data": items, **ends, "has_more": False})


def _check_fields(body: Any) -> None:
    if not isinstance(body, dict):
        return
    unknown = [name for name in body if name not in _FIELDS]
    for name, known in _KNOWN_WITHIN.items():
        inner = body.get(name)
        unknown += [field for field in inner if field not in known] if isinstance(inner, dict) else []
    if unknown:
        raise RefusedError(400, "InvalidParameter", f'json: unknown field "{unknown[0]}"')


def _before(body: Mapping[str, Any], memory: Memory) -> int:
    """Tokens of the conversation that this continues."""
    previous = body.get("previous_response_id")
    if previous is None:
        return 0
    if previous not in memory.responses:
        raise _not_found(previous)
    return memory.conversations[previous]


def _items(asked_input: Any) -> list[dict[str, Any]]:
    if isinstance(asked_input, str):
        return [{"role": "user", "content": [{"type": "input_text", "text": asked_input}]}]
    return list(asked_input)


def _made(
    request: Received, body: Mapping[str, Any], items: list[dict[str, Any]], wording: Wording
) -> dict[str, Any]:
    """What is answered: reasoning where the model thinks, and a message or a function call."""
    reasoning = wording.reasoning
    if reasoning is None:
        reasoning = REASONING if thinks(str(body.get("model", "")), body.get("thinking")) else ""
    function = _function(body, items)
    made: dict[str, Any] = {"reasoning": reasoning, "text": "", "call": None, "status": "completed"}
    output: list[dict[str, Any]] = []
    if reasoning:
        summary = [{"type": "summary_text", "text": reasoning}]
        output.append({"id": f"rs_{request.id}", "type": "reasoning", "summary": summary, "status": "completed"})  # fmt: skip
    if function is not None:
        arguments = wording.arguments or json.dumps(example(function.get("parameters")))
        made["call"] = {
            "type": "function_call",
            "call_id": f"call_{function['name']}",
            "name": function["name"],
            "arguments": arguments,
            "status": "completed",
            "id": f"fc_{request.id}",
        }
        output.append(made["call"])
    else:
        text = (
            wording.text if wording.text is not None else structured((body.get("text") or {}).get("format"))
        )
        made["text"] = cut(text, body.get("max_output_tokens"))
        made["status"] = "completed" if made["text"] == text else "incomplete"
        output.append(
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": made["text"], "annotations": []}],
                "status": made["status"],
                "id": f"msg_{request.id}",
            }
        )
    made["output"] = output
    return made


def _function(body: Mapping[str, Any], items: list[dict[str, Any]]) -> Mapping[str, Any] | None:
    tools = [tool for tool in body.get("tools", ()) if tool.get("type") == "function"]
    answered = bool(items) and items[-1].get("type") == "function_call_output"
    choice = body.get("tool_choice", "auto")
    return called(tools, choice if isinstance(choice, str) else choice.get("name"), answered)


def _usage(
    body: Mapping[str, Any], items: list[dict[str, Any]], made: Mapping[str, Any], before: int
) -> dict[str, Any]:
    prompt, _, cached = prompt_tokens(items)
    instructions = tokens(body.get("instructions", ""))
    reasoning = tokens(made["reasoning"])
    prompt += instructions + before
    output = reasoning + tokens(made["call"]["arguments"] if made["call"] else made["text"])
    return {
        "input_tokens": prompt,
        "output_tokens": output,
        "total_tokens": prompt + output,
        "input_tokens_details": {"cached_tokens": cached + instructions + before},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }


def _also(body: Mapping[str, Any], wording: Wording) -> dict[str, Any]:
    echoed = ("previous_response_id", "instructions", "temperature", "top_p", "tools", "tool_choice", "text")
    return {**{name: body[name] for name in echoed if name in body}, **service_status(wording)}


def _streamed(made: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the stream's holes."""
    output = made["output"]
    call = made["call"] or {}
    return {
        "reasoning": pieces(made["reasoning"]),
        "whole_reasoning": made["reasoning"],
        "reasoning_id": output[0]["id"],
        "reasoning_item": output[0],
        "text": pieces(made["text"]),
        "whole_text": made["text"],
        "call": pieces(call.get("arguments", "")),
        "call_id": call.get("call_id"),
        "call_name": call.get("name"),
        "arguments": call.get("arguments"),
        "last_index": len(output) - 1,
        "last_id": output[-1]["id"],
        "last_item": output[-1],
        "completed": made["status"] == "completed",
        "incomplete": made["status"] == "incomplete",
    }


def _named(request: Received) -> str:
    return request.path.split("/")[2]


def _stored(request: Received, memory: Memory) -> dict[str, Any]:
    name = _named(request)
    if name not in memory.responses:
        raise _not_found(name)
    return memory.responses[name]


def _not_found(name: str) -> RefusedError:
    message = f"The previous response {name} is not found."
    return RefusedError(400, "InvalidParameter.PreviousResponseNotFound", message, "previous_response_id")
