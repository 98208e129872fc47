"""Models of the true sizes with weights that nobody trained, made fast: speed asks for no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpuagent.protocol.messages import ModelRef

_CHUNK = 2**24


def made_quickly(build: Callable[[], Any], dtype: torch.dtype = torch.float16) -> Any:  # noqa: ANN401 - no types
    """What is built, in this precision. Classes draw each number by itself, in full precision, and
    of twelve billion that takes minutes; here the same few are copied over and over.
    """
    with torch.device("meta"):
        model = build()
    model = model.to(dtype).to_empty(device="cpu")
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    drawn = (torch.randn(_CHUNK, generator=torch.Generator().manual_seed(0)) * 0.02).to(dtype)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim < 2:
                tensor.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            flat = tensor.view(-1)
            for start in range(0, flat.numel(), _CHUNK):
                part = flat[start : start + _CHUNK]
                part.copy_(drawn[: part.numel()])
    return model


def lay_into_cache(ref: ModelRef, folder: Path, cache: Path) -> None:
    """The agent finds the files of a model in its cache, as links: a copy of each would be too
    much for a disk that just holds them. They are verified all the same.
    """
    (cache / "models").mkdir(parents=True, exist_ok=True)
    for file in ref.files:
        target = cache / "models" / file.sha256
        if not target.exists():
            os.link(folder / file.path, target)
