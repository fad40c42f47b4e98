"""A fake ModelArk, clients for it, and the bodies that its tests send and read."""

import json

import httpx
import openai
import pytest
from byteplussdkarkruntime import Ark

from byteplus_trace.testing import ModelArk

SG = "ap-southeast-1"
MODEL = "seed-2-0-lite-260428"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Good morning, all!"}]


@pytest.fixture
def ark():
    with ModelArk() as ark:
        yield ark


@pytest.fixture
def sg(ark):
    return ark.region(SG)


@pytest.fixture
def client(sg):
    with httpx.Client(base_url=sg.base_url, headers={"Authorization": "Bearer any"}, timeout=5) as client:
        yield client


@pytest.fixture(params=["openai", "ark"])
def sdk(request, sg):
    kind = {"openai": openai.OpenAI, "ark": Ark}[request.param]
    sdk = kind(base_url=sg.base_url, api_key="any", max_retries=0)
    yield sdk
    sdk.close()


@pytest.fixture
def byteplus(sg):
    sdk = Ark(base_url=sg.base_url, api_key="any", max_retries=0)
    yield sdk
    sdk.close()


@pytest.fixture
def chat():
    """The body of a chat request."""
    return lambda **more: {"model": MODEL, "messages": MESSAGES, **more}


@pytest.fixture
def events():
    """Reads the JSON of each event of a stream, `[DONE]` as it is."""

    def read(text):
        data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        return [item if item == "[DONE]" else json.loads(item) for item in data]

    return read
