"""Folders of networks that make maps: which there are, told from their JSON and weights' header.

Both sides use it: the library to refuse what is none, the agent to load nothing else. The classes
that load them are named here and never read from the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.taxonomy import Architecture

CONFIG_NAME, PROCESSOR_NAME = "config.json", "preprocessor_config.json"
WEIGHTS_NAME = "model.safetensors"
# Pixels of a side that a network reads; the published ones read 518, 384 and 256 × 192.
READ_SIDE_MIN, READ_SIDE_MAX = 16, 518
JOINTS = 17  # as COCO counts them
# What would have transformers fetch something, or run what came with the files.
_FORBIDDEN = ("auto_map", "use_timm_backbone", "use_pretrained_backbone", "custom_pipelines")
_SIDES = 2
# What a network of its weights' size could still ask for without end: layers to build, tokens to
# look at, how far features are spread. Published ones keep far below.
NUMBER_MAX, LIST_MAX = 16_384, 1_000
_MOST: Mapping[str, float] = MappingProxyType(
    {
        "num_hidden_layers": 64,
        "depths": 64,
        "num_experts": 16,
        "out_indices": 64,
        "image_size": 1_024,
        "reassemble_factors": 8,
        "scale_factor": 8,
    }
)
_LEAST: Mapping[str, float] = MappingProxyType({"patch_size": 8})
_MULTIPLE_MAX = 64
# Only the resizing to a size is bounded above; what else changes a size is not used by any.
_RESIZING: Mapping[str, bool] = MappingProxyType(
    {"do_resize": True, "do_affine_transform": True, "do_pad": False, "do_center_crop": False}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A class of transformers, what it may look at a picture with, and a tensor it must have."""

    class_name: str
    backbones: frozenset[str | None]
    sign: str
    reads: int  # a side, where the processor's file does not say


NETWORKS: Mapping[Architecture, Network] = MappingProxyType(
    {
        Architecture.DEPTH_ANYTHING: Network(
            class_name="DepthAnythingForDepthEstimation",
            backbones=frozenset({None, "dinov2"}),
            sign="head.conv3.weight",
            reads=518,
        ),
        Architecture.DPT: Network(
            class_name="DPTForDepthEstimation",
            backbones=frozenset({None, "bit", "dinov2"}),
            sign="head.head.0.weight",
            reads=384,
        ),
        Architecture.VITPOSE: Network(
            class_name="VitPoseForPoseEstimation",
            backbones=frozenset({None, "vitpose_backbone"}),
            sign="head.conv.weight",
            reads=256,
        ),
    }
)


def architecture_of(config: Mapping[str, object]) -> Architecture:
    """The network that a `config.json` of transformers describes.

    Raises:
        ValueError: none of those that make maps; the text says why.
    """
    named = str(config.get("model_type"))[:40]
    network = NETWORKS.get(Architecture(named)) if named in set(Architecture) else None
    if network is None:
        known = ", ".join(NETWORKS)
        raise ValueError(f"{CONFIG_NAME} says model_type {named}; known map makers are: {known}")
    classes = config.get("architectures")
    if classes != [network.class_name]:
        raise ValueError(f"{CONFIG_NAME} must say architectures: [{network.class_name}]")
    inner = config.get("backbone_config") or {}
    if not isinstance(inner, dict) or inner.get("model_type") not in network.backbones:
        raise ValueError(f"{CONFIG_NAME} names a backbone that {named} is not known to have")
    for name in _FORBIDDEN:
        if config.get(name) or inner.get(name):
            raise ValueError(f"{CONFIG_NAME} says {name}; nothing is fetched or run here")
    if config.get("backbone") is not None:
        raise ValueError(f"{CONFIG_NAME} names a backbone by its address; nothing is fetched here")
    for part in (config, inner):
        for name, value in part.items():
            _check_bounds(name, value)
    return Architecture(named)


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


def _check_bounds(name: str, value: object) -> None:
    """Of one setting: a number, or all in a list."""
    values = value if isinstance(value, list) else [value]
    if len(values) > LIST_MAX:
        raise ValueError(f"{CONFIG_NAME} lists {len(values)} {name}; at most {LIST_MAX} are read")
    for each in values:
        if isinstance(each, list):
            _check_bounds(name, each)
        if not isinstance(each, int | float):
            continue
        most, least = _MOST.get(name, NUMBER_MAX), _LEAST.get(name, -NUMBER_MAX)
        if not least <= each <= most:
            message = f"{CONFIG_NAME} says {name} {each:g}; from {least:g} to {most:g} can be used"
            raise ValueError(message)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], architecture: Architecture) -> None:
    """Whether the weights end as the network does.

    Raises:
        ValueError: they do not.
    """
    network = NETWORKS[architecture]
    shape = shapes.get(network.sign)
    if shape is None:
        raise ValueError(f"it has no {network.sign}, as {network.class_name} has")
    if architecture is Architecture.VITPOSE and shape[:1] != (JOINTS,):
        raise ValueError(f"it finds {shape[0] if shape else 0} joints, not the {JOINTS} of COCO")
