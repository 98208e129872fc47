"""A fresh noise scheduler for every picture: they carry state from step to step."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gpuagent.protocol.taxonomy import SAMPLERS
from gpuagent.protocol.tuning import SIGMAS

# What a model's scheduler config says about how the model was trained. The rest of it (noise
# spacing, order, solver) belongs to the sampler: "Euler" must not become "Euler Karras" because
# a model happens to be published with Karras sigmas.
TRAINING_FACTS = frozenset(
    {
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
        "timestep_spacing",
        "steps_offset",
        "set_alpha_to_one",
    }
)


def make_scheduler(sampler_id: str, model_config: Mapping[str, object]) -> Any:  # noqa: ANN401 - diffusers has no types
    """The sampler's diffusers scheduler, set up for a model."""
    import diffusers

    sampler = SAMPLERS[sampler_id]
    facts = {name: value for name, value in model_config.items() if name in TRAINING_FACTS}
    facts.setdefault("steps_offset", 1)  # what every Stable Diffusion pipeline insists on
    return getattr(diffusers, sampler.class_name).from_config({**facts, **sampler.options})


def with_sigmas(scheduler: Any, sigmas: str) -> Any:  # noqa: ANN401 - as above
    """The scheduler with its steps spread over the noise in this way; as it is if that is empty."""
    if not sigmas:
        return scheduler
    chosen = {flag: word == sigmas for word, flag in SIGMAS.items()}
    return type(scheduler).from_config(scheduler.config, **chosen)


class Foreseer:
    """Remembers what the sampler last took the finished picture to be, for previews.

    The latents of an early step are mostly noise; the prediction shows the picture coming.
    """

    def __init__(self, scheduler: Any) -> None:  # noqa: ANN401 - as above
        self._scheduler = scheduler
        self._seen: Any = None
        step = scheduler.step

        # `wraps` keeps the signature, from which pipelines learn what to pass (eta, generator).
        @functools.wraps(step)
        def remembering_step(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
            output = step(*args, return_dict=True, **kwargs)
            self._seen = self._told(output)
            if self._seen is None:
                self._seen = self._derived(*args[:3])
            return output if return_dict else (output.prev_sample,)

        scheduler.step = remembering_step

    def predicted(self, latents: Any) -> Any:  # noqa: ANN401 - as above
        """The predicted end, or `latents` before the first step."""
        return latents if self._seen is None else self._seen

    def _told(self, output: Any) -> Any:  # noqa: ANN401 - as above
        """What the sampler says itself: with its step, or as what multistep solvers keep."""
        for name in ("pred_original_sample", "denoised"):
            if (told := getattr(output, name, None)) is not None:
                return told
        config = self._scheduler.config
        keeps_pictures = config.get("predict_x0") or "++" in config.get("algorithm_type", "")
        kept = getattr(self._scheduler, "model_outputs", None) if keeps_pictures else None
        return kept[-1] if kept else None

    def _derived(self, model_output: Any, timestep: Any, sample: Any) -> Any:  # noqa: ANN401 - as above
        """From the noise at this timestep; for samplers whose latents keep a variance of one, and
        for those of flow matching, where noise gives way to the picture in a straight line.
        """
        if not hasattr(self._scheduler, "alphas_cumprod"):
            noise = float(timestep) / self._scheduler.config.num_train_timesteps
            return sample - noise * model_output
        kept = self._scheduler.alphas_cumprod[int(timestep)]
        signal, noise = kept**0.5, (1 - kept) ** 0.5
        if self._scheduler.config.get("prediction_type") == "v_prediction":
            return signal * sample - noise * model_output
        return (sample - noise * model_output) / signal
