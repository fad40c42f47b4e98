"""How much of our code one call passes: who reads what happens to a call reads that much."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import gc, json, sys
from pathlib import Path

import httpcore, httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import byteplus_trace
from byteplus_trace import Policy, Target

ours = str(Path(byteplus_trace.__file__).parent)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
trace.set_tracer_provider(provider)
targets = [Target("sg", region="ap-southeast-1", api_key="k"), Target("eu", region="eu-west-1", api_key="k")]
byteplus_trace.instrument(policy=Policy(targets=targets) if sys.argv[1] == "routed" else None)
reply = json.dumps({
    "id": "1", "object": "chat.completion", "created": 1, "model": "seed-1-6-250915",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}).encode()

class Pool:
    def handle_request(self, request):
        headers = [("content-type", "application/json"), ("content-length", str(len(reply))), ("x-request-id", "r")]
        return httpcore.Response(200, headers=headers, content=reply)

client = httpx.Client()
client._transport._pool = Pool()

def call():
    client.post(
        "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions",
        headers={"Authorization": "Bearer k"},
        json={"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Hi"}]},
    ).raise_for_status()

passed = set()

def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(ours):
        passed.add((code.co_filename, code.co_firstlineno, code.co_name))

for _ in range(3):
    call()  # the first ones import, and fill what is remembered
gc.collect()
gc.disable()  # what earlier calls left is not this one's
sys.setprofile(note)
call()
sys.setprofile(None)
print(json.dumps([len({file for file, *_ in passed}), len(passed)]))
"""


@pytest.mark.parametrize(("how", "files", "functions"), [("observed", 25, 81), ("routed", 42, 199)])
def test_a_call_passes_few_files_and_functions(how, files, functions):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True
    )

    passed_files, passed_functions = json.loads(ran.stdout)
    assert 10 < passed_files <= files
    assert 50 < passed_functions <= functions
