"""Logs: one object a line whatever the text holds, and request ids that are safe to print."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from forge.logs import JsonFormatter, accept_request_id, configure, request_id


def render(message: str, fields: dict[str, object] | None = None) -> str:
    record = logging.LogRecord("forge.test", logging.INFO, __file__, 1, message, None, None)
    record.__dict__["fields"] = fields or {}
    return JsonFormatter().format(record)


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("given", ["a", "01HZX.y_z-9", "f" * 64])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert accept_request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "f" * 65, "a b", "a\nb", "a\x1b[31m", 'a"b', "é", "a\n"])
def test_any_other_request_id_is_replaced(given: str | None) -> None:
    made = accept_request_id(given)
    assert made != given
    assert len(made) == 32
    assert made.isalnum()


def test_two_generated_ids_differ() -> None:
    assert accept_request_id(None) != accept_request_id(None)


@pytest.mark.parametrize("hostile", ['x\n{"level": "error"}', "\x1b[2J", "a\r\nb", "\u2028\u202e", "\x00"])
def test_text_from_outside_cannot_leave_its_line(hostile: str) -> None:
    line = render(hostile, {"path": hostile})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == hostile


def test_a_field_cannot_replace_what_the_formatter_writes() -> None:
    entry = json.loads(render("real", {"message": "false", "level": "false"}))
    assert entry["message"] == "real"
    assert entry["level"] == "info"


def test_long_values_are_cut() -> None:
    entry = json.loads(render("m" * 5000, {"detail": "d" * 5000}))
    assert len(entry["message"]) < 2100
    assert len(entry["detail"]) < 2100


def test_the_request_id_and_the_traceback_are_there() -> None:
    token = request_id.set("req-1")
    try:
        raise ZeroDivisionError("by\nzero")
    except ZeroDivisionError:
        record = logging.LogRecord("forge", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        line = JsonFormatter().format(record)
    finally:
        request_id.reset(token)
    entry = json.loads(line)
    assert entry["request_id"] == "req-1"
    assert "ZeroDivisionError" in entry["exception"]
    assert "\n" not in line


@pytest.mark.usefixtures("_logging_restored")
def test_configure_sends_all_loggers_to_stderr_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    logging.getLogger("uvicorn.error").info("from uvicorn")
    logging.getLogger("forge").debug("too fine")
    logging.getLogger("httpx").info("names a URL")
    logging.getLogger("uvicorn.access").info("twice")
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["from uvicorn"]
