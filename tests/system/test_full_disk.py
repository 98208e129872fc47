"""The store's disk is full: the job fails with a sentence, and nothing half-written is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .people import Program
from .product import Product
from .test_starting_picture import png

pytestmark = pytest.mark.slow_process

BALLAST = "ballast"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of 1 MiB over `folder`; what was written to it is in the folder afterwards."""
    if os.geteuid() != 0:
        pytest.skip("Only root can mount a small disk over the store.")
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"A small disk cannot be mounted here: {mounted.stderr.strip()}")
    written = folder.with_name("written")
    try:
        yield
        shutil.copytree(folder, written)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.copytree(written, folder, dirs_exist_ok=True)
    shutil.rmtree(written)


def fill(folder: Path) -> Path:
    ballast = folder / BALLAST
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"\0" * 4096)
    return ballast


def test_full_disk_fails_the_job_and_passes_by(product: Product, program: Program) -> None:
    program.submit(wait=30)  # the workspace's folder is there
    (folder,) = (product.state / "store").glob("org_*/wsp_*")
    with small_disk(folder):
        ballast = fill(folder)

        failed = program.submit(wait=60, num_inference_steps=4, num_images_per_prompt=2)
        upload = program.upload(png("teal"))

        assert (failed["status"], failed["outputs"]) == ("failed", [])
        assert failed["error"]["code"] == "store.failed"
        assert failed["error"]["message"].startswith("The picture could not be stored.")
        assert upload.status_code == httpx.codes.INSUFFICIENT_STORAGE
        assert upload.headers["Content-Type"].startswith("application/problem+json")
        assert [entry.name for entry in folder.iterdir()] == [BALLAST]

        ballast.unlink()
        made = program.submit(wait=60)
        assert made["status"] == "succeeded"
        assert program.upload(png("teal")).status_code == httpx.codes.CREATED
    assert program.http.get(made["outputs"][0]["picture_url"]).status_code == httpx.codes.OK
