"""The providers: one file for each kind, all behind `base.Provider`. `build` makes the configured ones."""

import httpx

from forge.providers.base import Piece, Provider
from forge.providers.echo import EchoProvider
from forge.providers.ollama import OllamaProvider
from forge.providers.openai import OpenAIProvider
from forge.settings import Settings

__all__ = ["Piece", "Provider", "build"]


def build(settings: Settings, client: httpx.AsyncClient) -> list[Provider]:
    """The configured providers in the order in which a bare model name is looked up: echo comes last."""
    providers: list[Provider] = []
    if settings.ollama_url is not None:
        providers.append(OllamaProvider(str(settings.ollama_url), client))
    for endpoint in settings.openai:
        key = settings.openai_keys.get(endpoint.name)
        secret = key.get_secret_value() if key else None
        providers.append(OpenAIProvider(endpoint.name, str(endpoint.url), secret, client))
    if settings.echo:
        providers.append(EchoProvider(settings.echo_delay))
    return providers
