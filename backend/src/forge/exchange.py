"""One conversation between a client and a provider: plain or streamed, and every way in which it can end.

It ends when the provider has answered or failed, when the client goes away, when it has lasted too long, or
when the service's grace period is over. In each case the provider's work is stopped before anything else.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from forge import sse
from forge.errors import ForgeError, ShuttingDownError, TimedOutError, error_response
from forge.lifecycle import Lifecycle
from forge.metrics import Metrics
from forge.providers import Piece, Provider
from forge.schemas import AnswerMessage, ChatRequest, Choice, Completion

log = logging.getLogger(__name__)

LAST_WORDS = 2.0
"""Seconds in which a client must take the closing error event; one that reads nothing is dropped then."""

CLIENT_GONE = 499
"""The status in logs and figures when the client left before the answer began (nginx's convention)."""


class Ending(Enum):
    """How the race between the work and everything that can stop it was decided."""

    DONE = "done"
    GONE = "client_gone"
    LATE = "max_stream"
    CUT_OFF = "cut_off"


@dataclass(frozen=True)
class Exchange:
    """What is known about a conversation before it begins."""

    provider: Provider
    model: str
    request: ChatRequest
    lifecycle: Lifecycle
    metrics: Metrics
    longest: float
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def full_model(self) -> str:
        """`provider/model`."""
        return f"{self.provider.name}/{self.model}"

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The provider's answer; the time to its first piece is measured."""
        started = time.perf_counter()
        first = True
        async with aclosing(self.provider.chat(self.model, self.request)) as source:
            async for piece in source:
                if first:
                    passed = time.perf_counter() - started
                    self.metrics.first_piece.labels(self.provider.name).observe(passed)
                    first = False
                yield piece

    async def collect(self) -> Completion:
        """The pieces joined into a plain answer."""
        texts: list[str] = []
        finish_reason, usage = "stop", None
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                texts.append(piece.text)
                finish_reason = piece.finish_reason or finish_reason
                usage = piece.usage or usage
        choice = Choice(message=AnswerMessage(content="".join(texts)), finish_reason=finish_reason)
        return Completion(
            id=self.id, created=self.created, model=self.full_model, choices=[choice], usage=usage
        )

    async def race(self, work: Coroutine[Any, Any, None], receive: Receive) -> Ending:
        """Runs the work until it ends or must be stopped. Its own exception comes through."""
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(receive))
        cut_off = asyncio.ensure_future(self.lifecycle.cutoff.wait())
        tasks = (working, gone, cut_off)
        try:
            await asyncio.wait(tasks, timeout=self.longest, return_when=asyncio.FIRST_COMPLETED)
            ending = _decide(working, gone, cut_off)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if ending is Ending.DONE:
            working.result()
        return ending

    def failure(self, ending: Ending) -> ForgeError | None:
        """What the client is told about an ending, when there is still a client to tell."""
        if ending is Ending.LATE:
            return TimedOutError(f"the answer took longer than {self.longest:g} s")
        if ending is Ending.CUT_OFF:
            return ShuttingDownError("the service is shutting down; try again")
        return None

    def note(self, outcome: str, error: ForgeError | None = None) -> None:
        """Counts the outcome, and logs a failure with the detail that the client is not shown."""
        self.metrics.answers.labels(self.provider.name, outcome).inc()
        fields = {"provider": self.provider.name, "model": self.model, "outcome": outcome}
        if error is not None:
            fields |= {"reason": error.message, "detail": error.detail}
            log.warning("conversation failed", extra={"fields": fields})
        else:
            log.debug("conversation ended", extra={"fields": fields})


async def plain(exchange: Exchange, receive: Receive) -> Response:
    """The whole answer at once."""
    answers: list[Completion] = []

    async def work() -> None:
        answers.append(await exchange.collect())

    try:
        ending = await exchange.race(work(), receive)
        error = exchange.failure(ending)
    except ForgeError as failed:
        ending, error = Ending.DONE, failed
    exchange.note(error.code if error else ending.value, error)
    if error is not None:
        return error_response(error)
    if ending is Ending.GONE:
        return Response(status_code=CLIENT_GONE)
    return JSONResponse(answers[0].model_dump())


class EventStream(Response):
    """The answer as server-sent events.

    Nothing is sent before the provider's first piece, so that a failure until then still has a status of its
    own. After it, a failure is an `error` event, and `[DONE]` is not sent.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        # Tells nginx's ingress not to hold events back.
        self.headers["X-Accel-Buffering"] = "no"
        del self.headers["content-length"]
        self._exchange = exchange
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        exchange = self._exchange
        with exchange.metrics.streams.track_inprogress():
            try:
                ending = await exchange.race(self._pump(send), receive)
                error = exchange.failure(ending)
            except ForgeError as failed:
                ending, error = Ending.DONE, failed
            exchange.note(error.code if error else ending.value, error)
            if error is None:
                return
            if self._started:
                await _within_patience(self._send(send, sse.error(error), last=True))
            else:
                await error_response(error)(scope, receive, send)

    async def _pump(self, send: Send) -> None:
        exchange = self._exchange
        chunks = sse.Chunks(exchange.id, exchange.created, exchange.full_model)
        usage = None
        async with aclosing(exchange.pieces()) as pieces:
            async for piece in pieces:
                usage = piece.usage or usage
                if piece.text or piece.finish_reason:
                    await self._send(send, chunks.piece(piece))
        options = exchange.request.stream_options
        if usage is not None and options is not None and options.include_usage:
            await self._send(send, chunks.usage(usage))
        await self._send(send, sse.DONE, last=True)

    async def _send(self, send: Send, data: bytes, *, last: bool = False) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": data, "more_body": not last})


def _decide(
    working: "asyncio.Future[None]", gone: "asyncio.Future[None]", cut: "asyncio.Future[Any]"
) -> Ending:
    if working.done():
        return Ending.DONE
    if gone.done():
        return Ending.GONE
    return Ending.CUT_OFF if cut.done() else Ending.LATE


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _within_patience(sending: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.wait_for(sending, LAST_WORDS)
    except asyncio.TimeoutError:
        log.warning("client did not take the closing error event")
