"""
A process of a service: it makes the calls that it is asked for, and ends when nobody asks any more.

It reads a line of JSON for each round, `[[step, model, team], ...]`, makes these calls one
after the other against a fake ModelArk of its own, and writes how long each took for its
caller, and how long until the first line of a stream: `[[seconds, seconds or null], ...]`.
What else they come to was known before: see `truth.py`.

    python pod.py '{"port": 9464, "service": "shop", "policy": null, "metrics": "both"}'
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from contextlib import contextmanager, suppress

import httpx

import byteplus_trace
from byteplus_trace import Breaker, Deadline, Policy, Retry, Target
from byteplus_trace.testing import ModelArk

HOME, AWAY = "ap-southeast-1", "eu-west-1"
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


class Pod:
    def __init__(self, ark: ModelArk) -> None:
        self.ark = ark
        self.home, self.away = ark.region(HOME), ark.region(AWAY)
        self.took: list[tuple[float, float | None]] = []
        self.fails_at_its_own = False
        self.client = httpx.Client(headers={"Authorization": "Bearer any"}, timeout=5, trust_env=False)

    @contextmanager
    def timed(self):
        times = [time.perf_counter(), None]
        try:
            yield times
        finally:
            began, first = times
            self.took.append((time.perf_counter() - began, first and first - began))

    def post(self, path, body, **also):
        with self.timed():
            self.client.post(self.ark.base_url(HOME) + path, json=body, **also)

    def chat(self, model, **also):
        messages = [{"role": "user", "content": "Hi"}]
        self.post("/chat/completions", {"model": model, "messages": messages}, **also)

    def stream(self, model, *, most=None, usage=True, first_event=0.3):
        self.home.delays(first_event=first_event, between=0.1, on="chat")
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        if usage:
            body["stream_options"] = {"include_usage": True}
        url = self.ark.base_url(HOME) + "/chat/completions"
        with self.timed() as times, self.client.stream("POST", url, json=body) as response:
            for number, _ in enumerate(response.iter_lines()):
                times[1] = times[1] or time.perf_counter()
                if number == most:
                    return

    # Each is one call, or two where the second is the SDK's or the breaker's own.

    def ok(self, model):
        self.chat(model)

    def slow(self, model):
        self.home.delays(headers=0.5, times=1)
        self.chat(model)

    def overloaded(self, model):
        self.home.fails(503, code="ServerOverloaded", times=1)
        self.chat(model)

    def broken(self, model):
        self.home.fails(500, times=1)
        self.chat(model)

    def spent(self, model):
        self.home.fails(429, code="QuotaExceeded", times=1)
        self.chat(model)

    def closed(self, model):
        self.home.fails(404, code="ModelNotOpen", times=1)
        self.chat(model)

    def unsafe(self, model):
        self.home.fails(400, code="InputTextSensitiveContentDetected", times=1)
        self.chat(model)

    def wrong_key(self, model):
        self.home.fails(401, code="AuthenticationError", times=1)
        self.chat(model)

    def late(self, model):
        self.home.hangs(times=1)
        self.chat(model, timeout=0.3)

    def repeated(self, model):
        """A call that fails, and an SDK's repeat of it that fails as well."""
        for number in ("0", "1"):
            self.home.fails(502, times=1)
            self.chat(model, headers={"x-stainless-retry-count": number})

    def another_model(self, model):
        self.home.recovers()
        self.home.answers(usage=USAGE, model="another", fallback_from=model)
        self.chat(model)

    def streamed(self, model):
        self.stream(model)

    def streamed_without_usage(self, model):
        self.stream(model, usage=False)

    def streamed_late(self, model):
        self.stream(model, first_event=1.5)

    def closed_early(self, model):
        self.stream(model, most=3)

    def cut(self, model):
        self.home.cuts(after_events=4, times=1)
        self.stream(model)

    def cut_at_once(self, model):
        self.home.cuts(after_events=0, times=1)
        self.stream(model)

    def forgotten(self, model):
        """A stream that is neither read to its end nor closed."""
        self.home.delays(first_event=0.3, between=0.1, on="chat")
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        request = self.client.build_request("POST", self.ark.base_url(HOME) + "/chat/completions", json=body)
        with self.timed() as times:
            response = self.client.send(request, stream=True)
            lines = response.iter_lines()
            next(lines)
            times[1] = time.perf_counter()
            del response, lines
            gc.collect()

    def faulty(self, model):
        """A call like any other, after which this library fails at something of its own."""
        self.chat(model)

    def held(self, model):
        """A call that does not end while anybody looks."""
        self.home.hangs(on="chat")
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        url = self.ark.base_url(HOME) + "/chat/completions"
        threading.Thread(
            target=self.client.post, args=(url,), kwargs={"json": body, "timeout": 600}, daemon=True
        ).start()

    def models_listed(self, _):
        with self.timed():
            self.client.get(self.ark.base_url(HOME) + "/models")

    def video(self, model):
        self.post(
            "/contents/generations/tasks", {"model": model, "content": [{"type": "text", "text": "A river"}]}
        )

    def multimodal(self, model):
        self.post("/embeddings/multimodal", {"model": model, "input": [{"type": "text", "text": "one"}]})

    def embedding(self, model):
        self.post("/embeddings", {"model": model, "input": ["one"]})

    def image(self, model):
        self.post("/images/generations", {"model": model, "prompt": "A river", "size": "1024x1024"})

    def refused_image(self, model):
        body = {
            "model": model,
            "prompt": "Four rivers [moderated]",
            "sequential_image_generation": "auto",
            "sequential_image_generation_options": {"max_images": 4},
        }
        self.post("/images/generations", body)

    def image_again(self, model):
        """An image that may have been made, and an SDK that sends it again."""
        body = {"model": model, "prompt": f"A river {time.monotonic()}", "size": "1024x1024"}
        self.home.closes(times=1)
        try:
            self.post("/images/generations", body)
        except httpx.HTTPError:
            self.post("/images/generations", body)

    def retried(self, model):
        self.home.fails(500, times=1)
        self.chat(model)

    def moved(self, model):
        self.home.fails(500, times=2)
        self.chat(model)

    def throttled(self, model):
        """The first call learns that the target is full, and moves; the second is sent elsewhere at once."""
        self.home.throttles(retry_after=60, times=1)
        self.chat(model)
        self.chat(model)

    def late_everywhere(self, model):
        self.home.hangs(times=1)
        self.away.hangs(times=1)
        self.chat(model)

    def opens(self, model):
        """Two calls open the breaker, and the third is led past it."""
        self.home.fails(500, times=2)
        for _ in range(3):
            self.chat(model)

    def denied(self, model):
        """The first image learns that the key is refused, and moves; the second is led past it."""
        self.home.fails(401, code="AuthenticationError", times=1)
        self.image(model)
        self.image(model)

    def nobody(self, model):
        self.home.fails(500, times=2)
        self.away.fails(500, times=2)
        self.chat(model)


POLICIES = {
    "patient": {
        "retry": Retry(per_target=1, base=0.01, cap=0.02),
        "breaker": Breaker(consecutive=100, min_requests=1000),
    },
    "strict": {
        "retry": Retry(per_target=0),
        "breaker": Breaker(consecutive=2, min_requests=1000, open=3600, open_max=3600),
        "deadline": Deadline(total=4, min_attempt=0.1),
    },
}
"""How a pod's policy differs from another's; its targets are the same."""


def main() -> None:
    settings = json.loads(sys.argv[1])
    with ModelArk((HOME, AWAY)) as ark:
        pod = Pod(ark)
        policy = None
        if settings["policy"] is not None:
            targets = [
                Target(name, region=region, base_url=ark.base_url(region), api_key=f"key-of-{name}")
                for name, region in (("sg", HOME), ("eu", AWAY))
            ]
            policy = Policy(targets=targets, **POLICIES[settings["policy"]])

        def listens(exchange):
            if pod.fails_at_its_own:
                raise ValueError("what is called with each exchange fails")

        byteplus_trace.instrument(
            base_urls=ark.base_urls,
            policy=policy,
            service_name=settings["service"],
            metrics=settings["metrics"],
            metrics_port=settings["port"],
            metadata_labels=("team",),
            on_exchange=listens,
        )
        for line in sys.stdin:
            pod.took.clear()
            for step, model, team in json.loads(line):
                for region in (pod.home, pod.away):
                    region.recovers()
                    region.answers(usage=USAGE, on="chat")
                pod.fails_at_its_own = step == "faulty"
                # What an error comes to is known.
                with byteplus_trace.metadata(team=team), suppress(httpx.HTTPError):
                    getattr(pod, step)(model)
            byteplus_trace.flush()
            print(json.dumps(pod.took), flush=True)
    byteplus_trace.uninstrument()


if __name__ == "__main__":
    main()
