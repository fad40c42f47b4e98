"""
A web application that asks ModelArk, with its series under /metrics.

    ARK_API_KEY=... uvicorn --app-dir examples asgi_app:app

Plain ASGI, so that it needs no framework. With FastAPI or Starlette the last line of `app` is
`app.mount("/metrics", byteplus_trace.prometheus.metrics_app())`.
"""

import asyncio
import os

import openai

import byteplus_trace

byteplus_trace.instrument(service_name="asgi-app")

client = openai.AsyncOpenAI(
    base_url=byteplus_trace.base_url("ap-southeast-1"), api_key=os.environ["ARK_API_KEY"]
)
metrics = byteplus_trace.prometheus.metrics_app()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    if scope["path"].startswith("/metrics"):
        await metrics(scope, receive, send)
        return
    reply = await client.chat.completions.create(
        model="seed-2-0-lite-260428", messages=[{"role": "user", "content": "Name a river of Asia."}]
    )
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": (reply.choices[0].message.content or "").encode()})


async def lifespan(receive, send):
    """uvicorn ends by SIGTERM, without what Python does at exit: what waits to be exported is flushed here."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await asyncio.to_thread(byteplus_trace.flush)
    await send({"type": "lifespan.shutdown.complete"})
