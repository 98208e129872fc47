"""What the agent's tests share: the house model loaded once, a real Valkey, a real web side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.messages import ModelRef

from .support import HOUSE, FakeStudio, Valkey, model_ref


@pytest.fixture(scope="session")
def engine() -> Engine:
    """One thread, as the agent processes of these tests have."""
    return detect_engine(threads=1)


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
