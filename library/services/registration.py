"""Registering a model from a diffusers folder: recognised, checked, hashed, stored once.

The house model comes in by this path, like any model of a user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from accounts.services.audit import record_system
from gpuagent.protocol.adapter_files import AdapterUnfitError, read_header, write_header
from gpuagent.protocol.families import FAMILIES
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import MAPPED, Architecture, AssetKind
from library.cutters import check_cutter, is_cutter
from library.few_steps import presets_of_model
from library.mappers import check_mapper, is_mapper
from library.models import ModelAsset, ModelFile, ModelVersion
from library.presets import Preset, check_presets
from library.tensor_files import BrokenFileError, read_tensor_file
from library.upscalers import check_upscaler, is_upscaler
from studio.core import storage
from studio.core.errors import InvalidInputError

PIPELINES = {
    "StableDiffusionPipeline": Architecture.SD15,
    "StableDiffusionInpaintPipeline": Architecture.SD15,  # told apart by the U-Net's channels
    "StableDiffusionXLPipeline": Architecture.SDXL,
    "StableDiffusionXLInpaintPipeline": Architecture.SDXL,
    "StableDiffusionXLImg2ImgPipeline": Architecture.SDXL,  # as the refiner is published
    "StableDiffusion3Pipeline": Architecture.SD3,
    "FluxPipeline": Architecture.FLUX,
}
KINDS = {
    **dict.fromkeys(FAMILIES, AssetKind.CHECKPOINT),
    Architecture.ESRGAN: AssetKind.UPSCALER,
    Architecture.U2NET: AssetKind.CUTTER,
    **dict.fromkeys(MAPPED, AssetKind.MAPPER),
}
SUFFIXES = frozenset({".json", ".txt", ".safetensors"})
LATENT_SIDE = 128
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file of the folder: path relative to it, SHA-256, bytes."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What its keeper says about a model. `presets` are checked when it is registered."""

    name: str
    licence: str = ""
    text: str = ""
    example_prompts: Sequence[str] = ()
    presets: Sequence[object] | None = None


def _refuse(code: str, message: str) -> InvalidInputError:
    return InvalidInputError([FieldProblem(field="folder", code=code, message=message)])


def _read_json(path: Path) -> dict[str, object]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse("unreadable", f"{path.name} is missing or not JSON.") from error
    if not isinstance(raw, dict):
        raise _refuse("unreadable", f"{path.name} is not a JSON object.")
    return raw


def recognise(folder: Path) -> Architecture:
    """The architecture that a diffusers folder says it is, or one of what draws nothing.

    Raises:
        InvalidInputError: neither, or of an unknown pipeline.
    """
    if is_upscaler(folder):
        check_upscaler(folder)
        return Architecture.ESRGAN
    if is_cutter(folder):
        check_cutter(folder)
        return Architecture.U2NET
    if is_mapper(folder):
        return check_mapper(folder)
    name = _read_json(folder / "model_index.json").get("_class_name")
    architecture = PIPELINES.get(str(name))
    if architecture is None:
        known = ", ".join(PIPELINES)
        raise _refuse("unknown_pipeline", f"{name} is not a known pipeline; known are: {known}.")
    return architecture


def check_safetensors(path: Path) -> None:
    """Check that the header is sound and the file as long as it says (no pickles get this far).

    Raises:
        InvalidInputError: it is not.
    """
    try:
        with path.open("rb") as file:
            read_tensor_file(file, path.stat().st_size)
    except BrokenFileError as error:
        raise _refuse("broken_weights", f"{path.name} {error}.") from error


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise _refuse("symlink", f"{path.name} is a symbolic link; copy the file itself.")
        if path.is_file() and path.suffix in SUFFIXES:
            yield path


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def inspect_folder(folder: Path) -> list[FileFacts]:
    """Hash and check every file that belongs to the model.

    Raises:
        InvalidInputError: a weights file is broken, or there are none.
    """
    facts = []
    for path in _files(folder):
        if path.suffix == ".safetensors":
            check_safetensors(path)
        facts.append(
            FileFacts(
                path=path.relative_to(folder).as_posix(),
                sha256=hash_file(path),
                size_bytes=path.stat().st_size,
            )
        )
    if not any(fact.path.endswith(".safetensors") for fact in facts):
        raise _refuse("no_weights", "There is no .safetensors file in the folder.")
    return facts


def version_digest(facts: Sequence[FileFacts]) -> str:
    """SHA-256 over the sorted paths and hashes: two folders with equal files are equal versions."""
    lines = sorted(f"{fact.path}\0{fact.sha256}\n" for fact in facts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _native_side(folder: Path) -> int:
    """Pixels a side the model was made for: latent size times the VAE's factor. Others: 0."""
    if is_upscaler(folder) or is_cutter(folder) or is_mapper(folder):
        return 0
    denoiser = "transformer" if (folder / "transformer").is_dir() else "unet"
    # A transformer that names none was made for what its pipelines make by default.
    default = LATENT_SIDE if denoiser == "transformer" else None
    sample = _read_json(folder / denoiser / "config.json").get("sample_size", default)
    blocks = _read_json(folder / "vae" / "config.json").get("block_out_channels")
    if not isinstance(sample, int) or not isinstance(blocks, list):
        raise _refuse("unreadable", f"{denoiser}/config.json or vae/config.json lacks its sizes.")
    return int(sample * 2 ** (len(blocks) - 1))


def register_model(
    folder: Path,
    description: Description,
    *,
    organization_id: str | None,
    source_sha256: str = "",
    lent: Sequence[FileFacts] = (),
) -> ModelVersion:
    """Register a folder as the newest version of the named model; the same files again: the same.

    `organization_id` None makes it public on this installation. `source_sha256` is of the single
    file that the folder was made from. Files that are `lent` lie in the store, for another model.

    Raises:
        InvalidInputError: the folder or a preset is refused; the message says why.
    """
    presets = None if description.presets is None else check_presets(description.presets)
    architecture, facts, side = recognise(folder), inspect_folder(folder), _native_side(folder)
    put_files(folder, facts)
    facts += lent
    with transaction.atomic():
        if presets is None and is_new(description, organization_id):
            presets = _suggested(folder, description, architecture)
        asset = put_asset(description, KINDS[architecture], presets, organization_id)
        digest = version_digest(facts)
        existing = ModelVersion.objects.filter(asset=asset, digest=digest).first()
        if existing is not None:
            return existing
        return create_version(
            asset, digest, architecture, facts, side=side, source_sha256=source_sha256
        )


def _suggested(
    folder: Path, description: Description, architecture: Architecture
) -> list[Preset] | None:
    if architecture not in FAMILIES:
        return None
    file = folder / "transformer" / "config.json"
    is_guided = bool(_read_json(file).get("guidance_embeds")) if file.is_file() else True
    text = f"{description.name} {folder.name}"
    return presets_of_model(architecture, text, is_guided=is_guided)


def is_new(description: Description, organization_id: str | None) -> bool:
    """Whether nothing is called so yet."""
    known = ModelAsset.objects.filter(organization_id=organization_id, name=description.name)
    return not known.exists()


def restore_public(folder: Path) -> ModelVersion | None:
    """The public version that these files already are, whatever its name; None if there is none.

    What the store lost of it is put back; what is said about the model stays.

    Raises:
        InvalidInputError: the folder is refused; the message says why.
    """
    facts = inspect_folder(folder)
    version = ModelVersion.objects.filter(
        asset__organization=None, digest=version_digest(facts)
    ).first()
    if version is not None:
        put_files(folder, facts)
    return version


def put_asset(
    description: Description,
    kind: AssetKind,
    presets: list[Preset] | None,
    organization_id: str | None,
) -> ModelAsset:
    """What is said anew takes the place of what was said before; what is left out stays.

    An entry that was removed is back.

    Raises:
        InvalidInputError: the name is that of something of another kind.
    """
    said: dict[str, object] = {
        "licence": description.licence,
        "description": description.text,
        "example_prompts": list(description.example_prompts),
    }
    anew = {field: value for field, value in said.items() if value}
    if presets is not None:
        anew["presets"] = presets
    anew["removed_at"] = None
    owned = {"organization_id": organization_id, "name": description.name}
    before = ModelAsset.objects.filter(**owned).first()
    if before is not None and before.kind != kind.value:
        message = f"{description.name} is a {before.kind}, this is a {kind}. Give it another name."
        raise InvalidInputError([FieldProblem(field="name", code="other_kind", message=message)])
    asset, is_new = ModelAsset.objects.update_or_create(
        **owned,
        defaults=anew,
        create_defaults={**said, "presets": presets or [], "kind": kind.value},
    )
    changed = sorted(field for field in anew if getattr(before, field, None) != anew[field])
    if organization_id is not None and not is_new and changed:
        record_system(organization_id, "model.changed", asset.pk, {"fields": changed})
    return asset


def create_version(
    asset: ModelAsset,
    digest: str,
    architecture: Architecture,
    facts: Sequence[FileFacts],
    *,
    side: int = 0,
    trigger_words: Sequence[str] = (),
    source_sha256: str = "",
) -> ModelVersion:
    """The next version of the asset, with its files, which lie in the store already."""
    newest = ModelVersion.objects.filter(asset=asset).order_by("-number").first()
    version = ModelVersion.objects.create(
        asset=asset,
        number=newest.number + 1 if newest else 1,
        digest=digest,
        architecture=architecture.value,
        default_width=side,
        default_height=side,
        trigger_words=list(trigger_words),
        source_sha256=source_sha256,
        weights_bytes=sum(f.size_bytes for f in facts if f.path.endswith(".safetensors")),
    )
    ModelFile.objects.bulk_create(
        ModelFile(version=version, path=fact.path, sha256=fact.sha256, size_bytes=fact.size_bytes)
        for fact in facts
    )
    if asset.organization_id is not None:
        codes = {"model": asset.pk, "number": version.number}
        record_system(asset.organization_id, "model.registered", version.pk, codes)
    return version


def put_files(folder: Path, facts: Sequence[FileFacts]) -> None:
    """Have the files of a folder in the store."""
    for fact in facts:
        put_file(folder / fact.path, fact)


def put_file(path: Path, fact: FileFacts) -> None:
    """Have a file in the store, and its header beside it; what lies there whole is left alone."""
    kept = ModelFile(sha256=fact.sha256)
    key = kept.storage_key
    if path.suffix == ".safetensors" and not storage.exists(kept.header_key):
        _put_header(path, kept.header_key)
    if storage.exists(key) and storage.size(key) == fact.size_bytes:
        return
    storage.delete(key)
    storage.put_file(key, path)


def _put_header(path: Path, key: str) -> None:
    try:
        with path.open("rb") as file:
            header = read_header(file)
    except AdapterUnfitError:
        return  # checked before; a shape that is none belongs to nothing that could be laid over
    storage.put(key, write_header(header))
