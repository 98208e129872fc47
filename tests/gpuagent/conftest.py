"""What the agent's tests share: the house model loaded once, a real Valkey, a real web side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.messages import ModelRef

from .support import HOUSE, FakeStudio, Valkey, model_ref

# The machine is shared, so nothing is judged by its time; the same examples on every run.
settings.register_profile(
    "agent", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("agent")


def pytest_configure(config: pytest.Config) -> None:
    """Silence what diffusers does with numpy; it is not ours to mend."""
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """One thread, as the agent processes of these tests have."""
    return detect_engine(threads=1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """As the engine has it, whatever tests before these set: with two, last bits are others."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def house(engine: Engine) -> StableDiffusion15:
    """The house model, as the agent loads it."""
    return StableDiffusion15(HOUSE, engine)


@pytest.fixture(scope="session")
def house_ref() -> ModelRef:
    """The house model as the library would name it."""
    return model_ref(HOUSE)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real Valkey server."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the file store."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def studio(store: Path) -> Iterator[FakeStudio]:
    """The web side."""
    fake = FakeStudio(store)
    yield fake
    fake.close()
