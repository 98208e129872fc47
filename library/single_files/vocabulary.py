"""The words of CLIP's tokenizer, which no checkpoint holds, from a package that carries them.

Only the package's files are read; it is never imported. Its licence goes along with the words.
"""

from __future__ import annotations

import gzip
import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from library.single_files.pieces import UnfitFileError

PACKAGE = "open_clip_torch"
WORDS = 49_408
_FILE = "open_clip/bpe_simple_vocab_16e6.txt.gz"
_LICENCE = "LICENSE"
_ENDS = ("<|startoftext|>", "<|endoftext|>")
_MERGES = WORDS - 512 - len(_ENDS)


def write_vocabulary(folder: Path) -> None:
    """`vocab.json`, `merges.txt` and the licence they are under.

    Raises:
        UnfitFileError: the package is not installed.
    """
    merges = _merges()
    letters = list(_letters().values())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["".join(merge.split()) for merge in merges]
    vocabulary = {word: number for number, word in enumerate([*words, *_ENDS])}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(vocabulary, ensure_ascii=False)
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(lines + "\n", encoding="utf-8")
    (folder / "LICENSE.txt").write_text(_licence(), encoding="utf-8")


def _merges() -> list[str]:
    lines = gzip.decompress(_packaged(_FILE).read_bytes()).decode("utf-8").split("\n")
    return lines[1 : _MERGES + 1]


def _licence() -> str:
    files = distribution(PACKAGE).files or []
    found = next(file for file in files if file.name == _LICENCE)
    return Path(str(found.locate())).read_text(encoding="utf-8")


def _packaged(name: str) -> Path:
    try:
        path = Path(str(distribution(PACKAGE).locate_file(name)))
    except PackageNotFoundError:
        path = Path(name)
    if not path.is_file():
        raise UnfitFileError(
            f"the words of its text encoder are not installed here ({PACKAGE}, see "
            "requirements/weights.in); register it as a diffusers folder, which brings them"
        )
    return path


def _letters() -> dict[int, str]:
    """Each byte as a letter that can be seen: those that cannot are moved beyond 255."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in seen]
    letters = {byte: chr(byte) for byte in seen}
    return letters | {byte: chr(256 + at) for at, byte in enumerate(moved)}
