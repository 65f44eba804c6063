"""Probes, listings, figures and the OpenAPI document of a running service."""

import logging

import pytest
from pydantic import SecretStr

from forge import __version__
from support.service import MakeSettings, Service, running_service
from support.upstream import Upstream, json_answer
from support.waiting import until

NO_REDIS = SecretStr("unix:///nonexistent/redis.sock")


async def test_health_asks_nobody(make_settings: MakeSettings) -> None:
    async with running_service(make_settings(redis_url=NO_REDIS)) as service:
        response = await service.http.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "version": __version__}


async def test_ready_when_redis_and_a_provider_answer(service: Service) -> None:
    response = await service.http.get("/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "redis": "up",
        "providers": {"echo": "up"},
        "reasons": [],
    }


async def test_without_redis_it_works_and_says_so(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_service(make_settings(redis_url=NO_REDIS)) as service:
        ready = await service.http.get("/ready")
        chat = await service.chat()
        figures = (await service.http.get("/metrics")).text
    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["redis does not answer"]
    assert chat.status_code == 200
    assert "forge_redis_up 0.0" in figures
    assert "redis does not answer; provider health is kept in memory" in caplog.messages


async def test_not_ready_without_any_provider(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["GET /api/tags"] = json_answer({}, 500)
    async with running_service(make_settings(echo=False, ollama_url=upstream.url)) as service:
        response = await service.http.get("/ready")
    assert response.status_code == 503
    assert response.json()["providers"] == {"ollama": "down"}
    assert response.json()["reasons"] == ["provider ollama: provider `ollama` answered with status 500"]


async def test_one_provider_is_enough(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["GET /api/tags"] = json_answer({}, 500)
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        response = await service.http.get("/ready")
    assert response.status_code == 200
    assert response.json()["providers"] == {"ollama": "down", "echo": "up"}


async def test_listings_show_state_latency_and_models(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.scripts["GET /api/tags"] = json_answer({"models": [{"name": "llama3:8b", "size": 1}]})
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        providers = (await service.http.get("/api/v1/providers")).json()["data"]
        models = (await service.http.get("/api/v1/models")).json()
    assert [(one["name"], one["kind"], one["state"]) for one in providers] == [
        ("ollama", "ollama", "up"),
        ("echo", "echo", "up"),
    ]
    assert providers[0]["latency_ms"] > 0
    assert models["object"] == "list"
    assert [card["id"] for card in models["data"]] == ["ollama/llama3:8b", "echo/echo"]
    assert len(upstream.requests) == 1


async def test_figures_count_by_template_and_not_by_path(service: Service) -> None:
    await service.chat()
    await until(lambda: service.lifecycle.open == 0, "the conversation is over")
    for path in ("/a", "/b?c=d"):
        await service.http.get(path)
    response = await service.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    chat = 'forge_http_requests_total{method="POST",route="/api/v1/chat/completions",status="200"} 1.0'
    assert chat in response.text
    assert 'route="unmatched",status="404"} 2.0' in response.text
    assert 'forge_provider_answers_total{outcome="done",provider="echo"} 1.0' in response.text
    assert f'forge_build_info{{version="{__version__}"}} 1.0' in response.text


async def test_the_openapi_document_names_every_route(service: Service) -> None:
    document = (await service.http.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/health",
        "/ready",
        "/metrics",
        "/api/v1/providers",
        "/api/v1/models",
        "/api/v1/chat/completions",
    }
    answers = document["paths"]["/api/v1/chat/completions"]["post"]["responses"]
    assert set(answers) == {"200", "400", "404", "413", "422", "429", "502", "503", "504"}
    assert document["info"]["version"] == __version__


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/api/v1/chat/completions", 405)]
)
async def test_the_frameworks_errors_have_openais_body(
    service: Service, method: str, path: str, status: int
) -> None:
    response = await service.http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == f"http_{status}"
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_request_ids_come_back_and_are_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "forge.access"):
        kept = await service.http.get("/health", headers={"X-Request-ID": "caller-1"})
        replaced = await service.http.get("/health", headers={"X-Request-ID": "bad id"})
    assert kept.headers["x-request-id"] == "caller-1"
    assert len(replaced.headers["x-request-id"]) == 32
    fields = caplog.records[0].__dict__["fields"]
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/health", 200)
