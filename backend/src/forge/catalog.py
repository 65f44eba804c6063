"""Which provider answers for a model's name."""

from collections.abc import Sequence

from forge.errors import UnknownModelError
from forge.health import HealthBoard
from forge.providers import Provider
from forge.schemas import ModelCard


class Catalog:
    """Names are `provider/model`. A bare model name means the first provider that has it and is up."""

    def __init__(self, providers: Sequence[Provider], board: HealthBoard) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._board = board

    async def resolve(self, name: str) -> tuple[Provider, str]:
        """The provider and its own name for the model.

        A model's own name may hold slashes (`meta/llama`), so a first part that is no provider's name is
        taken as a part of the model's.
        """
        first, slash, rest = name.partition("/")
        if slash and rest and first in self._providers:
            return self._providers[first], rest
        for health in await self._board.all():
            if name in health.models:
                return self._providers[health.name], name
        raise UnknownModelError(f"no provider has the model `{name}`; see /api/v1/models")

    async def models(self) -> list[ModelCard]:
        """Every model of every provider that is up."""
        return [
            ModelCard(id=f"{health.name}/{model}", owned_by=health.name)
            for health in await self._board.all()
            for model in health.models
        ]
