"""Runs the application: exit codes, signals, and the order in which a running service ends.

On SIGTERM or SIGINT the listening socket stays open, so that probes see `/ready` turn 503; open streams go on
until they are done or the grace period is over; then the server stops and the process exits 0. A second
signal stops at once.
"""

import contextlib
import logging
import socket
import sys
from types import FrameType

import uvicorn
from pydantic import ValidationError

from forge.app import create_app
from forge.logs import configure
from forge.services import Services, assemble
from forge.settings import Settings, explain

log = logging.getLogger(__name__)

EXIT_SETTINGS = 2
EXIT_NOT_STARTED = 3

_LAST_SECONDS = 3
"""After the cut-off: time for streams to send their closing event."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains before it stops."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self._lifecycle = services.lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called within the signal's handler.

        uvicorn's own version notes the signal and raises it again at the end, which would make the exit
        status that of a killed process.
        """
        del sig, frame
        if self._lifecycle.draining:
            self.should_exit = self.force_exit = True
        self._lifecycle.drain()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; true ends the server."""
        return await super().on_tick(counter) or self._lifecycle.may_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says where the service listens, which with port 0 nobody knows before."""
        await super().startup(sockets)
        for listening in self.servers:
            for bound in listening.sockets:
                host, port = bound.getsockname()[:2]
                log.info("listening", extra={"fields": {"host": host, "port": port}})


def build(settings: Settings) -> DrainingServer:
    """The server with its application, not yet started."""
    services = assemble(settings)
    config = uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    return DrainingServer(config, services)


def main() -> int:
    """Serves until told to stop. 0: stopped in order; 2: wrong settings; 3: could not start."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"forge: wrong settings\n{explain(error)}\n")
        return EXIT_SETTINGS
    configure(settings.log_level)
    server = build(settings)
    # When it cannot bind, uvicorn has logged why and leaves by an exit status of its own.
    with contextlib.suppress(SystemExit):
        server.run()
    return 0 if server.started else EXIT_NOT_STARTED
