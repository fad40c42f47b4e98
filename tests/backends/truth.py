"""
What the calls of `pod.py` come to, and what every panel has to show for them: known before anything is counted.

`OUTCOMES` says it of each step. `EXPECTED` says of each panel, in the order of its queries,
what follows: the values by their labels, where 0 and nothing are the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

HOME, AWAY = "ap-southeast-1", "eu-west-1"
PRO, LITE, OWN = "seed-2-0-pro-260328", "seed-2-0-lite-260428", "ep-20260101120000-abcde"
EMBEDDING, IMAGE, VIDEO = "text-embedding-of-ours", "seedream-4-0-250828", "seedance-1-0-pro-250528"

# 60 tokens of input, 40 that were cached, 20 of output, in dollars a million.
PRICES = {PRO: (60 * 0.5 + 40 * 0.1 + 20 * 3.0) / 1e6, LITE: (60 * 0.25 + 40 * 0.05 + 20 * 2.0) / 1e6}
# The reply of an endpoint names the model behind it.
PRICES[OWN] = PRICES[LITE]
AN_IMAGE = 0.03
TOKENS = {"input": 100, "output": 20, "cache_read": 40, "reasoning": 5}


@dataclass(frozen=True)
class Call:
    """One call as its script meant it."""

    operation: str = "chat"
    model: str = ""
    team: str = ""
    region: str = HOME
    outcome: str = "ok"
    error: str = ""
    stream: bool = False
    repeat: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    unmeasured: tuple[str, ...] = ()
    images: tuple[int, int] = (0, 0)
    """Generated and failed."""
    attempts: tuple[tuple[str, str, str, str], ...] = ()
    """Target, region, result and reason."""
    retries: tuple[tuple[str, str], ...] = ()
    fallbacks: tuple[tuple[str, str, str, str], ...] = ()
    skips: tuple[tuple[str, str], ...] = ()
    rescue: tuple[str, str] | None = None
    breaks: tuple[str, str, str] | None = None
    duplicate: str | None = None
    another_model: bool = False
    charged: bool = True
    """Whether it costs anything by its own reply: neither a list of models does, nor asking for a video."""
    opened: tuple[str, str] | None = None
    """The breaker that it opened: target and operation."""
    fault: bool = False
    """This library failed at something of its own after it."""
    seconds: float = 0.0
    first_line: float | None = None

    @property
    def failed(self) -> bool:
        return self.outcome in ("error", "deadline")


def _answered(**also) -> Call:
    return Call(tokens=TOKENS, **also)


def _sent(name, region, *reasons):
    """Sends to one target; the last of them well where it is `none`."""
    return tuple((name, region, "ok" if reason == "none" else "error", reason) for reason in reasons)


SG, EU = ("sg", HOME), ("eu", AWAY)
ALONE = (HOME, HOME)
"""Without a policy, the target has the region's name."""


def _wrong(error, reason, **also):
    return Call(outcome="error", error=error, attempts=_sent(*ALONE, reason), **also)


UNROUTED = {
    "ok": [_answered()],
    "slow": [_answered()],
    "overloaded": [_wrong("ServerOverloaded", "overloaded")],
    "broken": [_wrong("InternalServiceError", "server_error")],
    "spent": [_wrong("QuotaExceeded", "quota")],
    "closed": [_wrong("ModelNotOpen", "model_unavailable")],
    "unsafe": [_wrong("InputTextSensitiveContentDetected", "moderation")],
    "wrong_key": [_wrong("AuthenticationError", "auth")],
    "late": [_wrong("ReadTimeout", "timeout")],
    "repeated": [
        _wrong("FailToConnect", "server_error"),
        _wrong("FailToConnect", "server_error", repeat=True),
    ],
    "another_model": [_answered(another_model=True, unmeasured=("price",))],
    "streamed": [_answered(stream=True)],
    "streamed_without_usage": [Call(stream=True, unmeasured=("usage", "price"))],
    "closed_early": [Call(stream=True, outcome="cancelled", unmeasured=("usage", "price"), attempts=((*ALONE, "cancelled", "none"),))],
    "cut": [_wrong("RemoteProtocolError", "cut", stream=True, breaks=(HOME, "after_output", "cut"))],
    "cut_at_once": [_wrong("RemoteProtocolError", "cut", stream=True, breaks=(HOME, "before_output", "cut"))],
    "forgotten": [Call(stream=True, outcome="abandoned", unmeasured=("usage", "price"), attempts=((*ALONE, "cancelled", "none"),))],
    "streamed_late": [_answered(stream=True)],
    "faulty": [_answered(fault=True)],
    "models_listed": [Call(operation="other", charged=False)],
    "video": [Call(operation="generate_content", charged=False)],
    "multimodal": [Call(operation="embeddings", tokens={"input": 1, "text_input": 1}, unmeasured=("price",))],
    "held": [],
    "embedding": [Call(operation="embeddings", tokens={"input": 1}, unmeasured=("price",))],
    "image": [Call(operation="generate_content", images=(1, 0), cost=AN_IMAGE)],
    "refused_image": [Call(operation="generate_content", images=(3, 1), cost=3 * AN_IMAGE)],
}  # fmt: skip

_MOVED = {"region": AWAY, "outcome": "rescued_fallback", "rescue": (HOME, "fallback")}
ROUTED = {
    "ok": [_answered(attempts=_sent(*SG, "none"))],
    "streamed": [_answered(stream=True, attempts=_sent(*SG, "none"))],
    "retried": [
        _answered(
            outcome="rescued_retry",
            attempts=_sent(*SG, "server_error", "none"),
            retries=(("sg", "server_error"),),
            rescue=(HOME, "retry"),
        )
    ],
    "moved": [
        _answered(
            attempts=_sent(*SG, "server_error", "server_error") + _sent(*EU, "none"),
            retries=(("sg", "server_error"),),
            fallbacks=(("sg", "eu", "server_error", "ok"),),
            **_MOVED,
        )
    ],
    "throttled": [
        _answered(
            attempts=_sent(*SG, "rate_limit") + _sent(*EU, "none"),
            fallbacks=(("sg", "eu", "rate_limit", "ok"),),
            **_MOVED,
        ),
        _answered(
            region=AWAY, attempts=_sent(*EU, "none"), skips=(("sg", "cooldown"),), rescue=(HOME, "breaker")
        ),
    ],
    "nobody": [
        Call(
            region=AWAY,
            outcome="error",
            error="InternalServiceError",
            attempts=_sent(*SG, "server_error", "server_error") + _sent(*EU, "server_error", "server_error"),
            retries=(("sg", "server_error"), ("eu", "server_error")),
            fallbacks=(("sg", "eu", "server_error", "error"),),
        )
    ],
    "image_again": [
        Call(
            operation="generate_content",
            outcome="error",
            error="RemoteProtocolError",
            attempts=_sent(*SG, "reset"),
            duplicate="raised",
        ),
        Call(
            operation="generate_content",
            repeat=True,
            images=(1, 0),
            cost=AN_IMAGE,
            attempts=_sent(*SG, "none"),
            duplicate="sdk_resend",
        ),
    ],
}
_MOVED_AT_ONCE = _answered(
    attempts=_sent(*SG, "server_error") + _sent(*EU, "none"),
    fallbacks=(("sg", "eu", "server_error", "ok"),),
    **_MOVED,
)
_MADE = Call(operation="generate_content", images=(1, 0), cost=AN_IMAGE)
STRICT = {
    "ok": ROUTED["ok"],
    "late_everywhere": [
        Call(
            region=AWAY,
            outcome="deadline",
            error="ReadTimeout",
            attempts=_sent(*SG, "timeout") + _sent(*EU, "timeout"),
            fallbacks=(("sg", "eu", "timeout", "error"),),
            duplicate="replayed",
        )
    ],
    "opens": [
        _MOVED_AT_ONCE,
        replace(_MOVED_AT_ONCE, opened=("sg", "chat")),
        _answered(
            region=AWAY,
            attempts=_sent(*EU, "none"),
            skips=(("sg", "breaker_open"),),
            rescue=(HOME, "breaker"),
        ),
    ],
    "denied": [
        replace(
            _MADE,
            attempts=_sent(*SG, "auth") + _sent(*EU, "none"),
            fallbacks=(("sg", "eu", "auth", "ok"),),
            **_MOVED,
        ),
        replace(_MADE, region=AWAY, attempts=_sent(*EU, "none"), skips=(("sg", "dead_credential"),)),
    ],
}
STEPS = {None: UNROUTED, "patient": ROUTED, "strict": STRICT}
"""By the policy of the process."""
IN_FLIGHT = 1
"""The chat that is held is never over, and counted nowhere else."""


def calls_of(step, model, team, *, policy):
    """The calls that a step makes and that end, in their order."""
    for call in STEPS[policy][step]:
        cost, unmeasured = call.cost, call.unmeasured
        if call.operation == "chat" and call.tokens and "price" not in unmeasured:
            if model in PRICES:
                cost = PRICES[model]
            else:
                unmeasured = (*unmeasured, "price")
        attempts = call.attempts or _sent(*ALONE, "none")
        yield replace(call, model=model, team=team, cost=cost, unmeasured=unmeasured, attempts=attempts)


def summed(calls, by=(), amount=lambda call: 1):
    """By labels, what the calls come to."""
    sums = Counter()
    for call in calls:
        sums[tuple((label, str(getattr(call, label))) for label in by)] += amount(call)
    return dict(sums)


def listed(calls, attribute, labels, wanted=lambda *_: True):
    """By labels, how often there is such an entry in a list that the calls have."""
    sums = Counter()
    for call in calls:
        for entry in getattr(call, attribute):
            if wanted(*entry):
                sums[tuple((label, entry[at]) for label, at in labels)] += 1
    return dict(sums)


def one_of(calls, attribute, labels, wanted=lambda *_: True):
    entries = [replace(call, skips=(getattr(call, attribute),)) for call in calls if getattr(call, attribute)]
    return listed(entries, "skips", labels, wanted)


def divided(part, whole, times=1):
    return {key: times * part.get(key, 0) / whole[key] for key in whole if whole[key]}


def per(sums, seconds, times=1):
    return {key: times * value / seconds for key, value in sums.items()}


@dataclass(frozen=True)
class Quantile:
    """
    Of these values by these labels.

    Histograms know a value to a bucket, which is 1.4 wide, and a busy machine keeps some calls waiting at one end: what
    is shown may be off by a factor of two.
    """

    share: float
    values: dict[tuple, list[float]]

    def fits(self, shown):
        if shown.keys() != self.values.keys():
            return False
        for key, value in shown.items():
            ordered = sorted(self.values[key])
            at = self.share * len(ordered)
            low, high = ordered[max(int(at) - 1, 0)], ordered[min(int(at) + 1, len(ordered) - 1)]
            if not low / 2 <= value <= max(high * 2, 0.02):
                return False
        return True


def quantile(share, calls, by=(), of="seconds"):
    values = {}
    for call in calls:
        if getattr(call, of) is not None:
            key = tuple((label, str(getattr(call, label))) for label in by)
            values.setdefault(key, []).append(getattr(call, of))
    return Quantile(share, values)


@dataclass(frozen=True)
class Positive:
    """Some time above 0, for each of these label values: what only the process itself can measure."""

    keys: frozenset

    def fits(self, shown):
        return shown.keys() == self.keys and all(value > 0 for value in shown.values())


def tokens(*kinds):
    return lambda call: sum(call.tokens.get(kind, 0) for kind in kinds)


SPENT = tokens("input", "output")
TARGET, REASON = ("target", 0), ("reason", 3)


def expected(title, calls, seconds, processes):
    """
    What the queries of a panel have to show.

    Args:
        seconds: the window that every rate and every total looks at.
        processes: how many are there now.
    """
    failed = [call for call in calls if call.failed]
    charged = [call for call in calls if call.charged and not call.failed]
    priced = [call for call in charged if "price" not in call.unmeasured]
    chats = [call for call in charged if call.operation == "chat" and "usage" not in call.unmeasured]
    streams = [call for call in calls if call.stream]
    saved = [call for call in calls if call.rescue]
    sent = lambda **by: listed(calls, "attempts", tuple(by.items()))  # noqa: E731
    wrong = lambda *labels: listed(calls, "attempts", labels, lambda *entry: entry[2] == "error")  # noqa: E731
    an_hour = lambda *by: per(summed(calls, by, lambda call: call.cost), seconds, 3600)  # noqa: E731
    a_second = lambda some, *by: per(summed(some, by), seconds)  # noqa: E731
    thousand = lambda *by: divided(  # noqa: E731
        summed(priced, by, lambda call: call.cost), summed(priced, by), 1000
    )
    spent = lambda *by: per(summed(calls, by, SPENT), seconds)  # noqa: E731
    types = Counter()
    for call in calls:
        types.update(call.tokens)
    missing = Counter((("what", what), ("model", call.model)) for call in calls for what in call.unmeasured)
    durations = {}
    for call in calls:
        for target, _, result, _ in call.attempts:
            if result != "cancelled":
                durations.setdefault(result, set()).add((("target", target),))
    opened = one_of(calls, "opened", (("target", 0), ("operation", 1)))
    only = lambda value: {(): value}  # noqa: E731
    images = lambda at: sum(call.images[at] for call in calls)  # noqa: E731
    breaks = lambda phase: sum(bool(call.breaks) and call.breaks[1] == phase for call in calls)  # noqa: E731
    doubles = lambda *actions: sum(call.duplicate in actions for call in calls)  # noqa: E731
    panels = {
        "Calls": [only(len(calls))],
        "Failed for the caller": [only(len(failed) / len(calls))],
        "95 of 100 calls end within": [quantile(0.95, calls)],
        "95 of 100 streams begin within": [quantile(0.95, calls, of="first_line")],
        "In flight now": [only(IN_FLIGHT)],
        "Estimated cost": [summed(calls, (), lambda call: call.cost)],
        "How do calls end?": [
            a_second([call for call in calls if call.outcome in outcomes])
            for outcomes in (["ok"], ["rescued_retry"], ["rescued_fallback"], ["error"], ["deadline"], ["cancelled", "abandoned"])
        ],
        "Which operations are called?": [a_second(calls, "operation")],
        "Which models are called?": [a_second(calls, "model")],
        "Which regions answer?": [a_second(calls, "region")],
        "How many calls are under way?": [{(("operation", "chat"),): IN_FLIGHT}],
        "What share of each operation fails?": [divided(summed(failed, ("operation",)), summed(calls, ("operation",)))],
        "What share fails with each model?": [divided(summed(failed, ("model",)), summed(calls, ("model",)))],
        "What share of the attempts fails in each region?": [divided(wrong(("region", 1)), sent(region=1))],
        "Which errors do callers see?": [{(("error_type", key[0][1]),): value for key, value in a_second(failed, "error").items()}],
        "How many failed calls are an SDK's repeats?": [
            a_second([call for call in failed if not call.repeat]), a_second([call for call in failed if call.repeat]),
        ],
        "How long do calls take?": [quantile(share, calls) for share in (0.5, 0.95, 0.99)],
        "Where do the calls' times lie?": [only(len(calls))],
        "How long do calls take with each operation?": [quantile(0.95, calls, ("operation",))],
        "How long do calls take with each model?": [quantile(0.95, calls, ("model",))],
        "How long do calls take in each region?": [quantile(0.95, calls, ("region",))],
        "How long until the first chunk?": [quantile(share, calls, of="first_line") for share in (0.5, 0.95, 0.99)],
        "How long until the first chunk, by model?": [quantile(0.95, calls, ("model",), "first_line")],
        "How long between chunks?": [Positive(frozenset((("model", call.model),) for call in streams))],
        "How many tokens a second, of each type?": [per({(("type", kind),): value for kind, value in types.items()}, seconds)],
        "Which calls have no tokens or no cost?": [per(missing, seconds)],
        "What does an hour cost, by model?": [an_hour("model")],
        "What does an hour cost, by operation and region?": [an_hour("operation", "region")],
        "Does the service answer with another model?": [a_second([call for call in calls if call.another_model])],
        "Has this library failed at anything?": [per(only(sum(call.fault for call in calls)), seconds)],
        "Which versions are at work?": [only(processes)],
        "Calls saved": [only(len(saved))],
        "Of calls in trouble, saved": [divided(only(len(saved)), only(len(saved) + len(failed)))],
        "Breakers not closed": [only(len(opened))],
        "Streams broken in sight": [only(breaks("after_output"))],
        "Second charges avoided": [only(doubles("raised"))],
        "Second charges risked": [only(doubles("replayed", "sdk_resend"))],
        "How many calls are saved, and how?": [
            *(per(one_of(saved, "rescue", (), lambda _, rescue, by=by: rescue == by), seconds) for by in ("retry", "fallback", "breaker")),
            a_second(failed),
        ],
        "From which regions are calls saved?": [per(one_of(saved, "rescue", (("region", 0), ("by", 1))), seconds)],
        "How many attempts does a call take?": [
            divided(summed(calls, ("operation",), lambda call: len(call.attempts)), summed(calls, ("operation",)))
        ],
        "From where to where do calls move, and why?": [
            per(listed(calls, "fallbacks", (("from_target", 0), ("to_target", 1), ("reason", 2))), seconds),
            per(listed(calls, "skips", (("target", 0), ("reason", 1)), lambda _, reason: reason != "dead_credential"), seconds),
        ],
        "Which moves helped?": [
            listed(calls, "fallbacks", (("from_target", 0), ("to_target", 1), ("reason", 2), ("result", 3)))
        ],
        "What share of the attempts fails at each target?": [divided(wrong(TARGET), sent(target=0))],
        "Why do attempts fail?": [per(wrong(TARGET, REASON), seconds)],
        "How long do attempts take at each target?": [
            Positive(frozenset(durations.get(result, ()))) for result in ("ok", "error")
        ],
        "Which targets are tried again?": [per(listed(calls, "retries", (("target", 0), ("reason", 1))), seconds)],
        "When were breakers open?": [dict.fromkeys(opened, 2)],
        "Is health shared?": [{}],
        "What is wrong with the health store?": [{}],
        "Who opened which breaker?": [opened],
        "Which targets are passed over for a while?": [per(listed(calls, "skips", (("target", 0), ("reason", 1))), seconds)],
        "Which credentials are dead?": [
            per(listed(calls, "attempts", (TARGET,), lambda *entry: entry[3] == "auth"), seconds),
            per(listed(calls, "skips", (TARGET,), lambda _, reason: reason == "dead_credential"), seconds),
        ],
        "When do streams break?": [
            per(only(breaks(phase)), seconds) for phase in ("before_output", "after_output")
        ],
        "Where and why do streams break?": [per(one_of(calls, "breaks", (("target", 0), ("reason", 2))), seconds)],
        "Is anything paid for twice?": [
            per(only(doubles("raised")), seconds), per(only(doubles("replayed", "sdk_resend")), seconds),
        ],
        "Cost per thousand calls": [thousand()],
        "Tokens": [summed(calls, (), SPENT)],
        "Input read from a cache": [divided(only(types["cache_read"]), only(types["input"]))],
        "Output spent on reasoning": [divided(only(types["reasoning"]), only(types["output"]))],
        "Images generated": [only(images(0))],
        "Calls without tokens": [only(sum("usage" in call.unmeasured for call in calls))],
        "Calls without a price": [only(sum("price" in call.unmeasured for call in calls))],
        "What does an hour cost, by region?": [an_hour("region")],
        "What does an hour cost, by team?": [an_hour("team")],
        "What do a thousand calls cost, with each model?": [thousand("model")],
        "What do a thousand calls cost, for each operation?": [thousand("operation")],
        "What do a thousand calls cost, for each team?": [thousand("team")],
        "How many tokens a second, by model?": [spent("model")],
        "How many tokens a second, by region?": [spent("region")],
        "How many tokens a second, by team?": [spent("team")],
        "What share of the input is cached?": [
            divided(summed(calls, ("model",), tokens("cache_read")), summed(calls, ("model",), tokens("input")))
        ],
        "What share of the output is reasoning?": [
            divided(summed(calls, ("model",), tokens("reasoning")), summed(calls, ("model",), tokens("output")))
        ],
        "How large is a call?": [
            divided(summed(chats, (), tokens(kind)), summed(chats)) for kind in ("input", "output")
        ],
        "What is the input made of?": [per({(("type", "text_input"),): types["text_input"]}, seconds)],
        "How many images are generated, and how many fail?": [per(only(images(at)), seconds) for at in (0, 1)],
        "Which models make them?": [per(summed(calls, ("model",), lambda call: call.images[0]), seconds)],
    }  # fmt: skip
    return panels[title]
