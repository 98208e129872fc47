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
    code = fit(drawings)
    colours = [(200, 60, 30), (20, 60, 230), (128, 128, 128), (250, 250, 250), (10, 200, 10)]
    flat = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])
    codes = code.encode(flat)[:, :, 0, 0]
    # Three channels tell the colours of even patches apart; the fourth hardly sees them.
    back = codes[:, :3] @ np.linalg.pinv(code.weight.sum((2, 3))[:3]).T
    even = np.corrcoef(back.ravel(), (np.array(colours) / 127.5 - 1).ravel())
    assert even[0, 1] > 0.99
    assert np.ptp(codes[:, 3]) < 0.2 * np.ptp(codes[:, 0])
    edge = np.zeros((1, 8, 8, 3), np.uint8)
    edge[:, :4] = 255
    assert abs(code.encode(edge)[0, 3, 0, 0] - codes[2, 3]) > 1


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
    assert psnr(back, as_input(few)) > 17


def test_the_released_autoencoder_gives_drawings_back() -> None:
    vae = load_base(MODEL).vae
    drawings = as_input(_drawings(24))
    with torch.inference_mode():
        latents = vae.encode(drawings).latent_dist.mean
        back = vae.decode(latents).sample.clamp(-1, 1)
        shaken = vae.decode(latents + 0.3 * torch.randn_like(latents)).sample.clamp(-1, 1)
    assert psnr(back, drawings) >= 30
    assert psnr(shaken, drawings) < psnr(back, drawings) - 1
