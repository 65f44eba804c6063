"""The text of server-sent events in OpenAI's streaming format. It sends nothing."""

import json
from typing import Any

from forge.errors import ForgeError
from forge.providers import Piece
from forge.schemas import Usage

DONE = b"data: [DONE]\n\n"
"""The last event of a stream that is complete, and of no other."""


def error(failed: ForgeError) -> bytes:
    """The event that ends a stream which failed on its way."""
    return b"event: error\n" + _data(failed.body())


class Chunks:
    """Renders pieces as `chat.completion.chunk` objects; the first one names the role."""

    def __init__(self, completion_id: str, created: int, model: str) -> None:
        self._frame: dict[str, object] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._first = True

    def piece(self, piece: Piece) -> bytes:
        """One piece of text, a finish reason, or both."""
        delta: dict[str, str] = {}
        if self._first:
            self._first = False
            delta["role"] = "assistant"
        if piece.text:
            delta["content"] = piece.text
        choice = {"index": 0, "delta": delta, "finish_reason": piece.finish_reason}
        return _data({**self._frame, "choices": [choice]})

    def usage(self, usage: Usage) -> bytes:
        """The chunk without choices that ends a stream whose client asked for usage."""
        return _data({**self._frame, "choices": [], "usage": usage.model_dump()})


def _data(value: dict[str, Any]) -> bytes:
    # ASCII only: some clients split lines at U+2028, which JSON allows unescaped.
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
