"""Ollama is slow, goes away in the middle, or is not there: what the documents promise for each."""

import time

import httpx

from integration.control import Control, eventually, question
from integration.events import CHAT, streamed

READ_TIMEOUT = 3.0
"""FORGE_READ_TIMEOUT of `[integration.environment]`."""

SOME_BYTES = 400
"""The head of Ollama's answer and its first lines, but not its last one."""


def test_a_provider_that_is_silent_too_long_is_a_timeout(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("slow", pause_ms=6000):
        for stream in (False, True):
            begun = time.monotonic()
            response = api.post(CHAT, json=question(ollama_model, stream=stream))
            waited = time.monotonic() - begun
            assert (response.status_code, response.json()["error"]["code"]) == (504, "provider_timeout")
            assert READ_TIMEOUT <= waited < 5.5


def test_a_provider_that_is_slow_makes_a_slow_stream_and_nothing_else(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("slow", pause_ms=200):
        begun = time.monotonic()
        with streamed(api, question(ollama_model)) as stream:
            stream.to_its_end()
        waited = time.monotonic() - begun
    assert stream.is_done
    assert not stream.errors
    assert waited >= 0.2


def test_a_provider_that_goes_away_mid_stream_is_an_error_event(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("cut", after_bytes=SOME_BYTES), streamed(api, question(ollama_model)) as stream:
        assert stream.response.status_code == 200
        stream.to_its_end()
    assert stream.chunks, "nothing came before the provider went away"
    assert not stream.is_done
    (error,) = stream.errors
    assert error["error"]["code"] == "provider_bad_answer"


def test_a_provider_that_goes_away_is_a_bad_answer_where_nothing_was_sent_yet(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("cut", after_bytes=SOME_BYTES):
        response = api.post(CHAT, json=question(ollama_model))
    assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_bad_answer")


def test_a_provider_that_refuses_is_unreachable_and_the_others_go_on(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("refuse"):
        for stream in (False, True):
            response = api.post(CHAT, json=question(ollama_model, stream=stream))
            assert (response.status_code, response.json()["error"]["code"]) == (503, "provider_unreachable")
        seen = eventually(lambda: states(api), lambda now: now["ollama"] == "down", "ollama is down")
        assert seen["echo"] == "up"
        assert api.get("/ready").status_code == 200, "one provider is enough"
        assert api.post(CHAT, json=question("echo/echo")).status_code == 200
    eventually(lambda: states(api), lambda now: now["ollama"] == "up", "ollama is up again")
    assert api.post(CHAT, json=question(ollama_model)).status_code == 200


def test_errors_name_neither_address_nor_answer_of_the_provider(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    with control.fault("refuse"):
        text = api.post(CHAT, json=question(ollama_model)).text
    assert "http://" not in text
    assert "ollama" in text


def states(api: httpx.Client) -> dict[str, str]:
    """Each provider's state."""
    return {provider["name"]: provider["state"] for provider in api.get("/api/v1/providers").json()["data"]}
