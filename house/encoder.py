"""Where the autoencoder of the house model starts from: a code set by hand.

An 8 × 8 patch becomes four numbers: its 4 × 4 box means, two by two, and of those twelve values the
four leading principal components (three say its mean colour, the fourth the strongest edge). From
weights at random an autoencoder this deep stood at 16 dB after ten minutes; from here it begins at
22.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from house.drawing.render import Pixels

Floats = npt.NDArray[np.float32]

# The edge channel a little quieter than the colours: noise hides it first, so it is decided last.
_SPREAD = (1.0, 1.0, 1.0, 0.6)
# Two constant channels, ± this, fix what group normalization divides by.
_PIN, _DECODER_PIN = 10.0, 3.0
_BATCH = 1_000


@dataclass(frozen=True)
class LinearCode:
    """`latent = weight · patch + bias`: `weight` is `[4, 3, 2, 2]` (latent, colour, y, x)."""

    weight: Floats
    bias: Floats

    def encode(self, pictures: Pixels) -> Floats:
        """Latents `[n, 4, h / 8, w / 8]` of pictures `[n, h, w, 3]`."""
        height, width = pictures.shape[1] // 8, pictures.shape[2] // 8
        parts = [
            _patches(pictures[start : start + _BATCH]) @ self.weight.reshape(4, 12).T + self.bias
            for start in range(0, len(pictures), _BATCH)
        ]
        latents = np.concatenate(parts).reshape(-1, height, width, 4)
        return np.ascontiguousarray(latents.transpose(0, 3, 1, 2), dtype=np.float32)


def fit(pictures: Pixels) -> LinearCode:
    """The code whose four channels carry most of these pictures, each of about unit variance."""
    patches = _patches(pictures).reshape(-1, 12).astype(np.float64)
    mean = patches.mean(0)
    variances, vectors = np.linalg.eigh(np.cov((patches - mean).T))
    leading = vectors[:, ::-1][:, :4]
    leading = leading * np.sign(leading[0])  # the same signs on every machine
    scale = np.array(_SPREAD) / np.sqrt(variances[::-1][:4])
    weight = (leading * scale).T.reshape(4, 3, 2, 2)
    return LinearCode(weight.astype(np.float32), (-(mean @ leading) * scale).astype(np.float32))


def set_by_hand(vae: AutoencoderKL, code: LinearCode) -> None:
    """Let the encoder of `vae` begin as `code`, and its decoder as the patch's mean colour.

    Works on any widths of ten channels or more, without attention, with one group per
    normalization. The activation is no obstacle: `SiLU(x) - SiLU(-x) = x`, so each value travels
    with its negative through the first channels; two more hold a constant that fixes what
    normalization divides by. All other channels start at random, and add next to nothing until
    training finds a use for them.
    """
    _start_encoder(vae, code)
    _start_decoder(vae, code)


def _start_encoder(vae: AutoencoderKL, code: LinearCode) -> None:
    state = vae.encoder.state_dict()
    _let_through(state, kept=10)
    enter = state["conv_in.weight"]
    enter[:5] = 0
    enter[range(3), range(3), 1, 1] = 1
    state["conv_in.bias"][:5] = torch.tensor([0, 0, 0, _PIN / 3, -_PIN / 3])
    down = [state[f"down_blocks.{n}.downsamplers.0.conv.weight"] for n in range(3)]
    for number, weight in enumerate(down):
        weight[: 5 if number < 2 else 10] = 0
        state[f"down_blocks.{number}.downsamplers.0.conv.bias"][:10] = 0
    # Taps of a 3 × 3 kernel with stride 2, padded on the right and below: a box of 2 × 2.
    for channel in range(5):
        down[0][channel, channel, :2, :2] = down[1][channel, channel, :2, :2] = 0.25
    down[2][:4, :3, :2, :2] = torch.from_numpy(code.weight)
    down[2][4:8, :3, :2, :2] = -torch.from_numpy(code.weight)
    state["down_blocks.2.downsamplers.0.conv.bias"][8:10] = torch.tensor([_PIN, -_PIN])
    state["conv_norm_out.weight"].fill_(_PIN * (2 / vae.config.block_out_channels[-1]) ** 0.5)
    leave = state["conv_out.weight"]
    leave *= 0.1
    leave[:, :8] = 0
    leave[4:] = 0
    for channel in range(4):
        leave[channel, channel, 1, 1], leave[channel, channel + 4, 1, 1] = 1, -1
    state["conv_out.bias"][:4] = torch.from_numpy(code.bias)
    state["conv_out.bias"][4:] = -20.0  # log variance: the same picture, the same latents
    vae.encoder.load_state_dict(state)
    _pass_on(vae.quant_conv)


def _start_decoder(vae: AutoencoderKL, code: LinearCode) -> None:
    state = vae.decoder.state_dict()
    _let_through(state, kept=8)
    colours = torch.linalg.pinv(torch.from_numpy(code.weight).sum((2, 3)))  # [3, 4]
    base = -colours @ torch.from_numpy(code.bias)
    enter, bias = state["conv_in.weight"], state["conv_in.bias"]
    enter[:8], bias[:8] = 0, 0
    enter[:3, :, 1, 1], enter[3:6, :, 1, 1] = colours, -colours
    bias[:3], bias[3:6], bias[6:8] = base, -base, torch.tensor([_DECODER_PIN, -_DECODER_PIN])
    state["conv_norm_out.weight"].fill_(
        _DECODER_PIN * (2 / vae.config.block_out_channels[0]) ** 0.5
    )
    leave = state["conv_out.weight"]
    leave.zero_()
    state["conv_out.bias"].zero_()
    for channel in range(3):
        leave[channel, channel, 1, 1], leave[channel, channel + 3, 1, 1] = 1, -1
    vae.decoder.load_state_dict(state)
    _pass_on(vae.post_quant_conv)


def _let_through(state: dict[str, torch.Tensor], kept: int) -> None:
    """Residual blocks add nothing yet; the first `kept` channels pass as they are."""
    for name, value in state.items():
        if ".conv2." in name:
            value.zero_()
        if name.endswith(("conv_shortcut.weight", "upsamplers.0.conv.weight")):
            value[:kept] = 0
            middle = value.shape[-1] // 2
            value[range(kept), range(kept), middle, middle] = 1
        if name.endswith(("conv_shortcut.bias", "upsamplers.0.conv.bias")):
            value[:kept] = 0


def _pass_on(convolution: torch.nn.Conv2d) -> None:
    with torch.no_grad():
        if convolution.bias is not None:
            convolution.bias.zero_()
        convolution.weight.zero_()
        both = range(convolution.weight.shape[0])
        convolution.weight[both, both, 0, 0] = 1
    convolution.requires_grad_(False)


def _patches(pictures: Pixels) -> Floats:
    """`[n, patches, 12]`: box means of -1 to 1, patch by patch, ordered (colour, y, x)."""
    count, height, width, _ = pictures.shape
    boxes = pictures.reshape(count, height // 4, 4, width // 4, 4, 3).mean((2, 4), dtype=np.float32)
    cells = (boxes / 127.5 - 1).reshape(count, height // 8, 2, width // 8, 2, 3)
    patches: Floats = cells.transpose(0, 1, 3, 5, 2, 4).reshape(count, -1, 12)
    return patches
