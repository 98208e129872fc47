"""Writes deploy/images/locks/*.lock: what the images install, every file by its hash.

`python3 deploy/images/lock.py [NAME …]` on Linux with the Python of the base image, where PyPI can
be reached (for `agent-cu11` PyTorch's own index, too). Versions are those of requirements/*.lock;
only torch and what belongs to it are others: the last torch on PyPI that is built for CUDA 12 is
2.10. Nothing is downloaded but what packages say of themselves.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "images" / "locks"
PYPI, PYTORCH_CUDA11 = "https://pypi.org/simple", "https://download.pytorch.org/whl/cu118"
CUDA12, CUDA11 = "torch==2.10.0", "torch==2.7.1+cu118"
LAYERS = {
    "agent-cu12": (("agent",), CUDA12),
    "workspace-cu12": (("web", "agent"), CUDA12),
    "agent-cu11": (("agent",), CUDA11),
}
# They follow torch.
OF_TORCH = re.compile(r"^(torch|triton|setuptools|nvidia-(?!ml)\S+|cuda-\S+)==", re.IGNORECASE)
HEADER = "# Written by `python3 deploy/images/lock.py {name}`. Do not edit.\n"


def write_lock(name: str) -> None:
    """One lock, from what pip would install."""
    layers, torch = LAYERS[name]
    wanted = [line for layer in layers for line in _lines(f"{layer}.in")]
    wanted = [torch if line.startswith("torch==") else line for line in wanted]
    pins = [line for layer in layers for line in _lines(f"{layer}.lock")]
    known = [pin for pin in pins if not OF_TORCH.match(pin)]
    found = _resolved(wanted, known, extra=PYTORCH_CUDA11 if torch is CUDA11 else "")
    text = "".join(f"{pin} \\\n    --hash=sha256:{digest}\n" for pin, digest in sorted(found))
    (LOCKS / f"{name}.lock").write_text(HEADER.format(name=name) + text)


def _resolved(wanted: list[str], known: list[str], *, extra: str) -> list[tuple[str, str]]:
    """Names with versions, and the SHA-256 of the file for this platform."""
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints, report = (Path(folder) / part for part in ("in", "known", "out"))
        requirements.write_text("\n".join(wanted) + "\n")
        constraints.write_text("\n".join(known) + "\n")
        argv = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        argv += ["--quiet", "--only-binary", ":all:", "--report", str(report)]
        argv += ["--index-url", PYPI, *(["--extra-index-url", extra] if extra else [])]
        argv += ["--constraint", str(constraints), "--requirement", str(requirements)]
        own = {k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PIP_INDEX_URL")}
        environment = {**own, "PIP_CONFIG_FILE": os.devnull}
        subprocess.run(argv, check=True, env=environment)  # noqa: S603 - a fixed list
        items = json.loads(report.read_text())["install"]
    return [
        (
            f"{_normal(item['metadata']['name'])}=={item['metadata']['version']}",
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in items
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(file: str) -> list[str]:
    text = (ROOT / "requirements" / file).read_text()
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ("agent-cu12", "workspace-cu12"):
        write_lock(chosen)
