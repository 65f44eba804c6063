"""The outermost layer and the handlers of errors, called as a server would call them."""

import json
import logging
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from forge.errors import BadAnswerError, on_forge_error, on_http_error, on_invalid_request
from forge.lifecycle import Lifecycle
from forge.metrics import Metrics
from forge.middleware import Gatehouse


class Caller:
    """Calls an application once and keeps what it sent."""

    def __init__(self, app: Any, *, max_body: int = 1024) -> None:
        self.metrics = Metrics()
        self.lifecycle = Lifecycle(grace=1)
        self.gatehouse = Gatehouse(app, lifecycle=self.lifecycle, metrics=self.metrics, max_body=max_body)
        self.sent: list[Message] = []

    async def __call__(self, path: str = "/api/x", *, method: str = "GET", body: bytes = b"") -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self.gatehouse({"type": "http", "method": method, "path": path, "headers": []}, receive, send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def answers(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def breaks(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ZeroDivisionError


async def breaks_later(scope: Scope, receive: Receive, send: Send) -> None:
    await answers(scope, receive, send)
    raise ZeroDivisionError


async def stays_silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return


async def test_an_unhandled_exception_is_a_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caller = Caller(breaks)
    await caller()
    assert caller.status == 500
    assert json.loads(caller.sent[1]["body"])["error"]["code"] == "internal_error"
    assert "ZeroDivisionError" not in str(caller.sent)
    assert [record.message for record in caplog.records if record.exc_info] == ["unhandled exception"]
    assert caller.lifecycle.open == 0


async def test_an_exception_after_the_start_adds_nothing() -> None:
    caller = Caller(breaks_later)
    await caller()
    assert [message["type"] for message in caller.sent] == ["http.response.start", "http.response.body"]


async def test_a_client_that_left_first_is_counted_as_499(caplog: pytest.LogCaptureFixture) -> None:
    caller = Caller(stays_silent)
    with caplog.at_level(logging.INFO, "forge.access"):
        await caller()
    assert caplog.records[0].__dict__["fields"]["status"] == 499


async def test_strange_methods_share_one_series() -> None:
    caller = Caller(answers)
    for method in ("BREW", "WHEN"):
        await caller(method=method)
    labels = {"method": "OTHER", "route": "unmatched", "status": "200"}
    assert caller.metrics.registry.get_sample_value("forge_http_requests_total", labels) == 2


async def test_while_draining_work_is_refused_and_probes_are_not() -> None:
    caller = Caller(answers)
    caller.lifecycle.drain()
    await caller("/api/x")
    assert caller.status == 503
    assert (b"connection", b"close") in caller.sent[0]["headers"]
    caller.sent.clear()
    await caller("/health")
    assert caller.status == 200


async def test_other_kinds_of_connection_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    caller = Caller(app)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(_message: Message) -> None:
        return

    await caller.gatehouse({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
    assert caller.sent == []


async def test_a_body_above_the_limit_is_refused_whatever_it_announced() -> None:
    caught: list[int] = []

    async def reads(_scope: Scope, receive: Receive, _send: Send) -> None:
        try:
            await receive()
        except HTTPException as error:
            caught.append(error.status_code)

    caller = Caller(reads, max_body=1024)
    await caller(body=b"x" * 1024)
    assert caught == []
    await caller(body=b"x" * 1025)
    assert caught == [413]


@pytest.mark.parametrize("handler", [on_forge_error, on_http_error, on_invalid_request])
async def test_a_handler_lets_what_is_not_its_own_through(handler: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await handler(Request({"type": "http"}), ZeroDivisionError())


async def test_the_detail_of_a_failure_is_not_shown() -> None:
    response = await on_forge_error(Request({"type": "http"}), BadAnswerError("broken", detail="hidden"))
    assert response.status_code == 502
    assert b"hidden" not in response.body
