"""The code the autoencoder starts from: computed in numpy and by the network's own layers."""

from __future__ import annotations

import numpy as np
import torch

from house.dataset import picture
from house.drawing.render import Pixels
from house.encoder import fit, set_by_hand
from house.evaluation import as_input, psnr
from house.recipe import MODEL
from house.training.autoencoder import build_autoencoder
from house.training.frozen import load_base


def _drawings(count: int) -> Pixels:
    return np.stack([picture(8, number)[0] for number in range(count)])


def test_the_code_keeps_three_mean_colours_and_an_edge() -> None:
    drawings = _drawings(60)
    latents = fit(drawings).encode(drawings)
    assert latents.shape == (60, 4, 16, 16)
    assert np.allclose(latents.std((0, 2, 3)), (1, 1, 1, 0.6), atol=0.1)
    flat = np.full((1, 128, 128, 3), (200, 60, 30), np.uint8)
    even = fit(drawings).encode(flat)
    assert np.allclose(even, even[:, :, :1, :1], atol=1e-4)


def test_the_network_begins_as_the_code() -> None:
    drawings = _drawings(40)
    code = fit(drawings)
    torch.manual_seed(0)
    vae = build_autoencoder([16, 32, 32, 32]).eval()
    set_by_hand(vae, code)
    few = drawings[:6]
    with torch.inference_mode():
        begun = vae.encode(as_input(few)).latent_dist.mean
        back = vae.decode(begun).sample.clamp(-1, 1)
    wanted = torch.from_numpy(code.encode(few))
    for channel in range(3):
        pair = torch.stack([begun[:, channel].flatten(), wanted[:, channel].flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.97, channel
    assert psnr(back, as_input(few)) > 14


def test_the_released_autoencoder_gives_drawings_back() -> None:
    vae = load_base(MODEL).vae
    drawings = as_input(_drawings(24))
    with torch.inference_mode():
        latents = vae.encode(drawings).latent_dist.mean
        back = vae.decode(latents).sample.clamp(-1, 1)
        shaken = vae.decode(latents + 0.3 * torch.randn_like(latents)).sample.clamp(-1, 1)
    assert psnr(back, drawings) >= 30
    assert psnr(shaken, drawings) < psnr(back, drawings) - 1
