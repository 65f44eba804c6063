"""What every test gets: the running backend, and what brings faults about. Without them, no run."""

import os
from collections.abc import Iterator

import httpx
import pytest

from integration.control import Control

VARIABLE = "FORGE_INTEGRATION_CONTROL"
EXIT_NO_SERVICES = 3


def pytest_sessionstart() -> None:
    """Ends the session at once where nothing runs: what cannot run must not look like a pass."""
    if not os.environ.get(VARIABLE):
        pytest.exit(f"{VARIABLE} is not set; run cargo xtask integration", returncode=EXIT_NO_SERVICES)


@pytest.fixture(scope="session")
def control() -> Iterator[Control]:
    # Starting the backend anew takes as long as its first start.
    with httpx.Client(base_url=os.environ[VARIABLE], trust_env=False, timeout=60.0) as http:
        yield Control(http)


@pytest.fixture(autouse=True)
def _undisturbed(control: Control) -> None:
    """Each test begins with everything running, whatever the one before it did."""
    control.reset()


@pytest.fixture
def api(control: Control) -> Iterator[httpx.Client]:
    """The backend, with more patience than any of its own limits has."""
    with httpx.Client(base_url=control.state().backend, trust_env=False, timeout=30.0) as http:
        yield http


@pytest.fixture(params=["echo", "ollama"])
def model(request: pytest.FixtureRequest, control: Control) -> str:
    """A model of each provider, as the gateway names it."""
    return "echo/echo" if request.param == "echo" else f"ollama/{control.state().model}"


@pytest.fixture
def ollama_model(control: Control) -> str:
    """A model of Ollama, as the gateway names it."""
    return f"ollama/{control.state().model}"
