"""Logs: one JSON object a line on stderr, each with the id of the request that it belongs to.

Line breaks, control characters and everything outside ASCII are escaped by the JSON encoder, so text from
outside cannot begin a line of its own or move a terminal's cursor.
"""

import json
import logging
import re
import sys
import uuid
from contextvars import ContextVar
from datetime import datetime, timezone

REQUEST_ID_HEADER = "x-request-id"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_VALUE = 2048

request_id: ContextVar[str] = ContextVar("request_id", default="")


def accept_request_id(given: str | None) -> str:
    """The caller's id when it is 1-64 letters, digits, `.`, `_` or `-`; a new one otherwise."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given
    return uuid.uuid4().hex


class JsonFormatter(logging.Formatter):
    """Renders a record; what is passed as `extra={"fields": {...}}` becomes keys beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON in ASCII."""
        at = datetime.fromtimestamp(record.created, tz=timezone.utc)
        entry: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.getMessage()),
        }
        if current := request_id.get():
            entry["request_id"] = current
        for key, value in getattr(record, "fields", {}).items():
            entry.setdefault(key, _bounded(value))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True, default=str)


def configure(level: str) -> None:
    """Sends every logger to stderr as JSON. Access lines come from our middleware, not from uvicorn."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    # These name the provider's URL for every request at level info.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _bounded(value: object) -> object:
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        return value[:_LONGEST_VALUE] + "..."
    return value
