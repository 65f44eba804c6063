"""`POST /api/v1/chat/completions`: finds the provider and hands over to `forge.exchange`."""

from typing import Any

from fastapi import APIRouter, Request, Response

from forge.exchange import EventStream, Exchange, plain
from forge.schemas import ChatRequest, Completion, ErrorBody
from forge.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["chat"])

_FAILURES = {
    400: "The provider says that the request is wrong",
    404: "No provider has this model",
    413: "The body is larger than the limit",
    422: "The request does not fit the schema",
    429: "The provider limits the rate of requests",
    502: "The provider's answer is of no use",
    503: "The provider cannot be reached, or the service is shutting down",
    504: "The provider did not answer in time",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream: true` as server-sent events that end in `data: [DONE]`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **{status: {"model": ErrorBody, "description": text} for status, text in _FAILURES.items()},
}


@router.post("/chat/completions", response_model=Completion, responses=_RESPONSES)
async def chat_completions(body: ChatRequest, request: Request, services: ServicesOf) -> Response:
    """Answers a conversation, plain or streamed."""
    provider, model = await services.catalog.resolve(body.model)
    exchange = Exchange(
        provider=provider,
        model=model,
        request=body,
        lifecycle=services.lifecycle,
        metrics=services.metrics,
        longest=services.settings.max_stream,
    )
    if body.stream:
        return EventStream(exchange)
    return await plain(exchange, request.receive)
