"""OpenAI-compatible servers as the service uses them, against a local server that answers as they do."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from forge.settings import OpenAIEndpoint, Settings
from support.service import MakeSettings, events, running_service, text_of
from support.upstream import Script, Upstream, chunked, json_answer


def data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def says(text: str | None, finish: str | None = None) -> bytes:
    return data({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


USAGE = data({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
DONE = b"data: [DONE]\n\n"
ANSWER = [
    b": keep-alive\n\n",
    says("Good "),
    b"event: message\n",
    says("day"),
    says(None, "stop"),
    USAGE,
    DONE,
]


def settings_for(make: MakeSettings, upstream: Upstream, **given: Any) -> Settings:
    endpoint = OpenAIEndpoint.model_validate({"name": "groq", "url": f"{upstream.url}/v1/"})
    return make(openai=(endpoint,), **given)


async def test_a_conversation(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["POST /v1/chat/completions"] = chunked(ANSWER)
    async with running_service(settings_for(make_settings, upstream)) as service:
        plain = (await service.chat(model="groq/meta/llama")).json()
        streamed = events((await service.chat(model="groq/meta/llama", stream=True)).text)
    assert plain["model"] == "groq/meta/llama"
    assert plain["choices"][0]["message"]["content"] == "Good day"
    assert plain["choices"][0]["finish_reason"] == "stop"
    assert plain["usage"]["total_tokens"] == 7
    assert text_of(streamed) == "Good day"
    assert streamed[-1] == "[DONE]"


async def test_the_key_and_the_fields_are_passed_on(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["POST /v1/chat/completions"] = chunked(ANSWER)
    settings = settings_for(make_settings, upstream, openai_keys={"groq": SecretStr("sesame")})
    async with running_service(settings) as service:
        response = await service.chat("hi", model="groq/llama", seed=7, stop=["END"], n=1)
    received = upstream.requests[0]
    assert response.status_code == 200
    assert received.headers["authorization"] == "Bearer sesame"
    assert received.json() == {
        "model": "llama",
        "messages": [{"role": "user", "content": "hi"}],
        "seed": 7,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_models_are_found_by_their_bare_name(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["GET /v1/models"] = json_answer({"object": "list", "data": [{"id": "meta/llama"}]})
    upstream.scripts["POST /v1/chat/completions"] = chunked(ANSWER)
    async with running_service(settings_for(make_settings, upstream)) as service:
        models = (await service.http.get("/api/v1/models")).json()["data"]
        answer = await service.chat(model="meta/llama")
    assert [card["id"] for card in models] == ["groq/meta/llama", "echo/echo"]
    assert answer.json()["model"] == "groq/meta/llama"
    assert "authorization" not in upstream.requests[0].headers


FAILURES = [
    ("wrong key", json_answer({"error": {"message": "key sesame"}}, 401), 502, "provider_bad_answer"),
    ("rate limit", json_answer({}, 429), 429, "provider_rate_limit"),
    ("unprocessable", json_answer({}, 422), 400, "provider_refused_request"),
    ("own error", chunked([data({"error": {"message": "sesame"}})]), 502, "provider_bad_answer"),
    ("another form", chunked([data({"choices": 7})]), 502, "provider_bad_answer"),
    ("html", chunked([b"<html>\n</html>\n"]), 502, "provider_bad_answer"),
    ("redirect", json_answer({}, 302), 502, "provider_bad_answer"),
]


@pytest.mark.parametrize(("name", "script", "status", "code"), FAILURES, ids=[case[0] for case in FAILURES])
async def test_failures_have_a_status_and_hide_the_providers_words(
    make_settings: MakeSettings, upstream: Upstream, name: str, script: Script, status: int, code: str
) -> None:
    upstream.scripts["POST /v1/chat/completions"] = script
    async with running_service(settings_for(make_settings, upstream)) as service:
        response = await service.chat(model="groq/llama")
    assert response.status_code == status, name
    assert response.json()["error"]["code"] == code
    assert "sesame" not in response.text


@pytest.mark.parametrize("parts", [[says("Good "), DONE], [says("Good ")]], ids=["done", "end of body"])
async def test_an_answer_without_a_finish_reason_was_cut_short(
    make_settings: MakeSettings, upstream: Upstream, parts: list[bytes]
) -> None:
    upstream.scripts["POST /v1/chat/completions"] = chunked(parts)
    async with running_service(settings_for(make_settings, upstream)) as service:
        plain = await service.chat(model="groq/llama")
        streamed = events((await service.chat(model="groq/llama", stream=True)).text)
    assert plain.status_code == 502
    assert plain.json()["error"]["message"] == "provider `groq` ended its answer early"
    assert streamed[-1]["error"]["code"] == "provider_bad_answer"


async def test_an_unknown_list_of_models_is_down(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["GET /v1/models"] = json_answer([])
    async with running_service(settings_for(make_settings, upstream)) as service:
        listed = (await service.http.get("/api/v1/providers")).json()["data"][0]
    assert (listed["name"], listed["state"]) == ("groq", "down")
    assert listed["reason"] == "provider `groq` sent no list of models"
