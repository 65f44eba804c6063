"""Settings: what is read, what is refused, and that a refusal never shows a value."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from forge.settings import Settings, explain

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
TWO = [{"name": "groq", "url": "https://llm.invalid/v1"}, {"name": "local", "url": "http://127.0.0.1:9/v1"}]


def refused(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return explain(caught.value)


def test_starts_alone_without_any_setting() -> None:
    settings = Settings()
    assert settings.echo is True
    assert settings.ollama_url is None
    assert settings.openai == ()
    assert settings.host == "127.0.0.1"


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_PORT", "9000")
    monkeypatch.setenv("FORGE_OLLAMA_URL", "http://ollama:11434")
    monkeypatch.setenv("FORGE_OPENAI", json.dumps(TWO))
    monkeypatch.setenv("FORGE_OPENAI_KEYS", '{"groq": "sesame"}')
    settings = Settings()
    assert settings.port == 9000
    assert [endpoint.name for endpoint in settings.openai] == ["groq", "local"]
    assert settings.openai_keys["groq"].get_secret_value() == "sesame"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_REDIS_URL", "redis://:sesame@127.0.0.1/0")
    monkeypatch.setenv("FORGE_OPENAI", json.dumps(TWO))
    monkeypatch.setenv("FORGE_OPENAI_KEYS", '{"groq": "sesame"}')
    assert "sesame" not in repr(Settings())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FORGE_PORT", "70000", "FORGE_PORT"),
        ("FORGE_READ_TIMEOUT", "0", "FORGE_READ_TIMEOUT"),
        ("FORGE_LOG_LEVEL", "loud", "FORGE_LOG_LEVEL"),
        ("FORGE_REDIS_URL", "http://127.0.0.1", "must begin with one of redis://"),
        ("FORGE_ECHO", "false", "no provider"),
        ("FORGE_OPENAI", '[{"name": "echo", "url": "http://h/v1"}]', "FORGE_OPENAI[0][name]"),
        ("FORGE_OPENAI", '[{"name": "a/b", "url": "http://h/v1"}]', "FORGE_OPENAI[0][name]"),
        ("FORGE_OPENAI", '[{"name": "a", "url": "http://h/v1", "key": "k"}]', "FORGE_OPENAI[0][key]"),
        ("FORGE_OPENAI", json.dumps([TWO[0], TWO[0]]), "names a provider twice"),
        ("FORGE_OPENAI_KEYS", '{"nobody": "k"}', "does not name"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    assert said in refused(monkeypatch, **{name: value})


def test_a_refusal_does_not_show_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(monkeypatch, FORGE_REDIS_URL="http://:sesame@127.0.0.1", FORGE_PORT="sesame")
    assert "FORGE_REDIS_URL" in text
    assert "FORGE_PORT" in text
    assert "sesame" not in text


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(
        re.findall(r"^\| `(FORGE_\w+)` \|\s*`?([^|`]*?)`?\s*\|", DOCUMENT.read_text("utf-8"), re.M)
    )
    assert documented == {f"FORGE_{name.upper()}": as_written(value) for name, value in Settings()}


def as_written(value: object) -> str:
    """A default as the table shows it; nothing for a setting that is unset or empty."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ((), {}):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
