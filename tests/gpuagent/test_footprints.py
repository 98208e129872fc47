"""Each family's memory: a row for each, and what it means for a plan."""

from __future__ import annotations

import pytest

from gpuagent.pipelines.registry import LOADERS
from gpuagent.planning.footprints import FOOTPRINTS, PLAIN, footprint_of
from gpuagent.planning.plan import Measure, Parts, Room, Verdict, Work, make_plan, needed_bytes
from gpuagent.protocol.families import FAMILIES, dtype_said
from gpuagent.protocol.taxonomy import Architecture

GIB = 1024**3
LARGE = Work(width=1024, height=1024)
GPU = frozenset(Measure) - {Measure.HALF_PRECISION}


def parts(architecture: Architecture, encoders: float, denoiser: float) -> Parts:
    return Parts(
        encoders=int(encoders * GIB),
        denoiser=int(denoiser * GIB),
        vae=GIB // 3,
        footprint=footprint_of(architecture),
    )


def test_every_family_that_is_loaded_has_rules_and_a_row() -> None:
    assert set(LOADERS) == set(FOOTPRINTS) == set(FAMILIES)
    assert footprint_of(Architecture.ESRGAN) is PLAIN


@pytest.mark.parametrize(
    ("model", "memory", "fits"),
    [
        (parts(Architecture.SDXL, 1.5, 4.8), 24, True),
        (parts(Architecture.SDXL, 1.5, 4.8), 12, True),
        (parts(Architecture.SDXL, 1.5, 4.8), 4, False),
        (parts(Architecture.FLUX, 9.1, 22.2), 80, True),
        (parts(Architecture.FLUX, 9.1, 22.2), 24, True),  # with parts that come and go
        (parts(Architecture.FLUX, 9.1, 22.2), 16, False),
        (parts(Architecture.SD3, 10.5, 3.9), 24, True),
    ],
)
def test_what_fits_where(model: Parts, memory: int, fits: bool) -> None:
    room = Room(memory_bytes=memory * GIB, measures=GPU, denoiser_float_bytes=2)
    plan = make_plan(model, LARGE, room)
    assert (plan.verdict is Verdict.HERE) is fits


def test_halves_save_nothing_where_there_are_none() -> None:
    room = Room(memory_bytes=80 * GIB, measures=GPU, denoiser_float_bytes=4)
    split = frozenset({Measure.SPLIT_GUIDANCE, Measure.VAE_TILES})
    tiled = frozenset({Measure.VAE_TILES})
    saved = {
        architecture: needed_bytes(parts(architecture, 1, 1), LARGE, room, tiled)
        - needed_bytes(parts(architecture, 1, 1), LARGE, room, split)
        for architecture in (Architecture.SD15, Architecture.FLUX)
    }
    assert saved[Architecture.FLUX] == 0
    assert saved[Architecture.SD15] > 0


def test_wide_families_say_so_on_both_sides() -> None:
    for architecture, loader in LOADERS.items():
        assert FAMILIES[architecture].is_wide == loader.IS_WIDE
    assert dtype_said("float16+vae:float32", Architecture.FLUX) == "bfloat16+vae:float32"
    assert dtype_said("float16+vae:float32", Architecture.SDXL) == "float16+vae:float32"
    assert dtype_said("float32", Architecture.FLUX) == "float32"
