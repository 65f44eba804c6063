"""Ollama over its own HTTP API: `GET /api/tags` for models, `POST /api/chat` streamed as NDJSON.

Fields are those of Ollama's API document (`docs/api.md` in its repository, "Generate a chat completion").
"""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from forge.errors import BadAnswerError
from forge.providers.base import Piece
from forge.providers.upstream import get_json, parse, post_stream
from forge.schemas import ChatRequest, Usage


class _Tag(BaseModel):
    name: str


class _Tags(BaseModel):
    models: list[_Tag]


class _Text(BaseModel):
    content: str = ""


class _Line(BaseModel):
    message: _Text = _Text()
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: str | None = None


class OllamaProvider:
    """An Ollama server at `url`."""

    name = "ollama"
    kind = "ollama"

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._client = client

    async def models(self) -> list[str]:
        """The models that are pulled."""
        answer = await get_json(self._client, self.name, f"{self._url}/api/tags", {})
        try:
            return [tag.name for tag in _Tags.model_validate(answer).models]
        except ValidationError as error:
            raise BadAnswerError("provider `ollama` sent no list of models", detail=str(error)) from error

    async def chat(self, model: str, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """The answer's lines until the one that says `done`."""
        body = _body(model, request)
        async with post_stream(self._client, self.name, f"{self._url}/api/chat", {}, body) as lines:
            async for text in lines:
                line = _line(text)
                if line.done:
                    yield _last(line)
                    return
                yield Piece(text=line.message.content)
        raise BadAnswerError("provider `ollama` ended its answer early")


def _line(text: str) -> _Line:
    try:
        line = _Line.model_validate(parse("ollama", text))
    except ValidationError as error:
        raise BadAnswerError("provider `ollama` sent an unknown answer", detail=str(error)) from error
    if line.error is not None:
        raise BadAnswerError("provider `ollama` reported an error", detail=line.error)
    return line


def _last(line: _Line) -> Piece:
    asked, answered = line.prompt_eval_count, line.eval_count
    usage = Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered)
    reason = "length" if line.done_reason == "length" else "stop"
    return Piece(text=line.message.content, finish_reason=reason, usage=usage)


def _body(model: str, request: ChatRequest) -> dict[str, Any]:
    options = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "num_predict": request.token_limit,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "seed": request.seed,
        "stop": request.stops or None,
    }
    return {
        "model": model,
        "stream": True,
        "messages": [
            # Ollama has no `developer`, which is OpenAI's newer word for `system`.
            {"role": "system" if turn.role == "developer" else turn.role, "content": turn.content}
            for turn in request.messages
        ],
        "options": {name: value for name, value in options.items() if value is not None},
    }
