"""Networks that make maps of pictures: how near everything is, or how somebody stands."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from typing_extensions import override

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.skeleton import draw_skeleton, to_openpose
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.upscale import peek_at
from gpuagent.protocol.adapter_files import Shape, read_header
from gpuagent.protocol.mapper_config import CONFIG_NAME
from gpuagent.protocol.mapper_files import (
    NETWORKS,
    PROCESSOR_NAME,
    UNUSED,
    WEIGHTS_NAME,
    check_shapes,
    check_whole,
    clean_config,
    clean_processor,
)
from gpuagent.protocol.taxonomy import MAPPED, Architecture, ControlKind

if TYPE_CHECKING:
    from gpuagent.pipelines.preview import Floats

_PART = "mapper"
_SIDE = 64
# The form of a picture is kept for the network up to this; a longer one is squeezed into its
# square, so that memory does not grow with it.
_LONGEST = 2
# How sure the network must be of a joint, from 0 to 1; what the published examples take.
_SEEN = 0.3


class Mapper(LoadedModel):
    """One network of transformers, with what prepares a picture for it."""

    def __init__(self, folder: Path, engine: Engine, *, is_half: bool = False) -> None:
        config = clean_config(json.loads((folder / CONFIG_NAME).read_bytes()))
        architecture = Architecture(str(config["model_type"]))
        prepared = json.loads((folder / PROCESSOR_NAME).read_bytes())
        processor = clean_processor(prepared, architecture)
        network = _network_of(folder / WEIGHTS_NAME, config, engine.dtype(is_half=is_half))
        self.architecture = architecture
        self.is_half = is_half
        self._network: Any = network
        self._processor: Any = _processor_of(architecture)(**processor)
        super().__init__({_PART: Placed(self._network, engine.device)})

    @property
    def kind(self) -> ControlKind:
        """Of its maps."""
        return MAPPED[self.architecture]

    @override
    def _comes_and_goes(self, name: str) -> bool:
        return False  # the measures are those of the model that is guided

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        self.make(Image.new("RGB", (_SIDE, _SIDE), "gray"), watch=watch)

    def make(self, picture: Image.Image, *, watch: Watch | None = None) -> Pixels:
        """The map of a picture, RGB at its size, in one step. Same picture, same pixels.

        Raises:
            Exception: whatever `watch.check` raises, before it begins.
        """
        import torch

        watch = watch or Watch()
        watch.check()
        with torch.inference_mode():
            drawn = self._draw(picture.convert("RGB"))
        watch.step(1, 1, peek_at(picture))
        return np.array(drawn.convert("RGB"))

    @abstractmethod
    def _draw(self, picture: Image.Image) -> Image.Image:
        """As ControlNets read it."""

    def _values(self, prepared: Any) -> Any:  # noqa: ANN401 - tensors of torch, imported late
        network = self._network
        return prepared["pixel_values"].to(device=network.device, dtype=network.dtype)


class DepthMapper(Mapper):
    """How near everything is: white is nearest."""

    @override
    def _draw(self, picture: Image.Image) -> Image.Image:
        import torch

        more: dict[str, object] = {}
        if max(picture.size) > _LONGEST * min(picture.size):
            more["keep_aspect_ratio"] = False
        prepared = self._processor(images=picture, return_tensors="pt", **more)
        depth = self._network(pixel_values=self._values(prepared)).predicted_depth
        depth = torch.nn.functional.interpolate(
            depth.float()[:, None],
            size=(picture.height, picture.width),
            mode="bicubic",
            align_corners=False,
        )[0, 0]
        values: Floats = depth.cpu().numpy()
        is_metric = getattr(self._network.config, "depth_estimation_type", "") == "metric"
        return near_is_white(-values if is_metric else values)


class PoseMapper(Mapper):
    """How somebody stands: the picture is taken to show one person."""

    @override
    def _draw(self, picture: Image.Image) -> Image.Image:
        import torch

        boxes = [[[0.0, 0.0, float(picture.width), float(picture.height)]]]
        prepared = self._processor(images=picture, boxes=boxes, return_tensors="pt")
        more: dict[str, object] = {}
        if self._network.config.backbone_config.num_experts > 1:  # the first learned from COCO
            more["dataset_index"] = torch.zeros(1, dtype=torch.long, device=self._network.device)
        found = self._network(pixel_values=self._values(prepared), **more)
        found.heatmaps = found.heatmaps.float()
        ((person,),) = self._processor.post_process_pose_estimation(found, boxes=boxes)
        joints = [
            (float(x), float(y)) if score > _SEEN else None
            for (x, y), score in zip(person["keypoints"], person["scores"], strict=True)
        ]
        return draw_skeleton(to_openpose(joints), picture.size)


def near_is_white(values: Floats) -> Image.Image:
    """From the farthest, black, to the nearest, which has the largest value."""
    least, most = float(values.min()), float(values.max())
    if not most > least:
        return Image.new("L", (values.shape[1], values.shape[0]))
    shares = (values - values.min()) / (values.max() - values.min())
    return Image.fromarray((shares * 255).astype(np.uint8))


def load_mapper(
    architecture: Architecture, folder: Path, engine: Engine, *, is_half: bool = False
) -> Mapper:
    """The network of a folder, if it is of this architecture."""
    make = DepthMapper if MAPPED[architecture] is ControlKind.DEPTH else PoseMapper
    mapper = make(folder, engine, is_half=is_half)
    if mapper.architecture is not architecture:
        raise ValueError(f"another network than {architecture}")
    return mapper


def _network_of(weights: Path, config: Mapping[str, object], dtype: Any) -> Any:  # noqa: ANN401 - of torch and transformers, imported late
    """Built of a clean config alone, after the header of the weights was found to be whole.

    Before that nothing takes memory, and what transformers is given is neither folder nor name: it
    looks for no further file.
    """
    import torch
    import transformers
    from safetensors.torch import load_file

    # The class is one of three that are named there, and never what the files say.
    made_by = getattr(transformers, NETWORKS[Architecture(str(config["model_type"]))].class_name)
    built_by = made_by.config_class.from_dict(dict(config))
    with weights.open("rb") as file:
        shapes = read_header(file).shapes
    check_shapes(shapes, config)
    with torch.device("meta"):
        check_whole(shapes, _shapes_as_published(made_by(copy.deepcopy(built_by))))
    network, told = made_by.from_pretrained(
        None,
        config=built_by,
        state_dict=load_file(weights),
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    lacking = sorted((*told["missing_keys"], *told["mismatched_keys"]))
    if lacking := [name for name in lacking if not str(name).startswith(UNUSED)]:
        raise ValueError(f"weights of another network: {lacking[0]}")
    return network.eval().requires_grad_(False)


def _shapes_as_published(network: Any) -> dict[str, Shape]:  # noqa: ANN401 - as above
    """Under the names in files, which newer classes of transformers have others for."""
    from transformers.core_model_loading import revert_weight_conversion

    named = revert_weight_conversion(network, network.state_dict())
    return {name: tuple(tensor.shape) for name, tensor in named.items()}


def _processor_of(architecture: Architecture) -> Any:  # noqa: ANN401 - a class of transformers
    """Those that need no torchvision."""
    if MAPPED[architecture] is ControlKind.OPENPOSE:
        from transformers.models.vitpose.image_processing_pil_vitpose import (
            VitPoseImageProcessorPil,
        )

        return VitPoseImageProcessorPil
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    return DPTImageProcessorPil
