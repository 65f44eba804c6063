"""Requests: what the gateway carries, what it refuses, and how equal things are made equal."""

import pytest
from pydantic import ValidationError

from forge.schemas import ChatRequest
from support.service import question


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": parts}]})
    assert request.messages[0].content == "one two"


@pytest.mark.parametrize(
    "change",
    [
        {"tools": []},
        {"n": 2},
        {"temperature": 3},
        {"top_p": 0},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"model": ""},
        {"model": "m" * 257},
    ],
    ids=[
        "tools",
        "two choices",
        "temperature",
        "top_p",
        "token limit",
        "no message",
        "role",
        "image",
        "no model",
        "long model",
    ],
)
def test_what_is_not_carried_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({**question(), **change})


@pytest.mark.parametrize(("stop", "expected"), [(None, []), ("x", ["x"]), (["x", "y"], ["x", "y"])])
def test_stops_are_a_list(stop: object, expected: list[str]) -> None:
    assert ChatRequest.model_validate(question(stop=stop)).stops == expected


def test_the_newer_token_limit_counts() -> None:
    request = ChatRequest.model_validate(question(max_tokens=9, max_completion_tokens=4))
    assert request.token_limit == 4
    assert ChatRequest.model_validate(question(max_tokens=9)).token_limit == 9
