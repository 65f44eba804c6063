"""The health of providers: asked for at most once in `FORGE_HEALTH_TTL` seconds, and kept in Redis.

Replicas share what is in Redis. Without Redis each process keeps its own. Several requests that need the
same answer at the same time wait for one question.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from pydantic import ValidationError

from forge.cache import Cache
from forge.errors import ForgeError
from forge.metrics import Metrics
from forge.providers import Provider
from forge.schemas import Health
from forge.settings import Settings

log = logging.getLogger(__name__)


class HealthBoard:
    """Knows how each provider was when last asked."""

    def __init__(
        self, providers: Sequence[Provider], cache: Cache, metrics: Metrics, settings: Settings
    ) -> None:
        self._providers = tuple(providers)
        self._cache = cache
        self._metrics = metrics
        self._ttl = settings.health_ttl
        self._timeout = settings.health_timeout
        self._memory: dict[str, tuple[float, Health]] = {}
        self._locks = {provider.name: asyncio.Lock() for provider in self._providers}

    async def all(self) -> list[Health]:
        """Every provider's health, in the order of configuration, asked side by side."""
        return list(await asyncio.gather(*(self.of(provider) for provider in self._providers)))

    async def of(self, provider: Provider) -> Health:
        """One provider's health, from memory, from Redis, or by asking."""
        async with self._locks[provider.name]:
            health = self._remembered(provider.name) or await self._cached(provider.name)
            if health is None:
                health = await self._ask(provider)
                await self._cache.put(_key(provider.name), health.model_dump_json(), self._ttl)
                self._memory[provider.name] = (time.monotonic() + self._ttl, health)
            self._metrics.provider_up.labels(provider.name).set(health.state == "up")
            return health

    def _remembered(self, name: str) -> Health | None:
        until, health = self._memory.get(name, (0.0, None))
        return health if time.monotonic() < until else None

    async def _cached(self, name: str) -> Health | None:
        text = await self._cache.get(_key(name))
        if text is None:
            return None
        try:
            return Health.model_validate_json(text)
        except ValidationError:
            # Another version of this service may have written it.
            log.warning("unreadable health in redis", extra={"fields": {"provider": name}})
            return None

    async def _ask(self, provider: Provider) -> Health:
        started = time.perf_counter()
        models: list[str] = []
        reason = ""
        try:
            models = await asyncio.wait_for(provider.models(), self._timeout)
        except asyncio.TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        except ForgeError as error:
            reason = error.message
            log.warning(
                "provider is down",
                extra={"fields": {"provider": provider.name, "reason": reason, "detail": error.detail}},
            )
        return Health(
            name=provider.name,
            kind=provider.kind,
            state="down" if reason else "up",
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
            models=models,
            checked_at=round(time.time(), 3),
            reason=reason,
        )


def _key(name: str) -> str:
    return f"health:{name}"
