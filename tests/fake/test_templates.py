"""Replies as files with holes."""

import json

from byteplus_trace._fake import templates


def test_a_template_spreads_leaves_out_and_repeats():
    made = templates.events(
        "chat_stream.sse",
        id="02",
        created=1,
        model="m",
        service_tier="default",
        counted=None,
        also={"x": 1},
        chunk=[{"choices": [at], "running": None} for at in range(2)],
    )

    assert [[0], [1]] == [json.loads(event[6:])["choices"] for event in made[:-1]]
    assert made[0].endswith(b'"usage":null,"x":1}\n\n')
    assert b"data: [DONE]\n\n" == made[-1]
