"""The backend ends in order: what is in hand is done, new work is refused, and its exit code is 0."""

import httpx
import pytest

from integration.control import Control, eventually, question
from integration.events import CHAT, streamed


def test_an_open_stream_is_finished_and_new_work_is_refused(
    api: httpx.Client, control: Control, ollama_model: str
) -> None:
    # Slow, so that there is time to look around while the stream is open.
    control.ollama("slow", pause_ms=1200)
    with streamed(api, question(ollama_model)) as stream:
        lines = stream.follow()
        assert next(lines)
        control.backend(running=False)
        ready = eventually(
            lambda: api.get("/ready"), lambda answer: answer.status_code == 503, "it takes no new work"
        )
        assert "the service is shutting down" in ready.json()["reasons"]
        refused = api.post(CHAT, json=question("echo/echo"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        control.ollama("normal")
        for _ in lines:
            pass
    assert stream.is_done, "the open stream was cut off"
    assert not stream.errors
    ended = eventually(control.state, lambda state: state.ended is not None, "it has ended")
    assert ended.ended == "exit code 0"


def test_after_its_end_nobody_answers_and_a_new_one_does(control: Control) -> None:
    url = control.state().backend
    control.backend(running=False)
    eventually(control.state, lambda state: state.ended is not None, "it has ended")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health", trust_env=False)
    again = control.backend(running=True)
    assert again.ended is None
    assert httpx.get(f"{again.backend}/ready", trust_env=False).status_code == 200
