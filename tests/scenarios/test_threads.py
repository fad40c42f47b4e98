"""Many calls at once, from threads and tasks: each under its own parent, each counted once, no label without bound."""

import sys
import threading
from collections import Counter

import anyio
import httpx
import pytest

import byteplus_trace
from byteplus_trace import Policy, Retry, Target

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {"Authorization": "Bearer k"}
SG, EU = "ap-southeast-1", "eu-west-1"
PUBLIC = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(count, work):
    faults = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [] == faults


def under_own_parents(recorded):
    """Every call is the child of the span that was open around it, and wears that span's own number."""
    by_id = {span.context.span_id: span for span in recorded.spans}
    for span in recorded.logical:
        outer = by_id[span.parent.span_id]
        assert outer.name == span.attributes["byteplus.modelark.metadata.number"]
        assert outer.context.trace_id == span.context.trace_id
    for span in recorded.attempts:
        assert "gen_ai.operation.name" in by_id[span.parent.span_id].attributes


def test_eight_threads_of_fifty_calls(instrument, recorded, ark, sg, hasty):
    instrument()
    tracer = recorded.provider.get_tracer("app")

    def work(thread):
        with httpx.Client(headers=HEADERS, timeout=30) as client:
            for call in range(50):
                name = f"{thread}-{call}"
                with tracer.start_as_current_span(name), byteplus_trace.metadata(number=name):
                    if call % 2:
                        with client.stream(
                            "POST", sg + "/chat/completions", json={**CHAT, "stream": True}
                        ) as reply:
                            for _ in reply.iter_raw():
                                pass
                    else:
                        client.post(sg + "/chat/completions", json=CHAT)

    in_threads(8, work)

    under_own_parents(recorded)
    assert 400 == len(recorded.logical) == len(recorded.attempts) == len(recorded.exchanges)
    assert 400 == recorded.series("modelark_operations_total", outcome="ok")
    assert 400 == recorded.series("modelark_attempts_total", result="ok")
    assert 400 == recorded.series("modelark_operation_duration_seconds_count")
    assert 0 == recorded.series("modelark_operations_in_flight")
    used = sum(
        exchange.answer.usage.output_tokens for exchange in recorded.exchanges if exchange.answer.usage
    )
    assert used == recorded.series("modelark_tokens_total", type="output")


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_two_hundred_tasks(http, instrument, recorded, sg):
    instrument()
    tracer = recorded.provider.get_tracer("app")

    async def work(client):
        async def call(name):
            with tracer.start_as_current_span(name), byteplus_trace.metadata(number=name):
                await client.post(sg + "/chat/completions", json=CHAT)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(call, f"task-{number}")

    http.run(work, timeout=60)

    under_own_parents(recorded)
    assert 200 == len(recorded.logical) == len(recorded.attempts)
    assert 200 == recorded.series("modelark_operations_total", outcome="ok")
    assert 0 == recorded.series("modelark_operations_in_flight")


def test_threads_under_a_policy_with_one_region_failing(instrument, recorded, ark, sg, hasty):
    """Breakers, budgets and cooldowns are shared by all threads, and so are their counts."""
    ark.region(SG).fails(503)
    targets = [
        Target("sg", region=SG, base_url=ark.base_url(SG), api_key="a"),
        Target("eu", region=EU, base_url=ark.base_url(EU), api_key="b"),
    ]
    instrument(policy=Policy(targets=targets, retry=Retry(per_target=1, base=0.001, cap=0.002)))
    statuses = []

    def work(_thread):
        with httpx.Client(headers=HEADERS, timeout=30) as client:
            statuses.extend(client.post(sg + "/chat/completions", json=CHAT).status_code for _ in range(25))

    in_threads(8, work)

    assert [200] * 200 == statuses
    received = Counter(request.region for request in ark.requests)
    assert received[EU] == recorded.series("modelark_attempts_total", target="eu")
    assert received[SG] == recorded.series("modelark_attempts_total", target="sg")
    assert 200 == recorded.series("modelark_operations_total")
    first = Counter(exchange.attempts[0].target for exchange in recorded.exchanges)
    assert 200 - first["sg"] == recorded.series("modelark_targets_skipped_total", target="sg")
    assert received[SG] - first["sg"] == recorded.series("modelark_retries_total", target="sg")
    assert 2 == recorded.series("modelark_breaker_state", target="sg", operation="chat")


def answering(model):
    def handler(request):
        return httpx.Response(
            200,
            json={
                "id": "1",
                "model": model,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            },
        )

    return httpx.MockTransport(handler)


def labels(recorded, name, label):
    return {
        sample.labels[label]
        for family in recorded.registry.collect()
        for sample in family.samples
        if sample.name == name and sample.value
    }


def test_a_thousand_models_and_users_are_bounded_labels(instrument, recorded):
    instrument(base_urls={}, metadata_labels=("user",), max_models=10)

    with httpx.Client(transport=answering("m")) as client:
        for number in range(1_000):
            with byteplus_trace.metadata(user=f"u-{number}"):
                client.post(PUBLIC, json={**CHAT, "model": f"typo-{number}"})

    models = labels(recorded, "modelark_operations_total", "model")
    users = labels(recorded, "modelark_operations_total", "user")
    assert 11 == len(models)
    assert 101 == len(users)
    assert "other" in models & users
    assert 1_000 == recorded.series("modelark_operations_total")
    assert 990 == recorded.series("modelark_operations_total", model="other")
    assert 1_000 == recorded.series("modelark_tokens_total", type="input")
    assert {f"typo-{number}" for number in range(1_000)} == {
        span.attributes["gen_ai.request.model"] for span in recorded.logical
    }


def test_a_thousand_error_codes_are_bounded_labels(instrument, recorded):
    instrument(base_urls={})
    codes = iter(range(1_000))

    def handler(_request):
        return httpx.Response(400, json={"error": {"code": f"Code{next(codes)}", "message": "no"}})

    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        for _ in range(200):
            client.post(PUBLIC, json=CHAT)

    assert len(labels(recorded, "modelark_operations_total", "error_type")) <= 65
    assert 200 == recorded.series("modelark_operations_total", outcome="error")


def test_switching_on_and_off_while_others_call(instrument, recorded, sg, hasty):
    """Calls under way end as they began; none fails, none is recorded twice."""
    statuses, done = [], threading.Event()

    def call(number):
        with httpx.Client(headers=HEADERS, timeout=30) as client:
            if number == 0:
                for _ in range(10):
                    instrument()
                    client.post(sg + "/chat/completions", json=CHAT)
                    byteplus_trace.uninstrument()
                done.set()
            while True:
                statuses.append(client.post(sg + "/chat/completions", json=CHAT).status_code)
                if done.is_set():
                    break

    in_threads(4, call)

    assert {200} == set(statuses)
    assert 10 <= len(recorded.exchanges) == len(recorded.logical)
    assert 0 == recorded.series("modelark_operations_in_flight")
