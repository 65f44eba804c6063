"""What the gateway has: its providers with their health, and their models."""

from fastapi import APIRouter

from forge.schemas import ModelList, ProviderList
from forge.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["listings"])


@router.get("/providers")
async def list_providers(services: ServicesOf) -> ProviderList:
    """Each configured provider with its state and the latency of its last check."""
    return ProviderList(data=await services.board.all())


@router.get("/models")
async def list_models(services: ServicesOf) -> ModelList:
    """Every model of the providers that are up, in OpenAI's format."""
    return ModelList(data=await services.catalog.models())
