"""What people say about a file that they add, checked before the first byte is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from accounts.names import name_problems
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.triggers import TRIGGER_MAX_CHARACTERS, TRIGGERS_MAX
from studio.core.errors import InvalidInputError, invalid

NAME_MAX, LICENCE_MAX, TEXT_MAX = 120, 120, 4_000
FILE_NAME_MAX_BYTES = 200
FINGERPRINT_MAX = 64
SUFFIX = ".safetensors"
PICKLED = frozenset({".pt", ".bin", ".ckpt", ".pth", ".pkl", ".pickle"})
JSON_MAX = 100_000
FILE_TEXTS = ("config", "preprocessor")
FIELDS = ("name", "licence", "description", "trigger_words", *FILE_TEXTS)
_FETCHED_NAME = f"fetched{SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What the entry will say. A name that is taken by the same kind gets a new version.

    `config` and `preprocessor` are the texts of JSON files that belong to weights of some kinds.
    """

    name: str
    licence: str = ""
    description: str = ""
    trigger_words: tuple[str, ...] = ()
    config: str = ""
    preprocessor: str = ""

    def to_json(self) -> dict[str, object]:
        """As it is kept with the upload."""
        return {**asdict(self), "trigger_words": list(self.trigger_words)}


def read_details(raw: Mapping[str, object]) -> Details:
    """The details among the fields of a request.

    Raises:
        InvalidInputError: every wrong field is named.
    """
    texts = {field: _text(raw.get(field)) for field in FIELDS if field != "trigger_words"}
    problems = name_problems(texts["name"], NAME_MAX)
    most_of = {"licence": LICENCE_MAX, "description": TEXT_MAX}
    most_of |= dict.fromkeys(FILE_TEXTS, JSON_MAX)
    for field, most in most_of.items():
        problems += _too_long(field, texts[field], most)
    words = _words(raw.get("trigger_words"))
    if words is None:
        message = f"Give up to {TRIGGERS_MAX} trigger words of at most {TRIGGER_MAX_CHARACTERS}."
        message += " characters each."
        problems.append(FieldProblem(field="trigger_words", code="bad_words", message=message))
    if problems:
        raise InvalidInputError(problems)
    return Details(**texts, trigger_words=words or ())


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _too_long(field: str, text: str, most: int) -> list[FieldProblem]:
    if len(text) <= most and "\0" not in text:
        return []
    message = f"The {field} has {len(text):,} characters; at most {most:,} fit."
    return [FieldProblem(field=field, code="too_long", message=message, limit=most)]


def _words(value: object) -> tuple[str, ...] | None:
    """A list, or one text with commas between; None if it cannot be."""
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(word, str) for word in parts):
        return None
    words = [word.strip() for word in parts if word.strip()]
    is_short = all(len(w) <= TRIGGER_MAX_CHARACTERS and w.isprintable() for w in words)
    return tuple(words) if is_short and len(words) <= TRIGGERS_MAX else None


def check_file_name(value: object) -> str:
    """The name of a file that can be added.

    Raises:
        InvalidInputError: a pickle, or of another kind; the sentence says what to do.
    """
    name = _text(value)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLED:
        raise invalid("file", "pickled", _pickled(name))
    is_plain = name.isprintable() and "/" not in name and "\\" not in name
    if suffix != SUFFIX or not is_plain or len(name.encode()) > FILE_NAME_MAX_BYTES:
        message = f"{name[:80] or 'The file'} cannot be added. Choose a {SUFFIX} file"
        raise invalid("file", "not_safetensors", f"{message} with a plain name.")
    return name


def _pickled(name: str) -> str:
    return (
        f"{name[:80]} is a pickle, which can run code when it is read, so it is never opened here. "
        f"Ask its maker for a {SUFFIX} file. Or convert it on a machine where it can harm nothing: "
        "torch.load(…, weights_only=True), then safetensors.torch.save_file."
    )


def name_in_address(address: str) -> str:
    """What a file at an address is called; its bytes will say what it is.

    Raises:
        InvalidInputError: it says of itself that it is a pickle.
    """
    try:
        name = PurePosixPath(unquote(urlsplit(address).path)).name
    except ValueError:
        return _FETCHED_NAME
    if PurePosixPath(name).suffix.lower() in PICKLED:
        raise invalid("url", "pickled", _pickled(name))
    try:
        return check_file_name(name)
    except InvalidInputError:
        return _FETCHED_NAME
