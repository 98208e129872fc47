"""Writes deploy/images/locks/*.lock: what the images install, every file by its hash.

`python3 deploy/images/lock.py [NAME …]`, with pip-tools, where PyPI can be reached (for
`agent-cu11` PyTorch's own index, too). Versions are those of requirements/*.lock; only torch and
what belongs to it are others: the last torch on PyPI that is built for CUDA 12 is 2.10.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "images" / "locks"
CUDA12, CUDA11 = "torch==2.10.0", "torch==2.7.1+cu118"
PYTORCH_CUDA11 = "https://download.pytorch.org/whl/cu118"
LAYERS = {
    "agent-cu12": (("agent",), CUDA12),
    "workspace-cu12": (("web", "agent"), CUDA12),
    "agent-cu11": (("agent",), CUDA11),
}
# They follow torch.
OF_TORCH = re.compile(r"^(torch|triton|setuptools|nvidia-(?!ml)\S+|cuda-\S+)==", re.IGNORECASE)
HEADER = "# Written by `python3 deploy/images/lock.py {name}`. Do not edit.\n"


def write_lock(name: str) -> None:
    """One lock."""
    layers, torch = LAYERS[name]
    with tempfile.TemporaryDirectory() as folder:
        wanted, known, made = (Path(folder) / part for part in ("in", "known", "lock"))
        lines = [line for layer in layers for line in _lines(f"{layer}.in")]
        lines = [torch if line.startswith("torch==") else line for line in lines]
        wanted.with_suffix(".in").write_text("\n".join(lines) + "\n")
        pins = [line for layer in layers for line in _lines(f"{layer}.lock")]
        known.write_text("\n".join(pin for pin in pins if not OF_TORCH.match(pin)) + "\n")
        argv = [sys.executable, "-m", "piptools", "compile", "--quiet", "--no-config"]
        argv += ["--no-header", "--no-annotate", "--strip-extras", "--allow-unsafe"]
        argv += ["--generate-hashes", "--no-emit-find-links", "--no-emit-trusted-host"]
        argv += ["--index-url", "https://pypi.org/simple", "--no-emit-index-url"]
        if torch is CUDA11:
            argv += ["--extra-index-url", PYTORCH_CUDA11]
        argv += ["--constraint", str(known), "--output-file", str(made)]
        own = {k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PIP_INDEX_URL")}
        environment = {**own, "PIP_CONFIG_FILE": os.devnull}
        subprocess.run([*argv, str(wanted.with_suffix(".in"))], check=True, env=environment)  # noqa: S603 - a fixed list
        (LOCKS / f"{name}.lock").write_text(HEADER.format(name=name) + made.read_text())


def _lines(file: str) -> list[str]:
    text = (ROOT / "requirements" / file).read_text()
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ("agent-cu12", "workspace-cu12"):
        write_lock(chosen)
