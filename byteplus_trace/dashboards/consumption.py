"""ModelArk tokens and cost: who uses how much of what, and what it comes to."""

from __future__ import annotations

from .._instruments import COST, IMAGES, OPERATIONS, TOKENS
from .overview import SPENT, per_model
from .panels import NOW, WHOLE, Page, Query, Row, figure, lines, stacked
from .promql import TEAM, Lens, named, or_zero, ratio, share

PRICE_NOTE = "Estimated from the library's dated price table; calls without a known price are not in it."
TEAM_NOTE = f"Needs `metadata_labels=('{TEAM}',)` at `instrument()`, and calls inside `byteplus_trace.metadata({TEAM}=...)`."
# The caller's own operations: a video task that is polled, or a response that is fetched, is no call of its own.
PAID = ("chat", "embeddings", "generate_content")


def per_team(expression: str) -> str:
    return named(expression, TEAM, f"no {TEAM}")


def an_hour(*by: str) -> str:
    return f"{NOW.rate(COST, *by)} * 3600"


def token_share(lens: Lens, part: str, whole: str, *by: str) -> str:
    """Of one type of tokens in another that includes it."""
    return share(lens.rate(TOKENS, *by, type=part), lens.rate(TOKENS, *by, type=whole))


AT_A_GLANCE = Row(
    "At a glance",
    (
        figure(
            "Estimated cost", f"In the time shown. {PRICE_NOTE}", "currencyUSD", or_zero(WHOLE.increase(COST))
        ),
        figure(
            "Cost per thousand calls",
            f"Chats, embeddings, images and videos. {PRICE_NOTE}",
            "currencyUSD",
            ratio(f"1000 * {WHOLE.increase(COST)}", WHOLE.increase(OPERATIONS, operation=PAID)),
        ),
        figure(
            "Tokens",
            "Input and output, in the time shown.",
            "short",
            or_zero(WHOLE.increase(TOKENS, type=SPENT)),
        ),
        figure(
            "Input read from a cache",
            "Share of the input tokens that the service had cached: they are cheaper.",
            "percentunit",
            token_share(WHOLE, "cache_read", "input"),
        ),
        figure(
            "Output spent on reasoning",
            "Share of the output tokens that the model thought with and the reader never sees. They are billed.",
            "percentunit",
            token_share(WHOLE, "reasoning", "output"),
        ),
        figure(
            "Images generated",
            "In the time shown.",
            "short",
            or_zero(WHOLE.increase(IMAGES, status="generated")),
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
            Query(
                ratio(f"1000 * {NOW.rate(COST, 'model')}", NOW.rate(OPERATIONS, "model", operation=PAID)),
                "{{model}}",
            ),
        ),
        lines(
            "What do a thousand calls cost, for each operation?",
            f"US dollars. {PRICE_NOTE}",
            "currencyUSD",
            Query(
                ratio(f"1000 * {NOW.rate(COST, 'operation')}", NOW.rate(OPERATIONS, "operation")),
                "{{operation}}",
            ),
        ),
        lines(
            "What do a thousand calls cost, for each team?",
            f"US dollars. {TEAM_NOTE}",
            "currencyUSD",
            Query(
                per_team(ratio(f"1000 * {NOW.rate(COST, TEAM)}", NOW.rate(OPERATIONS, TEAM, operation=PAID))),
                f"{{{{{TEAM}}}}}",
            ),
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
            width=6,
            at_most=1,
        ),
        lines(
            "What share of the output is reasoning?",
            "Output tokens that the model thought with, with each model.",
            "percentunit",
            Query(token_share(NOW, "reasoning", "output", "model"), "{{model}}"),
            width=6,
            at_most=1,
        ),
        lines(
            "How large is a call?",
            "Mean tokens of a chat, in and out.",
            "short",
            *(
                Query(
                    ratio(
                        NOW.rate(TOKENS, operation="chat", type=kind),
                        NOW.rate(OPERATIONS, operation="chat"),
                    ),
                    kind,
                )
                for kind in SPENT
            ),
            width=6,
        ),
        lines(
            "What is the input made of?",
            "Input tokens a second by what they were, where the service says so (multimodal embeddings do).",
            "short",
            Query(NOW.rate(TOKENS, "type", type=("text_input", "image_input", "audio_input")), "{{type}}"),
            width=6,
        ),
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
