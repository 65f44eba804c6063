"""The bodies of requests and answers, in OpenAI's format, and those of our own routes.

A field that the gateway does not carry is refused rather than dropped: a client should never believe that
a setting was in force when it was not.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Penalty = Annotated[float, Field(ge=-2, le=2)]


class TextPart(BaseModel):
    """One part of a message that is given in parts. Images and sound are not carried."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    name: str | None = Field(default=None, max_length=64)

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: object) -> object:
        if isinstance(content, list):
            return "".join(TextPart.model_validate(part).text for part in content)
        return content


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /api/v1/chat/completions`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"model": "echo/echo", "messages": [{"role": "user", "content": "Good morning"}]}
        },
    )

    model: str = Field(min_length=1, max_length=256, description="`provider/model`, or a model's name alone")
    messages: list[Message] = Field(min_length=1, max_length=1024)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Literal[1] = 1
    user: str | None = Field(default=None, max_length=256)

    @property
    def token_limit(self) -> int | None:
        """The newer field when both are given, as OpenAI does."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop


class Usage(BaseModel):
    """Tokens, as the provider counts them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    total_tokens: int = Field(default=0, ge=0)


class AnswerMessage(BaseModel):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one choice of a plain answer."""

    index: int = 0
    message: AnswerMessage
    finish_reason: str


class Completion(BaseModel):
    """A plain answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """One model, named so that it can be used in a request as it stands."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelList(BaseModel):
    """The answer of `GET /api/v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """What was seen when a provider was last asked; also the form that is kept in Redis."""

    name: str
    kind: str
    state: Literal["up", "down"]
    latency_ms: float = Field(ge=0)
    models: list[str] = []
    checked_at: float
    reason: str = ""


class ProviderList(BaseModel):
    """The answer of `GET /api/v1/providers`."""

    object: Literal["list"] = "list"
    data: list[Health]


class Alive(BaseModel):
    """The answer of `GET /health`."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(BaseModel):
    """The answer of `GET /ready`; `reasons` is empty when ready."""

    status: Literal["ready", "not_ready"]
    redis: Literal["up", "down"]
    providers: dict[str, Literal["up", "down"]]
    reasons: list[str]


class ErrorDetail(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail
