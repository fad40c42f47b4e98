"""Responses: strict about fields, and stored where they were made."""

import httpx

EU = "eu-west-1"
MODEL = "seed-2-0-lite-260428"


def test_responses_are_strict_about_fields(client):
    reply = client.post("/responses", json={"model": MODEL, "input": "Hi", "reasoning": {"summary": "auto"}})

    assert 400 == reply.status_code
    assert reply.json()["error"]["message"].startswith('json: unknown field "summary"')


def test_a_response_exists_only_in_the_region_that_made_it(ark, client):
    made = client.post("/responses", json={"model": MODEL, "input": "Hi"}).json()
    more = {"model": MODEL, "input": "More.", "previous_response_id": made["id"]}
    here = client.post("/responses", json=more)
    there = httpx.post(f"{ark.base_url(EU)}/responses", json=more, headers=client.headers)

    assert (1 + 14) == here.json()["usage"]["input_tokens_details"]["cached_tokens"]
    assert (400, "InvalidParameter.PreviousResponseNotFound") == (there.status_code, there.json()["error"]["code"])  # fmt: skip


def test_a_text_of_a_response_has_annotations_as_clients_require(client, events):
    asked = {"model": MODEL, "input": "Hi"}
    whole = client.post("/responses", json=asked).json()
    completed = events(client.post("/responses", json={**asked, "stream": True}).text)[-2]["response"]

    assert [[]] * 2 == [reply["output"][-1]["content"][0]["annotations"] for reply in (whole, completed)]


def test_a_response_cut_by_its_limit_is_incomplete(client, events):
    asked = {"model": MODEL, "input": "Hi", "max_output_tokens": 2}
    whole = client.post("/responses", json=asked).json()
    *_, last, done = events(client.post("/responses", json={**asked, "stream": True}).text)

    assert ("incomplete", {"reason": "length"}) == (whole["status"], whole["incomplete_details"])
    assert ("response.incomplete", "[DONE]") == (last["type"], done)


def test_a_response_that_is_not_stored_cannot_be_continued(client):
    made = client.post("/responses", json={"model": MODEL, "input": "Hi", "store": False}).json()

    assert 400 == client.get(f"/responses/{made['id']}").status_code
