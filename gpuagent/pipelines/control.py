"""ControlNets that guide a U-Net: loaded like models of their own, kept beside the one they guide.

What diffusers' pipelines for ControlNets do between two calls is done here at the call of the
U-Net itself. So every pipeline can be guided, a soft mask included, and the same bytes come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.maps import make_map
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.ip_adapter import Example, Looking
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.placing import Placed, SplitGuidance, half_of
from gpuagent.pipelines.reference import Reference, Referring, last_of
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.tiling import Tile
from gpuagent.protocol.controls import ControlUse
from gpuagent.protocol.failures import FailureCode

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What both must have alike: else the one's features mean nothing to the other.
_SHARED = ("block_out_channels", "cross_attention_dim", "layers_per_block", "down_block_types")


class ControlNet(LoadedModel):
    """One network: loaded into host memory, then brought to the device."""

    def __init__(self, folder: Path, engine: Engine, *, is_half: bool = False) -> None:
        from diffusers import ControlNetModel

        # The class is named here and never read from the files.
        net = ControlNetModel.from_pretrained(
            folder,
            torch_dtype=engine.dtype(is_half=is_half),
            local_files_only=True,
            use_safetensors=True,
        )
        self.net: Any = net.eval().requires_grad_(False)
        self.is_half = is_half
        self._device = engine.device
        super().__init__({"controlnet": Placed(self.net, engine.device)})

    @override
    def _comes_and_goes(self, name: str) -> bool:
        return False  # the measures are the guided model's

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        del watch  # what its first call costs depends on the model that it guides

    def take_in(self, drawn: Image.Image) -> torch.Tensor:
        """A map (1, 3, height, width) in the host's memory, as bytes: it may be a large one, of
        which tiles are looked at.
        """
        import torch

        return torch.from_numpy(np.array(drawn.convert("RGB"))).permute(2, 0, 1)[None]

    def read(self, drawn: torch.Tensor) -> torch.Tensor:
        """A map that was taken in, or a part of it, as the network reads it."""
        values = drawn.to(self._device).float() / 255
        return values.to(self.net.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A ControlNet at work: with its map, for a share of the steps."""

    by: ControlNet
    map: torch.Tensor
    weight: float
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def of(cls, use: ControlUse, by: ControlNet, drawn: Image.Image) -> Guide:
        """As a recipe asks for it."""
        return cls(by=by, map=by.take_in(drawn), weight=use.weight, start=use.start, end=use.end)

    def is_on(self, call: int, calls: int) -> bool:
        """In this call of the U-Net, counted from zero, of so many."""
        return call / calls >= self.start and (call + 1) / calls <= self.end


class Steering:
    """Lets ControlNets guide one denoiser while they are on; else it does nothing.

    To be made after `SplitGuidance`, whose halves it takes over: each is guided by itself.
    """

    def __init__(self, unet: Any, halves: SplitGuidance) -> None:  # noqa: ANN401 - torch's, which is imported late
        self._unet = unet  # a transformer is none: no guide fits it, so it is called as ever
        self._halves = halves
        self._guides: tuple[Guide, ...] = ()
        self._pipeline: Any = None
        self._calls = 0
        self._tile: Tile | None = None
        self._references: tuple[Reference, ...] = ()
        self._referring = Referring(unet)
        self._examples: tuple[Example, ...] = ()
        self._looking = Looking(unet)
        self._forward = unet.forward
        unet.forward = self._call

    @contextmanager
    def on(self, guides: Sequence[Guide | Reference | Example]) -> Iterator[None]:
        """They guide what is made while this lasts, and it takes after the others.

        Raises:
            AttemptFailedError: one does not fit the denoiser.
        """
        for guide in guides:
            self._check(guide)
        on = [guide for guide in guides if guide.weight]
        self._guides = tuple(guide for guide in on if isinstance(guide, Guide))
        self._references = tuple(guide for guide in on if isinstance(guide, Reference))
        self._examples = tuple(guide for guide in on if isinstance(guide, Example))
        try:
            with ExitStack() as watched:
                if self._references:
                    watched.enter_context(self._referring.watching())
                if self._examples:
                    watched.enter_context(self._looking.at(self._examples))
                yield
        finally:
            self._guides, self._references, self._examples = (), (), ()
            self._pipeline = None

    def begin(self, pipeline: Any) -> None:  # noqa: ANN401 - as above
        """A picture begins; the pipeline knows how often it will call."""
        self._pipeline, self._calls = pipeline, 0

    def show(self, tile: Tile | None) -> None:
        """What is drawn now is this part of the picture; None is all of it."""
        self._tile = tile

    def _check(self, guide: Guide | Reference | Example) -> None:
        if isinstance(guide, Example):
            self._looking.check(guide)
            return
        if isinstance(guide, Reference):
            if not self._referring.can:
                raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="no self-attention")
            return
        own, its = self._unet.config, guide.by.net.config
        for name in _SHARED:
            if _plain(own.get(name)) != _plain(its.get(name)):
                raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason=name)

    def _call(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        if not (self._guides or self._references or self._examples):
            return self._forward(*given, **named)
        return self._steered(*given, **named)

    def _steered(
        self,
        sample: Any,  # noqa: ANN401 - as above
        timestep: Any,  # noqa: ANN401 - as above
        encoder_hidden_states: Any,  # noqa: ANN401 - as above
        **more: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - as above
        calls = max(1, int(self._pipeline.num_timesteps))
        active = [guide for guide in self._guides if guide.is_on(self._calls, calls)]
        seen = [each for each in self._references if each.is_on(self._calls, calls)]
        batch = int(sample.shape[0])
        without = self._without(batch)
        if self._examples:
            shown = self._looking.look(self._calls, calls, batch=batch, without=without)
            more["added_cond_kwargs"] = {**(more.get("added_cond_kwargs") or {}), **shown}
        self._calls += self._tile is None or self._tile.is_last
        more["return_dict"] = False
        given = {"sample": sample, "encoder_hidden_states": encoder_hidden_states, **more}
        shares = self._see(seen, timestep, given, without)
        try:
            if not (self._halves.is_split and batch == 2):
                self._referring.look(shares)
                return self._guided(active, timestep, **given)
            import torch

            halves = []
            for i in range(2):
                self._referring.look([share[i : i + 1] for share in shares])
                halves.append(self._guided(active, timestep, **half_of(given, i))[0])
            return (torch.cat(halves),)
        finally:
            self._referring.forget()

    def _without(self, batch: int) -> int:
        """How many of a batch, its first, are what guidance leads away from."""
        is_guided = batch % 2 == 0 and bool(self._pipeline.do_classifier_free_guidance)
        return batch // 2 if is_guided else 0

    def _see(
        self,
        seen: Sequence[Reference],
        timestep: Any,  # noqa: ANN401 - as above
        given: dict[str, Any],
        without: int,
    ) -> list[list[float]]:
        """Look at the references by the last prompt of the batch, the one that is drawn; how much
        of each goes into each picture of it. What guidance leads away from takes after none.
        """
        batch = int(given["sample"].shape[0])
        prompt = last_of(given, batch)
        like = prompt.pop("sample")
        for each in seen:
            noised = each.noised(timestep, self._pipeline.scheduler, like)
            self._referring.keep(partial(self._forward, noised, timestep, **prompt))
        return [[0.0] * without + [each.weight] * (batch - without) for each in seen]

    def _guided(
        self,
        active: Sequence[Guide],
        timestep: Any,  # noqa: ANN401 - as above
        *,
        sample: Any,  # noqa: ANN401 - as above
        encoder_hidden_states: Any,  # noqa: ANN401 - as above
        **more: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - as above
        if not active:
            return self._forward(sample, timestep, encoder_hidden_states, **more)
        downs: list[Any] = []
        middle: Any = None
        for guide in active:
            net = guide.by.net
            # What a U-Net for inpainting is given beyond the latents is not for it.
            latents = sample[:, : net.config.in_channels]
            down, mid = net(
                latents,
                timestep,
                encoder_hidden_states=encoder_hidden_states,
                controlnet_cond=_sized(guide, latents, self._tile),
                conditioning_scale=guide.weight,
                added_cond_kwargs=more.get("added_cond_kwargs"),
                return_dict=False,
            )
            downs = [a + b for a, b in zip(downs, down, strict=True)] if downs else list(down)
            middle = mid if middle is None else middle + mid
        return self._forward(
            sample,
            timestep,
            encoder_hidden_states,
            down_block_additional_residuals=downs,
            mid_block_additional_residual=middle,
            **more,
        )


def draw_map(use: ControlUse, picture: Image.Image) -> Image.Image:
    """The map of a control, from the picture it was given: that one itself if it is a map."""
    if use.map is not None:
        return picture
    thresholds = {name: value for name in ("low", "high") if (value := getattr(use, name))}
    return make_map(use.kind.value, picture, **thresholds)


def _sized(guide: Guide, latents: torch.Tensor, tile: Tile | None) -> torch.Tensor:
    """The map for latents of any size (a draft has smaller ones), once for each of the batch; if
    they are a tile, that part of it.
    """
    from torch.nn import functional

    drawn, widths = guide.map, guide.by.net.config.conditioning_embedding_out_channels
    scale = 2 ** (len(widths) - 1)
    high, wide = latents.shape[-2:] if tile is None else tile.field
    size = (high * scale, wide * scale)
    if drawn.shape[-2:] != size:
        drawn = guide.by.read(drawn)
        drawn = functional.interpolate(drawn, size=size, mode="bilinear", antialias=True)
    if tile is not None:
        rows, columns = (slice(s.start * scale, s.stop * scale) for s in (tile.rows, tile.columns))
        drawn = drawn[..., rows, columns]
    if not drawn.is_floating_point():
        drawn = guide.by.read(drawn)
    return drawn.expand(latents.shape[0], -1, -1, -1)


def _plain(value: object) -> object:
    """Configs have lists where their code has tuples."""
    return tuple(value) if isinstance(value, list) else value
