"""The house model and its judge, loaded once."""

from __future__ import annotations

import pytest
from diffusers import StableDiffusionPipeline

from house.judge import Judge, load_judge
from house.training.frozen import load_base


@pytest.fixture(scope="session")
def judge() -> Judge:
    return load_judge()


@pytest.fixture(scope="session")
def house() -> StableDiffusionPipeline:
    """The model in full precision. Who changes it puts it back."""
    return load_base()
