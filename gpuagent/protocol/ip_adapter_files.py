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
_DEPTH = 4
_WORDS = 4  # that a plain one makes of a picture
_HEAD = 64  # numbers of a resampler's head
_FACES = {"perceiver_resampler.proj_in.weight", "norm.weight"}
_LOOKS = re.compile(r"(down|up|mid)_block(?:s\.(\d+))?\.attentions\.(\d+)\..*\.(\d+)\.attn2\.to_k$")
_WAYS = ("down", "up", "mid")
_PATCHES = "vision_model.embeddings.patch_embedding.weight"
_PLACES = "vision_model.embeddings.position_embedding.weight"
_PROJECTED = "visual_projection.weight"
_LAYER = "vision_model.encoder.layers.{}."
_INNER = f"{_LAYER}mlp.fc1.weight"
_OF_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.")
_ENCODER_LAYERS_MAX = 128
# Published ones read 224 to 448 pixels in up to 1,024 patches.
_SIDE_MAX, _PLACES_MAX = 1_024, 4_096
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
            _check_depth(own)
            reads, says = own.get(first, ()), own.get(last, ())
            if len(reads) == 2 and says and all(reads) and all(says):
                _check_projection(own, sign, reads, says[0])
                return Wanted(width=reads[1], spoken=says[0], is_projected=is_projected)
            raise AdapterUnfitError("its projection is not whole")
    if _FACES & set(own):
        raise AdapterUnfitError("it looks at faces (FaceID), which nothing here can find")
    raise AdapterUnfitError("its projection is of no known kind")


def _check_projection(own: Mapping[str, Shape], sign: str, reads: Shape, spoken: int) -> None:
    """All tensors that diffusers builds of these sizes. A resampler's have two namings; of the
    newer one the sizes alone are looked at here, and the rest where it is loaded.
    """
    seen = reads[1]
    wanted: dict[str, Shape] = {}
    if sign == "proj.weight":
        wanted = {sign: (_WORDS * spoken, seen), "proj.bias": (_WORDS * spoken,)}
        wanted |= _norm("norm", spoken)
    elif sign == "proj.3.weight":
        wanted = {"proj.0.weight": (seen, seen), "proj.0.bias": (seen,)}
        wanted |= {"proj.2.weight": (spoken, seen), "proj.2.bias": (spoken,)}
        wanted |= _norm("proj.3", spoken)
    else:
        latents = own["latents"]
        if len(latents) != 3 or not all(latents):
            raise AdapterUnfitError("its projection is not whole")
        wanted = _resampler(own, latents[2], seen, spoken)
    _check_whole(own, wanted, "projection")


def _resampler(own: Mapping[str, Shape], inner: int, seen: int, spoken: int) -> dict[str, Shape]:
    wanted: dict[str, Shape] = {"proj_in.weight": (inner, seen), "proj_in.bias": (inner,)}
    wanted |= {"proj_out.weight": (spoken, inner), "proj_out.bias": (spoken,)}
    wanted |= _norm("norm_out", spoken)
    if any("attn" in name for name in own):
        return wanted
    looked = own.get("layers.0.0.to_q.weight", (0,))[0]
    if not looked or looked % _HEAD:
        raise AdapterUnfitError("its resampler looks in no heads that can be read")
    for layer in (f"layers.{number}" for number in range(_DEPTH)):
        for norm in (f"{layer}.0.norm1", f"{layer}.0.norm2", f"{layer}.1.0"):
            wanted |= _norm(norm, inner)
        wanted[f"{layer}.0.to_q.weight"] = (looked, inner)
        wanted[f"{layer}.0.to_kv.weight"] = (2 * looked, inner)
        wanted[f"{layer}.0.to_out.weight"] = (inner, looked)
        wanted[f"{layer}.1.1.weight"] = (4 * inner, inner)
        wanted[f"{layer}.1.3.weight"] = (inner, 4 * inner)
    return wanted


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _check_depth(projection: Mapping[str, Shape]) -> None:
    """A resampler has as many layers as diffusers builds."""
    depth = len({name.split(".")[1] for name in projection if name.startswith("layers.")})
    if "latents" in projection and depth != _DEPTH:
        raise AdapterUnfitError(f"its resampler has {depth} layers; {_DEPTH} can be read")


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
    layers = len({match[1] for name in shapes if (match := _OF_LAYER.match(name))})
    if layers > _ENCODER_LAYERS_MAX:
        raise AdapterUnfitError(f"it has {layers} layers; {_ENCODER_LAYERS_MAX} can be read")
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
    sizes = (width, patch, found.projected, found.inner, layers)
    if not all(sizes) or math.isqrt(places) ** 2 != places:
        raise AdapterUnfitError("its sizes do not belong together")
    if found.side > _SIDE_MAX or places > _PLACES_MAX:
        raise AdapterUnfitError(
            f"it reads pictures of {found.side:,} pixels a side in {places:,} patches; at most "
            f"{_SIDE_MAX:,} in {_PLACES_MAX:,} are read"
        )
    _check_whole(shapes, _encoder_shapes(found, places), "image encoder")
    return found


def _encoder_shapes(encoder: Encoder, places: int) -> dict[str, Shape]:
    """All tensors of an encoder of these sizes: what is not there would be filled in at random."""
    width, inner = encoder.width, encoder.inner
    wanted: dict[str, Shape] = {
        _PATCHES: (width, 3, encoder.patch, encoder.patch),
        _PLACES: (places + 1, width),
        _PROJECTED: (encoder.projected, width),
        "vision_model.embeddings.class_embedding": (width,),
    }
    matrices = {f"self_attn.{each}_proj": (width, width) for each in ("q", "k", "v", "out")}
    matrices |= {"mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}
    norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm"]
    for number in range(encoder.layers):
        layer = _LAYER.format(number)
        norms += [f"{layer}layer_norm1", f"{layer}layer_norm2"]
        for name, shape in matrices.items():
            wanted |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    for name in norms:
        wanted |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return wanted


def _check_whole(shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], label: str) -> None:
    for name, shape in sorted(wanted.items()):
        if name not in shapes:
            raise AdapterUnfitError(f"it is no whole {label}: it lacks {name!r}")
        if shapes[name] != shape:
            its, right = (" × ".join(map(str, each)) for each in (shapes[name], shape))
            raise AdapterUnfitError(f"it is no whole {label}: {name!r} is {its}, not {right}")


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
        "num_attention_heads": heads,
        "hidden_act": activation,
        **sizes_said(encoder),
    }


def sizes_said(encoder: Encoder) -> dict[str, int]:
    """As its config must have them."""
    return {
        "hidden_size": encoder.width,
        "intermediate_size": encoder.inner,
        "num_hidden_layers": encoder.layers,
        "image_size": encoder.side,
        "patch_size": encoder.patch,
        "projection_dim": encoder.projected,
    }
