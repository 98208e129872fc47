"""Folders of networks that make maps: which there are, told from their JSON and weights' header.

Both sides use it: the library to refuse what is none, the agent to load nothing else. The classes
that load them are named here and never read from the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.adapter_files import Shape
from gpuagent.protocol.mapper_config import (
    CONFIG_NAME,
    backbone_of,
    known_settings,
    least_parameters,
)
from gpuagent.protocol.taxonomy import Architecture

PROCESSOR_NAME = "preprocessor_config.json"
WEIGHTS_NAME = "model.safetensors"
# Pixels of a side that a network reads; the published ones read 518, 384 and 256 × 192.
READ_SIDE_MIN, READ_SIDE_MAX = 16, 518
JOINTS = 17  # as COCO counts them
LAYERS = 12  # where the config does not say
# Part of the classes and never asked for anything; published DPTs come without.
UNUSED = "neck.fusion_stage.layers.0.residual_layer1."
_LAYER = re.compile(r"(?:backbone|dpt)\.encoder\.layer\.(\d+)\.")
# What would have transformers fetch something, or run what came with the files.
_FORBIDDEN = ("auto_map", "use_timm_backbone", "use_pretrained_backbone", "custom_pipelines")
_SIDES = 2
_MULTIPLE_MAX = 64
# Only the resizing to a size is bounded above; what else changes a size is not used by any.
_RESIZING: Mapping[str, bool] = MappingProxyType(
    {"do_resize": True, "do_affine_transform": True, "do_pad": False, "do_center_crop": False}
)
_PREPARING = (
    *("size", "do_resize", "do_affine_transform", "do_pad", "resample"),
    *("keep_aspect_ratio", "ensure_multiple_of", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "normalize_factor"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A class of transformers, what it may look at a picture with, and a tensor it must have."""

    class_name: str
    backbones: frozenset[str | None]
    sign: str
    reads: int  # a side, where the processor's file does not say
    usual_backbone: str  # where one is described, and not which


NETWORKS: Mapping[Architecture, Network] = MappingProxyType(
    {
        Architecture.DEPTH_ANYTHING: Network(
            class_name="DepthAnythingForDepthEstimation",
            backbones=frozenset({None, "dinov2"}),
            sign="head.conv3.weight",
            reads=518,
            usual_backbone="dinov2",
        ),
        Architecture.DPT: Network(
            class_name="DPTForDepthEstimation",
            backbones=frozenset({None, "bit", "dinov2"}),
            sign="head.head.0.weight",
            reads=384,
            usual_backbone="bit",
        ),
        Architecture.VITPOSE: Network(
            class_name="VitPoseForPoseEstimation",
            backbones=frozenset({None, "vitpose_backbone"}),
            sign="head.conv.weight",
            reads=256,
            usual_backbone="vitpose_backbone",
        ),
    }
)


def architecture_of(config: Mapping[str, object]) -> Architecture:
    """The network that a `config.json` of transformers describes.

    Raises:
        ValueError: none of those that make maps; the text says why.
    """
    return Architecture(str(clean_config(config)["model_type"]))


def clean_config(config: Mapping[str, object]) -> dict[str, object]:
    """Of a `config.json` of transformers, what its network is built by, and nothing else.

    Raises:
        ValueError: none of those that make maps; the text says why.
    """
    named = _word(config.get("model_type"))
    network = NETWORKS.get(Architecture(named)) if named in set(Architecture) else None
    if network is None:
        known = ", ".join(NETWORKS)
        raise ValueError(f"{CONFIG_NAME} says model_type {named}; known map makers are: {known}")
    classes = config.get("architectures")
    if classes != [network.class_name]:
        raise ValueError(f"{CONFIG_NAME} must say architectures: [{network.class_name}]")
    inner = config.get("backbone_config") or {}
    kind = inner.get("model_type") if isinstance(inner, dict) else ""
    if not isinstance(inner, dict) or not isinstance(kind, str | None):
        raise ValueError(f"{CONFIG_NAME} names a backbone in a way that cannot be")
    if kind not in network.backbones:
        raise ValueError(f"{CONFIG_NAME} names a backbone that {named} is not known to have")
    for name in _FORBIDDEN:
        if config.get(name) or inner.get(name):
            raise ValueError(f"{CONFIG_NAME} says {name}; nothing is fetched or run here")
    if config.get("backbone") is not None:
        raise ValueError(f"{CONFIG_NAME} names a backbone by its address; nothing is fetched here")
    clean = {**known_settings(config, named), "architectures": [network.class_name]}
    if inner:
        clean["backbone_config"] = known_settings(inner, kind or network.usual_backbone)
    if named == Architecture.VITPOSE:
        clean["id2label"] = {str(number): f"joint {number}" for number in range(JOINTS)}
    return clean


def _word(raw: object) -> str:
    """Whatever it is, as a sentence can say it."""
    return raw[:40] if isinstance(raw, str) else "that is no word"


def read_side(processor: Mapping[str, object], architecture: Architecture) -> tuple[int, int]:
    """Width and height at which the network reads a picture, or about so.

    Raises:
        ValueError: not said, or more than agents have memory for.
    """
    usual = NETWORKS[architecture].reads
    size = processor.get("size", {"height": usual, "width": usual})
    if isinstance(size, int):
        size = {"width": size, "height": size}
    sides = [size.get(name) for name in ("width", "height")] if isinstance(size, dict) else []
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(whole) != _SIDES or not all(READ_SIDE_MIN <= s <= READ_SIDE_MAX for s in whole):
        raise ValueError(
            f"{PROCESSOR_NAME} must say size: width and height from {READ_SIDE_MIN} to "
            f"{READ_SIDE_MAX}"
        )
    for name, usual_way in _RESIZING.items():
        if processor.get(name) not in (None, usual_way):
            raise ValueError(f"{PROCESSOR_NAME} says {name}; pictures are read at one size here")
    multiple = processor.get("ensure_multiple_of", 1)
    if not isinstance(multiple, int) or not 1 <= multiple <= _MULTIPLE_MAX:
        raise ValueError(f"{PROCESSOR_NAME} must say ensure_multiple_of: 1 to {_MULTIPLE_MAX}")
    return whole[0], whole[1]


def clean_processor(
    processor: Mapping[str, object], architecture: Architecture
) -> dict[str, object]:
    """Of a `preprocessor_config.json`, what pictures are prepared by, and nothing else.

    Raises:
        ValueError: they would be read at a size that agents have no memory for.
    """
    read_side(processor, architecture)
    return {name: processor[name] for name in _PREPARING if processor.get(name) is not None}


def check_shapes(shapes: Mapping[str, Shape], config: Mapping[str, object]) -> None:
    """Whether the weights end as the network of a clean config does, and are as many as it needs.

    Raises:
        ValueError: they are not.
    """
    architecture = Architecture(str(config["model_type"]))
    network = NETWORKS[architecture]
    shape = shapes.get(network.sign)
    if shape is None:
        raise ValueError(f"it has no {network.sign}, as {network.class_name} has")
    if architecture is Architecture.VITPOSE and shape[:1] != (JOINTS,):
        raise ValueError(f"it finds {shape[0] if shape else 0} joints, not the {JOINTS} of COCO")
    built_from = config if config.get("is_hybrid") else backbone_of(config)
    if built_from["model_type"] != "bit":
        layers = {match[1] for name in shapes if (match := _LAYER.match(name))}
        wanted = built_from.get("num_hidden_layers") or LAYERS
        if len(layers) != wanted:
            raise ValueError(f"it has {len(layers)} layers, not the {wanted} that are said there")
    least, own = least_parameters(config), sum(math.prod(each) for each in shapes.values())
    if own < least:
        raise ValueError(f"it holds {own:,} numbers, and the network that is said has {least:,}")


def check_whole(shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    """Whether weights hold all tensors of a network, in their shapes. More of them are not read.

    Raises:
        ValueError: they do not; the text names the first.
    """
    for name, shape in sorted(wanted.items()):
        if name not in shapes and not name.startswith(UNUSED):
            raise ValueError(f"weights of another network: no {name}")
        if shapes.get(name, shape) != shape:
            raise ValueError(f"weights of another network: another shape of {name}")
