"""Loaded by an agent's interpreter whose path begins here: large tensors are refused.

A limit of the system on the whole process cannot be aimed: what a thread or a loader takes beside
the picture differs from run to run. So the allocator's refusal comes from one place that every
U-Net and VAE goes through, above so many bytes as the file named in `SHORTAGE_FILE` says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

_interpolate = torch.nn.functional.interpolate
_limit = Path(os.environ["SHORTAGE_FILE"])


def _refusing(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - whatever torch takes
    made = _interpolate(*args, **kwargs)
    size = made.numel() * made.element_size()
    if _limit.exists() and size > int(_limit.read_text()):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: "
            f"you tried to allocate {size} bytes."
        )
    return made


torch.nn.functional.interpolate = _refusing
