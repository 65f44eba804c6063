"""Redis goes away and comes back."""

import httpx

from integration.control import Control, eventually, question
from integration.events import CHAT, streamed


def test_without_redis_it_is_not_ready_and_says_why(api: httpx.Client, control: Control) -> None:
    control.redis(running=False)
    response = eventually(
        lambda: api.get("/ready"), lambda answer: answer.status_code == 503, "it is not ready"
    )
    body = response.json()
    assert (body["status"], body["redis"]) == ("not_ready", "down")
    assert body["reasons"] == ["redis does not answer"]


def test_without_redis_it_is_alive_and_conversations_go_on(
    api: httpx.Client, control: Control, model: str
) -> None:
    control.redis(running=False)
    assert api.get("/health").status_code == 200
    assert api.post(CHAT, json=question(model)).status_code == 200
    with streamed(api, question(model)) as stream:
        stream.to_its_end()
    assert stream.is_done
    assert api.get("/api/v1/providers").status_code == 200


def test_with_redis_back_it_is_ready_again_by_itself(api: httpx.Client, control: Control) -> None:
    control.redis(running=False)
    eventually(lambda: api.get("/ready").status_code, lambda status: status == 503, "it is not ready")
    control.redis(running=True)
    eventually(lambda: api.get("/ready").status_code, lambda status: status == 200, "it is ready again")
    assert api.get("/ready").json()["redis"] == "up"
