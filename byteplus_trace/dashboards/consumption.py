"""ModelArk tokens and cost: who uses how much of what, and what it comes to."""

from __future__ import annotations

from .._instruments import COST, IMAGES, OPERATIONS, TOKENS, UNMEASURED
from .overview import FAILED, SPENT, per_model, unmeasured
from .panels import NOW, WHOLE, Page, Query, Row, figure, lines, stacked
from .promql import TEAM, Lens, Not, less, named, or_zero, ratio, share

PRICE_NOTE = "Estimated from the library's dated price table; calls without a known price are not in it."
TEAM_NOTE = f"Needs `metadata_labels=('{TEAM}',)` at `instrument()`, and calls inside `byteplus_trace.metadata({TEAM}=...)`."
# The caller's own operations: a video task that is polled, or a response that is fetched, is no call of its own.
PAID = ("chat", "embeddings", "generate_content")
# A video's tokens and cost arrive with its task, when it is polled.
LATER = Not(("video_task_create",))


def per_team(expression: str) -> str:
    return named(expression, TEAM, f"no {TEAM}")


def an_hour(*by: str) -> str:
    return f"{NOW.rate(COST, *by)} * 3600"


def measured(lens: Lens, what: str, *by: str, operation: str | tuple[str, ...] = PAID) -> str:
    """How many calls have their tokens (`usage`) or their cost (`price`): those that averages divide by."""
    lens = lens.common(COST, TOKENS, OPERATIONS, UNMEASURED)
    return less(
        lens.increase(OPERATIONS, *by, operation=operation, api=LATER, outcome=Not(FAILED)),
        lens.increase(UNMEASURED, *by, operation=operation, what=what),
    )


def cost_per_thousand(lens: Lens, *by: str) -> str:
    cost = lens.common(COST, UNMEASURED).increase(COST, *by, operation=PAID)
    return ratio(f"1000 * {cost}", measured(lens, "price", *by))


def token_share(lens: Lens, part: str, whole: str, *by: str) -> str:
    """Of one type of tokens in another that includes it."""
    return share(lens.increase(TOKENS, *by, type=part), lens.increase(TOKENS, *by, type=whole))


AT_A_GLANCE = Row(
    "At a glance",
    (
        figure(
            "Estimated cost",
            f"In the time shown. {PRICE_NOTE}",
            "currencyUSD",
            or_zero(WHOLE.increase(COST)),
            width=3,
        ),
        figure(
            "Cost per thousand calls",
            "Chats, embeddings and images whose cost is known; failed calls are not among them.",
            "currencyUSD",
            cost_per_thousand(WHOLE),
            width=3,
        ),
        figure(
            "Tokens",
            "Input and output, in the time shown.",
            "short",
            or_zero(WHOLE.increase(TOKENS, type=SPENT)),
            width=3,
        ),
        figure(
            "Input read from a cache",
            "Share of the input tokens that the service had cached: they are cheaper.",
            "percentunit",
            token_share(WHOLE, "cache_read", "input"),
            width=3,
        ),
        figure(
            "Output spent on reasoning",
            "Share of the output tokens that the model thought with and the reader never sees. They are billed.",
            "percentunit",
            token_share(WHOLE, "reasoning", "output"),
            width=3,
        ),
        figure(
            "Images generated",
            "In the time shown.",
            "short",
            or_zero(WHOLE.increase(IMAGES, status="generated")),
            width=3,
        ),
        figure(
            "Calls without tokens",
            "Calls that did not fail and whose reply has no usage, as in a stream without "
            "`stream_options.include_usage`. Their tokens are in no figure.",
            "short",
            or_zero(WHOLE.increase(UNMEASURED, what="usage")),
            width=3,
        ),
        figure(
            "Calls without a price",
            "Calls that did not fail and whose cost is not known: no usage, or a model that the price table does not "
            "have. *Which calls have no tokens or no cost?* names the models.",
            "short",
            or_zero(WHOLE.increase(UNMEASURED, what="price")),
            width=3,
        ),
    ),
)

MONEY = Row(
    "Cost: who spends it, on what?",
    (
        stacked(
            "What does an hour cost, by model?",
            f"US dollars an hour at the present rate. {PRICE_NOTE}",
            "currencyUSD",
            Query(an_hour("model"), "{{model}}"),
        ),
        stacked(
            "What does an hour cost, by region?",
            f"US dollars an hour at the present rate. {PRICE_NOTE}",
            "currencyUSD",
            Query(an_hour("region"), "{{region}}"),
        ),
        stacked(
            "What does an hour cost, by team?",
            f"US dollars an hour at the present rate. {TEAM_NOTE}",
            "currencyUSD",
            Query(per_team(an_hour(TEAM)), f"{{{{{TEAM}}}}}"),
        ),
        lines(
            "What do a thousand calls cost, with each model?",
            f"US dollars. The figure to compare models by, for the same task. {PRICE_NOTE}",
            "currencyUSD",
            Query(cost_per_thousand(NOW, "model"), "{{model}}"),
        ),
        lines(
            "What do a thousand calls cost, for each operation?",
            f"US dollars. {PRICE_NOTE}",
            "currencyUSD",
            Query(cost_per_thousand(NOW, "operation"), "{{operation}}"),
        ),
        lines(
            "What do a thousand calls cost, for each team?",
            f"US dollars. {TEAM_NOTE}",
            "currencyUSD",
            Query(per_team(cost_per_thousand(NOW, TEAM)), f"{{{{{TEAM}}}}}"),
        ),
    ),
)

TOKENS_USED = Row(
    "Tokens: who uses them, and of which kind?",
    (
        stacked(
            "How many tokens a second, by model?",
            "Input and output together.",
            "short",
            Query(per_model(NOW.rate(TOKENS, "model", type=SPENT)), "{{model}}"),
        ),
        stacked(
            "How many tokens a second, by region?",
            "Input and output together, in the region that served.",
            "short",
            Query(NOW.rate(TOKENS, "region", type=SPENT), "{{region}}"),
        ),
        stacked(
            "How many tokens a second, by team?",
            f"Input and output together. {TEAM_NOTE}",
            "short",
            Query(per_team(NOW.rate(TOKENS, TEAM, type=SPENT)), f"{{{{{TEAM}}}}}"),
        ),
        lines(
            "What share of the input is cached?",
            "Input tokens that the service read from its cache, with each model. A fall after a release is often a "
            "prompt whose beginning now changes.",
            "percentunit",
            Query(token_share(NOW, "cache_read", "input", "model"), "{{model}}"),
            at_most=1,
        ),
        lines(
            "What share of the output is reasoning?",
            "Output tokens that the model thought with, with each model.",
            "percentunit",
            Query(token_share(NOW, "reasoning", "output", "model"), "{{model}}"),
            at_most=1,
        ),
        lines(
            "How large is a call?",
            "Mean tokens of a chat, in and out, of those whose tokens are known.",
            "short",
            *(
                Query(
                    ratio(
                        NOW.common(TOKENS, UNMEASURED).increase(TOKENS, operation="chat", type=kind),
                        measured(NOW, "usage", operation="chat"),
                    ),
                    kind,
                )
                for kind in SPENT
            ),
        ),
        lines(
            "What is the input made of?",
            "Input tokens a second by what they were, where the service says so (multimodal embeddings do).",
            "short",
            Query(NOW.rate(TOKENS, "type", type=("text_input", "image_input", "audio_input")), "{{type}}"),
            width=12,
        ),
        unmeasured(12),
    ),
)

PICTURES = Row(
    "Images: are they made?",
    (
        stacked(
            "How many images are generated, and how many fail?",
            "Images a second. An image can fail inside a reply that succeeds: moderation, mostly.",
            "short",
            Query(or_zero(NOW.rate(IMAGES, status="generated")), "generated"),
            Query(or_zero(NOW.rate(IMAGES, status="failed")), "failed"),
            width=12,
        ),
        lines(
            "Which models make them?",
            "Images a second.",
            "short",
            Query(NOW.rate(IMAGES, "model", status="generated"), "{{model}}"),
            width=12,
        ),
    ),
)

CONSUMPTION = Page(
    "modelark-tokens-and-cost",
    "ModelArk tokens and cost",
    "Tokens, images and estimated cost of BytePlus ModelArk, by model, region and team.",
    (AT_A_GLANCE, MONEY, TOKENS_USED, PICTURES),
)
