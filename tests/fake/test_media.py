"""Images, videos and files."""

import base64

import pytest


def test_a_moderated_image_stands_among_the_others(client, events):
    group = {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 3}}
    asked = {"model": "seedream-4-0-250828", "prompt": "Cats [moderated]", "size": "1152x864", **group}
    body = client.post("/images/generations", json=asked).json()
    stream = events(client.post("/images/generations", json={**asked, "stream": True}).text)

    assert [True, True, False] == ["url" in item for item in body["data"]]
    assert {"generated_images": 2, "output_tokens": 2 * 3888, "total_tokens": 2 * 3888} == body["usage"]
    names = ["partial_succeeded", "partial_succeeded", "partial_failed", "completed"]
    assert [f"image_generation.{name}" for name in names] == [event["type"] for event in stream[:-1]]


def test_an_image_in_base64_is_an_image(client):
    body = client.post("/images/generations", json={"model": "s", "prompt": "A cat", "response_format": "b64_json"})  # fmt: skip

    assert base64.b64decode(body.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")


def test_a_task_moves_with_each_poll_and_a_finished_one_can_be_deleted(client):
    asked = {"model": "dreamina-seedance-2-5-260628", "content": [{"type": "text", "text": "A cat"}]}
    path = (
        "/contents/generations/tasks/" + client.post("/contents/generations/tasks", json=asked).json()["id"]
    )

    assert ["queued", "running", "succeeded"] == [client.get(path).json()["status"] for _ in range(3)]
    assert {"completion_tokens": 5000, "total_tokens": 5000} == client.get(path).json()["usage"]
    assert 1 == client.get("/contents/generations/tasks").json()["total"]
    assert b"" == client.delete(path).content
    assert 404 == client.get(path).status_code


def test_a_task_can_fail_or_be_cancelled_but_not_while_it_runs(client):
    def made(text):
        content = [{"type": "text", "text": text}]
        task = client.post("/contents/generations/tasks", json={"model": "d", "content": content}).json()
        return f"/contents/generations/tasks/{task['id']}"

    failing, cancelled = made("A cat [moderated]"), made("A cat")
    statuses = [client.get(failing).json()["status"] for _ in range(2)]
    running = client.delete(failing)
    failed = client.get(failing).json()
    client.delete(cancelled)

    assert ["queued", "running"] == statuses
    assert (409, "failed") == (running.status_code, failed["status"])
    assert "OutputVideoSensitiveContentDetected" == failed["error"]["code"]
    assert "cancelled" == client.get(cancelled).json()["status"]
    filtered = client.get("/contents/generations/tasks", params={"filter.status": "failed"}).json()
    assert 1 == filtered["total"]


@pytest.mark.parametrize(
    ("method", "path", "json", "status"),
    [
        ("POST", "/files", {"purpose": "agent"}, 400),
        ("GET", "/files/none", None, 404),
        ("POST", "/images/generations", {"model": "s", "prompt": "A cat", "size": "huge"}, 400),
        ("POST", "/context/chat/completions", {"model": "m", "messages": [], "context_id": "ctx-0"}, 404),
        ("POST", "/chat/completions", [], 400),
    ],
)
def test_what_cannot_be_is_refused(client, method, path, json, status):
    reply = client.request(method, path, json=json)

    assert status == reply.status_code
    assert reply.json()["error"]["code"]


def test_a_file_is_kept_as_it_was_sent(client):
    made = client.post("/files", data={"purpose": "agent"}, files={"file": ("a.bin", b"\x00\r\n--")}).json()

    assert ("agent", 5) == (made["purpose"], made["bytes"])
    assert b"\x00\r\n--" == client.get(f"/files/{made['id']}/content").content
