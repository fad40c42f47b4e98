"""A reply as the service writes it is read at once: the slow reading is for odd ones, and a large one would wait for it."""

from pathlib import Path

import pytest

from byteplus_trace._wire import chat, images, lenient_json, messages, plain

RECORDED = Path(__file__).parent / "recorded"
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"seed-1-6-250915","stop_reason":"end_turn",'
    b'"content":[{"type":"text","text":"The Yangtze."}],"usage":{"input_tokens":9,"output_tokens":4}}'
)
EMBEDDED = b'{"data":[{"b64_json":"aGk=","size":"2048x2048"}],"model":"seedream-4-0-250828","usage":{"generated_images":1}}'


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (chat._document, (RECORDED / "volc_chat_nonstream_doubao-1-5-pro-32k.json").read_bytes()),
        (images._images, (RECORDED / "byteplus_doc_images_sync_pro.json").read_bytes()),
        (images._images, EMBEDDED),
        (messages._message, MESSAGE),
        (plain._plain, (RECORDED / "byteplus_live_tokenization.json").read_bytes()),
    ],
    ids=["chat", "image by address", "image in the reply", "message", "tokenization"],
)
def test_a_usual_reply_is_decoded_once(shape, body, monkeypatch):
    monkeypatch.setattr(lenient_json, "json_in", lambda _: pytest.fail("decoded once more, whole"))

    assert shape.read(body) is not None
