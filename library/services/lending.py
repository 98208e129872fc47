"""What a model of one single file lacks, lent by another one: files that lie in the store already.

Nothing is copied: the new version names the same bytes by their hashes. Only configurations and
tokenizers are written out again, to be read like those of any folder.
"""

from __future__ import annotations

from pathlib import Path

from gpuagent.protocol.taxonomy import Architecture
from library.fitting import config_of, vae_config
from library.models import ModelVersion
from library.selectors import usable_versions
from library.services.registration import FileFacts
from library.single_files.flow import LATENTS
from library.single_files.flow_folder import FlowCheckpoint
from library.single_files.pieces import UnfitFileError
from studio.core import storage

_WEIGHTS = ".safetensors"


def lend(
    checkpoint: FlowCheckpoint,
    architecture: Architecture,
    folder: Path,
    *,
    organization_id: str | None,
) -> list[FileFacts]:
    """Complete the folder of a model; the files that stay in the store are told.

    Raises:
        UnfitFileError: no model here can lend what it lacks.
    """
    if not checkpoint.lacks:
        return []
    lender = _lender(checkpoint, architecture, organization_id)
    lent = []
    for file in lender.files.all():
        if _folder_of(file.path) not in {*checkpoint.lacks, *checkpoint.welcome}:
            continue
        if file.path.endswith(_WEIGHTS):
            lent.append(FileFacts(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes))
            continue
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with storage.open_object(file.storage_key) as stored:
            target.write_bytes(stored.read())
    return lent


def _lender(
    checkpoint: FlowCheckpoint, architecture: Architecture, organization_id: str | None
) -> ModelVersion:
    """Of those that whoever will see the model sees, too: the first by name that has most."""
    fitting = [
        model
        for model in usable_versions()
        if model.architecture == architecture.value
        and model.asset.organization_id in (None, organization_id)
        and _can_lend(model, checkpoint)
    ]
    if not fitting:
        raise UnfitFileError(
            f"it holds {checkpoint.lacking}, and no model here can lend them. Register the "
            "diffusers folder of one model of this family with `manage.py register_model`, then "
            "add this file again"
        )
    return max(fitting, key=lambda model: len(_folders(model) & {*checkpoint.welcome}))


def _can_lend(model: ModelVersion, checkpoint: FlowCheckpoint) -> bool:
    if not set(checkpoint.lacks) <= _folders(model):
        return False
    if "vae" in checkpoint.lacks and vae_config(model).get("latent_channels") != LATENTS:
        return False
    own = config_of(model, "transformer/config.json")
    read = (own.get("joint_attention_dim"), own.get("pooled_projection_dim"))
    return "text_encoder" not in checkpoint.lacks or read == (checkpoint.words, checkpoint.pooled)


def _folders(model: ModelVersion) -> set[str]:
    return {_folder_of(file.path) for file in model.files.all()}


def _folder_of(path: str) -> str:
    return path.split("/", 1)[0]
