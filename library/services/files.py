"""Registering one safetensors file, whatever it is: recognised by its header, then by its kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gpuagent.protocol.taxonomy import AssetKind
from library.models import ModelVersion
from library.recognition import Recognised, recognise_file
from library.services.adapters import register_adapter
from library.services.controls import register_controlnet
from library.services.ip_adapters import register_image_encoder, register_ip_adapter
from library.services.mappers import register_mapper
from library.services.registration import Description, hash_file, register_model
from library.services.vaes import register_vae
from library.single_files.folder import plan_checkpoint, write_folder
from library.single_files.pieces import UnfitFileError
from library.single_files.upscaler import plan_upscaler
from library.single_files.writing import Part, check_part, write_json, write_part
from library.tensor_files import BrokenFileError, TensorFile, read_tensor_file
from library.uploads import check_file_name
from library.upscalers import UPSCALER_CONFIG, UPSCALER_WEIGHTS
from studio.core import storage
from studio.core.errors import InvalidInputError, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A file that was recognised, and what is said about it."""

    path: Path
    file: TensorFile
    recognised: Recognised
    description: Description
    organization_id: str | None
    trigger_words: Sequence[str] = ()
    config: str = ""
    preprocessor: str = ""


def register_file(
    path: Path,
    description: Description,
    *,
    organization_id: str | None,
    trigger_words: Sequence[str] = (),
    config: str = "",
    preprocessor: str = "",
) -> ModelVersion:
    """Register a safetensors file as the newest version of the named entry. `config` and
    `preprocessor` are the texts of the JSON files that came with it, where its kind needs them.

    Raises:
        InvalidInputError: the file is refused; the message says why and what to do.
    """
    check_file_name(path.name)
    file = _read(path)
    recognised = recognise_file(file)
    if recognised is None:
        message = f"{path.name} is nothing that is known here. Known are checkpoints, LoRAs, "
        raise invalid(
            "file",
            "unknown",
            message + "textual inversions, upscalers, ControlNets, VAEs, IP-Adapters.",
        )
    kind = recognised.asset_kind
    registrar = _REGISTRARS.get(kind) if kind is not None else None
    if recognised.advice or registrar is None:
        advice = recognised.advice or "This kind cannot be added as a file yet."
        raise invalid("file", "unusable", f"{path.name} is {recognised.said}. {advice}")
    incoming = Incoming(
        path=path,
        file=file,
        recognised=recognised,
        description=description,
        organization_id=organization_id,
        trigger_words=trigger_words,
        config=config,
        preprocessor=preprocessor,
    )
    return registrar(incoming)


def _read(path: Path) -> TensorFile:
    try:
        with path.open("rb") as file:
            return read_tensor_file(file, path.stat().st_size)
    except BrokenFileError as error:
        raise invalid("file", "broken", f"{path.name} {error}.") from error


def _register_checkpoint(incoming: Incoming) -> ModelVersion:
    """Taken apart into a folder, which is what agents load."""
    said, name = incoming.recognised.said, incoming.path.name
    if incoming.recognised.architecture is None:
        message = f"{name} is {said}. No agent here can load this family yet."
        raise invalid("file", "family", message)
    with storage.work_folder() as folder:
        try:
            checkpoint = plan_checkpoint(incoming.file, incoming.recognised.family)
            write_folder(incoming.path, incoming.file, checkpoint, folder)
        except UnfitFileError as error:
            message = f"{name} is {said}, but cannot be used: {error}."
            raise invalid("file", "incomplete", message) from error
        return register_model(
            folder,
            incoming.description,
            organization_id=incoming.organization_id,
            source_sha256=hash_file(incoming.path),
        )


def _register_adapter(incoming: Incoming) -> ModelVersion:
    try:
        return register_adapter(
            incoming.path,
            incoming.description,
            organization_id=incoming.organization_id,
            trigger_words=incoming.trigger_words,
        )
    except InvalidInputError as error:
        problem = error.problems[0]
        if problem.code != "fits_no_model" or not incoming.recognised.family:
            raise
        message = f"{incoming.path.name} is {incoming.recognised.said}. {problem.message}"
        raise invalid(problem.field, problem.code, message) from error


def _register_control(incoming: Incoming) -> ModelVersion:
    """Without a config: it is that of the U-Net which it fits."""
    return register_controlnet(
        incoming.path, incoming.description, organization_id=incoming.organization_id
    )


def _register_vae(incoming: Incoming) -> ModelVersion:
    """Without a config: it is that of the model whose VAE has the same tensors."""
    return register_vae(
        incoming.path, incoming.description, organization_id=incoming.organization_id
    )


def _register_ip_adapter(incoming: Incoming) -> ModelVersion:
    """With the image encoder that it reads, which must be in the library."""
    return register_ip_adapter(
        incoming.path, incoming.description, organization_id=incoming.organization_id
    )


def _register_image_encoder(incoming: Incoming) -> ModelVersion:
    """Without a config: it is one of those that are known by their sizes."""
    return register_image_encoder(
        incoming.path, incoming.description, organization_id=incoming.organization_id
    )


def _register_upscaler(incoming: Incoming) -> ModelVersion:
    """As a folder; under the names of Real-ESRGAN, if it has others."""
    try:
        config, pieces = plan_upscaler(incoming.file.shapes)
        part = Part(folder="", file=UPSCALER_WEIGHTS, config=config, prefix="", pieces=pieces)
        check_part(incoming.file, part)
    except UnfitFileError as error:
        message = f"{incoming.path.name} is an upscaler that cannot be used: {error}."
        raise invalid("file", "unusable", message) from error
    with storage.work_folder() as folder:
        write_json(folder / UPSCALER_CONFIG, config)
        if all(piece.old == piece.new for piece in pieces):
            shutil.copyfile(incoming.path, folder / UPSCALER_WEIGHTS)
        else:
            with incoming.path.open("rb") as source:
                write_part(source, incoming.file, part, folder / UPSCALER_WEIGHTS)
        return register_model(
            folder,
            incoming.description,
            organization_id=incoming.organization_id,
            source_sha256=hash_file(incoming.path),
        )


def _register_mapper(incoming: Incoming) -> ModelVersion:
    return register_mapper(
        incoming.path,
        incoming.description,
        organization_id=incoming.organization_id,
        config=incoming.config,
        preprocessor=incoming.preprocessor,
    )


# A kind that can be added as a file has its line here.
_REGISTRARS: Mapping[AssetKind, Callable[[Incoming], ModelVersion]] = MappingProxyType(
    {
        AssetKind.CHECKPOINT: _register_checkpoint,
        AssetKind.LORA: _register_adapter,
        AssetKind.EMBEDDING: _register_adapter,
        AssetKind.UPSCALER: _register_upscaler,
        AssetKind.CONTROLNET: _register_control,
        AssetKind.VAE: _register_vae,
        AssetKind.IP_ADAPTER: _register_ip_adapter,
        AssetKind.IMAGE_ENCODER: _register_image_encoder,
        AssetKind.MAPPER: _register_mapper,
    }
)
