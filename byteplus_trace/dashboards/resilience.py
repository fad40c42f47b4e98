"""ModelArk resilience: what went wrong underneath, what was done about it, and what that risked."""

from __future__ import annotations

from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    BREAKER,
    BREAKER_OPENINGS,
    DUPLICATES,
    FALLBACKS,
    HEALTH_STORE_ERRORS,
    HEALTH_STORE_UP,
    OPERATIONS,
    RESCUES,
    RETRIES,
    SKIPPED,
    STREAM_BREAKS,
)
from .overview import FAILED
from .panels import NOW, WHOLE, Page, Panel, Query, Row, figure, lines, stacked
from .promql import or_zero, ratio, share

AVOIDED = "raised"
RISKED = ("replayed", "sdk_resend")
LED_PAST = ("breaker_open", "cooldown")
"""Skips of a target that was known to fail or to be full. The call went elsewhere at once, so it ends as `ok`."""
TEMPORARY = ("breaker_open", "cooldown", "dead_credential")
"""Skips that pass by themselves; the others are what the policy says."""

SAVES = (
    ("retry", "rescued by a retry"),
    ("fallback", "rescued by a fallback"),
    ("breaker", "sent elsewhere at once"),
)

_WHOLE, _NOW = (lens.common(RESCUES, OPERATIONS) for lens in (WHOLE, NOW))
_SAVED = or_zero(_WHOLE.increase(RESCUES))

AT_A_GLANCE = Row(
    "At a glance",
    (
        figure(
            "Calls saved",
            "Calls that a region failed and a retry or a fallback brought to a good end, and calls sent elsewhere at once "
            "because a target was known to fail (its breaker was open) or to be full (it cooled down). In an outage nearly "
            "all are of the second kind, and end as `ok`.",
            "short",
            or_zero(WHOLE.increase(RESCUES)),
        ),
        figure(
            "Of calls in trouble, saved",
            "Saved, out of saved and failed. The failed ones include requests that no region would accept.",
            "percentunit",
            ratio(_SAVED, f"({_SAVED} + {or_zero(_WHOLE.increase(OPERATIONS, outcome=FAILED))})"),
        ),
        figure(
            "Breakers not closed",
            "Pairs of target and operation that get no calls, or a probe now and then, because too many failed.",
            "short",
            or_zero(f"sum({NOW.gauge(BREAKER, 'target', 'operation', reduce='max')} > bool 0)"),
            warn_above=(1, 2),
        ),
        figure(
            "Streams broken in sight",
            "Streams that failed after their first output: the caller saw half an answer, and nothing can rescue that.",
            "short",
            or_zero(WHOLE.increase(STREAM_BREAKS, phase="after_output")),
            warn_above=(1, 10),
        ),
        figure(
            "Second charges avoided",
            "Images and the like that may have been made although the connection broke: not sent again, since "
            "generation is billed.",
            "short",
            or_zero(WHOLE.increase(DUPLICATES, action=AVOIDED)),
        ),
        figure(
            "Second charges risked",
            "Sent again although the first may have run: by a policy that allows replay, or by the SDK above.",
            "short",
            or_zero(WHOLE.increase(DUPLICATES, action=RISKED)),
            warn_above=(1, 10),
        ),
    ),
)

SAVED_CALLS = Row(
    "Rescues: what did retries, fallbacks and breakers save?",
    (
        stacked(
            "How many calls are saved, and how?",
            "Calls a second that would have failed without a retry (blue) or another region: those that moved there after "
            "a failure (purple), and those that went there at once because a breaker was open or a target cooled down "
            "(light blue). On top, those that failed all the same (red). This is what fallback is for.",
            "reqps",
            *(Query(or_zero(_NOW.rate(RESCUES, by=by)), legend) for by, legend in SAVES),
            Query(or_zero(_NOW.rate(OPERATIONS, outcome=FAILED)), "failed all the same"),
        ),
        lines(
            "From which regions are calls saved?",
            "Saved calls a second, by the region that failed them and by what saved them.",
            "reqps",
            Query(f"{NOW.rate(RESCUES, 'region', 'by')} > 0", "{{region}}: {{by}}"),
        ),
        lines(
            "How many attempts does a call take?",
            "1 is a world without faults; 2 is every call sent twice. The retry budget keeps it in bounds.",
            "short",
            Query(
                ratio(
                    # A call's region is the one that served it, an attempt's the one that it was sent to.
                    NOW.without("region").increase(ATTEMPTS, "operation"),
                    NOW.without("region").increase(OPERATIONS, "operation"),
                ),
                "{{operation}}",
            ),
        ),
        lines(
            "From where to where do calls move, and why?",
            "Fallbacks a second, each pair of targets with its reason; and calls a second that were sent past a target "
            "without a send, because its breaker was open or it cooled down. Only what moves is shown.",
            "reqps",
            Query(
                f"{NOW.common(FALLBACKS, SKIPPED).rate(FALLBACKS, 'from_target', 'to_target', 'reason')} > 0",
                "{{from_target}} → {{to_target}}: {{reason}}",
            ),
            Query(
                f"{NOW.rate(SKIPPED, 'target', 'reason', reason=LED_PAST)} > 0",
                "past {{target}}: {{reason}}",
            ),
            width=12,
        ),
        Panel(
            "Which moves helped?",
            "Fallbacks in the time shown, and whether the other target answered. A pair that always ends in `error` "
            "costs time and helps nobody.",
            "table",
            "short",
            (
                Query(
                    f"round({WHOLE.increase(FALLBACKS, 'from_target', 'to_target', 'reason', 'result')}) > 0",
                    "times",
                ),
            ),
            12,
        ),
    ),
)

TARGETS = Row(
    "Targets: which one is in trouble?",
    (
        lines(
            "What share of the attempts fails at each target?",
            "Out of all sends to the target, rescued calls included: this is how the region is, not how callers fare.",
            "percentunit",
            Query(
                share(NOW.increase(ATTEMPTS, "target", result="error"), NOW.increase(ATTEMPTS, "target")),
                "{{target}}",
            ),
            at_most=1,
        ),
        lines(
            "Why do attempts fail?",
            "Failed sends a second. `connect`, `timeout` and `reset` are the network's, `rate_limit` and `quota` the "
            "account's, `overloaded` and `server_error` the region's, `bad_request` and `moderation` the request's.",
            "reqps",
            Query(f"{NOW.rate(ATTEMPTS, 'target', 'reason', result='error')} > 0", "{{target}}: {{reason}}"),
        ),
        lines(
            "How long do attempts take at each target?",
            "95 of 100 sends took less, to the end of their replies. Dots lead to traces.",
            "s",
            Query(
                NOW.quantile(0.95, ATTEMPT_DURATION, "target", result="ok"),
                "{{target}}, answered",
                exemplars=True,
            ),
            Query(
                NOW.quantile(0.95, ATTEMPT_DURATION, "target", result="error"),
                "{{target}}, failed",
                exemplars=True,
            ),
        ),
        lines(
            "Which targets are tried again?",
            "Repeats to the same target a second, by what made them necessary.",
            "reqps",
            Query(f"{NOW.rate(RETRIES, 'target', 'reason')} > 0", "{{target}}: {{reason}}"),
        ),
        Panel(
            "When were breakers open?",
            "Green: calls pass. Red: the target gets none of this operation. Yellow: a probe decides. Where processes "
            "disagree, the worst is shown.",
            "states",
            "short",
            (Query(NOW.gauge(BREAKER, "target", "operation", reduce="max"), "{{target}}, {{operation}}"),),
            16,
        ),
        lines(
            "Which targets are passed over for a while?",
            "Calls a second that passed the target over: by an open breaker, a cooldown (after a rate limit, say) or a "
            "credential that is dead, or that the target does not have.",
            "reqps",
            Query(f"{NOW.rate(SKIPPED, 'target', 'reason', reason=TEMPORARY)} > 0", "{{target}}: {{reason}}"),
            width=12,
        ),
        lines(
            "Which credentials are dead?",
            "Sends refused as unauthorised or overdue, and calls that then passed the target over. A refusal needs a new "
            "key, or a payment; a target that is only passed over has no `api_key` for the calls that come.",
            "reqps",
            Query(
                NOW.common(ATTEMPTS, SKIPPED).rate(ATTEMPTS, "target", result="error", reason="auth"),
                "{{target}}: refused",
            ),
            Query(NOW.rate(SKIPPED, "target", reason="dead_credential"), "{{target}}: passed over"),
            width=12,
        ),
    ),
)

DAMAGE = Row(
    "Damage: what could not be hidden?",
    (
        lines(
            "When do streams break?",
            "Before the first output a stream is still retried or moved; after it the caller sees the break.",
            "reqps",
            Query(or_zero(NOW.rate(STREAM_BREAKS, phase="before_output")), "before first output"),
            Query(or_zero(NOW.rate(STREAM_BREAKS, phase="after_output")), "after first output"),
        ),
        lines(
            "Where and why do streams break?",
            "Broken streams a second. `cut` is an end without its last event, `idle` silence, `stream_error` ModelArk's "
            "own error inside the stream.",
            "reqps",
            Query(f"{NOW.rate(STREAM_BREAKS, 'target', 'reason')} > 0", "{{target}}: {{reason}}"),
        ),
        lines(
            "Is anything paid for twice?",
            "Avoided: an ambiguous failure was raised rather than sent again. Risked: it was sent again, by the policy's "
            "leave or by the SDK above.",
            "reqps",
            Query(or_zero(NOW.rate(DUPLICATES, action=AVOIDED)), "avoided"),
            Query(or_zero(NOW.rate(DUPLICATES, action=RISKED)), "risked"),
        ),
    ),
)

FLEET = Row(
    "Fleet: what do processes know from one another?",
    (
        lines(
            "Is health shared?",
            "1 while every process reaches the health store, 0 while one goes on with what it knows by itself. No series: "
            "no `health_store`.",
            "short",
            Query(NOW.gauge(HEALTH_STORE_UP, "store", reduce="min"), "{{store}}"),
        ),
        lines(
            "What is wrong with the health store?",
            "Failures a second, by why. `content` is an entry that was not understood: a newer version's, or not ours.",
            "reqps",
            Query(f"{NOW.rate(HEALTH_STORE_ERRORS, 'store', 'reason')} > 0", "{{store}}: {{reason}}"),
        ),
        lines(
            "Who opened which breaker?",
            "Openings by what a process saw itself. The others of its fleet heard of it.",
            "short",
            Query(
                f"{NOW.increase(BREAKER_OPENINGS, 'target', 'operation', 'instance', source='own')} > 0",
                "{{instance}}: {{target}}, {{operation}}",
            ),
        ),
    ),
)

RESILIENCE = Page(
    "modelark-resilience",
    "ModelArk resilience",
    "What goes wrong at ModelArk's regions, what retries and fallbacks make of it, and what they cannot mend.",
    (AT_A_GLANCE, SAVED_CALLS, TARGETS, DAMAGE, FLEET),
)
