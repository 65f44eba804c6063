"""Server-sent events, as far as they came."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

CHAT = "/api/v1/chat/completions"


@dataclass
class Stream:
    """What was sent, in order."""

    response: httpx.Response
    chunks: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    is_done: bool = False

    def follow(self) -> Iterator[str]:
        """Reads to the end; gives each line of data as it comes."""
        event = ""
        for line in self.response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            if name != "data":
                event = event if line else ""
                continue
            assert not self.is_done, f"data after [DONE]: {value}"
            if value == "[DONE]":
                self.is_done = True
            else:
                (self.errors if event == "error" else self.chunks).append(json.loads(value))
            yield value

    def to_its_end(self) -> "Stream":
        for _ in self.follow():
            pass
        return self

    @property
    def text(self) -> str:
        """The pieces joined."""
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(choice["delta"].get("content", "") for choice in choices)


@contextmanager
def streamed(api: httpx.Client, body: dict[str, Any]) -> Iterator[Stream]:
    """Asks for a stream; it has begun when the block is entered."""
    with api.stream("POST", CHAT, json={**body, "stream": True}) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
        yield Stream(response)
