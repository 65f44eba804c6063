"""A provider without a network: it says the last user message back, word by word.

It lets the service start alone, and gives tests and load runs an answer that is known beforehand. Its
"tokens" are words.
"""

import asyncio
import re
from collections.abc import AsyncGenerator

from forge.errors import UnknownModelError
from forge.providers.base import Piece
from forge.schemas import ChatRequest, Usage

MODEL = "echo"
_WORD = re.compile(r"\S+\s*|\s+")


class EchoProvider:
    """Waits `delay` seconds before each word."""

    name = "echo"
    kind = "echo"

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay

    async def models(self) -> list[str]:
        """Its one model."""
        return [MODEL]

    async def chat(self, model: str, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """The words of the last user message, cut at the token limit."""
        if model != MODEL:
            raise UnknownModelError(f"provider `echo` has no model `{model}`")
        words = _WORD.findall(_last_user_text(request))
        kept = words[: request.token_limit]
        for word in kept:
            await asyncio.sleep(self._delay)
            yield Piece(text=word)
        asked = sum(len(message.content.split()) for message in request.messages)
        usage = Usage(prompt_tokens=asked, completion_tokens=len(kept), total_tokens=asked + len(kept))
        yield Piece(finish_reason="stop" if kept == words else "length", usage=usage)


def _last_user_text(request: ChatRequest) -> str:
    users = [message.content for message in request.messages if message.role == "user"]
    return users[-1] if users else ""
