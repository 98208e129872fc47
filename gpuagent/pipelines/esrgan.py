"""The small network of Real-ESRGAN, `SRVGGNetCompact`, after its published description.

Plain convolutions at the picture's own size, shuffled up at the end to sides ×4; what it foresees
is added to the picture with each pixel repeated. The names of the parameters are those of the
published weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

SCALE = 4


def make_network(config: dict[str, Any]) -> nn.Module:
    """The layers that a configuration describes, in their order under `body`.

    Raises:
        ValueError: it describes another network.
        KeyError: it says too little.
    """
    from torch import nn

    if config["network"] != "compact":
        raise ValueError("unknown network")
    features, blocks = int(config["features"]), int(config["blocks"])
    layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
    for _block in range(blocks):
        layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
    network = nn.Module()
    network.body = nn.ModuleList([*layers, nn.Conv2d(features, 3 * SCALE**2, 3, 1, 1)])
    return network


def run_network(network: Any, picture: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - no types
    """A picture of values 0 to 1, (1, 3, height, width), with sides × `SCALE`."""
    from torch.nn import functional

    values = picture
    for layer in network.body:
        values = layer(values)
    repeated = functional.interpolate(picture, scale_factor=SCALE, mode="nearest")
    return functional.pixel_shuffle(values, SCALE) + repeated
