"""The race between a conversation and what can stop it, without a server."""

import asyncio

import pytest
from starlette.types import Message

from forge.exchange import Ending, Exchange
from forge.lifecycle import Lifecycle
from forge.metrics import Metrics
from forge.providers.echo import EchoProvider
from forge.schemas import ChatRequest
from support.service import question


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(
        provider=EchoProvider(),
        model="echo",
        request=ChatRequest.model_validate(question()),
        lifecycle=Lifecycle(grace=1),
        metrics=Metrics(),
        longest=30,
    )


async def never() -> None:
    await asyncio.Event().wait()


async def silent_client() -> Message:
    await never()
    return {"type": "http.disconnect"}


async def test_the_end_of_the_work_is_the_ending(exchange: Exchange) -> None:
    assert await exchange.race(asyncio.sleep(0), silent_client) is Ending.DONE


async def test_what_the_work_raises_comes_through(exchange: Exchange) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await exchange.race(fails(), silent_client)


async def test_a_late_part_of_the_request_is_no_disconnect(exchange: Exchange) -> None:
    messages: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]
    taken: list[str] = []

    async def receive() -> Message:
        message = messages.pop(0)
        taken.append(message["type"])
        return message

    assert await exchange.race(never(), receive) is Ending.GONE
    assert taken == ["http.request", "http.disconnect"]


async def test_the_work_is_over_when_the_race_is(exchange: Exchange) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await never()
        finally:
            seen.append("stopped")

    exchange.lifecycle.cutoff.set()
    assert await exchange.race(work(), silent_client) is Ending.CUT_OFF
    assert seen == ["stopped"]


async def test_a_race_that_is_cancelled_stops_the_work_too(exchange: Exchange) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await never()
        finally:
            stopped.set()

    racing = asyncio.ensure_future(exchange.race(work(), silent_client))
    await started.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert stopped.is_set()


async def test_one_conversation_has_one_id(exchange: Exchange) -> None:
    answer = await exchange.collect()
    assert answer.id == exchange.id
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.content == "one two three"
