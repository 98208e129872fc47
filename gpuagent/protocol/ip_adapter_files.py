"""What files of IP-Adapters and of their image encoders hold, from names and shapes alone. Pure.

An IP-Adapter has a projection, which makes words of what the image encoder saw, and two matrices
for each layer of a U-Net that looks at words. Published ones number these layers 1, 3, 5, …: first
the way down, then the way up, then the middle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.adapter_files import AdapterUnfitError, Bases, Header, Shape

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
# How kinds are told apart, and the tensors whose shapes say what goes in and what comes out: plain
# ones, full ones, and those with a resampler (plus).
_KINDS = (
    ("proj.weight", "proj.weight", "norm.weight", True),
    ("proj.3.weight", "proj.0.weight", "proj.3.weight", False),
    ("latents", "proj_in.weight", "proj_out.weight", False),
)
_FACES = {"perceiver_resampler.proj_in.weight", "norm.weight"}
_LOOKS = re.compile(r"(down|up|mid)_block(?:s\.(\d+))?\.attentions\.(\d+)\..*\.(\d+)\.attn2\.to_k$")
_WAYS = ("down", "up", "mid")
_PATCHES = "vision_model.embeddings.patch_embedding.weight"
_PLACES = "vision_model.embeddings.position_embedding.weight"
_PROJECTED = "visual_projection.weight"
_INNER = "vision_model.encoder.layers.{}.mlp.fc1.weight"
_ENCODER_LAYERS_MAX = 128
# Heads and activation, which no header tells: of the encoders that IP-Adapters are published for
# (ViT-L of OpenAI, ViT-H and ViT-bigG of OpenCLIP), by their width.
_KNOWN: Mapping[int, tuple[int, str]] = MappingProxyType(
    {1_024: (16, "quick_gelu"), 1_280: (16, "gelu"), 1_664: (16, "gelu")}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an IP-Adapter reads of a picture: so many numbers, of the encoder's last word on it
    (`is_projected`) or of each patch. What it makes of them are words `spoken` numbers wide.
    """

    width: int
    spoken: int
    is_projected: bool

    @property
    def said(self) -> str:
        """`1,280 numbers for each patch`."""
        return f"{self.width:,} numbers for {'a picture' if self.is_projected else 'each patch'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """The sizes of an image encoder (CLIPVisionModelWithProjection)."""

    width: int
    projected: int
    layers: int
    inner: int
    patch: int
    side: int

    def serves(self, wanted: Wanted) -> bool:
        """Whether an IP-Adapter reads what this one gives."""
        return wanted.width == (self.projected if wanted.is_projected else self.width)


def is_ip_adapter(header: Header) -> bool:
    """Whether it is laid out like the published ones."""
    has = [any(name.startswith(part) for name in header.shapes) for part in (PROJECTION, LAYERS)]
    return all(has)


def wanted_by(header: Header) -> Wanted:
    """What it reads of a picture.

    Raises:
        AdapterUnfitError: it is of a kind that cannot be used.
    """
    own = {
        name.removeprefix(PROJECTION): shape
        for name, shape in header.shapes.items()
        if name.startswith(PROJECTION)
    }
    for sign, first, last, is_projected in _KINDS:
        if sign in own:
            reads, says = own.get(first, ()), own.get(last, ())
            if len(reads) == 2 and says:
                return Wanted(width=reads[1], spoken=says[0], is_projected=is_projected)
            raise AdapterUnfitError("its projection is not whole")
    if _FACES & set(own):
        raise AdapterUnfitError("it looks at faces (FaceID), which nothing here can find")
    raise AdapterUnfitError("its projection is of no known kind")


def check_ip_adapter(header: Header, bases: Bases) -> None:
    """Check that it has two matrices for each layer of the U-Net that looks at words, and no more.

    Raises:
        AdapterUnfitError: it has not; the text says where.
    """
    spoken = wanted_by(header).spoken
    layers = looking_layers(bases.get("unet", {}))
    if not layers:
        raise AdapterUnfitError("the model has no U-Net that looks at words")
    if spoken != layers[0][-1]:
        raise AdapterUnfitError(
            f"its words are {spoken:,} numbers wide, and the model's {layers[0][-1]:,}"
        )
    wanted: dict[str, Shape] = {}
    for number, shape in enumerate(layers):
        for matrix in ("to_k_ip", "to_v_ip"):
            wanted[f"{LAYERS}{2 * number + 1}.{matrix}.weight"] = shape
    own = {name: shape for name, shape in header.shapes.items() if name.startswith(LAYERS)}
    if len(own) != len(wanted):
        raise AdapterUnfitError(
            f"it is for {len(own) // 2} layers, and the model has {len(layers)}"
        )
    for name, shape in wanted.items():
        if own.get(name) != shape:
            its, models = (" × ".join(map(str, each)) for each in (own.get(name, ()), shape))
            raise AdapterUnfitError(
                f"{name!r} is {its or 'missing'}, and the model's layer is {models}"
            )


def looking_layers(unet: Mapping[str, Shape]) -> list[Shape]:
    """Shapes of a U-Net's layers that look at words, in the order of IP-Adapters' numbers."""
    found: list[tuple[list[int], Shape]] = []
    for name, shape in unet.items():
        if match := _LOOKS.match(name):
            way, *places = match.groups()
            found.append(([_WAYS.index(way), *(int(place or 0) for place in places)], shape))
    return [shape for _place, shape in sorted(found)]


def is_image_encoder(header: Header) -> bool:
    """Whether it is a CLIP encoder of pictures with its projection."""
    return {_PATCHES, _PLACES, _PROJECTED} <= set(header.shapes)


def encoder_of(header: Header) -> Encoder:
    """Its sizes.

    Raises:
        AdapterUnfitError: they do not belong together.
    """
    shapes = header.shapes
    layers = 0
    while layers < _ENCODER_LAYERS_MAX and _INNER.format(layers) in shapes:
        layers += 1
    try:
        width, _colors, patch, _patch = shapes[_PATCHES]
        places = shapes[_PLACES][0] - 1  # one is for the whole picture
        found = Encoder(
            width=width,
            projected=shapes[_PROJECTED][0],
            layers=layers,
            inner=shapes[_INNER.format(0)][0],
            patch=patch,
            side=math.isqrt(places) * patch,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise AdapterUnfitError("it is no whole image encoder") from error
    if not all((width, patch, found.projected, found.inner)) or math.isqrt(places) ** 2 != places:
        raise AdapterUnfitError("its sizes do not belong together")
    return found


def encoder_config(encoder: Encoder) -> dict[str, object]:
    """The config of an encoder that came without one.

    Raises:
        AdapterUnfitError: it is none that is known, so its heads cannot be told.
    """
    if encoder.width not in _KNOWN:
        raise AdapterUnfitError(
            f"an encoder {encoder.width:,} wide is not known here; its config.json must come along"
        )
    heads, activation = _KNOWN[encoder.width]
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": encoder.width,
        "intermediate_size": encoder.inner,
        "num_hidden_layers": encoder.layers,
        "num_attention_heads": heads,
        "hidden_act": activation,
        "image_size": encoder.side,
        "patch_size": encoder.patch,
        "projection_dim": encoder.projected,
    }
