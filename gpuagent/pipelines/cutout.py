"""Taking the background away: where the objects are, then a picture of them alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from typing_extensions import override

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.matte import GUIDED_REACH, Guide, Nearby, bands, softened
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.preview import Floats
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.u2net import make_network, normalized, run_network
from gpuagent.pipelines.upscale import peek_at
from gpuagent.planning.cutting import REFINE_SIDE, steps_of
from gpuagent.protocol.cutouts import CutoutResult

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "config.json"
CUTTER_NAME = "cutout.safetensors"
_SIDE_MIN = 32
# A side is at most so many times what a square's would be; the other is the shorter for it.
_LONGEST = 4


class Cutter(LoadedModel):
    """One network: loaded into host memory, then brought to the device. It is never halved."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        from safetensors.torch import load_file

        weights = load_file(folder / CUTTER_NAME)
        network = make_network({name: tuple(value.shape) for name, value in weights.items()})
        # Files may leave out or have how many batches were counted; all else was just checked.
        network.load_state_dict(weights, strict=False)
        self._side = int(json.loads((folder / CONFIG_NAME).read_bytes())["side"])
        self._dtype = engine.dtype()
        self._network = network.to(self._dtype).eval().requires_grad_(False)
        self._engine = engine
        # No measure is needed for so small a picture.
        super().__init__({"cutter": Placed(self._network, engine.device)})

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        self.cut(Image.new("RGB", (_SIDE_MIN, _SIDE_MIN), "gray"), watch=watch)

    def cut(
        self,
        picture: Image.Image,
        *,
        edge: int = 0,
        result: CutoutResult = CutoutResult.PICTURE,
        watch: Watch | None = None,
    ) -> Pixels:
        """The objects alone, RGBA at the picture's size; or the mask, gray. Same picture, same
        pixels. Steps are the network, then bands of rows.

        Raises:
            Exception: whatever `watch.check` raises, before the next step.
        """
        watch = watch or Watch()
        colors = np.asarray(picture.convert("RGB"))
        height, width = colors.shape[:2]
        steps, done, peek = steps_of(height), 1, peek_at(picture)
        watch.check()
        found = self.find(picture)
        watch.step(done, steps, peek)
        small, guide = self._guide(picture, found)
        alpha: Pixels = np.empty((height, width), dtype=np.uint8)
        for rows in bands(height):
            watch.check()
            alpha[rows] = guide.follow(colors[rows], rows, height)
            done += 1
            watch.step(done, steps, peek)
        alpha = softened(alpha, edge)
        if result is CutoutResult.MASK:
            return alpha
        nearby = Nearby.of(small, self._small_mask(alpha, small))
        made = np.empty((height, width, 4), dtype=np.uint8)
        for rows in bands(height):
            watch.check()
            made[rows, :, :3] = nearby.clean(colors[rows], alpha[rows], rows, height)
            made[rows, :, 3] = alpha[rows]
            done += 1
            watch.step(done, steps, peek)
        return made

    def find(self, picture: Image.Image) -> Floats:
        """Where the objects are: a mask of 0 to 1, as large as the network reads the picture."""
        import torch

        size = read_size(picture.width, picture.height, self._side)
        small = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        with torch.inference_mode():
            values = normalized(self._values(small)).to(self._dtype)
            logits = run_network(self._network, values)[0]
            found: Floats = torch.sigmoid(logits.float())[0, 0].cpu().numpy()
        return found

    def _guide(self, picture: Image.Image, found: Floats) -> tuple[torch.Tensor, Guide]:
        """The picture at the size at which masks are sharpened, and how the mask follows it."""
        import torch

        size = refine_size(picture.width, picture.height)
        small = self._values(
            picture.convert("RGB").resize(size, Image.Resampling.BOX, reducing_gap=3.0)
        )
        mask = torch.from_numpy(found).to(small.device)[None, None]
        mask = torch.nn.functional.interpolate(
            mask, size=(size[1], size[0]), mode="bicubic", align_corners=False
        ).clamp(0, 1)
        reach = max(1, round(GUIDED_REACH * size[0] / found.shape[1]))
        return small, Guide.of(small, mask, reach)

    def _small_mask(self, alpha: Pixels, small: torch.Tensor) -> torch.Tensor:
        import torch

        size = (small.shape[3], small.shape[2])
        shrunk = np.array(Image.fromarray(alpha).resize(size, Image.Resampling.BOX))
        return torch.from_numpy(shrunk).to(small.device)[None, None].float() / 255

    def _values(self, picture: Image.Image) -> torch.Tensor:
        import torch

        pixels = torch.from_numpy(np.array(picture)).to(self._engine.device)
        return pixels.permute(2, 0, 1)[None].float() / 255


def read_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The size at which the network reads a picture: as many pixels as its square, its form."""
    share = side / math.sqrt(width * height)
    longest = side * _LONGEST
    return (
        min(longest, max(_SIDE_MIN, round(width * share))),
        min(longest, max(_SIDE_MIN, round(height * share))),
    )


def refine_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a mask is sharpened: the picture's, or a smaller one."""
    share = min(1.0, REFINE_SIDE / math.sqrt(width * height))
    return max(1, round(width * share)), max(1, round(height * share))
