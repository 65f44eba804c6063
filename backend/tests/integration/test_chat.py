"""Conversations through each provider, plain and streamed."""

import httpx

from integration.control import Control, question
from integration.events import CHAT, streamed


def test_a_plain_answer(api: httpx.Client, model: str) -> None:
    response = api.post(CHAT, json=question(model))
    body = response.json()
    assert response.status_code == 200, body
    assert (body["object"], body["model"]) == ("chat.completion", model)
    (choice,) = body["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] in {"stop", "length"}
    usage = body["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_streamed_answer_comes_in_pieces_and_says_when_it_is_done(api: httpx.Client, model: str) -> None:
    with streamed(api, question(model)) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        stream.to_its_end()
    assert stream.is_done
    assert not stream.errors
    assert stream.text
    assert len(stream.chunks) > 1
    assert stream.chunks[-1]["choices"][0]["finish_reason"] in {"stop", "length"}
    assert len({chunk["id"] for chunk in stream.chunks}) == 1


def test_usage_is_streamed_when_it_is_asked_for(api: httpx.Client, model: str) -> None:
    with streamed(api, question(model, stream_options={"include_usage": True})) as stream:
        stream.to_its_end()
    assert stream.is_done
    assert stream.chunks[-1]["choices"] == []
    assert stream.chunks[-1]["usage"]["completion_tokens"] > 0


def test_plain_and_streamed_say_the_same(api: httpx.Client, model: str) -> None:
    asked = question(model, temperature=0.0, seed=1)
    plain = api.post(CHAT, json=asked).json()["choices"][0]["message"]["content"]
    with streamed(api, asked) as stream:
        stream.to_its_end()
    assert stream.text == plain


def test_a_limit_of_tokens_reaches_ollama(api: httpx.Client, ollama_model: str) -> None:
    body = api.post(CHAT, json=question(ollama_model, max_tokens=2)).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2


def test_echo_says_what_it_was_told(api: httpx.Client) -> None:
    body = api.post(CHAT, json=question("echo/echo", "Gr\u00fc\u00dfe  an alle")).json()
    assert body["choices"][0]["message"]["content"] == "Gr\u00fc\u00dfe  an alle"


def test_a_name_alone_finds_the_provider_that_has_it(api: httpx.Client, control: Control) -> None:
    name = control.state().model
    assert api.post(CHAT, json=question(name)).json()["model"] == f"ollama/{name}"
