"""Every endpoint of the running backend, without a fault."""

import httpx
import pytest

from integration.control import Control, question
from integration.events import CHAT


def test_it_is_alive(api: httpx.Client) -> None:
    body = api.get("/health").json()
    assert body["status"] == "ok"
    assert body["version"]


def test_it_is_ready_with_redis_and_both_providers(api: httpx.Client) -> None:
    response = api.get("/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "redis": "up",
        "providers": {"ollama": "up", "echo": "up"},
        "reasons": [],
    }


def test_the_document_for_machines_names_every_route(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert {CHAT, "/api/v1/providers", "/api/v1/models", "/health", "/ready", "/metrics"} <= set(paths)


def test_providers_are_up_and_ollamas_models_are_those_that_it_has(
    api: httpx.Client, control: Control
) -> None:
    providers = {provider["name"]: provider for provider in api.get("/api/v1/providers").json()["data"]}
    assert {name: provider["state"] for name, provider in providers.items()} == {"ollama": "up", "echo": "up"}
    assert control.state().model in providers["ollama"]["models"]


def test_models_are_listed_by_their_full_names(api: httpx.Client, control: Control) -> None:
    body = api.get("/api/v1/models").json()
    assert body["object"] == "list"
    assert {"echo/echo", f"ollama/{control.state().model}"} <= {model["id"] for model in body["data"]}


def test_figures_tell_what_was_asked(api: httpx.Client) -> None:
    api.get("/health")
    text = api.get("/metrics").text
    assert 'forge_http_requests_total{method="GET",route="/health",status="200"}' in text
    assert "forge_redis_up 1.0" in text


def test_every_answer_carries_an_id(api: httpx.Client) -> None:
    own = api.get("/health", headers={"X-Request-ID": "the-callers-own.1"})
    assert own.headers["X-Request-ID"] == "the-callers-own.1"
    first, second = (api.get("/health").headers["X-Request-ID"] for _ in range(2))
    assert first
    assert first != second
    refused = api.get("/health", headers={"X-Request-ID": "not an id"})
    assert refused.headers["X-Request-ID"] != "not an id"


@pytest.mark.parametrize(
    "body",
    [
        {"model": "echo/echo", "messages": []},
        {"model": "echo/echo"},
        {**question("echo/echo"), "tools": []},
        {**question("echo/echo"), "n": 2},
    ],
    ids=["no messages", "messages missing", "an unknown field", "two answers"],
)
def test_a_request_that_does_not_fit_is_refused(api: httpx.Client, body: dict[str, object]) -> None:
    response = api.post(CHAT, json=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"


def test_a_body_above_the_limit_is_refused(api: httpx.Client) -> None:
    response = api.post(CHAT, json=question("echo/echo", "x" * 70_000))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "http_413"


def test_a_model_that_nobody_has_is_not_found(api: httpx.Client) -> None:
    response = api.post(CHAT, json=question("nobody-has-this"))
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_model_that_ollama_does_not_have_is_not_found(api: httpx.Client) -> None:
    response = api.post(CHAT, json=question("ollama/nobody-has-this"))
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
