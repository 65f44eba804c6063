"""How conversations end from outside: the client goes away, or the service is told to stop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.service import MakeSettings, Service, events, question, running_service, text_of
from support.upstream import Upstream, chunked, silence
from support.waiting import PATIENCE, until

SOURCE = Path(__file__).parents[2] / "src"
FIRST_LINE = b'{"message": {"content": "Good "}, "done": false}\n'
CHAT = "/api/v1/chat/completions"


async def leave_while(service: Service, upstream: Upstream, body: dict[str, object]) -> None:
    """Sends a request, waits until the upstream works on it, and goes away."""
    asking = asyncio.create_task(service.http.post(CHAT, json=body))
    await until(lambda: len(upstream.requests) == 1, "the upstream is asked")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_client_that_leaves_before_the_answer_stops_the_upstream(
    make_settings: MakeSettings,
    upstream: Upstream,
    stream: bool,
) -> None:
    upstream.scripts["POST /api/chat"] = silence()
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        await leave_while(service, upstream, question(model="ollama/llama3", stream=stream))
        await until(upstream.left.is_set, "the upstream's connection is closed")
        await until(lambda: service.lifecycle.open == 0, "the request is over")
        assert service.metric("forge_provider_answers_total", provider="ollama", outcome="client_gone") == 1
        labels = {"method": "POST", "route": CHAT, "status": "499"}
        assert service.metric("forge_http_requests_total", **labels) == 1


async def test_a_client_that_leaves_in_mid_stream_stops_the_upstream(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.scripts["POST /api/chat"] = chunked([FIRST_LINE], then=silence())
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        body = question(model="ollama/llama3", stream=True)
        async with service.http.stream("POST", CHAT, json=body) as response:
            first = await anext(response.aiter_lines())
            assert service.metric("forge_streams_open") == 1
            assert not upstream.left.is_set()
        assert "Good " in first
        await until(upstream.left.is_set, "the upstream's connection is closed")
        await until(lambda: service.metric("forge_streams_open") == 0, "the stream is over")
        assert service.metric("forge_provider_answers_total", provider="ollama", outcome="client_gone") == 1


async def test_a_stream_that_lasts_too_long_ends_with_an_error(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.scripts["POST /api/chat"] = chunked([FIRST_LINE], then=silence())
    async with running_service(make_settings(ollama_url=upstream.url, max_stream=0.3)) as service:
        response = await service.chat(model="ollama/llama3", stream=True)
        await until(upstream.left.is_set, "the upstream's connection is closed")
    assert events(response.text)[-1]["error"]["code"] == "provider_timeout"


async def test_a_client_that_reads_nothing_is_dropped(
    make_settings: MakeSettings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.exchange.LAST_WORDS", 0.05)
    line = json.dumps({"message": {"content": "x" * 100_000}, "done": False}).encode() + b"\n"
    upstream.scripts["POST /api/chat"] = chunked([line] * 400, then=silence())
    body = json.dumps(question(model="ollama/llama3", stream=True)).encode()
    async with running_service(make_settings(ollama_url=upstream.url, max_stream=0.5)) as service:
        host, port = service.url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: len(upstream.requests) == 1, "the upstream is asked")
        await until(lambda: service.lifecycle.open == 0, "the request is over")
        outcome = service.metric(
            "forge_provider_answers_total", provider="ollama", outcome="provider_timeout"
        )
        await until(upstream.left.is_set, "the upstream's connection is closed")
        writer.close()
    assert outcome == 1


async def test_draining_finishes_the_stream_and_refuses_new_work(make_settings: MakeSettings) -> None:
    async with running_service(make_settings(echo_delay=0.05)) as service:
        body = question("one two three four five six", stream=True)
        async with service.http.stream("POST", CHAT, json=body) as response:
            lines = response.aiter_lines()
            seen = [await anext(lines)]
            service.server.handle_exit(signal.SIGTERM, None)
            ready = await service.http.get("/ready")
            refused = await service.chat()
            seen += [line async for line in lines]
    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["the service is shutting down"]
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "shutting_down"
    assert text_of(events("\n".join(seen))) == "one two three four five six"
    assert events("\n".join(seen))[-1] == "[DONE]"


async def test_after_the_grace_period_a_stream_ends_with_an_error(make_settings: MakeSettings) -> None:
    async with running_service(make_settings(echo_delay=60, grace_period=0.1)) as service:
        asking = asyncio.create_task(service.chat())
        await until(lambda: service.lifecycle.open == 1, "the request is in hand")
        service.server.handle_exit(signal.SIGTERM, None)
        response = await asking
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "shutting_down"


async def test_after_the_grace_period_a_stream_in_its_middle_ends_with_an_error(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.scripts["POST /api/chat"] = chunked([FIRST_LINE], then=silence())
    async with running_service(make_settings(ollama_url=upstream.url, grace_period=0.1)) as service:
        body = question(model="ollama/llama3", stream=True)
        async with service.http.stream("POST", CHAT, json=body) as response:
            lines = response.aiter_lines()
            seen = [await anext(lines)]
            service.server.handle_exit(signal.SIGTERM, None)
            seen += [line async for line in lines]
        await until(upstream.left.is_set, "the upstream's connection is closed")
    chunks = events("\n".join(seen))
    assert text_of(chunks) == "Good "
    assert chunks[-1]["error"]["code"] == "shutting_down"


@dataclass(frozen=True)
class Process:
    """`python -m forge` as an orchestrator starts it."""

    process: asyncio.subprocess.Process
    log: Path
    url: str

    def entries(self) -> list[dict[str, object]]:
        return read_log(self.log)


def read_log(path: Path) -> list[dict[str, object]]:
    # The last line may still be in the making.
    whole = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole]


@asynccontextmanager
async def started(tmp_path: Path, **settings: str) -> AsyncIterator[Process]:
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "FORGE_PORT": "0", **settings}
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "forge", env=environment, stderr=sink, stdin=asyncio.subprocess.DEVNULL
        )

    def listening() -> list[dict[str, object]]:
        return [entry for entry in read_log(log) if entry["message"] == "listening"]

    try:
        await until(lambda: bool(listening()) or process.returncode is not None, "the process listens")
        assert process.returncode is None, log.read_text("utf-8")
        yield Process(process, log, f"http://127.0.0.1:{listening()[0]['port']}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_lets_the_stream_complete_and_exits_0(
    tmp_path: Path, redis_url: str, redis_prefix: str
) -> None:
    given = {"FORGE_REDIS_URL": redis_url, "FORGE_REDIS_PREFIX": redis_prefix, "FORGE_ECHO_DELAY": "0.05"}
    text = "one two three four five six seven eight"
    async with (
        started(tmp_path, **given) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        assert (await http.get("/ready")).status_code == 200
        async with http.stream("POST", CHAT, json=question(text, stream=True)) as response:
            lines = response.aiter_lines()
            seen = [await anext(lines)]
            running.process.send_signal(signal.SIGTERM)
            statuses = [200]
            while statuses[-1] == 200:
                statuses.append((await http.get("/ready")).status_code)
            seen += [line async for line in lines]
        code = await asyncio.wait_for(running.process.wait(), PATIENCE)
    chunks = events("\n".join(seen))
    assert statuses[-1] == 503
    assert text_of(chunks) == text
    assert chunks[-1] == "[DONE]"
    assert code == 0
    assert running.entries()[-1]["level"] == "info"
    assert "stopped" in [entry["message"] for entry in running.entries()]
