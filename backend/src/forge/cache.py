"""The one place that talks to Redis: small texts with an expiry, and whether Redis answers.

Redis is a help and not a need. When it fails, reads find nothing, writes are dropped, and each change
between answering and not answering is logged once.
"""

import logging

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from forge.settings import Settings

log = logging.getLogger(__name__)

# A connection may break at any level; all mean the same to us.
_FAILURES = (RedisError, OSError, TimeoutError)


class Cache:
    """Texts under a prefix. No method raises because of Redis."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._up: bool | None = None

    @classmethod
    def connect(cls, settings: Settings) -> "Cache":
        """Makes the client; nothing is sent until the first use."""
        client = Redis.from_url(
            settings.redis_url.get_secret_value(),
            decode_responses=True,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            # One more try at once: a pooled connection may be stale after Redis was restarted.
            retry=Retry(NoBackoff(), 1),
        )
        return cls(client, settings.redis_prefix)

    @property
    def up(self) -> bool:
        """Whether Redis answered last."""
        return bool(self._up)

    async def get(self, key: str) -> str | None:
        """The text, or nothing when it is absent, expired, or Redis does not answer."""
        try:
            value = await self._client.get(self._prefix + key)
        except _FAILURES as error:
            self._note(up=False, error=error)
            return None
        self._note(up=True)
        return None if value is None else str(value)

    async def put(self, key: str, value: str, seconds: float) -> None:
        """Keeps the text for so long."""
        try:
            await self._client.set(self._prefix + key, value, px=max(1, round(seconds * 1000)))
        except _FAILURES as error:
            self._note(up=False, error=error)
        else:
            self._note(up=True)

    async def answers(self) -> bool:
        """Whether Redis answers now."""
        try:
            await self._client.ping()
        except _FAILURES as error:
            self._note(up=False, error=error)
            return False
        self._note(up=True)
        return True

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _note(self, *, up: bool, error: Exception | None = None) -> None:
        if up is self._up:
            return
        self._up = up
        if up:
            log.info("redis answers")
        else:
            fields = {"cause": type(error).__name__}
            log.warning("redis does not answer; provider health is kept in memory", extra={"fields": fields})
