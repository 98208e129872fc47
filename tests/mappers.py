"""Tiny networks that make maps: the true classes of transformers, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gpuagent.protocol.mapper_config import CONFIG_NAME
from gpuagent.protocol.mapper_files import (
    JOINTS,
    NETWORKS,
    PROCESSOR_NAME,
    WEIGHTS_NAME,
)
from gpuagent.protocol.taxonomy import Architecture


def save_mapper(folder: Path, architecture: Architecture, **changes: object) -> Path:
    """A folder as it is published; `changes` go into the config."""
    _SAVERS[architecture](folder, changes)
    return folder


def _save_depth_anything(folder: Path, changes: dict[str, object]) -> None:
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    torch.manual_seed(0)
    backbone = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "out_indices": [1, 2, 3, 4],
        "reshape_hidden_states": False,
    }
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        **changes,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    _processor(keep_aspect_ratio=True, ensure_multiple_of=14, side=56, folder=folder)


def _save_dpt(folder: Path, changes: dict[str, object]) -> None:
    import torch
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8,
        **changes,
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    _processor(keep_aspect_ratio=False, ensure_multiple_of=1, side=64, folder=folder)


def _processor(
    *, keep_aspect_ratio: bool, ensure_multiple_of: int, side: int, folder: Path
) -> None:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    DPTImageProcessorPil(
        size={"height": side, "width": side},
        keep_aspect_ratio=keep_aspect_ratio,
        ensure_multiple_of=ensure_multiple_of,
    ).save_pretrained(folder)


def _save_vitpose(folder: Path, changes: dict[str, object]) -> None:
    import torch
    from transformers import VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    torch.manual_seed(0)
    joints = {number: str(number) for number in range(17)}
    config = VitPoseConfig(
        backbone_config={
            "model_type": "vitpose_backbone",
            "image_size": [64, 48],
            "patch_size": [16, 16],
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "out_indices": [2],
        },
        id2label=joints,
        label2id={label: number for number, label in joints.items()},
        **changes,
    )
    VitPoseForPoseEstimation(config).save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)


_SAVERS = {
    Architecture.DEPTH_ANYTHING: _save_depth_anything,
    Architecture.DPT: _save_dpt,
    Architecture.VITPOSE: _save_vitpose,
}


def bare_mapper(folder: Path, architecture: Architecture, **changes: object) -> Path:
    """What the library looks at of such a folder: JSON, and a header with the telling tensors."""
    network = NETWORKS[architecture]
    folder.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, object] = {"hidden_size": 4, "num_hidden_layers": 1, "image_size": 16}
    neck = {"neck_hidden_sizes": [4], "fusion_hidden_size": 4, "intermediate_size": 4}
    config = {"model_type": architecture.value, "architectures": [network.class_name], **neck}
    if architecture is Architecture.DPT:
        config |= sizes
    else:
        config["backbone_config"] = {"model_type": network.usual_backbone, **sizes}
    (folder / CONFIG_NAME).write_text(json.dumps({**config, **changes}))
    (folder / PROCESSOR_NAME).write_text(json.dumps({"size": {"width": 64, "height": 64}}))
    layer = f"{'dpt' if architecture is Architecture.DPT else 'backbone'}.encoder.layer.0.norm"
    names = (network.sign, "neck.convs.0.weight", "backbone.embeddings.cls_token", layer)
    joints = np.zeros((JOINTS, 16, 1, 1), dtype=np.float32)
    save_file(dict.fromkeys(names, joints), folder / WEIGHTS_NAME)
    return folder
