"""
The Ark SDK under a policy of two regions, asked from several tasks at once.

    ARK_API_KEY_SG=... ARK_API_KEY_EU=... python examples/ark_sdk.py

`max_retries=0`: the policy repeats and moves calls, and cannot tell the SDK's own repeats from new calls.
"""

import asyncio
import os
from pathlib import Path

from byteplussdkarkruntime import AsyncArk

import byteplus_trace

POLICY = Path(__file__).with_name("policy.toml")


async def ask(ark: AsyncArk, river: str) -> None:
    with byteplus_trace.metadata(river=river):
        reply = await ark.chat.completions.create(
            model="seed-2-0-lite-260428",
            messages=[{"role": "user", "content": f"Into which sea does the {river} flow?"}],
        )
    print(f"{river}: {reply.choices[0].message.content}")


async def main() -> None:
    byteplus_trace.instrument(service_name="ark-sdk", policy=POLICY)
    base_url = byteplus_trace.base_url("ap-southeast-1")
    async with AsyncArk(base_url=base_url, api_key=os.environ["ARK_API_KEY_SG"], max_retries=0) as ark:
        await asyncio.gather(*(ask(ark, river) for river in ("Rhine", "Danube", "Mekong")))
    byteplus_trace.flush()


if __name__ == "__main__":
    asyncio.run(main())
