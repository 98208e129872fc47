"""Attempts with IP-Adapters, by the whole agent as a process."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

from diffusers import UNet2DConditionModel
from PIL import Image

from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.taxonomy import AssetKind, FileKind

from .agent_process import AgentProcess
from .support import HOUSE, Attempt, FakeStudio, Valkey, model_ref, wait_until
from .test_agent_controls import DRAWING, MUG
from .tiny_models import save_ip_adapter

SHA256 = hashlib.sha256(DRAWING).hexdigest()


def test_it_leads_its_job_alone_is_told_and_stays_warm(
    studio: FakeStudio,
    valkey: Valkey,
    store: Path,
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    shutil.copytree(HOUSE, root / "house")
    unet = UNet2DConditionModel.from_pretrained(HOUSE / "unet")
    save_ip_adapter(root / "likeness", unet, is_plus=True)
    house = model_ref(root / "house")
    likeness = model_ref(root / "likeness", name="Likeness", kind=AssetKind.IP_ADAPTER)

    def attempt(*references: object, **more: object) -> Attempt:
        recipe = {**MUG, "references": list(references), **more}
        return studio.add_attempt(house, recipe, adapters=(likeness,), pictures=(DRAWING,))

    use = {"kind": "ip_adapter", "model": likeness.digest, "image": SHA256, "weight": 0.8}
    larger = {"hires_scale": 2, "hires_strength": 0.3, "hires_tile": 128}
    attempts = [attempt(), attempt(use), attempt(), attempt(use), attempt(use, **larger)]
    missing = studio.add_attempt(house, {**MUG, "references": [use]}, pictures=(DRAWING,))
    agent = AgentProcess(tmp_path, studio, valkey, STUDIO_AGENT_MODELS_ROOT=str(root))
    try:
        ends = [agent.run(each, seconds=90) for each in attempts]
        assert [end["status"] for end in ends] == ["succeeded"] * 5, ends
        # Equal recipes have equal files, and a plain one after it is as before it.
        files = [each.open_file(store, 0, FileKind.PICTURE) for each in attempts]
        assert files[:2] == files[2:4]
        assert len({hashlib.sha256(file).digest() for file in files}) == 3
        with Image.open(io.BytesIO(files[1])) as picture:
            manifest, text = json.loads(picture.info[PNG_KEY]), picture.info[INFOTEXT_KEY]
        named = {"kind": "ip_adapter", "name": "Likeness", "digest": likeness.digest}
        assert manifest["adapters"] == [named]
        assert 'ControlNet 0: "Module: ip-adapter, Model: Likeness' in text
        wait_until(
            lambda: likeness.digest in studio.heartbeats[-1]["warm"], what="a heartbeat with it"
        )
        parts = {each["component"] for each in studio.heartbeats[-1]["residents"]}
        assert {"image_encoder", "ip_adapter"} <= parts
        assert agent.run(missing)["error"]["code"] == "adapter.missing"
    finally:
        agent.close()
