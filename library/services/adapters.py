"""Registering a LoRA or an embedding: one safetensors file, checked against the models here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from django.db import transaction

from accounts.services.audit import record_system
from gpuagent.protocol.adapter_files import (
    AdapterUnfitError,
    Header,
    kind_of,
    read_header,
)
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from gpuagent.protocol.triggers import TRIGGERS_MAX, is_trigger, triggers_said
from library.few_steps import presets_of_lora
from library.fitting import why_header_unfit
from library.models import ModelVersion
from library.presets import check_presets
from library.selectors import usable_versions
from library.services.registration import (
    Description,
    FileFacts,
    check_safetensors,
    create_version,
    hash_file,
    is_new,
    put_asset,
    put_file,
    version_digest,
)
from studio.core.errors import InvalidInputError

# One name for each kind, so that equal files are equal versions whatever they were called.
FILE_NAMES = {AssetKind.LORA: "lora.safetensors", AssetKind.EMBEDDING: "embedding.safetensors"}
# Where training tools write what a LoRA is called.
_NAMES_SAID = ("ss_output_name", "modelspec.title")
_PICKLED = frozenset({".pt", ".bin", ".ckpt", ".pth", ".pkl"})
# What some tools call the tensor of every embedding; then the file's name is the word.
_NAMELESS = frozenset({"emb_params", "string_to_param", "*"})


def _refuse(code: str, message: str, field: str = "file") -> InvalidInputError:
    return InvalidInputError([FieldProblem(field=field, code=code, message=message)])


def register_adapter(
    path: Path,
    description: Description,
    *,
    organization_id: str | None,
    trigger_words: Sequence[str] = (),
) -> ModelVersion:
    """Register a file as the newest version of the named adapter; the same file again: the same.

    It must fit a model that the scope sees. Without `trigger_words` the file's own are taken.

    Raises:
        InvalidInputError: the file is refused; the message says why.
    """
    header, kind = inspect_adapter(path)
    words = _trigger_words(header, kind, path, trigger_words)
    architecture = _architecture_of(header, organization_id)
    fact = _facts(path, kind)
    digest = adapter_digest(fact, kind, words)
    put_file(path, fact)
    with transaction.atomic():
        presets = None if description.presets is None else check_presets(description.presets)
        if presets is None and kind is AssetKind.LORA and is_new(description, organization_id):
            said = " ".join(header.said.get(key, "") for key in _NAMES_SAID)
            text = f"{description.name} {path.stem} {path.parent.name} {said}"
            presets = presets_of_lora(architecture, text)
        asset = put_asset(description, kind, presets, organization_id)
        versions = ModelVersion.objects.select_related("asset")
        existing = versions.filter(asset=asset, digest=digest).first()
        if existing is not None:
            if trigger_words and existing.trigger_words != words:
                existing.trigger_words = words
                existing.save(update_fields=["trigger_words"])
                if organization_id is not None:
                    changed = {"fields": ["trigger_words"]}
                    record_system(organization_id, "model.changed", asset.pk, changed)
            return existing
        return create_version(
            asset,
            digest,
            architecture,
            [fact],
            trigger_words=words,
            source_sha256=fact.sha256,
        )


def restore_public_adapter(path: Path, trigger_words: Sequence[str]) -> ModelVersion | None:
    """The public version that this file already is, whatever its name; None if there is none.

    Raises:
        InvalidInputError: the file is refused; the message says why.
    """
    header, kind = inspect_adapter(path)
    words, fact = _trigger_words(header, kind, path, trigger_words), _facts(path, kind)
    digest = adapter_digest(fact, kind, words)
    version = ModelVersion.objects.filter(asset__organization=None, digest=digest).first()
    if version is not None:
        put_file(path, fact)
    return version


def inspect_adapter(path: Path) -> tuple[Header, AssetKind]:
    """Header and kind of an adapter's file.

    Raises:
        InvalidInputError: it is none, or not a whole safetensors file.
    """
    if path.suffix.lower() in _PICKLED:
        raise _refuse(
            "pickled",
            f"{path.name} is a pickle, which can run code when it is read. Ask its maker for a "
            ".safetensors file, or convert it where nothing can be harmed.",
        )
    if path.is_symlink() or not path.is_file():
        raise _refuse("unreadable", f"{path.name} is not a file, or a link to one.")
    check_safetensors(path)
    try:
        with path.open("rb") as file:
            header = read_header(file)
        return header, kind_of(header)
    except AdapterUnfitError as error:
        raise _refuse("not_an_adapter", f"{path.name} cannot be used: {error}.") from error


def adapter_digest(fact: FileFacts, kind: AssetKind, words: Sequence[str]) -> str:
    """The file's; an embedding is another one under another word, since it makes other pictures."""
    digest = version_digest([fact])
    if kind is not AssetKind.EMBEDDING:
        return digest
    return hashlib.sha256(f"{digest}\0{words[0]}".encode()).hexdigest()


def _facts(path: Path, kind: AssetKind) -> FileFacts:
    return FileFacts(path=FILE_NAMES[kind], sha256=hash_file(path), size_bytes=path.stat().st_size)


def _trigger_words(header: Header, kind: AssetKind, path: Path, given: Sequence[str]) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in given if word.strip()))
    if kind is AssetKind.LORA:
        return words[:TRIGGERS_MAX] or triggers_said(header.said)
    name = next(iter(header.shapes))
    word = words[0] if words else path.stem if name in _NAMELESS else name
    if len(words) > 1 or not is_trigger(word):
        message = (
            f"{word[:80]!r} cannot call an embedding. Give it one trigger word without blanks, "
            "brackets, commas and colons, like <teal>."
        )
        raise _refuse("bad_trigger", message, "trigger")
    return [word]


def _architecture_of(header: Header, organization_id: str | None) -> Architecture:
    """That of a model which the adapter fits, of those that whoever will see it sees, too."""
    why = "there is no model yet"
    for model in usable_versions():
        if model.asset.organization_id not in (None, organization_id):
            continue
        found = why_header_unfit(header, model)
        if not found:
            return Architecture(model.architecture)
        why = f"for {model.asset.name}, {found}"
    raise _refuse(
        "fits_no_model", f"It fits no model here: {why}. Register the model it was made for first."
    )
