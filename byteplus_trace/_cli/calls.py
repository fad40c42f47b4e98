"""
The kinds of call that `traffic` makes: every API that costs money, and every mistake that a caller makes.

A kind is a coroutine that makes one call, or a few related ones, with plain httpx. It may
raise what httpx raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from ..testing import ModelArk
from .chaos import AWAY, HOME

CHAT_MODELS = ("seed-2-0-pro-260328", "seed-2-0-lite-260428", "seed-1-8-251228", "seed-1-6-flash-250715")
EMBEDDING = "skylark-embedding-vision-251215"
IMAGE = "seedream-4-0-250828"
IMAGES = "seedream-4-5-251128"
VIDEO = "seedance-1-0-pro-250528"
QUESTIONS = (
    "Where does the river Rhine begin?",
    "Name three rivers that reach the North Sea, and say through which countries each of them flows.",
    "Why is the sea salty and a river not, although the one feeds the other all the time?",
)
SYSTEM = {
    "role": "system",
    "content": "You are a guide. Answer in one sentence, and say when you are not sure.",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """What a call needs: a client, the fake service, and a source of random numbers."""

    client: httpx.AsyncClient
    ark: ModelArk
    random: Random

    def url(self, path: str, region: str = HOME) -> str:
        return self.ark.base_url(region) + path

    async def post(self, path: str, body: dict[str, Any], region: str = HOME) -> httpx.Response:
        return await self.client.post(self.url(path, region), json=body)

    async def stream(
        self, path: str, body: dict[str, Any], region: str = HOME, most: int | None = None
    ) -> None:
        """Read a stream; the reader stops after `most` lines."""
        async with self.client.stream(
            "POST", self.url(path, region), json={**body, "stream": True}
        ) as response:
            at = 0
            async for _ in response.aiter_lines():
                at += 1
                if at == most:
                    break

    def messages(self) -> list[dict[str, str]]:
        return [SYSTEM, {"role": "user", "content": self.random.choice(QUESTIONS)}]

    def chat_body(self, **also: Any) -> dict[str, Any]:
        return {"model": self.random.choice(CHAT_MODELS), "messages": self.messages(), **also}


USAGE = {"stream_options": {"include_usage": True}}


async def chat(caller: Caller) -> None:
    await caller.post("/chat/completions", caller.chat_body(temperature=0.2))


async def short_chat(caller: Caller) -> None:
    """The caller's own timeout is short."""
    await caller.client.post(caller.url("/chat/completions"), json=caller.chat_body(), timeout=1.0)


async def eu_chat(caller: Caller) -> None:
    """Addressed to a target with a zone, so it stays there."""
    await caller.post("/chat/completions", caller.chat_body(), AWAY)


async def endpoint_chat(caller: Caller) -> None:
    """An endpoint exists in its own region only."""
    await caller.post(
        "/chat/completions", {"model": "ep-20260101120000-abcde", "messages": caller.messages()}
    )


async def streamed_chat(caller: Caller) -> None:
    await caller.stream("/chat/completions", caller.chat_body(**USAGE))


async def eu_streamed_chat(caller: Caller) -> None:
    await caller.stream("/chat/completions", caller.chat_body(**USAGE), AWAY)


async def thinking_chat(caller: Caller) -> None:
    body = {"model": "seed-1-8-251228", "messages": caller.messages(), "thinking": {"type": "enabled"}}
    await caller.stream("/chat/completions", {**body, **USAGE})


async def abandoned_chat(caller: Caller) -> None:
    await caller.stream("/chat/completions", caller.chat_body(**USAGE), most=4)


async def forgotten_chat(caller: Caller) -> None:
    """A stream that nobody closes."""
    async with httpx.AsyncClient(headers=caller.client.headers, trust_env=False) as client:
        body = caller.chat_body(stream=True)
        request = client.build_request("POST", caller.url("/chat/completions"), json=body)
        await client.send(request, stream=True)


async def refused_chat(caller: Caller) -> None:
    await caller.post("/chat/completions", {"model": caller.random.choice(CHAT_MODELS)})


async def unknown_model(caller: Caller) -> None:
    await caller.post("/chat/completions", {**caller.chat_body(), "model": "doubao-seed-1-6-250615"})


async def embedding(caller: Caller) -> None:
    await caller.post("/embeddings", {"model": EMBEDDING, "input": list(QUESTIONS)})


async def multimodal_embedding(caller: Caller) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://images.example/river.jpeg"}}
    parts = [{"type": "text", "text": caller.random.choice(QUESTIONS)}, picture]
    await caller.post("/embeddings/multimodal", {"model": EMBEDDING, "input": parts})


async def image(caller: Caller) -> None:
    """Sent once more where the connection broke, as careless code and some SDKs do."""
    body = {"model": IMAGE, "prompt": "A river between hills", "size": "1024x1024"}
    try:
        await caller.post("/images/generations", body)
    except (httpx.RemoteProtocolError, httpx.ReadError):
        await caller.post("/images/generations", body)


async def image_set(caller: Caller) -> None:
    """A set of four, of which one may be refused."""
    body = {
        "model": IMAGES,
        "prompt": caller.random.choice(("Four rivers in ink", "Four rivers in ink [moderated]")),
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 4},
    }
    await caller.post("/images/generations", body)


async def response(caller: Caller) -> None:
    await caller.post("/responses", {"model": caller.random.choice(CHAT_MODELS), "input": QUESTIONS[1]})


async def stateless_response(caller: Caller) -> None:
    await caller.post("/responses", {"model": CHAT_MODELS[0], "input": QUESTIONS[0], "store": False})


async def streamed_response(caller: Caller) -> None:
    await caller.stream("/responses", {"model": caller.random.choice(CHAT_MODELS), "input": QUESTIONS[2]})


async def video(caller: Caller) -> None:
    """A task, and polls until it is done."""
    body = {"model": VIDEO, "content": [{"type": "text", "text": "A river between hills --dur 5"}]}
    created = await caller.post("/contents/generations/tasks", body)
    if created.is_success:
        for _ in range(3):
            await caller.client.get(caller.url(f"/contents/generations/tasks/{created.json()['id']}"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call, and how often it is in the deck."""

    name: str
    make: Callable[[Caller], Awaitable[None]]
    cards: int = 1


KINDS = (
    Kind("chat", chat, 7),
    Kind("streamed chat", streamed_chat, 6),
    Kind("thinking chat", thinking_chat, 2),
    Kind("embedding", embedding, 3),
    Kind("multimodal embedding", multimodal_embedding, 2),
    Kind("response", response, 2),
    Kind("stateless response", stateless_response),
    Kind("streamed response", streamed_response, 2),
    Kind("image", image, 2),
    Kind("image set", image_set),
    Kind("video", video),
    Kind("eu chat", eu_chat, 2),
    Kind("eu streamed chat", eu_streamed_chat),
    Kind("endpoint chat", endpoint_chat),
    Kind("abandoned chat", abandoned_chat),
    Kind("forgotten chat", forgotten_chat),
    Kind("short chat", short_chat),
    Kind("refused chat", refused_chat),
    Kind("unknown model", unknown_model),
)

BY_NAME = {kind.name: kind for kind in KINDS}
