"""The parts of the service, made from the settings and handed to the routes."""

from dataclasses import dataclass
from typing import Annotated

import httpx
from fastapi import Depends, Request

from forge import __version__, providers
from forge.cache import Cache
from forge.catalog import Catalog
from forge.health import HealthBoard
from forge.lifecycle import Lifecycle
from forge.metrics import Metrics
from forge.providers import Provider
from forge.settings import Settings


@dataclass(frozen=True)
class Services:
    """What the routes use; kept at `app.state.services`."""

    settings: Settings
    lifecycle: Lifecycle
    metrics: Metrics
    client: httpx.AsyncClient
    cache: Cache
    providers: tuple[Provider, ...]
    board: HealthBoard
    catalog: Catalog

    async def close(self) -> None:
        """Closes what holds connections."""
        await self.client.aclose()
        await self.cache.close()


def assemble(settings: Settings) -> Services:
    """Makes every part; nothing is sent to anyone."""
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
        # Streams are long; a limit here would make clients wait while providers are idle.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        headers={"User-Agent": f"forge/{__version__}"},
    )
    lifecycle = Lifecycle(grace=settings.grace_period, drain_delay=settings.drain_delay)
    metrics = Metrics()
    cache = Cache.connect(settings)
    metrics.redis_up.set_function(lambda: float(cache.up))
    configured = tuple(providers.build(settings, client))
    board = HealthBoard(configured, cache, metrics, settings)
    catalog = Catalog(configured, board)
    return Services(settings, lifecycle, metrics, client, cache, configured, board, catalog)


def _from_app(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(_from_app)]
"""A route's parameter of this type is filled with the application's services."""
