"""Which settings names and families call for."""

from __future__ import annotations

import pytest

from gpuagent.protocol.families import FAMILIES
from gpuagent.protocol.taxonomy import Architecture
from library.few_steps import presets_of_lora, presets_of_model
from library.presets import check_presets

SDXL, SD15, SD3, FLUX = (
    Architecture.SDXL,
    Architecture.SD15,
    Architecture.SD3,
    Architecture.FLUX,
)


@pytest.mark.parametrize(
    ("architecture", "text", "steps", "guidance", "sampler"),
    [
        (SDXL, "LCM-LoRA SDXL", 4, 1, "lcm"),
        (SDXL, "sdxl_lightning_8step_lora", 8, 1, "euler"),
        (SDXL, "SDXL-Lightning", 4, 1, "euler"),
        (SD15, "Hyper-SD15-12steps-CFG-lora", 12, 1, "tcd"),
        (SDXL, "sdxl turbo", 4, 1, "euler_a"),
        (FLUX, "Hyper-FLUX.1-dev-8steps-lora", 8, 1, "euler"),
    ],
)
def test_few_steps_are_told_by_the_name(
    architecture: Architecture, text: str, steps: int, guidance: float, sampler: str
) -> None:
    for presets in (presets_of_lora(architecture, text), presets_of_model(architecture, text)):
        (preset,) = check_presets(presets)
        assert preset["recipe"] == {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "sampler": sampler,
        }
        assert sampler in FAMILIES[architecture].samplers


@pytest.mark.parametrize("text", ["Neon signs", "calcmap", "turbofan engines", "my 4 steps"])
def test_other_names_call_for_nothing(text: str) -> None:
    assert presets_of_lora(SDXL, text) == []
    assert presets_of_model(SD15, text) == []


def test_families_of_flows_have_a_usual_way() -> None:
    told = [
        presets_of_model(FLUX, "Flux"),
        presets_of_model(FLUX, "Flux", is_guided=False),
        presets_of_model(SD3, "Stable Diffusion 3.5"),
    ]
    named = [(p["name"], p["recipe"]["num_inference_steps"]) for (p,) in told]
    assert named == [("Standard", 28), ("Schnell", 4), ("Standard", 28)]
