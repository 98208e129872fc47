"""What this process computes on, and the fingerprint that says so in every manifest."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gpuagent.planning.plan import Measure

if TYPE_CHECKING:
    import torch

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The device pictures are made on."""

    device: str
    device_name: str
    memory_bytes: int
    threads: int
    fingerprint: Mapping[str, object]
    gpu_class: str = "cpu"

    def dtype(self, *, is_half: bool = False, is_wide: bool = False) -> torch.dtype:
        """Of the denoiser and the text encoders; half precision on a CPU is bfloat16.

        `is_wide`: for numbers beyond what float16 reaches.
        """
        import torch

        if self.device == "cuda":
            return torch.bfloat16 if is_wide else torch.float16
        return torch.bfloat16 if is_half else torch.float32

    def vae_dtype(self, *, is_half: bool = False) -> torch.dtype:
        """Of the VAE: full precision, since float16 may overflow (bfloat16 does not)."""
        import torch

        return torch.bfloat16 if is_half else torch.float32

    @property
    def bytes_per_parameter(self) -> int:
        """Of the U-Net and the text encoder, as loaded."""
        return 2 if self.device == "cuda" else 4

    @property
    def has_own_memory(self) -> bool:
        """Whether the device's memory is another than the host's."""
        return self.device == "cuda"

    @property
    def measures(self) -> frozenset[Measure]:
        """Ways to need less memory that bring something here."""
        shared = {Measure.VAE_TILES, Measure.SPLIT_GUIDANCE}
        if self.has_own_memory:
            return frozenset(shared | {Measure.ENCODERS_ASIDE, Measure.PARTS_ASIDE})
        return frozenset(shared | {Measure.HALF_PRECISION})


def quiet_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """No hub, no remote code, no progress bars; to be called before diffusers is imported."""
    environment["HF_HUB_OFFLINE"] = "1"
    environment["DIFFUSERS_DISABLE_REMOTE_CODE"] = "true"
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environment["TRANSFORMERS_VERBOSITY"] = "error"
    environment["DIFFUSERS_VERBOSITY"] = "error"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    # Threads that wait sleep instead of spinning: two of them on two busy cores took 2 s and more
    # for what takes 0.6 s so. It counts from the moment torch is first imported.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Their warnings may quote what they were given.
    warnings.simplefilter("ignore")
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def detect_engine(
    *,
    threads: int | None = None,
    memory_limit_bytes: int | None = None,
    runtime_image: str = "local",
) -> Engine:
    """Look at the machine, fix what must be fixed for equal bytes, and describe it."""
    quiet_libraries()
    import torch

    # One core less than there are: torch's threads wait for each other by spinning, and a single
    # other busy process on the last core makes every one of them wait (2 cores, 20 steps: 0.26 s
    # alone, 1.2 s beside one busy process; with one thread 0.28 s and 0.29 s).
    count = threads or max(1, (os.cpu_count() or 2) - 1)
    torch.set_num_threads(count)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = False  # it may choose other kernels on another day
        properties = torch.cuda.get_device_properties(0)
        name, memory = str(properties.name), int(properties.total_memory)
    else:
        name, memory = str(torch.backends.cpu.get_cpu_capability()), host_memory_bytes() // 2
    if memory_limit_bytes is not None:
        memory = min(memory, memory_limit_bytes)
    dtype = "float16+vae:float32" if device == "cuda" else "float32"
    fingerprint = {
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
        "transformers": version("transformers"),
        "device": f"{device}:{name}",
        "dtype": dtype,
        "threads": count,
        "attention": "sdpa",
        "batch": 1,
        "runtime_image": runtime_image,
    }
    return Engine(
        device=device,
        device_name=f"{device}:{name}",
        memory_bytes=memory,
        threads=count,
        fingerprint=fingerprint,
        gpu_class=name if device == "cuda" else "cpu",
    )


def host_memory_bytes() -> int:
    """What this process may use, with all others that live here."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or no limit ("max")
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return total
