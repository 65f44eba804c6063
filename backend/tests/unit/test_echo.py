"""The echo provider and the events made of its pieces: the same question always has the same answer."""

import json

import pytest

from forge import sse
from forge.errors import BadAnswerError, UnknownModelError
from forge.providers import Piece
from forge.providers.echo import EchoProvider
from forge.schemas import ChatRequest, Usage
from support.service import question


async def answer(**body: object) -> list[Piece]:
    request = ChatRequest.model_validate({**question(), **body})
    return [piece async for piece in EchoProvider().chat("echo", request)]


async def test_says_the_last_user_message_word_by_word() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "user", "content": "one  two\nthree"},
        {"role": "assistant", "content": "ignored"},
    ]
    pieces = await answer(messages=messages)
    assert [piece.text for piece in pieces] == ["one  ", "two\n", "three", ""]
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage == Usage(prompt_tokens=7, completion_tokens=3, total_tokens=10)


async def test_the_token_limit_cuts() -> None:
    pieces = await answer(max_tokens=2)
    assert "".join(piece.text for piece in pieces) == "one two "
    assert pieces[-1].finish_reason == "length"


async def test_without_a_user_message_the_answer_is_empty() -> None:
    pieces = await answer(messages=[{"role": "system", "content": "x"}])
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "stop")]


async def test_it_has_no_other_model() -> None:
    with pytest.raises(UnknownModelError):
        await EchoProvider().chat("gpt", ChatRequest.model_validate(question())).asend(None)


def test_the_first_chunk_alone_names_the_role() -> None:
    chunks = sse.Chunks("id", 1, "p/m")
    first = json.loads(chunks.piece(Piece(text="a\nb")).removeprefix(b"data: "))
    second = json.loads(chunks.piece(Piece(finish_reason="stop")).removeprefix(b"data: "))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a\nb"}
    assert second["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}


@pytest.mark.parametrize("text", ["a\n\ndata: [DONE]\n\n", "\r\n", "\u2028", "\u0085"])
def test_no_text_can_end_its_event(text: str) -> None:
    rendered = sse.Chunks("id", 1, "p/m").piece(Piece(text=text))
    assert rendered.endswith(b"\n\n")
    assert len(rendered.decode().splitlines()) == 2


def test_an_error_event_has_a_name_and_openais_body() -> None:
    rendered = sse.error(BadAnswerError("broken", detail="hidden"))
    name, data = rendered.decode().splitlines()[:2]
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "error": {"message": "broken", "type": "provider_error", "param": None, "code": "provider_bad_answer"}
    }
