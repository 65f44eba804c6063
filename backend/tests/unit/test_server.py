"""The process: exit codes for a start that fails, and what signals do."""

import json
import logging
import runpy
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from forge.server import EXIT_NOT_STARTED, EXIT_SETTINGS, build, main
from support.service import MakeSettings


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_wrong_settings_end_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORGE_PORT", "many")
    assert main() == EXIT_SETTINGS
    assert "FORGE_PORT" in capsys.readouterr().err


def test_the_module_hands_over_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_ECHO", "false")
    monkeypatch.delitem(sys.modules, "forge.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("forge", run_name="__main__")
    assert caught.value.code == EXIT_SETTINGS


def test_a_port_in_use_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("FORGE_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("FORGE_REDIS_URL", redis_url)
        assert main() == EXIT_NOT_STARTED
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert any("address already in use" in line["message"] for line in lines)


def test_the_first_signal_drains_and_the_second_stops(make_settings: MakeSettings) -> None:
    server = build(make_settings())
    seen = []
    for _ in range(2):
        server.handle_exit(signal.SIGTERM, None)
        seen.append((server.services.lifecycle.draining, server.should_exit, server.force_exit))
    assert seen == [(True, False, False), (True, True, True)]
