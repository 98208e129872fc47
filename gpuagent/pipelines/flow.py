"""What families share that draw by flow matching: a transformer, and samplers of that kind."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.families import FLOW_SAMPLERS
from gpuagent.protocol.recipe import Recipe

if TYPE_CHECKING:
    import torch

# What a model's scheduler config says about how the model was trained, and how its noise is shared
# out over the steps. The rest of it belongs to the sampler.
TRAINING_FACTS = frozenset(
    {
        "num_train_timesteps",
        "shift",
        "use_dynamic_shifting",
        "base_shift",
        "max_shift",
        "base_image_seq_len",
        "max_image_seq_len",
        "invert_sigmas",
        "shift_terminal",
        "time_shift_type",
    }
)


class FlowFamily(Family):
    """A family whose denoiser is a transformer that was trained by flow matching."""

    DENOISER: ClassVar[str] = "transformer"
    SAMPLER: ClassVar[str] = "euler"
    IS_WIDE: ClassVar[bool] = True

    @override
    def _make_scheduler(
        self, sampler_id: str, generator: torch.Generator | list[torch.Generator]
    ) -> Any:
        return make_flow_scheduler(sampler_id, self._scheduler_config, generator)

    @override
    def _size_arguments(
        self, recipe: Recipe, start: StartingPicture | None, generator: torch.Generator
    ) -> dict[str, object]:
        size = {"width": recipe.width, "height": recipe.height}
        return {**super()._size_arguments(recipe, start, generator), **size}

    @override
    def _strength_for(self, steps: int, denoising_steps: int) -> float:
        # These pipelines round the steps that they leave out, not those that they take.
        return 1.0 if denoising_steps == steps else (denoising_steps - 0.25) / steps


def make_flow_scheduler(
    sampler_id: str,
    model_config: Mapping[str, object],
    generator: torch.Generator | list[torch.Generator],
) -> Any:  # noqa: ANN401 - diffusers has no types
    """The sampler's diffusers scheduler, set up for a model; what it draws, by the generator.

    Raises:
        AttemptFailedError: no flow can be followed by this sampler.
    """
    import diffusers

    sampler = FLOW_SAMPLERS.get(sampler_id)
    if sampler is None:
        raise AttemptFailedError(FailureCode.RECIPE_INVALID, field="sampler", value=sampler_id)
    facts = {name: value for name, value in model_config.items() if name in TRAINING_FACTS}
    maker = getattr(diffusers, sampler.class_name)
    if sampler.class_name.startswith("FlowMatch"):
        scheduler = maker.from_config({**facts, **sampler.options})
    else:
        scheduler = _solver(maker, facts, sampler.options)
    if "generator" in inspect.signature(scheduler.step).parameters:
        # The pipelines hand none over, and a draw by torch's own would never come again.
        scheduler.step = functools.partial(scheduler.step, generator=generator)
    return scheduler


def _solver(maker: Any, facts: Mapping[str, Any], options: Mapping[str, object]) -> Any:  # noqa: ANN401 - as above
    """A solver that was made for other models, following a flow: it is told the shift, and given
    the words by which the pipelines of flows call it.
    """
    shift, is_dynamic = float(facts.get("shift", 1.0)), bool(facts.get("use_dynamic_shifting"))
    solver = maker(
        num_train_timesteps=int(facts.get("num_train_timesteps", 1000)),
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        **options,
    )
    # What Flux's pipelines look up to make a shift of the picture's size.
    named = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
    solver.register_to_config(**{name: facts[name] for name in named if name in facts})
    plain = solver.set_timesteps

    def set_timesteps(
        num_inference_steps: int | None = None,
        device: Any = None,  # noqa: ANN401 - as above
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        if is_dynamic and mu is not None:
            solver.register_to_config(flow_shift=math.exp(mu))
        steps = num_inference_steps if sigmas is None else len(sigmas)
        plain(steps, device=device)

    def scale_noise(sample: Any, timestep: Any, noise: Any) -> Any:  # noqa: ANN401 - as above
        return solver.add_noise(sample, noise, timestep)

    solver.set_timesteps, solver.scale_noise = set_timesteps, scale_noise
    return solver
