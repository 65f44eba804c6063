"""The health board: how often it asks, where it keeps the answer, and what it makes of failures."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from forge.cache import Cache
from forge.catalog import Catalog
from forge.errors import UnknownModelError, UnreachableError
from forge.health import HealthBoard
from forge.metrics import Metrics
from forge.providers import Piece
from forge.schemas import ChatRequest
from forge.settings import Settings
from support.service import MakeSettings
from support.waiting import until


class Fake:
    """A provider that counts how often it is asked."""

    kind = "openai"

    def __init__(self, name: str = "fake", models: list[str] | None = None) -> None:
        self.name = name
        self.asked = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._models = models or ["m1"]

    async def models(self) -> list[str]:
        self.asked += 1
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self._models

    async def chat(self, model: str, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        del model, request
        yield Piece(finish_reason="stop")


class Boards:
    """Makes boards that share a Redis, as replicas do."""

    def __init__(self, make: MakeSettings) -> None:
        self._make = make
        self._caches: list[Cache] = []
        self.metrics = Metrics()

    def board(self, *providers: Fake, **given: Any) -> HealthBoard:
        settings: Settings = self._make(**given)
        cache = Cache.connect(settings)
        self._caches.append(cache)
        return HealthBoard(providers, cache, self.metrics, settings)

    async def close(self) -> None:
        for cache in self._caches:
            await cache.close()


@pytest.fixture
async def boards(make_settings: MakeSettings) -> AsyncIterator[Boards]:
    made = Boards(make_settings)
    yield made
    await made.close()


async def test_a_provider_is_asked_once_within_the_time(boards: Boards) -> None:
    fake = Fake()
    board = boards.board(fake, health_ttl=60)
    first, second = await board.of(fake), await board.of(fake)
    assert fake.asked == 1
    assert first == second
    assert (first.state, first.models, first.reason) == ("up", ["m1"], "")
    assert boards.metrics.registry.get_sample_value("forge_provider_up", {"provider": "fake"}) == 1


async def test_replicas_share_the_answer_through_redis(boards: Boards) -> None:
    one, other = Fake(), Fake()
    asked = await boards.board(one, health_ttl=60).of(one)
    shared = await boards.board(other, health_ttl=60).of(other)
    assert shared == asked
    assert other.asked == 0


async def test_without_redis_the_answer_is_kept_in_memory(boards: Boards) -> None:
    fake = Fake()
    board = boards.board(fake, health_ttl=60, redis_url=SecretStr("unix:///nonexistent/redis.sock"))
    await board.of(fake)
    await board.of(fake)
    assert fake.asked == 1


async def test_it_asks_again_when_the_time_is_over(boards: Boards) -> None:
    fake = Fake()
    board = boards.board(fake, health_ttl=0.001)
    await board.of(fake)

    async def asked_again() -> None:
        while fake.asked < 2:
            await board.of(fake)

    await asyncio.wait_for(asked_again(), 10)


async def test_many_at_once_wait_for_one_question(boards: Boards) -> None:
    fake = Fake()
    fake.gate.clear()
    board = boards.board(fake, health_ttl=60)
    waiting = [asyncio.create_task(board.of(fake)) for _ in range(20)]
    await until(lambda: fake.asked == 1, "the provider is asked")
    fake.gate.set()
    healths = await asyncio.gather(*waiting)
    assert fake.asked == 1
    assert {health.state for health in healths} == {"up"}


async def test_a_failure_is_down_with_its_reason(boards: Boards) -> None:
    fake = Fake()
    fake.failure = UnreachableError("provider `fake` cannot be reached", detail="secret")
    health = await boards.board(fake).of(fake)
    assert (health.state, health.models) == ("down", [])
    assert health.reason == "provider `fake` cannot be reached"
    assert boards.metrics.registry.get_sample_value("forge_provider_up", {"provider": "fake"}) == 0


async def test_no_answer_in_time_is_down(boards: Boards) -> None:
    fake = Fake()
    fake.gate.clear()
    health = await boards.board(fake, health_timeout=0.01).of(fake)
    assert health.state == "down"
    assert health.reason == "no answer within 0.01 s"


async def test_unreadable_health_in_redis_is_asked_for_anew(
    boards: Boards, make_settings: MakeSettings
) -> None:
    cache = Cache.connect(make_settings())
    await cache.put("health:fake", '{"version": 2}', 60)
    fake = Fake()
    assert (await boards.board(fake).of(fake)).state == "up"
    assert fake.asked == 1
    await cache.close()


async def test_names_are_resolved_in_the_order_of_configuration(boards: Boards) -> None:
    one, two = Fake("one", ["shared", "meta/llama"]), Fake("two", ["shared", "own"])
    catalog = Catalog([one, two], boards.board(one, two))
    assert await catalog.resolve("two/anything") == (two, "anything")
    assert await catalog.resolve("shared") == (one, "shared")
    assert await catalog.resolve("own") == (two, "own")
    assert await catalog.resolve("meta/llama") == (one, "meta/llama")
    for unknown in ("none", "one/", "three/own"):
        with pytest.raises(UnknownModelError, match="no provider has the model"):
            await catalog.resolve(unknown)


async def test_a_provider_that_is_down_lends_no_models(boards: Boards) -> None:
    one, two = Fake("one", ["shared"]), Fake("two", ["shared"])
    one.failure = UnreachableError("away")
    catalog = Catalog([one, two], boards.board(one, two))
    assert await catalog.resolve("shared") == (two, "shared")
    assert [card.id for card in await catalog.models()] == ["two/shared"]
