"""The reference: a bare diffusers loop in a process of its own.

`python -m benchmarks._direct FOLDER THREADS` reads one JSON list of recipes a line, makes their
pictures as a careful script would, and answers with one JSON line. The model stays loaded, until a
recipe names another `checkpoint`: that is loaded in its place.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks._studio import bare_environment
from gpuagent.pipelines.encode import PNG_LEVEL
from gpuagent.pipelines.engine import quiet_libraries
from launcher.layout import REPOSITORY

Recipe = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds for all on the clock and of the processor, for each, and hashes of the pixels."""

    total_s: float
    cpu_s: float
    each_s: list[float]
    pixels: list[str]


class Direct:
    """The loop, as the benchmark sees it: idle except during `make`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def make(self, recipes: Sequence[Recipe]) -> Outcome:
        """Make the pictures now, and wait for them."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("The reference was started without pipes.")
        stdin.write(json.dumps([dict(recipe) for recipe in recipes]) + "\n")
        stdin.flush()
        return Outcome(**json.loads(stdout.readline()))


@contextmanager
def direct_loop(threads: int) -> Iterator[Direct]:
    """Start the loop with the house model loaded and warm."""
    argv = [sys.executable, "-m", "benchmarks._direct", "house/model", str(threads)]
    process = subprocess.Popen(
        argv,
        cwd=REPOSITORY,
        env=bare_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Direct(process)
    finally:
        process.kill()
        process.communicate()


def pixels_hash(picture: Any) -> str:  # noqa: ANN401 - a PIL image; this module imports it late
    """Equal for equal pixels, whatever the file around them."""
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def serve(folder: Path, threads: int, lines: IO[str], answers: IO[str]) -> None:
    """Make what each line asks for."""
    quiet_libraries()
    import torch
    from diffusers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    loaded = _Loaded()
    loaded.have(folder)
    with tempfile.TemporaryDirectory(prefix="studio-direct-") as out:
        for line in lines:
            outcome = _make(loaded, json.loads(line), Path(out))
            answers.write(json.dumps(outcome) + "\n")
            answers.flush()


class _Loaded:
    """The one pipeline in memory."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.pipeline: Any = None

    def have(self, folder: Path) -> None:
        """Load it, unless it is there."""
        import torch
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        if folder.resolve() == self.folder:
            return
        self.folder, self.pipeline = folder.resolve(), None
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, torch_dtype=torch.float32, safety_checker=None, local_files_only=True
        )
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
            pipeline.scheduler.config, use_karras_sigmas=True
        )
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline


def _make(loaded: _Loaded, recipes: list[dict[str, Any]], out: Path) -> dict[str, object]:
    import torch

    began, used, each, pictures = time.perf_counter(), time.process_time(), [], []
    for number, recipe in enumerate(recipes):
        before = time.perf_counter()
        if "checkpoint" in recipe:
            loaded.have(Path(recipe["checkpoint"]))
        picture = loaded.pipeline(
            prompt=recipe["prompt"],
            negative_prompt="",
            width=recipe["width"],
            height=recipe["height"],
            num_inference_steps=recipe["num_inference_steps"],
            guidance_scale=recipe["guidance_scale"],
            generator=torch.Generator("cpu").manual_seed(recipe["seed"]),
        ).images[0]
        picture.save(out / f"{number}.png", compress_level=PNG_LEVEL)
        each.append(time.perf_counter() - before)
        pictures.append(picture)
    return {
        "total_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - used,
        "each_s": each,
        "pixels": [pixels_hash(picture) for picture in pictures],
    }


if __name__ == "__main__":
    serve(REPOSITORY / sys.argv[1], int(sys.argv[2]), sys.stdin, sys.stdout)
