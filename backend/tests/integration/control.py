"""What brings faults about: the pipeline's control endpoint as tests call it, and waiting with a deadline."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds after which a condition is taken as never coming."""

EVERY = 0.05
"""Seconds between two looks."""


class State(BaseModel):
    """Everything as it is now."""

    backend: str
    ended: str | None
    redis: bool
    model: str
    is_real: bool


@dataclass(frozen=True)
class Control:
    """The endpoint."""

    http: httpx.Client

    def state(self) -> State:
        return self._read(self.http.get("/"))

    def ollama(self, mode: str, **numbers: int) -> State:
        """Sets what happens between the backend and Ollama; it is in force when this returns."""
        return self._read(self.http.post("/ollama", json={"mode": mode, **numbers}))

    def redis(self, *, running: bool) -> State:
        """Takes Redis away, or gives it back at the same address."""
        return self._read(self.http.post("/redis", json={"running": running}))

    def backend(self, *, running: bool) -> State:
        """Asks the backend to end (SIGTERM), or starts it anew and waits until it is ready."""
        return self._read(self.http.post("/backend", json={"running": running}))

    def reset(self) -> None:
        """Everything runs and nothing is disturbed."""
        self.ollama("normal")
        self.redis(running=True)
        if self.state().ended is not None:
            self.backend(running=True)

    @contextmanager
    def fault(self, mode: str, **numbers: int) -> Iterator[None]:
        """The fault for as long as the block lasts."""
        self.ollama(mode, **numbers)
        try:
            yield
        finally:
            self.ollama("normal")

    @staticmethod
    def _read(response: httpx.Response) -> State:
        assert response.status_code == httpx.codes.OK, response.text
        return State.model_validate_json(response.text)


def eventually(look: Callable[[], T], holds: Callable[[T], bool], what: str) -> T:
    """Looks until it holds, and gives what was seen; fails with the last sight after the deadline."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if holds(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE:g} s: {what}; last seen: {seen}")
        time.sleep(EVERY)


def question(model: str, content: str = "why is the sky blue", **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}
