"""Waiting for a condition. Tests never sleep for a time that they hope is long enough."""

import asyncio
import time
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds after which a condition is taken as never coming; far above what any of them needs."""


async def until(condition: Callable[[], bool], what: str) -> None:
    """Polls until the condition holds; fails with `what` when it does not within the deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(0.005)
