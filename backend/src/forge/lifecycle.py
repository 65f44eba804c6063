"""How the service ends: work is counted, new work refused while draining, late work cut off.

It knows no signal and no server; `forge.server` tells it when to drain and asks whether it may stop.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Serving, then draining, then cut off."""

    def __init__(
        self, *, grace: float, drain_delay: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._grace = grace
        self._delay = drain_delay
        self._clock = clock
        self._draining_since: float | None = None
        self._open = 0
        self.cutoff = asyncio.Event()
        """Set when the grace period is over; a stream that is still open ends with an error."""

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining_since is not None

    @property
    def open(self) -> int:
        """Requests in hand."""
        return self._open

    @contextmanager
    def work(self) -> Iterator[None]:
        """Counts one request from its first byte to its last."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def drain(self) -> None:
        """Takes no new work from now on. A second call changes nothing. Safe within a signal handler."""
        if self._draining_since is None:
            self._draining_since = self._clock()

    def may_stop(self) -> bool:
        """Whether the work is done or the grace period is over; sets `cutoff` in the latter case."""
        if self._draining_since is None:
            return False
        passed = self._clock() - self._draining_since
        if self._open == 0:
            return passed >= min(self._delay, self._grace)
        if passed >= self._grace:
            self.cutoff.set()
            return True
        return False
