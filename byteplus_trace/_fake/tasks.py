"""
`/contents/generations/tasks`: video, made while the caller polls.

Progress follows the polls and not a clock: the first finds a task queued, the second
running, the third and later ones finished. A prompt with `[moderated]` in it fails. A
second of video counts as 1,000 tokens.
"""

from __future__ import annotations

import json
from typing import Any

from .images import MODERATED
from .templates import document
from .values import (
    Document,
    FakeReply,
    Memory,
    Received,
    RefusedError,
    Wording,
    asked,
    json_document,
    model_of,
    required,
)

TOKENS_A_SECOND = 1_000


def create(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    prompt = " ".join(part.get("text", "") for part in required(body, "content"))
    task_id = f"cgt-{request.created}-{request.id[-5:]}"  # another one in every region and every fake
    memory.tasks[task_id] = {
        "id": task_id,
        "model": model_of(body, wording),
        "created": request.created,
        "seed": body.get("seed", 10),
        "resolution": body.get("resolution", "720p"),
        "ratio": body.get("ratio", "16:9"),
        "duration": body.get("duration", 5),
        "service_tier": body.get("service_tier", "default"),
        "polls": 0,
        "cancelled": False,
        "moderated": MODERATED in prompt,
        "usage": wording.usage,
    }
    return json_document({"id": task_id})


def get(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    task = _task(request, memory)
    task["polls"] += 1
    return Document(_shown(task, request))


def list_(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    wanted = request.query.get("filter.status")
    items = [json.loads(_shown(task, request)) for task in memory.tasks.values()]
    found = [item for item in items if wanted in {None, item["status"]}]
    page, size = int(request.query.get("page_num", 1)), int(request.query.get("page_size", 10))
    return json_document({"total": len(found), "items": found[(page - 1) * size : page * size]})


def delete(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    """A queued task is cancelled, a finished one forgotten, a running one neither."""
    task = _task(request, memory)
    status = _status(task)
    if status == "queued":
        task["cancelled"] = True
    elif status == "running":
        raise RefusedError(409, "OperationDenied.InvalidState", "The task is running.")
    else:
        del memory.tasks[task["id"]]
    return Document(b"")


def _task(request: Received, memory: Memory) -> dict[str, Any]:
    name = request.path.rpartition("/")[2]
    if name not in memory.tasks:
        raise RefusedError(404, "NotFound.TaskID", f"The task {name} does not exist.")
    return memory.tasks[name]


def _status(task: dict[str, Any]) -> str:
    if task["cancelled"]:
        return "cancelled"
    if task["polls"] < 2:
        return "queued"
    if task["polls"] == 2:
        return "running"
    return "failed" if task["moderated"] else "succeeded"


def _shown(task: dict[str, Any], request: Received) -> bytes:
    status = _status(task)
    also: dict[str, Any] = {}
    if status == "succeeded":
        count = task["duration"] * TOKENS_A_SECOND
        also["content"] = {"video_url": f"https://modelark.example/{task['id']}.mp4"}
        also["usage"] = task["usage"] or {"completion_tokens": count, "total_tokens": count}
    if status == "failed":
        message = "The request failed because the output video may contain sensitive information."
        also["error"] = {"code": "OutputVideoSensitiveContentDetected", "message": message}
    known = {name: task[name] for name in ("id", "model", "created", "seed", "resolution", "ratio", "duration", "service_tier")}  # fmt: skip
    return document("task.json", status=status, updated=request.created, also=also, **known)
