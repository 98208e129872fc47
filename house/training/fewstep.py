"""Distils the base into an adapter that makes a picture in four steps of `LCMScheduler`.

Latent consistency distillation (Luo and others, 2023) asks for one answer along a whole path from
noise to picture, fifty times of it. A sampler of four steps only ever asks at four, so only these
are learnt: at each, the answer is what the guided base reaches by a few solver steps down to the
next of the four times, and the adapter's own answer from there on. Four links are soon consistent,
where fifty take long. Half of the noisy latents are the adapter's own, as its sampling meets them.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from house.recipe import Work
from house.training.denoiser import Latents, make_latents
from house.training.fingerprints import of_weights
from house.training.frozen import load_base, pick_rows, random_for
from house.training.loop import Plan, Run, fast_math
from house.training.lora import add_lora, save_lora

STEPS = 4
# Differences below this count less and less; above it every picture pulls as hard.
SOFT = 0.02


def train_fast(work: Work) -> None:
    """Train the four-step adapter."""
    pipeline = load_base(work.model)
    latents = make_latents(work, pipeline.tokenizer, pipeline.vae)
    train_fewstep(pipeline, latents, work.recipe["fast"], work.run("fast"))
    save_lora(pipeline.unet, work.adapters / "fast")


def train_fewstep(
    pipeline: StableDiffusionPipeline, latents: Latents, plan: dict[str, Any], folder: Path
) -> None:
    """Add an adapter to the pipeline's U-Net and train it."""
    of = of_weights(pipeline.unet)
    way = FourSteps(LCMScheduler.from_config(pipeline.scheduler.config))
    teacher = Teacher(copy.deepcopy(pipeline.unet), way, plan)
    torch.manual_seed(plan["seed"])
    unet = add_lora(pipeline.unet, plan["rank"])
    schedule = Plan(plan["steps"], plan["warmup"], plan["decay"], plan["average"], muon=False)
    run = Run(folder, {"unet": unet}, [(unet.parameters(), plan["learning_rate"])], schedule, of)
    run.resume()
    while not run.done:
        random = random_for(plan["seed"], run.step)
        _, clean, ids = pick_rows(latents, plan["batch"], random)
        with torch.no_grad(), fast_math():
            hidden = pipeline.text_encoder(ids)[0]
            nothing = pipeline.text_encoder(latents.empty[None].long())[0]
        levels = torch.randint(STEPS, (plan["batch"],), generator=random)
        own = torch.rand(plan["batch"], generator=random) < plan["own_share"]
        noisy = way.noised(clean, way.times[levels], random)
        if own.any():
            noisy[own] = way.sampled(unet, hidden[own], levels[own], random)
        wanted = teacher.answer(unet, noisy, levels, hidden, nothing)
        made = way.answer(unet, noisy, way.times[levels], hidden)
        distance = (made - wanted).square().mean((1, 2, 3))
        run.learn((distance + SOFT**2).sqrt().mean(), plan["batch"])
    run.save()
    run.averaged()


class FourSteps:
    """What `LCMScheduler` does at its four times, for pictures at different ones of them."""

    def __init__(self, scheduler: LCMScheduler) -> None:
        scheduler.set_timesteps(STEPS)
        self._scheduler = scheduler
        self.times: torch.Tensor = scheduler.timesteps
        # How much of the picture is left at each time; at time -1, the last number, all of it.
        self._shares = torch.cat([scheduler.alphas_cumprod, torch.ones(1)])

    def scales(self, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By how much picture and noise are multiplied, as `[n, 1, 1, 1]`."""
        share = self._shares[times].view(-1, 1, 1, 1)
        return share.sqrt(), (1 - share).sqrt()

    def noised(
        self, clean: torch.Tensor, times: torch.Tensor, random: torch.Generator
    ) -> torch.Tensor:
        """The latents with fresh noise."""
        signal, noise = self.scales(times)
        return signal * clean + noise * torch.randn(clean.shape, generator=random)

    def clean(
        self, noisy: torch.Tensor, velocity: torch.Tensor, times: torch.Tensor
    ) -> torch.Tensor:
        """The picture that a velocity speaks of."""
        signal, noise = self.scales(times)
        return signal * noisy - noise * velocity.float()

    def answer(
        self,
        unet: UNet2DConditionModel,
        noisy: torch.Tensor,
        times: torch.Tensor,
        hidden: torch.Tensor,
    ) -> torch.Tensor:
        """The picture the scheduler takes from the U-Net's answer; at time 0, `noisy` itself."""
        skip, out = self._scheduler.get_scalings_for_boundary_condition_discrete(times)
        with fast_math():
            velocity = unet(noisy, times, hidden).sample
        made = self.clean(noisy, velocity, times)
        answer: torch.Tensor = out.view(-1, 1, 1, 1) * made + skip.view(-1, 1, 1, 1) * noisy
        return answer

    @torch.no_grad()
    def sampled(
        self,
        unet: UNet2DConditionModel,
        hidden: torch.Tensor,
        levels: torch.Tensor,
        random: torch.Generator,
    ) -> torch.Tensor:
        """Noisy latents as sampling from pure noise meets them, each at its own level."""
        noisy = torch.randn(
            (len(levels), unet.config.in_channels, *2 * (unet.config.sample_size,)),
            generator=random,
        )
        for level in range(STEPS - 1):
            now, then = (self.times[k].expand(len(levels)) for k in (level, level + 1))
            further = self.noised(self.answer(unet, noisy, now, hidden), then, random)
            noisy = torch.where((levels > level).view(-1, 1, 1, 1), further, noisy)
        return noisy


class Teacher:
    """The frozen base with guidance, going from each of the four times to the next."""

    def __init__(self, unet: UNet2DConditionModel, way: FourSteps, plan: dict[str, Any]) -> None:
        self._unet, self._way = unet, way
        self._guidance_scale = plan["guidance_scale"]
        ends = [*way.times.tolist(), -1]
        count = plan["solver_steps"] + 1
        stops = [torch.linspace(a, b, count).round() for a, b in pairwise(ends)]
        self._stops = torch.stack(stops).long()

    @torch.no_grad()
    def answer(
        self,
        student: UNet2DConditionModel,
        noisy: torch.Tensor,
        levels: torch.Tensor,
        hidden: torch.Tensor,
        nothing: torch.Tensor,
    ) -> torch.Tensor:
        """What the student is to say of `noisy`: its own answer at the next of the four times."""
        stops = self._stops[levels].T
        guess: torch.Tensor | None = None
        for number, (now, then) in enumerate(pairwise(stops)):
            before, guess = guess, self._guided(noisy, now, hidden, nothing)
            target = guess
            if before is not None:
                target = guess + self._slope(stops[number - 1], now, then) * (guess - before)
            noisy = self._moved(noisy, target, now, then)
        # After the last time no noise is left, and the answer is what came in.
        return self._way.answer(student, noisy, stops[-1].clamp(min=0), hidden)

    def _guided(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        hidden: torch.Tensor,
        nothing: torch.Tensor,
    ) -> torch.Tensor:
        words = torch.cat([nothing.expand_as(hidden), hidden])
        with fast_math():
            velocity = self._unet(noisy.repeat(2, 1, 1, 1), times.repeat(2), words).sample
        plain, told = velocity.float().chunk(2)
        return self._way.clean(noisy, plain + self._guidance_scale * (told - plain), times)

    def _slope(self, before: torch.Tensor, now: torch.Tensor, then: torch.Tensor) -> torch.Tensor:
        """How far second-order DPM-Solver++ carries on the last change; at the end, not at all."""
        first, second, third = (self._depth(times) for times in (before, now, then))
        slope = (third - second) / (2 * (second - first))
        return torch.where((then < 0).view(-1, 1, 1, 1), 0.0, slope)

    def _depth(self, times: torch.Tensor) -> torch.Tensor:
        signal, noise = self._way.scales(times)
        return (signal / noise).log()

    def _moved(
        self, noisy: torch.Tensor, clean: torch.Tensor, now: torch.Tensor, then: torch.Tensor
    ) -> torch.Tensor:
        """One step of DDIM towards `clean`."""
        (signal, noise), (later, fainter) = self._way.scales(now), self._way.scales(then)
        return later * clean + fainter / noise * (noisy - signal * clean)
