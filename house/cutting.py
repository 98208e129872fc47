"""Pictures with the true mask of their objects, and how well a mask is met."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from house.drawing.objects import HELD_OUT
from house.drawing.render import Pixels, draw_layers
from house.drawing.specs import COLOURS, Item, Spec, pick, random_spec

# Shares of the pictures: on a backdrop that is no scene, through JPEG, mirrored, cut out of.
ELSEWHERE, JPEG, MIRRORED, CROPPED = 0.3, 0.25, 0.5, 0.7
# A crop's side as a share of the picture's.
CROPS = (0.62, 1.0)
JPEG_QUALITIES = (40, 92)
# Of all the seeds of drawings, these are for measuring.
MEASURED_FROM = 5_000_000
HELD_OUT_COLOUR = "teal"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Masked:
    """Pictures `[n, 3, h, w]` of 0 to 1 and the coverage `[n, 1, h, w]` of what stands in them."""

    pictures: torch.Tensor
    masks: torch.Tensor


def draw_batch(seed: int, step: int, count: int, side: int) -> Masked:
    """What one step learns from: drawings on many backdrops, mirrored, cut, spoilt by JPEG."""
    rng = np.random.default_rng((seed, step))
    pictures, masks = [], []
    for _ in range(count):
        picture, mask = _one(rng, side)
        pictures.append(picture)
        masks.append(mask[..., None])
    return Masked(_as_values(np.stack(pictures)), _as_values(np.stack(masks)))


def measured_specs(count: int, *, kinds: bool = False, colour: bool = False) -> list[Spec]:
    """What to measure with: unseen combinations; or kinds, or a colour, that were never trained."""
    rng = np.random.default_rng(MEASURED_FROM)
    specs = [random_spec(rng, unseen=True) for _ in range(count)]
    if not (kinds or colour):
        return specs
    return [
        Spec((_unseen_item(rng, spec.items[0].kind, kinds, colour),), spec.background, spec.style)
        for spec in specs
    ]


def _unseen_item(rng: np.random.Generator, kind: str, kinds: bool, colour: bool) -> Item:
    return Item(
        pick(rng, tuple(HELD_OUT)) if kinds else kind,
        HELD_OUT_COLOUR if colour else pick(rng, COLOURS),
    )


def drawn_masked(specs: list[Spec], size: int = 128) -> Masked:
    """These pictures, each from its own random stream, with their masks."""
    layers = [
        draw_layers(spec, np.random.default_rng((MEASURED_FROM, number)), size)
        for number, spec in enumerate(specs)
    ]
    return Masked(
        _as_values(np.stack([picture for picture, _alone in layers])),
        _as_values(np.stack([alone[..., 3:] for _picture, alone in layers])),
    )


def overlap(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Intersection over union `[n]` of masks `[n, 1, h, w]`, each cut at one half."""
    first, second = found > 0.5, true > 0.5
    both = (first & second).sum((1, 2, 3)).float()
    return both / (first | second).sum((1, 2, 3)).clamp(min=1)


def _one(rng: np.random.Generator, side: int) -> tuple[Pixels, Pixels]:
    drawn = round(side / rng.uniform(*CROPS)) if rng.random() < CROPPED else side
    picture, alone = draw_layers(random_spec(rng), rng, drawn)
    if rng.random() < ELSEWHERE:
        picture = _lay(alone, _backdrop(rng, drawn))
    top, left = (int(rng.integers(drawn - side + 1)) for _ in range(2))
    cut = np.s_[top : top + side, left : left + side]
    picture, mask = picture[cut], alone[..., 3][cut]
    if rng.random() < MIRRORED:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    if rng.random() < JPEG:
        picture = _through_jpeg(picture, int(rng.integers(*JPEG_QUALITIES)))
    return picture, mask


def _backdrop(rng: np.random.Generator, side: int) -> Floats:
    """A plain tone, a slope, soft patches or stripes, with some grain. Values 0 to 255."""
    cells = int(rng.choice((1, 2, 4, 9)))
    patches = torch.from_numpy(rng.uniform(0, 255, (1, 3, cells, cells)).astype(np.float32))
    mode = "nearest" if cells == 4 and rng.random() < 0.5 else "bicubic"
    grown = F.interpolate(patches, (side, side), mode=mode)[0].permute(1, 2, 0).numpy()
    grain = rng.standard_normal((side, side, 1)) * rng.uniform(0, 14)
    values: Floats = np.clip(grown + grain, 0, 255).astype(np.float32)
    return values


def _lay(alone: Pixels, backdrop: Floats) -> Pixels:
    """Objects over another backdrop; their colours are multiplied by their coverage already."""
    left = 1 - alone[..., 3:].astype(np.float32) / 255
    made: Pixels = (alone[..., :3] + backdrop * left).round().clip(0, 255).astype(np.uint8)
    return made


def _through_jpeg(picture: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _as_values(pixels: Pixels) -> torch.Tensor:
    """`[n, h, w, c]` of 0 to 255 as `[n, c, h, w]` of 0 to 1."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()
