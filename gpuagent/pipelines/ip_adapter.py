"""IP-Adapters: a U-Net looks at what an image encoder saw in a picture, beside the words.

diffusers lays its attention processors over a U-Net for good and copies weights into them. Here
each IP-Adapter is kept beside the models, with its image encoder, and the same processors, over its
own layers, are laid over the resident U-Net for one attempt. The same bytes come out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.steps import Watch
from gpuagent.protocol.adapter_files import read_header
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.ip_adapter_files import LAYERS, PROJECTION, encoder_of, sizes_said
from gpuagent.protocol.references import ReferenceUse

if TYPE_CHECKING:
    import torch
    from PIL import Image

IP_ADAPTER_NAME = "ip_adapter.safetensors"
ENCODER_FOLDER = "image_encoder"
_TOKENS = "image_embeds"


class IPAdapter(LoadedModel):
    """One IP-Adapter with its image encoder: loaded into host memory, then brought."""

    def __init__(self, folder: Path, engine: Engine, *, is_half: bool = False) -> None:
        from diffusers.models.embeddings import ImageProjection
        from safetensors.torch import load_file
        from transformers import CLIPVisionModelWithProjection
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        dtype = engine.dtype(is_half=is_half)
        # The classes are named here and never read from the files.
        _check_encoder(folder / ENCODER_FOLDER)
        encoder, told = CLIPVisionModelWithProjection.from_pretrained(
            folder / ENCODER_FOLDER,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if lacking := sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"]))):
            raise ValueError(f"weights of another image encoder: {lacking[0]}")
        self._encoder: Any = encoder.eval().requires_grad_(False)
        tensors = load_file(folder / IP_ADAPTER_NAME)
        laid = _module_of(tensors).to(dtype).eval().requires_grad_(False)
        self._projection, self.keys, self.values = laid
        self._is_plain = isinstance(self._projection, ImageProjection)
        side = int(encoder.config.image_size)
        # Always the one over Pillow: that over torchvision makes other bytes.
        self._processor = CLIPImageProcessorPil(size=side, crop_size=side)
        self.is_half = is_half
        self._device = engine.device
        super().__init__(
            {
                "image_encoder": Placed(self._encoder, engine.device),
                "ip_adapter": Placed(laid, engine.device),
            }
        )

    @override
    def _comes_and_goes(self, name: str) -> bool:
        return False  # the measures are those of the model it works with

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        del watch  # what its first call costs depends on the model that it works with

    def look_at(self, picture: Image.Image) -> torch.Tensor:
        """What it says of nothing and of a picture, seen together, and of the picture alone:
        (3, 1, words, width). Seen alone, its last bits are others, as they are in diffusers.
        """
        import torch

        with torch.inference_mode():
            pixels = self._processor(picture, return_tensors="pt")["pixel_values"]
            pixels = pixels.to(device=self._device, dtype=self._encoder.dtype)
            if self._is_plain:
                seen = self._encoder(pixels).image_embeds
                nothing = torch.zeros_like(seen)
            else:
                nothing, seen = (self._patches(each) for each in (torch.zeros_like(pixels), pixels))
            both = self._projection(torch.cat([nothing, seen]))
            said: torch.Tensor = torch.cat([both, self._projection(seen)])
            return said[:, None]

    def _patches(self, pixels: torch.Tensor) -> Any:  # noqa: ANN401 - transformers has no types
        return self._encoder(pixels, output_hidden_states=True).hidden_states[-2]


def _check_encoder(folder: Path) -> None:
    """Whether its weights are whole and its config is of them, before memory is taken.

    Raises:
        ValueError: they are not.
    """
    with (folder / "model.safetensors").open("rb") as file:
        sizes = encoder_of(read_header(file))
    config = json.loads((folder / "config.json").read_bytes())
    for name, size in sizes_said(sizes).items():
        if config.get(name) != size:
            raise ValueError(f"the config of another image encoder: {name}")


def _module_of(tensors: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 - torch's, which is imported late
    """The projection, and both matrices of each layer in the order of the layers' numbers."""
    import torch
    from diffusers import UNet2DConditionModel
    from torch import nn

    said = {
        name.removeprefix(PROJECTION): tensor
        for name, tensor in tensors.items()
        if name.startswith(PROJECTION)
    }
    # Which class it is and how its tensors are called there, diffusers tells only by this; of the
    # U-Net, which is its `self`, nothing is read.
    convert: Any = UNet2DConditionModel._convert_ip_adapter_image_proj_to_diffusers
    with torch.device("meta"):  # refuses what is not whole, and takes no memory
        convert(None, {name: each.to("meta") for name, each in said.items()}, False)
    projection = convert(None, said, low_cpu_mem_usage=False)
    return nn.ModuleList([projection, _matrices("to_k_ip", tensors), _matrices("to_v_ip", tensors)])


def _matrices(name: str, tensors: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 - as above
    from torch import nn

    suffix = f".{name}.weight"
    named = [key for key in tensors if key.startswith(LAYERS) and key.endswith(suffix)]
    return nn.ModuleList(
        _linear(tensors[key]) for key in sorted(named, key=lambda key: int(key.split(".")[1]))
    )


def _linear(weight: torch.Tensor) -> Any:  # noqa: ANN401 - as above
    from torch import nn

    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    # In memory of its own: where in a file a matrix begins can change last bits.
    made.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A picture that an IP-Adapter has looked at, for a share of the steps."""

    by: IPAdapter
    said: torch.Tensor
    weight: float
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def of(cls, use: ReferenceUse, by: IPAdapter, picture: Image.Image) -> Example:
        """As a recipe asks for it."""
        said = by.look_at(picture)
        return cls(by=by, said=said, weight=use.weight, start=use.start, end=use.end)

    def is_on(self, call: int, calls: int) -> bool:
        """In this call of the U-Net, counted from zero, of so many."""
        return call / calls >= self.start and (call + 1) / calls <= self.end


class Looking:
    """The layers of one U-Net that look at words, and at examples while there are some."""

    def __init__(self, unet: Any) -> None:  # noqa: ANN401 - as above
        self._unet = unet
        names = [name.removesuffix(".processor") for name in getattr(unet, "attn_processors", ())]
        # In this order their numbers are counted in files.
        looking = [unet.get_submodule(name) for name in names if not name.endswith("attn1")]
        self._layers = [layer for layer in looking if hasattr(layer, "to_k")]
        self._examples: tuple[Example, ...] = ()
        self._weights: list[float] = []

    def check(self, example: Example) -> None:
        """Whether it was made for such a U-Net.

        Raises:
            AttemptFailedError: it was not.
        """
        own = [tuple(layer.to_k.weight.shape) for layer in self._layers]
        for matrices in (example.by.keys, example.by.values):
            if not own or own != [tuple(matrix.weight.shape) for matrix in matrices]:
                raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="other layers")

    @contextmanager
    def at(self, examples: Sequence[Example]) -> Iterator[None]:
        """The layers look at them, too, while this lasts; afterwards they are as ever."""
        self._examples, self._weights = tuple(examples), [each.weight for each in examples]
        before = [layer.processor for layer in self._layers]
        words = self._unet.process_encoder_hidden_states

        def with_examples(encoder_hidden_states: Any, added_cond_kwargs: Any) -> Any:  # noqa: ANN401 - as above
            read = words(encoder_hidden_states, added_cond_kwargs)
            return read, added_cond_kwargs[_TOKENS]

        try:
            for number, layer in enumerate(self._layers):
                # Not as a module of the U-Net: what is moved with it is its own weights alone.
                layer.__dict__["processor"] = self._processor(number)
            self._unet.process_encoder_hidden_states = with_examples
            yield
        finally:
            self._unet.__dict__.pop("process_encoder_hidden_states", None)
            for layer, processor in zip(self._layers, before, strict=True):
                layer.__dict__["processor"] = processor
            self._examples, self._weights = (), []

    def look(self, call: int, calls: int, *, batch: int, without: int) -> dict[str, Any]:
        """What the U-Net is told in this call: the first of the batch, so many, see nothing."""
        for number, each in enumerate(self._examples):
            self._weights[number] = each.weight if each.is_on(call, calls) else 0
        rows = [0] * without + [1] * (batch - without) if without else [2] * batch
        return {_TOKENS: [each.said[rows] for each in self._examples]}

    def _processor(self, number: int) -> Any:  # noqa: ANN401 - as above
        """Of diffusers, over the layers of each example's IP-Adapter; weights are shared by all."""
        import torch
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

        keys, values = (
            [matrices[number] for matrices in each]
            for each in ([e.by.keys for e in self._examples], [e.by.values for e in self._examples])
        )
        with torch.device("meta"):
            made = IPAdapterAttnProcessor2_0(
                hidden_size=keys[0].out_features,
                cross_attention_dim=keys[0].in_features,
                num_tokens=[each.said.shape[2] for each in self._examples],
                scale=self._weights,
            )
        made.to_k_ip, made.to_v_ip = torch.nn.ModuleList(keys), torch.nn.ModuleList(values)
        return made
