"""The networks of ESRGAN and Real-ESRGAN, after their published descriptions.

A network is shown a tile with what is around it and gives the tile alone, enlarged. Parameters have
the names of Real-ESRGAN's published weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gpuagent.planning.upscaling import OVERLAP

if TYPE_CHECKING:
    import torch
    from torch import nn

COMPACT, RRDB = "compact", "rrdb"
_COMPACT_SCALE = 4
_OVERLAP_USUAL = 18  # of a compact network that does not say it
_DENSE = 5
# Beyond so many of its features' pixels, what follows the blocks of RRDBNet sees nothing.
_MARGIN = 2
# Rows of features that are enlarged at a time: 64 channels at sides × 4 take the most memory.
_BAND = 32


class EnlargingNetwork(ABC):
    """A network with what is to be known of it: sides × `scale`, `overlap` pixels around a tile."""

    def __init__(self, module: nn.Module, *, scale: int, overlap: int) -> None:
        self.module = module
        self.scale = scale
        self.overlap = overlap

    @abstractmethod
    def enlarge(self, seen: torch.Tensor) -> torch.Tensor:
        """Of a tile and what is around it, (1, 3, height, width), 0 to 1: the tile, enlarged."""


def make_network(config: Mapping[str, Any]) -> EnlargingNetwork:
    """The network that a configuration describes.

    Raises:
        ValueError: it describes another one.
        KeyError: it says too little.
    """
    makers: dict[str, type[Compact | Rrdb]] = {COMPACT: Compact, RRDB: Rrdb}
    maker = makers.get(config["network"])
    if maker is None:
        raise ValueError("unknown network")
    return maker(config)


class Compact(EnlargingNetwork):
    """`SRVGGNetCompact`: plain convolutions at the picture's own size, shuffled up at the end.

    What it foresees is added to the picture with each pixel repeated.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from torch import nn

        features, blocks = int(config["features"]), int(config["blocks"])
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
        for _block in range(blocks):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        module = nn.Module()
        last = nn.Conv2d(features, 3 * _COMPACT_SCALE**2, 3, 1, 1)
        module.body = nn.ModuleList([*layers, last])
        # As far as it sees, so that tiles are what the whole would be. Those with more blocks that
        # were registered before they said so look as far as they always did.
        overlap = min(int(config.get("overlap", _OVERLAP_USUAL)), blocks + 2)
        super().__init__(module, scale=_COMPACT_SCALE, overlap=overlap)

    @override
    def enlarge(self, seen: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        values, body = seen, self.module.body
        for layer in body:  # type: ignore[union-attr]  # torch types it as a tensor
            values = layer(values)
        repeated = functional.interpolate(seen, scale_factor=self.scale, mode="nearest")
        made = functional.pixel_shuffle(values, self.scale) + repeated
        return _within(made, self.overlap * self.scale)


class Rrdb(EnlargingNetwork):
    """`RRDBNet` of ESRGAN and Real-ESRGAN ×4, and ×2 with four pixels folded into one.

    It sees further than any overlap; what is beyond matters less than a rounding, on average.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from torch import nn

        self._fold, self._ups = int(config["fold"]), int(config["ups"])
        features, growth = int(config["features"]), int(config["growth"])

        def convolution(before: int, after: int) -> nn.Module:
            return nn.Conv2d(before, after, 3, 1, 1)

        def dense() -> nn.Module:
            made = nn.Module()
            for number in range(_DENSE):
                after = features if number == _DENSE - 1 else growth
                layer = convolution(features + number * growth, after)
                made.add_module(f"conv{number + 1}", layer)
            return made

        blocks = [
            nn.ModuleDict({f"rdb{number}": dense() for number in (1, 2, 3)})
            for _block in range(int(config["blocks"]))
        ]
        module = nn.Module()
        module.conv_first = convolution(3 * self._fold**2, features)
        module.body = nn.ModuleList(blocks)
        module.conv_body = convolution(features, features)
        for number in range(self._ups):
            module.add_module(f"conv_up{number + 1}", convolution(features, features))
        module.conv_hr = convolution(features, features)
        module.conv_last = convolution(features, 3)
        scale = 2**self._ups // self._fold
        super().__init__(module, scale=scale, overlap=OVERLAP * self._fold)

    @override
    def enlarge(self, seen: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        height, width = (side - 2 * self.overlap for side in seen.shape[2:])
        fold = self._fold
        if fold > 1:
            right, below = -seen.shape[3] % fold, -seen.shape[2] % fold
            seen = functional.pad(seen, (0, right, 0, below), mode="replicate")
            seen = functional.pixel_unshuffle(seen, fold)
        features = _within(self._features(seen), OVERLAP - _MARGIN)
        bands = [
            self._enlarged(features[:, :, row : row + _BAND + 2 * _MARGIN])
            for row in range(0, features.shape[2] - 2 * _MARGIN, _BAND)
        ]
        return torch.cat(bands, dim=2)[:, :, : height * self.scale, : width * self.scale]

    def _features(self, seen: torch.Tensor) -> torch.Tensor:
        module: Any = self.module
        first = features = module.conv_first(seen)
        for block in module.body:
            inner = features
            for dense in block.values():
                inner = _dense(dense, inner) * 0.2 + inner
            features = inner * 0.2 + features
        made: torch.Tensor = first + module.conv_body(features)
        return made

    def _enlarged(self, features: torch.Tensor) -> torch.Tensor:
        """A band of features as pixels, without the margin around it."""
        from torch.nn import functional

        module: Any = self.module
        for number in range(self._ups):
            larger = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = _leaky(getattr(module, f"conv_up{number + 1}")(larger))
        made: torch.Tensor = module.conv_last(_leaky(module.conv_hr(features)))
        return _within(made, _MARGIN * 2**self._ups)


def _dense(module: Any, inner: torch.Tensor) -> torch.Tensor:  # noqa: ANN401  # no types
    """Each convolution reads what all before it made."""
    import torch

    made = [inner]
    for number in range(1, _DENSE):
        made.append(_leaky(getattr(module, f"conv{number}")(torch.cat(made, 1))))
    last: torch.Tensor = getattr(module, f"conv{_DENSE}")(torch.cat(made, 1))
    return last


def _leaky(values: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.leaky_relu(values, 0.2, inplace=True)


def _within(values: torch.Tensor, edge: int) -> torch.Tensor:
    """Without so many pixels at each side."""
    return values[:, :, edge:-edge, edge:-edge]
