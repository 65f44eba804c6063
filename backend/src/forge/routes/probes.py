"""What an orchestrator asks: is it alive, does it take work, and its figures."""

from fastapi import APIRouter, Response

from forge import __version__
from forge.schemas import Alive, Readiness
from forge.services import Services, ServicesOf

router = APIRouter(tags=["probes"])


@router.get("/health")
async def health() -> Alive:
    """The process is alive. It asks nobody: a provider's failure must never restart the service."""
    return Alive(version=__version__)


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not ready; `reasons` say why"}})
async def ready(services: ServicesOf, response: Response) -> Readiness:
    """Redis and at least one provider answer, and the service is not shutting down."""
    found = await _readiness(services)
    if found.reasons:
        response.status_code = 503
    return found


@router.get("/metrics", response_class=Response)
async def metrics(services: ServicesOf) -> Response:
    """Figures in Prometheus' text format."""
    return Response(services.metrics.render(), media_type=services.metrics.content_type)


async def _readiness(services: Services) -> Readiness:
    redis_answers = await services.cache.answers()
    healths = await services.board.all()
    reasons = []
    if services.lifecycle.draining:
        reasons.append("the service is shutting down")
    if not redis_answers:
        reasons.append("redis does not answer")
    if not any(health.state == "up" for health in healths):
        reasons += [f"provider {health.name}: {health.reason}" for health in healths]
    return Readiness(
        status="not_ready" if reasons else "ready",
        redis="up" if redis_answers else "down",
        providers={health.name: health.state for health in healths},
        reasons=reasons,
    )
