"""
One call through each framework, and one that fails: run inside that framework's own environment.

Each scenario gets a base URL and answers with the text that the framework handed to its user.
Nothing of the project is imported here, so that a framework also runs without it.
"""

from __future__ import annotations

MODEL = "seed-1-6-250915"
QUESTION = "Name three rivers."
ASKED = [{"role": "user", "content": QUESTION}]


def openai2(base_url: str, retries: int) -> str | None:
    import openai

    with openai.OpenAI(base_url=base_url, api_key="key", max_retries=retries) as client:
        return client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content


openai3 = openai2


def ark(base_url: str, retries: int) -> str | None:
    from byteplussdkarkruntime import Ark

    with Ark(base_url=base_url, api_key="key", max_retries=retries) as client:
        return client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content


def langchain(base_url: str, retries: int) -> str | None:
    from langchain_openai import ChatOpenAI

    return (
        ChatOpenAI(base_url=base_url, api_key="key", model=MODEL, max_retries=retries)
        .invoke(QUESTION)
        .content
    )


def litellm(base_url: str, retries: int) -> str | None:
    import litellm as library

    reply = library.completion(
        model=f"openai/{MODEL}", messages=ASKED, api_base=base_url, api_key="key", max_retries=retries
    )
    return reply.choices[0].message.content


def litellm_router(base_url: str, retries: int) -> str | None:
    from litellm import Router

    deployment = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "key", "max_retries": 0}
    router = Router(model_list=[{"model_name": MODEL, "litellm_params": deployment}], num_retries=retries)
    return router.completion(model=MODEL, messages=ASKED).choices[0].message.content


def llama_index(base_url: str, retries: int) -> str | None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(model=MODEL, api_base=base_url, api_key="key", max_retries=retries, is_chat_model=True)
    return model.chat([ChatMessage(role="user", content=QUESTION)]).message.content


def portkey(base_url: str, retries: int) -> str | None:
    from portkey_ai import Portkey

    client = Portkey(base_url=base_url, api_key="key", max_retries=retries)
    return client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content


def pydantic_ai(base_url: str, retries: int) -> str | None:
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = openai.AsyncOpenAI(base_url=base_url, api_key="key", max_retries=retries)
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))
    return Agent(model).run_sync(QUESTION).output


def dspy(base_url: str, retries: int) -> str | None:
    import dspy as library

    model = library.LM(
        f"openai/{MODEL}",
        api_base=base_url,
        api_key="key",
        num_retries=retries,
        cache=False,
        engine="litellm",
    )
    return model(QUESTION)[0]


def anthropic(base_url: str, retries: int) -> str | None:
    import anthropic as library

    root = base_url.removesuffix("/api/v3") + "/api/compatible"
    with library.Anthropic(base_url=root, api_key="key", max_retries=retries) as client:
        reply = client.messages.create(model=MODEL, max_tokens=64, messages=ASKED)
        return reply.content[0].text
