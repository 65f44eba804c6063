"""The cache against a real Redis, and against one that is not there."""

import logging
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from forge.cache import Cache
from support.service import MakeSettings


@pytest.fixture
def nowhere(tmp_path: Path) -> SecretStr:
    return SecretStr(f"unix://{tmp_path / 'absent.sock'}")


async def test_keeps_a_text_under_the_prefix_with_an_expiry(
    make_settings: MakeSettings, redis_url: str, redis_prefix: str
) -> None:
    cache = Cache.connect(make_settings())
    await cache.put("key", "väl\nue", 30)
    assert await cache.get("key") == "väl\nue"
    assert await cache.get("other") is None
    assert cache.up
    with redis.Redis.from_url(redis_url) as client:
        remaining = client.pttl(f"{redis_prefix}key")
    assert 0 < int(str(remaining)) <= 30_000
    await cache.close()


async def test_without_redis_nothing_is_kept_and_nothing_raised(
    make_settings: MakeSettings, nowhere: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache.connect(make_settings(redis_url=nowhere))
    with caplog.at_level(logging.INFO, "forge.cache"):
        await cache.put("key", "value", 30)
        assert await cache.get("key") is None
        assert await cache.answers() is False
    assert not cache.up
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await cache.close()


async def test_a_return_of_redis_is_logged_once(
    make_settings: MakeSettings, nowhere: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Cache.connect(make_settings(redis_url=nowhere))
    alive = Cache.connect(make_settings())
    await dead.answers()
    caplog.clear()
    dead._client, alive._client = alive._client, dead._client
    with caplog.at_level(logging.INFO, "forge.cache"):
        assert await dead.answers() is True
        assert await dead.answers() is True
    assert [record.message for record in caplog.records] == ["redis answers"]
    await dead.close()
    await alive.close()
