"""Registering a map maker whose files came one by one, put together as agents load it."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpuagent.protocol.mapper_config import CONFIG_NAME
from gpuagent.protocol.mapper_files import PROCESSOR_NAME, WEIGHTS_NAME
from library.models import ModelVersion
from library.services.registration import Description, register_model
from studio.core import storage
from studio.core.errors import invalid


def register_mapper(
    path: Path,
    description: Description,
    *,
    organization_id: str | None,
    config: str,
    preprocessor: str,
) -> ModelVersion:
    """Register weights with the texts of the two JSON files that belong to them.

    Raises:
        InvalidInputError: one is missing, or it is refused; the message says why.
    """
    missing = [
        name for name, text in ((CONFIG_NAME, config), (PROCESSOR_NAME, preprocessor)) if not text
    ]
    if missing:
        named = " and ".join(missing)
        message = f"{path.name} is a map maker. Choose its {named} together with it."
        raise invalid("file", "incomplete", message)
    with storage.work_folder() as folder:
        (folder / CONFIG_NAME).write_text(config, encoding="utf-8")
        (folder / PROCESSOR_NAME).write_text(preprocessor, encoding="utf-8")
        shutil.copyfile(path, folder / WEIGHTS_NAME)
        return register_model(folder, description, organization_id=organization_id)
