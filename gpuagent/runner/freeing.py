"""Memory that was freed goes back to where others can have it."""

from __future__ import annotations

import ctypes


def give_back_freed(*, from_gpu: bool) -> None:
    """Empty what allocators keep for later: of the GPU, or of the C library for this process."""
    if from_gpu:
        import torch

        torch.cuda.empty_cache()
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library; it keeps what it keeps
        return
