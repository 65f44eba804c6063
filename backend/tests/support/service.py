"""The service itself, in this process: the real server on a free port of loopback."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from forge.lifecycle import Lifecycle
from forge.server import DrainingServer, build
from forge.services import Services
from forge.settings import Settings
from support.waiting import until

_HURRIED = SimpleNamespace(**{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(min(seconds, 0.005))})

MakeSettings = Callable[..., Settings]
"""The fixture `make_settings`: the test's own settings, with what it changes as arguments."""


@dataclass(frozen=True)
class Service:
    """A running service and a client for it."""

    server: DrainingServer
    services: Services
    url: str
    http: httpx.AsyncClient

    @property
    def lifecycle(self) -> Lifecycle:
        return self.services.lifecycle

    async def chat(self, content: str = "one two three", **fields: Any) -> httpx.Response:
        """A conversation of one message; `model` is echo's unless given."""
        return await self.http.post("/api/v1/chat/completions", json=question(content, **fields))

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample, 0 when there is none yet."""
        return self.services.metrics.registry.get_sample_value(name, labels) or 0.0


def question(content: str = "one two three", **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": "echo/echo", "messages": [{"role": "user", "content": content}], **fields}


def events(text: str) -> list[Any]:
    """The data of each server-sent event, decoded; `[DONE]` stays as it is."""
    datas = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


def text_of(chunks: list[Any]) -> str:
    """The joined text of the chunks of a stream."""
    return "".join(
        choice["delta"].get("content", "")
        for chunk in chunks
        if chunk != "[DONE]"
        for choice in chunk.get("choices", [])
    )


@asynccontextmanager
async def running_service(settings: Settings) -> AsyncIterator[Service]:
    """Serves until the block is left, and shows that the server ended in order."""
    server = build(settings)
    with pytest.MonkeyPatch.context() as patch:
        # Within pytest, signals belong to pytest.
        patch.setattr(server, "capture_signals", contextlib.nullcontext)
        # uvicorn looks ten times a second whether it should stop; two such waits a test add up to 20 s.
        patch.setattr("uvicorn.server.asyncio", _HURRIED)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done(), "the service listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        services = server.services
        # An empty context: loading the machine's certificates for plain HTTP takes longer than most tests.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(base_url=url, verify=tls, trust_env=False, timeout=20.0) as http:
            try:
                yield Service(server, services, url, http)
            finally:
                await http.aclose()
                server.should_exit = True
                await asyncio.wait_for(serving, 20.0)
