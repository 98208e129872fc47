"""The two networks of Real-ESRGAN, after their published descriptions: both make sides ×4.

The names of the parameters are those of the published weights. Imported late, as torch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import cat, nn
from torch.nn import functional
from typing_extensions import override

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 4
_SLOPE = 0.2
_RESIDUAL = 0.2


def _conv(inward: int, outward: int) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, 1, 1)


class CompactNetwork(nn.Module):
    """`SRVGGNetCompact`: plain convolutions at the picture's own size, shuffled up at the end.

    It adds what it foresees to the picture with each pixel repeated.
    """

    def __init__(self, *, features: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, features), nn.PReLU(features)]
        for _block in range(blocks):
            layers += [_conv(features, features), nn.PReLU(features)]
        self.body = nn.ModuleList([*layers, _conv(features, 3 * SCALE**2)])

    @override
    def forward(self, picture: Tensor) -> Tensor:
        values = picture
        for layer in self.body:
            values = layer(values)
        repeated = functional.interpolate(picture, scale_factor=SCALE, mode="nearest")
        return functional.pixel_shuffle(values, SCALE) + repeated


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees all that the ones before it found."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    @override
    def forward(self, values: Tensor) -> Tensor:
        found = values
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            found = cat((found, functional.leaky_relu(conv(found), _SLOPE)), 1)
        result: Tensor = self.conv5(found) * _RESIDUAL + values
        return result


class _ResidualBlock(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(features, growth)
        self.rdb2 = _DenseBlock(features, growth)
        self.rdb3 = _DenseBlock(features, growth)

    @override
    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.rdb3(self.rdb2(self.rdb1(values))) * _RESIDUAL + values
        return result


class DenseNetwork(nn.Module):
    """`RRDBNet`: dense blocks at the picture's own size, then twice repeated and smoothed."""

    def __init__(self, *, features: int, blocks: int, growth: int) -> None:
        super().__init__()
        self.conv_first = _conv(3, features)
        self.body = nn.Sequential(*(_ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        self.conv_up1 = _conv(features, features)
        self.conv_up2 = _conv(features, features)
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3)

    @override
    def forward(self, picture: Tensor) -> Tensor:
        first = self.conv_first(picture)
        values = first + self.conv_body(self.body(first))
        for conv in (self.conv_up1, self.conv_up2):
            values = functional.interpolate(values, scale_factor=2, mode="nearest")
            values = functional.leaky_relu(conv(values), _SLOPE, inplace=True)
        values = functional.leaky_relu(self.conv_hr(values), _SLOPE, inplace=True)
        result: Tensor = self.conv_last(values)
        return result


def make_network(config: dict[str, Any]) -> nn.Module:
    """The network that a configuration describes.

    Raises:
        ValueError: it describes none of the two.
    """
    sizes = {name: int(config[name]) for name in ("features", "blocks")}
    if config["network"] == "compact":
        return CompactNetwork(**sizes)
    if config["network"] == "dense":
        return DenseNetwork(**sizes, growth=int(config["growth"]))
    raise ValueError("unknown network")
