"""What all providers with a network share: HTTP failures become our errors, and answers are read with limits.

Here alone is it decided which failure is a 502, a 503 or a 504.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import httpx

from forge.errors import (
    BadAnswerError,
    BusyError,
    RefusedError,
    TimedOutError,
    UnknownModelError,
    UnreachableError,
)

MAX_LINE = 1_048_576
"""Bytes of one line of a stream; a longer one is a broken answer."""

MAX_DOCUMENT = 4_194_304
"""Bytes of an answer that is read as a whole, such as a list of models."""

_MAX_ERROR = 4096


@contextmanager
def failures(provider: str) -> Iterator[None]:
    """Turns httpx's exceptions into ours, keeping the original as the cause."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOutError(f"provider `{provider}` did not answer in time", detail=repr(error)) from error
    except httpx.ConnectError as error:
        raise UnreachableError(f"provider `{provider}` cannot be reached", detail=repr(error)) from error
    except httpx.HTTPError as error:
        raise BadAnswerError(f"provider `{provider}` broke off its answer", detail=repr(error)) from error


async def get_json(client: httpx.AsyncClient, provider: str, url: str, headers: dict[str, str]) -> object:
    """A JSON document by GET, or one of our errors."""
    with failures(provider):
        async with client.stream("GET", url, headers=headers) as response:
            await _require_success(provider, response)
            body = await _read(response, MAX_DOCUMENT)
    if body is None:
        raise BadAnswerError(f"provider `{provider}` sent more than {MAX_DOCUMENT} bytes")
    return parse(provider, body)


@asynccontextmanager
async def post_stream(
    client: httpx.AsyncClient, provider: str, url: str, headers: dict[str, str], body: dict[str, Any]
) -> AsyncIterator[AsyncGenerator[str, None]]:
    """Posts and gives the answer's lines. Leaving the block closes the connection, which stops the work."""
    with failures(provider):
        async with client.stream("POST", url, headers=headers, json=body) as response:
            await _require_success(provider, response)
            async with aclosing(_lines(provider, response)) as lines:
                yield lines


def parse(provider: str, text: str | bytes) -> object:
    """Decodes JSON, or says that the answer is broken."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = repr(text[:200])
        raise BadAnswerError(f"provider `{provider}` sent malformed JSON", detail=shown) from error
    return document


async def _lines(provider: str, response: httpx.Response) -> AsyncGenerator[str, None]:
    """Lines without their ends, blank ones left out. httpx's own splitter has no upper bound."""
    rest = b""
    async for data in response.aiter_bytes():
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_LINE:
            raise BadAnswerError(f"provider `{provider}` sent a line of more than {MAX_LINE} bytes")
        for line in whole:
            if text := line.decode("utf-8", "replace").strip():
                yield text
    if text := rest.decode("utf-8", "replace").strip():
        yield text


async def _require_success(provider: str, response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    body = await _read(response, _MAX_ERROR)
    detail = f"status {status}: {(body or b'').decode('utf-8', 'replace')}"
    if status == httpx.codes.NOT_FOUND:
        raise UnknownModelError(f"provider `{provider}` does not know this model", detail=detail)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise BusyError(f"provider `{provider}` is limiting requests; try again later", detail=detail)
    if status in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}:
        raise RefusedError(f"provider `{provider}` refused the request (status {status})", detail=detail)
    raise BadAnswerError(f"provider `{provider}` answered with status {status}", detail=detail)


async def _read(response: httpx.Response, limit: int) -> bytes | None:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > limit:
            return None
    return body
