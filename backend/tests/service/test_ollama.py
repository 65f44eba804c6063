"""Ollama's API as the service uses it, against a local server that answers as Ollama does."""

import json
from typing import Any

import pytest

from support.service import MakeSettings, events, running_service, text_of
from support.upstream import Script, Upstream, chunked, drop, json_answer, raw, silence

LAST = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}


def ndjson(*lines: dict[str, Any]) -> list[bytes]:
    return [json.dumps({"model": "llama3", **line}).encode() + b"\n" for line in lines]


def says(*texts: str) -> list[bytes]:
    return ndjson(*({"message": {"role": "assistant", "content": text}, "done": False} for text in texts))


async def test_a_conversation(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["POST /api/chat"] = chunked([*says("Good ", "day"), *ndjson(LAST)])
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        plain = (await service.chat(model="ollama/llama3")).json()
        streamed = events((await service.chat(model="ollama/llama3", stream=True)).text)
    assert plain["choices"][0]["message"]["content"] == "Good day"
    assert plain["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert text_of(streamed) == "Good day"
    assert streamed[-1] == "[DONE]"


async def test_the_request_is_put_into_ollamas_words(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["POST /api/chat"] = chunked(ndjson({**LAST, "done_reason": "length"}))
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        response = await service.chat(
            model="ollama/llama3",
            messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}],
            temperature=0.5,
            max_tokens=7,
            stop="END",
        )
    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert upstream.requests[0].json() == {
        "model": "llama3",
        "stream": True,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "options": {"temperature": 0.5, "num_predict": 7, "stop": ["END"]},
    }


async def test_lines_may_be_cut_anywhere(make_settings: MakeSettings, upstream: Upstream) -> None:
    whole = b"".join([*says("Gr\u00fc\u00dfe, ", "Welt"), *ndjson(LAST)]).rstrip(b"\n")
    upstream.scripts["POST /api/chat"] = chunked([whole[at : at + 7] for at in range(0, len(whole), 7)])
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        response = await service.chat(model="ollama/llama3")
    assert response.json()["choices"][0]["message"]["content"] == "Gr\u00fc\u00dfe, Welt"


BROKEN = [
    ("status 500", json_answer({"error": "out of memory"}, 500), 502, "provider_bad_answer"),
    ("unknown model", json_answer({"error": "model not found"}, 404), 404, "model_not_found"),
    ("refused", json_answer({"error": "bad option"}, 400), 400, "provider_refused_request"),
    ("malformed", chunked([b"{not json\n"]), 502, "provider_bad_answer"),
    ("another form", chunked([b'{"message": 7}\n']), 502, "provider_bad_answer"),
    ("own error", chunked([b'{"error": "cuda"}\n']), 502, "provider_bad_answer"),
    ("empty", chunked([]), 502, "provider_bad_answer"),
    ("dropped", drop(), 502, "provider_bad_answer"),
    ("no http", raw(b"SSH-2.0-x\r\n\r\n"), 502, "provider_bad_answer"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("name", "script", "status", "code"), BROKEN, ids=[case[0] for case in BROKEN])
async def test_a_failure_before_the_first_piece_has_a_status(
    make_settings: MakeSettings,
    upstream: Upstream,
    name: str,
    script: Script,
    status: int,
    code: str,
    stream: bool,
) -> None:
    upstream.scripts["POST /api/chat"] = script
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        response = await service.chat(model="ollama/llama3", stream=stream)
        counted = service.metric("forge_provider_answers_total", provider="ollama", outcome=code)
    assert response.status_code == status, name
    assert response.json()["error"]["code"] == code
    assert upstream.url not in response.text
    assert counted == 1


async def test_no_server_is_a_503(make_settings: MakeSettings, upstream: Upstream) -> None:
    # Port 1 is reserved and has no listener on any machine that runs tests.
    async with running_service(make_settings(ollama_url="http://127.0.0.1:1")) as service:
        response = await service.chat(model="ollama/llama3")
        listed = (await service.http.get("/api/v1/providers")).json()["data"][0]
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "provider_unreachable"
    assert (listed["state"], listed["reason"]) == ("down", "provider `ollama` cannot be reached")
    assert upstream.requests == []


async def test_a_silent_server_is_a_504(make_settings: MakeSettings, upstream: Upstream) -> None:
    upstream.scripts["POST /api/chat"] = silence()
    async with running_service(make_settings(ollama_url=upstream.url, read_timeout=0.05)) as service:
        response = await service.chat(model="ollama/llama3")
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "provider_timeout"


@pytest.mark.parametrize(
    ("then", "code"),
    [
        (drop(), "provider_bad_answer"),
        (silence(), "provider_timeout"),
        (raw(b"0\r\n\r\n"), "provider_bad_answer"),
        (raw(b"9\r\n{broken}\n\r\n0\r\n\r\n"), "provider_bad_answer"),
    ],
    ids=["dropped", "silent", "ended early", "malformed"],
)
async def test_a_failure_in_mid_stream_is_an_error_event(
    make_settings: MakeSettings, upstream: Upstream, then: Script, code: str
) -> None:
    upstream.scripts["POST /api/chat"] = chunked(says("Good "), then=then)
    async with running_service(make_settings(ollama_url=upstream.url, read_timeout=1)) as service:
        response = await service.chat(model="ollama/llama3", stream=True)
    chunks = events(response.text)
    assert response.status_code == 200
    assert text_of(chunks) == "Good "
    assert "event: error\n" in response.text
    assert chunks[-1]["error"]["code"] == code
    assert "[DONE]" not in chunks


@pytest.mark.parametrize(
    ("script", "timeout", "reason"),
    [
        (json_answer({"tags": []}), 30, "sent no list of models"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n["), 30, "malformed JSON"),
        (silence(), 0.1, "no answer within 0.1 s"),
    ],
    ids=["another form", "malformed", "silent"],
)
async def test_a_broken_list_of_models_is_down(
    make_settings: MakeSettings, upstream: Upstream, script: Script, timeout: float, reason: str
) -> None:
    upstream.scripts["GET /api/tags"] = script
    async with running_service(make_settings(ollama_url=upstream.url, health_timeout=timeout)) as service:
        listed = (await service.http.get("/api/v1/providers")).json()["data"][0]
    assert listed["state"] == "down"
    assert reason in listed["reason"]


async def test_a_line_or_document_without_end_is_refused(
    make_settings: MakeSettings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.providers.upstream.MAX_LINE", 64)
    monkeypatch.setattr("forge.providers.upstream.MAX_DOCUMENT", 64)
    upstream.scripts["POST /api/chat"] = chunked([b"x" * 65], then=silence())
    upstream.scripts["GET /api/tags"] = json_answer({"models": [{"name": "x" * 65}]})
    async with running_service(make_settings(ollama_url=upstream.url)) as service:
        response = await service.chat(model="ollama/llama3")
        listed = (await service.http.get("/api/v1/providers")).json()["data"][0]
    assert response.status_code == 502
    assert "line of more than 64 bytes" in response.json()["error"]["message"]
    assert listed["reason"] == "provider `ollama` sent more than 64 bytes"
