"""
One call through each framework: run inside that framework's own environment.

Each scenario gets a base URL, how often the framework may repeat, and whether the reply is streamed; it answers with the
text that the framework handed to its user, the parts of a stream joined. Nothing of the project is imported here, so that
a framework also runs without it.
"""

from __future__ import annotations

import asyncio
from typing import Any

MODEL = "seed-1-6-250915"
QUESTION = "Name three rivers."
ASKED = [{"role": "user", "content": QUESTION}]
USAGE = {"include_usage": True}


def openai2(base_url: str, retries: int, stream: bool) -> str:
    import openai

    with openai.OpenAI(base_url=base_url, api_key="key", max_retries=retries) as client:
        return _completion(client, stream)


openai3 = openai2


def ark(base_url: str, retries: int, stream: bool) -> str:
    from byteplussdkarkruntime import Ark

    with Ark(base_url=base_url, api_key="key", max_retries=retries) as client:
        return _completion(client, stream)


def portkey(base_url: str, retries: int, stream: bool) -> str:
    from portkey_ai import Portkey

    return _completion(Portkey(base_url=base_url, api_key="key", max_retries=retries), stream)


def _completion(client: Any, stream: bool) -> str:
    """By any client that has the form of openai's."""
    if not stream:
        return client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content
    return _joined(
        client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, stream_options=USAGE)
    )


def _joined(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def anthropic(base_url: str, retries: int, stream: bool) -> str:
    import anthropic as library

    root = base_url.removesuffix("/api/v3") + "/api/compatible"
    asked = {"model": MODEL, "max_tokens": 64, "messages": ASKED}
    with library.Anthropic(base_url=root, api_key="key", max_retries=retries) as client:
        if not stream:
            return client.messages.create(**asked).content[0].text
        with client.messages.stream(**asked) as events:
            return "".join(events.text_stream)


def langchain(base_url: str, retries: int, stream: bool) -> str:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=base_url, api_key="key", model=MODEL, max_retries=retries, stream_usage=True)
    if not stream:
        return model.invoke(QUESTION).content
    return "".join(chunk.content for chunk in model.stream(QUESTION))


def langgraph(base_url: str, retries: int, stream: bool) -> str:
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, MessagesState, StateGraph

    model = ChatOpenAI(base_url=base_url, api_key="key", model=MODEL, max_retries=retries, stream_usage=True)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    agent = graph.compile()
    if not stream:
        return agent.invoke({"messages": ASKED})["messages"][-1].content
    parts = agent.stream({"messages": ASKED}, stream_mode="messages")
    return "".join(part.content for part, _ in parts)


def llama_index(base_url: str, retries: int, stream: bool) -> str:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(
        model=MODEL,
        api_base=base_url,
        api_key="key",
        is_chat_model=True,
        max_retries=retries,
        additional_kwargs={"stream_options": USAGE} if stream else {},
    )
    asked = [ChatMessage(role="user", content=QUESTION)]
    if not stream:
        return model.chat(asked).message.content
    return "".join(part.delta or "" for part in model.stream_chat(asked))


def litellm(base_url: str, retries: int, stream: bool) -> str:
    import litellm as library

    where = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "key", "max_retries": retries}
    if not stream:
        return library.completion(messages=ASKED, **where).choices[0].message.content
    return _joined(library.completion(messages=ASKED, stream=True, stream_options=USAGE, **where))


def litellm_router(base_url: str, retries: int, stream: bool) -> str:
    from litellm import Router

    deployment = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "key", "max_retries": 0}
    router = Router(model_list=[{"model_name": MODEL, "litellm_params": deployment}], num_retries=retries)
    if not stream:
        return router.completion(model=MODEL, messages=ASKED).choices[0].message.content
    return _joined(router.completion(model=MODEL, messages=ASKED, stream=True, stream_options=USAGE))


def dspy(base_url: str, retries: int, stream: bool) -> str:
    import dspy as library

    model = library.LM(
        f"openai/{MODEL}",
        api_base=base_url,
        api_key="key",
        num_retries=retries,
        cache=False,
        engine="litellm",
    )
    if not stream:
        return model(QUESTION)[0]
    raise NotImplementedError("DSPy streams through its programs, and asks for no usage")


def instructor(base_url: str, retries: int, stream: bool) -> str:
    import instructor as library
    import openai
    from pydantic import BaseModel

    class Rivers(BaseModel):
        names: str

    asked = {"model": MODEL, "messages": ASKED, "response_model": Rivers, "max_retries": retries}
    with openai.OpenAI(base_url=base_url, api_key="key", max_retries=retries) as client:
        structured = library.from_openai(client)
        if not stream:
            return structured.chat.completions.create(**asked).names
        parts = [*structured.chat.completions.create_partial(**asked, stream_options=USAGE)]
        return parts[-1].names


def pydantic_ai(base_url: str, retries: int, stream: bool) -> str:
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = openai.AsyncOpenAI(base_url=base_url, api_key="key", max_retries=retries)
    agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)))

    async def streamed() -> str:
        async with agent.run_stream(QUESTION) as run:
            return "".join([part async for part in run.stream_text(delta=True)])

    return asyncio.run(streamed()) if stream else agent.run_sync(QUESTION).output


def openai_agents(base_url: str, retries: int, stream: bool) -> str:
    import openai
    from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner

    client = openai.AsyncOpenAI(base_url=base_url, api_key="key", max_retries=retries)
    agent = Agent(
        name="rivers",
        model=OpenAIChatCompletionsModel(model=MODEL, openai_client=client),
        model_settings=ModelSettings(include_usage=True),
    )

    async def streamed() -> str:
        run = Runner.run_streamed(agent, QUESTION)
        return "".join(
            [
                event.data.delta
                async for event in run.stream_events()
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
            ]
        )

    return asyncio.run(streamed()) if stream else Runner.run_sync(agent, QUESTION).final_output


def haystack(base_url: str, retries: int, stream: bool) -> str:
    from haystack import Pipeline
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret

    parts: list[str] = []
    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("key"),
        model=MODEL,
        api_base_url=base_url,
        max_retries=retries,
        streaming_callback=(lambda chunk: parts.append(chunk.content)) if stream else None,
        generation_kwargs={"stream_options": USAGE} if stream else None,
    )
    pipeline = Pipeline()
    pipeline.add_component("model", generator)
    replies = pipeline.run({"model": {"messages": [ChatMessage.from_user(QUESTION)]}})["model"]["replies"]
    return "".join(parts) if stream else replies[0].text


def agno(base_url: str, retries: int, stream: bool) -> str:
    from agno.agent import Agent
    from agno.models.openai.like import OpenAILike

    model = OpenAILike(id=MODEL, base_url=base_url, api_key="key", max_retries=retries)
    agent = Agent(model=model, telemetry=False)
    if not stream:
        return agent.run(QUESTION).content
    return "".join(event.content for event in agent.run(QUESTION, stream=True) if event.content)


def strands(base_url: str, retries: int, stream: bool) -> str:
    from strands import Agent
    from strands.models.openai import OpenAIModel

    model = OpenAIModel(
        client_args={"base_url": base_url, "api_key": "key", "max_retries": retries}, model_id=MODEL
    )
    agent = Agent(model=model, callback_handler=None)

    async def streamed() -> str:
        return "".join([event["data"] async for event in agent.stream_async(QUESTION) if "data" in event])

    return asyncio.run(streamed()) if stream else str(agent(QUESTION))


def autogen(base_url: str, retries: int, stream: bool) -> str:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.messages import ModelClientStreamingChunkEvent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    able = {"vision": False, "function_calling": False, "json_output": False, "structured_output": False}
    model = OpenAIChatCompletionClient(
        model=MODEL,
        base_url=base_url,
        api_key="key",
        max_retries=retries,
        model_info={**able, "family": "unknown"},
        **({"stream_options": USAGE} if stream else {}),
    )
    agent = AssistantAgent("rivers", model, model_client_stream=stream)

    async def run() -> str:
        if not stream:
            return (await agent.run(task=QUESTION)).messages[-1].content
        events = agent.run_stream(task=QUESTION)
        return "".join(
            [each.content async for each in events if isinstance(each, ModelClientStreamingChunkEvent)]
        )

    return asyncio.run(run())


def veadk(base_url: str, retries: int, stream: bool) -> str:
    from google.adk.agents import RunConfig
    from google.adk.agents.run_config import StreamingMode
    from google.genai.types import Content, Part
    from veadk import Agent, Runner

    agent = Agent(
        name="rivers",
        model_name=MODEL,
        model_api_base=base_url,
        model_api_key="key",
        model_extra_config={"num_retries": retries},
    )
    runner = Runner(agent=agent, app_name="rivers")

    async def run() -> str:
        await runner.session_service.create_session(app_name="rivers", user_id="u", session_id="s")
        parts: list[str] = []
        async for event in runner.run_async(
            user_id="u",
            session_id="s",
            new_message=Content(role="user", parts=[Part(text=QUESTION)]),
            run_config=RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE),
        ):
            if event.content and bool(event.partial) == stream:
                parts += [part.text or "" for part in event.content.parts]
        return "".join(parts)

    return asyncio.run(run())


def smolagents(base_url: str, retries: int, stream: bool) -> str:
    from smolagents import ChatMessage, OpenAIModel

    model = OpenAIModel(
        model_id=MODEL, api_base=base_url, api_key="key", client_kwargs={"max_retries": retries}
    )
    asked = [ChatMessage(role="user", content=QUESTION)]
    if not stream:
        return model.generate(asked).content
    return "".join(part.content or "" for part in model.generate_stream(asked))
