"""Messages, in Anthropic's form."""

import json

import anthropic
import pytest

MODEL = "seed-2-0-lite-260428"
ANSWER = "Hello! How can I help you today?"
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def test_messages_leave_cached_tokens_out_of_the_input(client, events):
    body = {
        "model": MODEL,
        "system": "Be kind.",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 99,
    }
    whole = client.post("/messages", json=body).json()
    stream = events(client.post("/messages", json={**body, "stream": True}).text)

    assert (1, 3, 9) == tuple(whole["usage"][key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens"))  # fmt: skip
    assert ["message_start", "message_delta", "message_stop"] == [stream[at]["type"] for at in (0, -2, -1)]
    assert ANSWER == "".join(e["delta"].get("text", "") for e in stream if e["type"] == "content_block_delta")


def test_messages_think_and_call_tools_in_their_own_form(client, events):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "enabled"}}
    tools = {"tools": [{"name": "weather", "input_schema": WEATHER["parameters"]}]}
    whole = client.post("/messages", json={**body, **tools}).json()
    stream = events(client.post("/messages", json={**body, **tools, "stream": True}).text)
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "Rain"}]}
    after = client.post("/messages", json={**body, **tools, "messages": [*body["messages"], result]}).json()

    assert ["thinking", "tool_use"] == [part["type"] for part in whole["content"]]
    assert ("tool_use", {"city": "text"}) == (whole["stop_reason"], whole["content"][1]["input"])
    deltas = [event["delta"] for event in stream if event["type"] == "content_block_delta"]
    assert {"city": "text"} == json.loads("".join(delta.get("partial_json", "") for delta in deltas))
    assert ("end_turn", "text") == (after["stop_reason"], after["content"][-1]["type"])
    assert {"input_tokens": 1} == client.post("/messages/count_tokens", json=body).json()


def test_an_error_of_messages_has_their_own_envelope(client):
    assert "error" == client.post("/messages", json={"model": MODEL}).json()["type"]


@pytest.mark.parametrize("prefix", ["/api/compatible", "/api/coding"])
def test_anthropics_sdk_is_answered_under_each_prefix_of_its_form(sg, prefix):
    base_url = sg.base_url.removesuffix("/api/v3") + prefix
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0) as sdk:
        whole = sdk.messages.create(model=MODEL, max_tokens=99, messages=[{"role": "user", "content": "Hi"}])

    assert ANSWER == whole.content[0].text
