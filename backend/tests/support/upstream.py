"""A real HTTP server on loopback whose answers are scripted, down to breaking off in the middle of one.

A script is a coroutine that writes to the socket. While it runs the server watches the connection: when the
caller closes it, the script is cancelled and `left` is set.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Upstream:
    """The server: set `scripts["POST /api/chat"]`, read `requests`."""

    url: str = ""
    scripts: dict[str, Script] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            received = await _receive(reader)
            self.requests.append(received)
            script = self.scripts.get(f"{received.method} {received.path}", json_answer({}, 404))
            await self._run(script, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _run(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = asyncio.ensure_future(script(writer))
        watching = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        gone_while_writing = answering.done() and isinstance(answering.exception(), ConnectionError)
        if gone_while_writing or not answering.done():
            self.left.set()
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


@asynccontextmanager
async def running_upstream() -> AsyncIterator[Upstream]:
    """Listens on a free port until the block is left."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()


def raw(data: bytes) -> Script:
    """Writes the bytes and closes."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def json_answer(value: object, status: int = 200) -> Script:
    """A whole answer with its length."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return raw(f"{head}Connection: close\r\n\r\n".encode() + body)


def chunked(parts: Sequence[bytes], *, then: Script | None = None) -> Script:
    """Sends each part as a chunk; then ends the answer in order, or goes on with another script."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        for part in parts:
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
        await (then or raw(b"0\r\n\r\n"))(writer)

    return script


def silence() -> Script:
    """Never answers and never closes."""

    async def script(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return script


def drop() -> Script:
    """Closes at once, wherever the answer is."""
    return raw(b"")


async def _receive(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)
