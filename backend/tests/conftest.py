"""What every test gets: a real Redis, settings that use it, servers to talk to. No Redis, no run."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from forge.settings import Settings
from support.service import MakeSettings, Service, running_service
from support.upstream import Upstream, running_upstream

REDIS_VARIABLE = "FORGE_TEST_REDIS_URL"
HOW_TO_RUN = f"set {REDIS_VARIABLE}, or run cargo xtask test-matrix"
EXIT_NO_REDIS = 3


def pytest_sessionstart() -> None:
    """Ends the session at once when there is no Redis: what cannot run must not look like a pass."""
    url = os.environ.get(REDIS_VARIABLE)
    if not url:
        pytest.exit(HOW_TO_RUN, returncode=EXIT_NO_REDIS)
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        pytest.exit(f"{REDIS_VARIABLE}: no Redis there ({error}); {HOW_TO_RUN}", returncode=EXIT_NO_REDIS)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The service runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_url() -> str:
    return os.environ[REDIS_VARIABLE]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's settings nor a proxy may reach a test."""
    for name in list(os.environ):
        is_setting = name.startswith("FORGE_") and name != REDIS_VARIABLE
        if is_setting or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A prefix of this test's own; its keys are removed afterwards, and no others."""
    prefix = f"forge-test:{uuid.uuid4().hex}:"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


@pytest.fixture
def make_settings(redis_url: str, redis_prefix: str) -> MakeSettings:
    """Settings for a test: a free port, this test's Redis keys, short times."""

    def make(**given: Any) -> Settings:
        defaults: dict[str, Any] = {
            "port": 0,
            "redis_url": SecretStr(redis_url),
            "redis_prefix": redis_prefix,
            "grace_period": 5.0,
        }
        return Settings(**{**defaults, **given})

    return make


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as server:
        yield server


@pytest.fixture
async def service(make_settings: MakeSettings) -> AsyncIterator[Service]:
    """The service with echo alone."""
    async with running_service(make_settings()) as running:
        yield running
