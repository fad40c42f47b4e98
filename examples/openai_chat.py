"""
A chat and a streamed chat with the openai SDK, seen.

    ARK_API_KEY=... python examples/openai_chat.py

Spans go to localhost:4318, or where OTEL_EXPORTER_OTLP_ENDPOINT says.
"""

import os

import openai

import byteplus_trace

MODEL = "seed-2-0-lite-260428"
QUESTION = [{"role": "user", "content": "Name three rivers of Asia."}]


def main() -> None:
    byteplus_trace.instrument(service_name="openai-chat", include_usage=True)
    base_url = byteplus_trace.base_url("ap-southeast-1")
    client = openai.OpenAI(base_url=base_url, api_key=os.environ["ARK_API_KEY"])
    with client, byteplus_trace.metadata(user="u-7", team="examples"):
        reply = client.chat.completions.create(model=MODEL, messages=QUESTION)
        print(reply.choices[0].message.content)

        for chunk in client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True):
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print()
    byteplus_trace.flush()


if __name__ == "__main__":
    main()
