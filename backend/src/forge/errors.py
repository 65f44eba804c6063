"""What can go wrong, as exceptions, and the body that a client sees: OpenAI's error object.

An exception's message is shown to the client, so it never holds a URL, a key or a provider's raw answer;
those details go into the log by the `detail` argument.
"""

from typing import Any, ClassVar

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class ForgeError(Exception):
    """A failure with an HTTP status, a type and a code in OpenAI's words."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return error_body(self.message, self.type, self.code)


class BadAnswerError(ForgeError):
    """The provider answered, and the answer is of no use (a status, broken JSON, a stream cut short)."""

    status, type, code = 502, "provider_error", "provider_bad_answer"


class UnreachableError(ForgeError):
    """No connection to the provider."""

    status, type, code = 503, "provider_error", "provider_unreachable"


class TimedOutError(ForgeError):
    """The provider did not answer in time."""

    status, type, code = 504, "provider_error", "provider_timeout"


class BusyError(ForgeError):
    """The provider limits the rate of requests."""

    status, type, code = 429, "rate_limit_error", "provider_rate_limit"


class RefusedError(ForgeError):
    """The provider says that the request is wrong."""

    status, type, code = 400, "invalid_request_error", "provider_refused_request"


class UnknownModelError(ForgeError):
    """No provider has this model."""

    status, type, code = 404, "invalid_request_error", "model_not_found"


class ShuttingDownError(ForgeError):
    """The service takes no new work, or its grace period is over."""

    status, type, code = 503, "server_error", "shutting_down"


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object: `{"error": {"message", "type", "param", "code"}}`."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: ForgeError) -> JSONResponse:
    """The whole answer for a failure that happened before anything was sent."""
    return JSONResponse(error.body(), status_code=error.status)


async def on_forge_error(_request: Request, error: Exception) -> Response:
    """Handler for `ForgeError`."""
    if not isinstance(error, ForgeError):
        raise error
    return error_response(error)


async def on_invalid_request(_request: Request, error: Exception) -> Response:
    """Handler for a request that does not fit the schema: 422, naming the first field that is wrong."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = jsonable_encoder(error.errors())[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    return JSONResponse(error_body(message, "invalid_request_error", "invalid_request", where or None), 422)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Handler for the framework's own errors (no such route, method not allowed, body too large)."""
    if not isinstance(error, HTTPException):
        raise error
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = error_body(str(error.detail), kind, f"http_{error.status_code}")
    return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))
