"""Every setting of the service, read from the environment (prefix `FORGE_`).

A wrong value ends the start with a message that names the variable and never shows its value, since values
may be secrets. What the settings mean to a person is in `docs/configuration.md`; a test holds the two equal.
"""

import re
from typing import Annotated, Literal

from pydantic import (
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

RESERVED_NAMES = frozenset({"echo", "ollama"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

Seconds = Annotated[float, Field(gt=0, le=3600)]
Delay = Annotated[float, Field(ge=0, le=3600)]


class OpenAIEndpoint(BaseModel):
    """One provider that speaks OpenAI's API: the name it has here and its URL, up to and with `/v1`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: AnyHttpUrl

    @field_validator("name")
    @classmethod
    def _name_can_prefix_a_model(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise ValueError("a name is 1-32 of a-z, 0-9, _ and -, and neither `echo` nor `ollama`")
        return name


class Settings(BaseSettings):
    """The settings; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="FORGE_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    redis_prefix: str = Field(default="forge:", min_length=1, max_length=64)
    redis_timeout: Seconds = 1.0

    health_ttl: Seconds = 5.0
    health_timeout: Seconds = 2.0

    echo: bool = True
    echo_delay: Delay = 0.0
    ollama_url: AnyHttpUrl | None = None
    openai: tuple[OpenAIEndpoint, ...] = ()
    openai_keys: dict[str, SecretStr] = Field(default_factory=dict)

    connect_timeout: Seconds = 3.0
    read_timeout: Seconds = 60.0
    max_stream: Seconds = 300.0
    max_body: int = Field(default=1_048_576, ge=1024, le=67_108_864)

    grace_period: Delay = 30.0
    drain_delay: Delay = 0.0

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme_is_known(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(_REDIS_SCHEMES):
            raise ValueError(f"must begin with one of {', '.join(_REDIS_SCHEMES)}")
        return url

    @model_validator(mode="after")
    def _providers_fit_together(self) -> "Settings":
        names = [endpoint.name for endpoint in self.openai]
        if len(set(names)) != len(names):
            raise ValueError("FORGE_OPENAI names a provider twice")
        if set(self.openai_keys) - set(names):
            raise ValueError("FORGE_OPENAI_KEYS holds a key for a provider that FORGE_OPENAI does not name")
        if not (self.echo or self.ollama_url or self.openai):
            raise ValueError("no provider: set FORGE_ECHO, FORGE_OLLAMA_URL or FORGE_OPENAI")
        return self


def explain(error: ValidationError) -> str:
    """One line for each wrong setting, without the values that were given."""
    lines = []
    for fault in error.errors(include_input=False, include_context=False, include_url=False):
        name, *rest = [str(part) for part in fault["loc"]] or [""]
        where = f"FORGE_{name.upper()}" if name else "settings"
        path = "".join(f"[{part}]" for part in rest)
        lines.append(f"{where}{path}: {fault['msg']}")
    return "\n".join(lines)
