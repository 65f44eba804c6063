"""Any server with OpenAI's API: `GET /models`, `POST /chat/completions` streamed by server-sent events.

The configured URL ends where OpenAI's does, with `/v1`. Fields are those of OpenAI's API reference
("Chat Completions", "The chat completion chunk object").
"""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from forge.errors import BadAnswerError
from forge.providers.base import Piece
from forge.providers.upstream import get_json, parse, post_stream
from forge.schemas import ChatRequest, Usage

_PASSED_ON = {
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "user",
}


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: Any = None


class OpenAIProvider:
    """The server at `url`, called `name` here."""

    kind = "openai"

    def __init__(self, name: str, url: str, key: str | None, client: httpx.AsyncClient) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = client

    async def models(self) -> list[str]:
        """The models that the key may use."""
        answer = await get_json(self._client, self.name, f"{self._url}/models", self._headers)
        try:
            return [model.id for model in _Models.model_validate(answer).data]
        except ValidationError as error:
            message = f"provider `{self.name}` sent no list of models"
            raise BadAnswerError(message, detail=str(error)) from error

    async def chat(self, model: str, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """The answer's chunks until `[DONE]`."""
        body = {
            **request.model_dump(include=_PASSED_ON, exclude_none=True),
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        url = f"{self._url}/chat/completions"
        finished = False
        async with post_stream(self._client, self.name, url, self._headers, body) as lines:
            async for line in lines:
                # Comments, event names and ids carry nothing that is needed here.
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    break
                piece = self._piece(data)
                finished = finished or piece.finish_reason is not None
                yield piece
        if not finished:
            raise BadAnswerError(f"provider `{self.name}` ended its answer early")

    def _piece(self, data: str) -> Piece:
        try:
            chunk = _Chunk.model_validate(parse(self.name, data))
        except ValidationError as error:
            raise BadAnswerError(
                f"provider `{self.name}` sent an unknown answer", detail=str(error)
            ) from error
        if chunk.error is not None:
            raise BadAnswerError(f"provider `{self.name}` reported an error", detail=str(chunk.error))
        if not chunk.choices:
            return Piece(usage=chunk.usage)
        choice = chunk.choices[0]
        return Piece(text=choice.delta.content or "", finish_reason=choice.finish_reason, usage=chunk.usage)
