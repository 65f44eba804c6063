"""Around every request: its id, log line and figures, the limit of its body, the refusal when draining.

Written against ASGI itself: the framework's own middleware class would hold back a stream and hide from it
that the client has gone.
"""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge.errors import ForgeError, ShuttingDownError, error_response
from forge.lifecycle import Lifecycle
from forge.logs import REQUEST_ID_HEADER, accept_request_id, request_id
from forge.metrics import Metrics

log = logging.getLogger("forge.access")

WORK = "/api/"
"""Paths below it are work: refused while draining, and waited for."""


class Gatehouse:
    """The outermost layer of ours. An exception that nothing else handled becomes a 500 here."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, metrics: Metrics, max_body: int) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own_id = accept_request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        token = request_id.set(own_id)
        answer = _Answer(send, own_id)
        started = time.perf_counter()
        try:
            await self._answer(scope, _Limited(receive, self._max_body), answer)
        finally:
            self._record(scope, answer.status, time.perf_counter() - started)
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if not scope["path"].startswith(WORK):
            await self._guarded(scope, receive, answer)
        elif self._lifecycle.draining:
            response = error_response(ShuttingDownError("the service is shutting down; try again"))
            response.headers["Connection"] = "close"
            await response(scope, receive, answer)
        else:
            with self._lifecycle.work():
                await self._guarded(scope, receive, answer)

    async def _guarded(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception:
            log.exception("unhandled exception")
            if not answer.started:
                await error_response(ForgeError("internal error"))(scope, receive, answer)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.observe(scope["method"], route, status, seconds)
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "client": (scope.get("client") or ("",))[0],
        }
        log.info("request", extra={"fields": fields})


class _Answer:
    """A `send` that adds the request id and remembers the status; 499 when the client left before any."""

    def __init__(self, send: Send, own_id: str) -> None:
        self._send = send
        self._id = own_id
        self.started = False
        self.status = 499

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self._id
        await self._send(message)


class _Limited:
    """A `receive` that refuses a body above the limit, whether or not its length was announced."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise HTTPException(413, f"the body is larger than {self._limit} bytes")
        return message
