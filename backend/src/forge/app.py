"""Puts the application together: one `create_app` for the server, the tests and the OpenAPI document."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from forge import __version__, errors
from forge.middleware import Gatehouse
from forge.routes import chat, listings, probes
from forge.services import Services

log = logging.getLogger(__name__)


def create_app(services: Services) -> FastAPI:
    """The application. Before its first request it reaches out to nothing but for one look at Redis."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        fields = {
            "version": __version__,
            "providers": [provider.name for provider in services.providers],
            "redis": "up" if await services.cache.answers() else "down",
        }
        log.info("started", extra={"fields": fields})
        yield
        await services.close()
        log.info("stopped")

    app = FastAPI(
        title="Forge",
        version=__version__,
        summary="A gateway in front of LLM providers",
        lifespan=lifespan,
        # Their pages load scripts from a public host, which a gateway should not tell a browser to do.
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.add_exception_handler(errors.ForgeError, errors.on_forge_error)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_request)
    app.add_exception_handler(HTTPException, errors.on_http_error)
    app.add_middleware(
        Gatehouse,
        lifecycle=services.lifecycle,
        metrics=services.metrics,
        max_body=services.settings.max_body,
    )
    for routes in (probes, listings, chat):
        app.include_router(routes.router)
    return app
