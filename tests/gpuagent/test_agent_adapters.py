"""Attempts with LoRAs and embeddings, by the whole agent as a process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import AssetKind, FileKind

from .agent_process import AgentProcess
from .support import NEON_FILE, TEAL_FILE, FakeStudio, Valkey, adapter_ref, wait_until

NEON = adapter_ref(NEON_FILE, AssetKind.LORA, "neon sign of")
TEAL = adapter_ref(TEAL_FILE, AssetKind.EMBEDDING, "<teal>")
MUG: dict[str, Any] = {"prompt": "a <teal> mug", "seed": 3, "num_inference_steps": 4}
LAID = {**MUG, "loras": [{"digest": NEON.digest, "weight": 0.5}], "embeddings": [TEAL.digest]}


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio,
    valkey: Valkey,
    house_ref: ModelRef,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AgentProcess]:
    """One agent for all tests of this module, warm."""
    studio.preload = (house_ref,)
    process = AgentProcess(tmp_path_factory.mktemp("agent"), studio, valkey)
    try:
        wait_until(
            lambda: studio.heartbeats and studio.heartbeats[-1]["ready"],
            seconds=60,
            what="readiness",
        )
        yield process
    finally:
        process.close()


def test_adapters_are_fetched_laid_over_one_job_alone_and_told(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    # When jobs with and without a stack take turns
    attempts = [
        studio.add_attempt(house_ref, recipe, adapters=(NEON, TEAL))
        for recipe in (MUG, LAID, MUG, LAID)
    ]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    # Then equal recipes have equal files, and the stack makes another picture
    plain, laid, plain_again, laid_again = (
        attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts
    )
    assert (plain, laid) == (plain_again, laid_again)
    with Image.open(io.BytesIO(plain)) as first, Image.open(io.BytesIO(laid)) as second:
        assert first.tobytes() != second.tobytes()
        assert "adapters" not in json.loads(first.info[PNG_KEY])
        manifest = json.loads(second.info[PNG_KEY])
        assert "<lora:neon:0.5>" in second.info[INFOTEXT_KEY]
    # and the manifest names it
    assert manifest["adapters"] == [
        {"kind": "lora", "name": "neon", "digest": NEON.digest, "weight": 0.5},
        {"kind": "embedding", "name": "teal", "digest": TEAL.digest, "trigger": "<teal>"},
    ]
    assert "adapters" in (attempts[1].finish or {})["timings"]


def test_an_adapter_that_was_not_handed_out_ends_the_attempt_with_its_reason(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    finish = agent.run(studio.add_attempt(house_ref, LAID, adapters=(NEON,)))
    assert (finish["status"], finish["error"]["code"]) == ("failed", "adapter.missing")


def test_a_foreign_file_under_an_adapters_hash_is_refused(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    file = replace(NEON.files[0], url=TEAL_FILE.as_uri(), sha256="d" * 64)
    swapped = replace(NEON, digest="e" * 64, files=(file,))
    recipe = {**MUG, "loras": [{"digest": swapped.digest}]}
    finish = agent.run(studio.add_attempt(house_ref, recipe, adapters=(swapped,)))
    assert (finish["status"], finish["error"]["code"]) == ("failed", "model.corrupt")
