"""The small network of Real-ESRGAN, after its published description: it makes sides ×4.

The names of the parameters are those of the published weights. Imported late, as torch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional
from typing_extensions import override

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 4


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


def make_network(config: dict[str, Any]) -> nn.Module:
    """The network that a configuration describes.

    Raises:
        ValueError: it describes another.
        KeyError: it says too little.
    """
    if config["network"] != "compact":
        raise ValueError("unknown network")
    return CompactNetwork(features=int(config["features"]), blocks=int(config["blocks"]))
