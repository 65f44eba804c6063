"""What a provider is: a name, the models it has, and a conversation answered piece by piece.

A plain answer is made by joining the pieces, so that each provider has one way only, and a client that
leaves stops the work of a plain request as it does that of a stream.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from forge.schemas import ChatRequest, Usage


@dataclass(frozen=True)
class Piece:
    """A part of an answer. The last one carries a finish reason; usage may come with it or after it."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class Provider(Protocol):
    """Raises `ForgeError` alone. It holds no connection of its own, so there is nothing to close."""

    @property
    def name(self) -> str:
        """The part before the slash in a model's name."""
        ...

    @property
    def kind(self) -> str:
        """`echo`, `ollama` or `openai`."""
        ...

    async def models(self) -> list[str]:
        """The models it has, in its own words. Asking is also the check of its health."""
        ...

    def chat(self, model: str, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """Answers. Closing the generator stops the provider's work.

        A generator that ends on its own has yielded a finish reason: an answer that was cut short is an
        error, never a shorter answer.
        """
        ...
