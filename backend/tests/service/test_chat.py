"""Conversations through the running service, answered by echo: plain, streamed, and wrong requests."""

import asyncio

import pytest

from support.service import MakeSettings, Service, events, question, running_service, text_of
from support.waiting import until


async def test_a_plain_answer_has_openais_form(service: Service) -> None:
    response = await service.chat("one two three")
    body = response.json()
    assert response.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "echo/echo"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three"},
            "finish_reason": "stop",
        }
    ]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


async def test_a_bare_model_name_is_looked_up(service: Service) -> None:
    assert (await service.chat(model="echo")).json()["model"] == "echo/echo"


async def test_a_stream_ends_in_done(service: Service) -> None:
    response = await service.chat("one two three", stream=True)
    chunks = events(response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert text_of(chunks) == "one two three"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1] == "[DONE]"
    assert len({chunk["id"] for chunk in chunks[:-1]}) == 1
    assert not any("usage" in chunk for chunk in chunks[:-1])


async def test_usage_is_streamed_when_asked_for(service: Service) -> None:
    response = await service.chat("one two", stream=True, stream_options={"include_usage": True})
    last = events(response.text)[-2]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


async def test_unknown_models_are_not_found(service: Service) -> None:
    for model in ("nothing", "echo/other", "nobody/model"):
        response = await service.chat(model=model)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


async def test_an_unknown_model_has_a_status_in_a_stream_too(service: Service) -> None:
    response = await service.chat(model="echo/other", stream=True)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"temperature": 9}, "temperature"),
        ({"tools": []}, "tools"),
    ],
)
async def test_a_wrong_request_names_the_field(
    service: Service, change: dict[str, object], param: str
) -> None:
    response = await service.http.post("/api/v1/chat/completions", json={**question(), **change})
    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_request",
        param,
    )
    assert error["message"].startswith(f"{param}: ")


async def test_a_body_that_is_no_json_is_a_422(service: Service) -> None:
    response = await service.http.post(
        "/api/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"


async def test_a_body_above_the_limit_is_a_413(make_settings: MakeSettings) -> None:
    async with running_service(make_settings(max_body=1024)) as service:
        response = await service.chat("x" * 2000)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "http_413"
        assert (await service.chat("x" * 500)).status_code == 200


async def test_an_answer_that_takes_too_long_is_a_504(make_settings: MakeSettings) -> None:
    async with running_service(make_settings(max_stream=0.05, echo_delay=60)) as service:
        for stream in (False, True):
            response = await service.chat(stream=stream)
            assert response.status_code == 504
            assert response.json()["error"]["message"] == "the answer took longer than 0.05 s"


async def test_many_streams_at_once_do_not_mix(service: Service) -> None:
    texts = [f"question {number} of many" for number in range(20)]
    responses = await asyncio.gather(*(service.chat(text, stream=True) for text in texts))
    assert [text_of(events(response.text)) for response in responses] == texts
    # A client has its last byte a moment before the service has written that down.
    await until(lambda: service.lifecycle.open == 0, "the streams are over")
    assert service.metric("forge_provider_answers_total", provider="echo", outcome="done") == 20
    assert service.metric("forge_streams_open") == 0
