"""The Dockerfiles of the runtime images: read by hadolint, and held to what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"
RUNTIMES = (
    "sd-compat-cu11",
    "sd-infer-cu12",
    "sd-train-lora-cu12",
    "sd-upscale-cu12",
    "sd-workspace-cu12",
)
# torch and what follows it has a build of its own for each CUDA.
OF_TORCH = re.compile(r"^(torch|triton|setuptools|nvidia-(?!ml)|cuda-)")
# PyTorch's index for CUDA 11 cannot be reached where the others were written.
UNWRITTEN = {"agent-cu11"}


def text_of(name: str) -> str:
    return (IMAGES / f"{name}.Dockerfile").read_text(encoding="utf-8")


def pins(path: Path) -> dict[str, str]:
    """Names and versions of a lock."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    files = sorted(map(str, IMAGES.glob("*.Dockerfile")))
    done = subprocess.run([str(hadolint), *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_there_is_one_for_each_runtime_and_a_base() -> None:
    found = {path.name.removesuffix(".Dockerfile") for path in IMAGES.glob("*.Dockerfile")}
    assert found == {"base", *RUNTIMES}


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_stands_on_the_base_and_runs_without_rights(name: str) -> None:
    text = text_of(name)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE)[-1] == "${BASE}"
    assert "ARG BASE=studio-base" in text
    last_user = re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1]
    assert last_user == "10001:10001"
    assert "HEALTHCHECK" in text
    assert f"STUDIO_RUNTIME_IMAGE={name}:" in text
    assert not re.search(r"^ADD |curl|wget|chmod 777|--privileged", text, re.MULTILINE)


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_installs_by_hash_alone(name: str) -> None:
    text = text_of(name)
    locks = re.findall(r"COPY deploy/images/locks/(\S+)\.lock", text)
    assert len(locks) == 1
    assert "--require-hashes --only-binary :all:" in text
    if locks[0] not in UNWRITTEN:
        assert (IMAGES / "locks" / f"{locks[0]}.lock").exists()


@pytest.mark.parametrize("name", RUNTIMES)
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", text_of(name), re.MULTILINE):
        for source in line.split()[:-1]:
            lock = re.fullmatch(r"deploy/images/locks/(\S+)\.lock", source)
            if lock is None or lock[1] not in UNWRITTEN:
                assert (ROOT / source).exists(), source
            parts = source.rstrip("/").split("/")
            assert {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)} & allowed


@pytest.mark.parametrize(
    ("lock", "layers"),
    [("agent-cu12", ("agent",)), ("workspace-cu12", ("agent", "web"))],
)
def test_a_lock_has_the_versions_of_the_project_and_a_hash_for_each(
    lock: str, layers: tuple[str, ...]
) -> None:
    path = IMAGES / "locks" / f"{lock}.lock"
    locked = pins(path)
    for layer in layers:
        for name, version in pins(ROOT / "requirements" / f"{layer}.lock").items():
            if not OF_TORCH.match(name):
                assert locked[name] == version, name
    assert any(name.startswith("nvidia-") and name.endswith("-cu12") for name in locked)
    requirements = re.split(r"\n(?=[A-Za-z0-9])", path.read_text())
    for requirement in requirements:
        if "==" in requirement.split("\n", 1)[0]:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_the_start_script_is_a_script() -> None:
    done = subprocess.run(["sh", "-n", str(IMAGES / "start.sh")], check=False)
    assert done.returncode == 0
    done = subprocess.run(["sh", str(IMAGES / "start.sh"), "x"], capture_output=True, check=False)
    assert done.returncode == 2
