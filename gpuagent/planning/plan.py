"""How to make a picture in the memory there is: the cheapest way that fits.

The ladder goes from fast to slow. Which rung it is depends on the picture, the model and the
device alone, never on what else happens to be resident: some measures change pixels a little, and
the same recipe on the same device must give the same bytes. What is resident decides only what has
to go; what was measured of earlier pictures (`factors`) decides that, too, and which parts wait
aside, which changes no pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from gpuagent.planning.eviction import Kept, choose_evictions
from gpuagent.planning.footprints import PLAIN, Footprint
from gpuagent.planning.growth import Growth
from gpuagent.planning.memory import OVERHEAD_BYTES

# What each ControlNet adds to the features of a U-Net, kept from its call to the U-Net's: computed
# for Stable Diffusion 1.x, both halves of guidance.
CONTROL_ACTIVATIONS_PER_PIXEL = 64
# Finished tiles wait, as floats, until they are blended into one picture.
TILED_OUTPUT_PER_PIXEL = 12
ENCODER_ACTIVATION_BYTES = 16 * 1024**2
LARGEST_SIDE = 8_192
_LESS_AFTER_FAILURE = 0.75


class Measure(StrEnum):
    """A way to need less memory; each costs time."""

    VAE_TILES = "vae_tiles"
    SPLIT_GUIDANCE = "split_guidance"
    ENCODERS_ASIDE = "encoders_aside"
    PARTS_ASIDE = "parts_aside"
    HALF_PRECISION = "half_precision"


# Each rung has all of the one before.
LADDER: tuple[Measure, ...] = tuple(Measure)
CHANGE_PIXELS = frozenset({Measure.VAE_TILES, Measure.SPLIT_GUIDANCE, Measure.HALF_PRECISION})
ASIDE = frozenset({Measure.ENCODERS_ASIDE, Measure.PARTS_ASIDE})
# What measuring found of activations, by the label of a plan; what is not there is as planned.
Factors = Mapping[str, float]
_AS_PLANNED: Factors = MappingProxyType({})


class Verdict(StrEnum):
    """Where the picture can be made."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Bytes of a model's parts, as loaded on this device without any measure, and what they take
    beside themselves when they work.
    """

    encoders: int
    denoiser: int
    vae: int
    footprint: Footprint = PLAIN

    @property
    def total(self) -> int:
        return self.encoders + self.denoiser + self.vae


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be made: the size of a picture, adapters laid over the denoiser, and so many
    ControlNets that lie beside it all the time.

    Pictures of a batch are denoised together and decoded one by one. In the same memory a starting
    picture is opened before, and parts of it held meanwhile.
    """

    width: int
    height: int
    adapters_bytes: int = 0
    beside_bytes: int = 0
    beside_count: int = 0
    opened_bytes: int = 0
    held_bytes: int = 0
    batch: int = 1

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory for it, what it can do, and what else lies in it.

    `elsewhere_bytes` is the memory of the largest other agent, 0 if there is none or if that is
    not known.
    """

    memory_bytes: int
    measures: frozenset[Measure] = frozenset()
    denoiser_float_bytes: int = 4
    tile_side: int = 512
    others: tuple[Kept, ...] = ()
    elsewhere_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to do it. `needed_bytes` is with the measures; `evict` names other models, in order,
    `beside` those that work with this one. `growth` is what comes on top of what is loaded, as
    planned, `factor` what its activations were multiplied by.
    """

    verdict: Verdict
    needed_bytes: int
    available_bytes: int
    measures: frozenset[Measure] = frozenset()
    evict: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    largest_side: int = 0
    growth: Growth = field(default_factory=Growth)
    factor: float = 1.0
    rung: int = field(default=0, compare=False)

    @property
    def label(self) -> str:
        """The measures that change pixels, for the manifest; empty if none does."""
        return "+".join(m.value for m in LADDER if m in self.measures & CHANGE_PIXELS)


def needed_bytes(
    parts: Parts, work: Work, room: Room, measures: frozenset[Measure], factor: float = 1.0
) -> int:
    """Memory at the worst moment: while prompts are read, while denoising, or while decoding."""
    growth = growth_of(parts, work, room, measures)
    parts, work = _in_precision(parts, work, measures)
    peak = _resting(parts, measures) + growth.bytes_at(factor) + work.held_bytes
    denoiser = parts.denoiser + work.adapters_bytes
    opening = max(parts.encoders, denoiser, parts.vae)
    if not measures & ASIDE:
        opening = parts.total + work.adapters_bytes
    return max(peak, opening + work.opened_bytes) + work.beside_bytes + OVERHEAD_BYTES


def growth_of(parts: Parts, work: Work, room: Room, measures: frozenset[Measure]) -> Growth:
    """What each moment takes on top of what lies on the device all the time."""
    denoising, decoding = _activations(parts, work, room, measures)
    parts, work = _in_precision(parts, work, measures)
    encoders, denoiser, vae = parts.encoders, parts.denoiser, parts.vae
    if Measure.PARTS_ASIDE not in measures:
        denoiser = vae = 0
        encoders = encoders if Measure.ENCODERS_ASIDE in measures else 0
    laid = work.adapters_bytes
    return Growth(
        moments=(
            (encoders + laid + ENCODER_ACTIVATION_BYTES, 0),
            (denoiser + laid, denoising),
            (vae + laid, decoding),
        )
    )


def _in_precision(parts: Parts, work: Work, measures: frozenset[Measure]) -> tuple[Parts, Work]:
    """With the bytes of weights as they are loaded."""
    if Measure.HALF_PRECISION not in measures:
        return parts, work
    return (
        replace(
            parts, encoders=parts.encoders // 2, denoiser=parts.denoiser // 2, vae=parts.vae // 2
        ),
        replace(work, adapters_bytes=work.adapters_bytes // 2, beside_bytes=work.beside_bytes // 2),
    )


def _activations(
    parts: Parts, work: Work, room: Room, measures: frozenset[Measure]
) -> tuple[int, int]:
    """While denoising, and while decoding."""
    footprint = parts.footprint
    a_pixel = footprint.denoising + work.beside_count * CONTROL_ACTIVATIONS_PER_PIXEL
    denoising = int(work.pixels * a_pixel * room.denoiser_float_bytes) * work.batch
    if Measure.SPLIT_GUIDANCE in measures and footprint.can_split:
        denoising = -(-denoising // 2)
    decoding = work.pixels * footprint.decoding * 4
    tile = min(work.width, room.tile_side) * min(work.height, room.tile_side)
    if Measure.VAE_TILES in measures and tile < work.pixels:
        decoding = tile * footprint.decoding * 4 + work.pixels * TILED_OUTPUT_PER_PIXEL * 4
    if Measure.HALF_PRECISION in measures:
        denoising, decoding = denoising // 2, decoding // 2
    return denoising, decoding


def _resting(parts: Parts, measures: frozenset[Measure]) -> int:
    """Of the model, what lies on the device all the time."""
    if Measure.PARTS_ASIDE in measures:
        return 0
    return parts.total - (parts.encoders if Measure.ENCODERS_ASIDE in measures else 0)


def make_plan(
    parts: Parts,
    work: Work,
    room: Room,
    *,
    after: Plan | None = None,
    factors: Factors = _AS_PLANNED,
) -> Plan:
    """The first rung of the ladder that fits; after a plan that failed, a cheaper one than it.

    After one that reckoned with less than the ladder does, the one that did not.
    """
    if after is not None and after.factor < 1:
        return make_plan(parts, work, room)
    rungs = _rungs(parts, work, room)
    if after is not None:
        rungs = [rung for rung in rungs if rung[0] > after.rung]
    for number, measures, needed in rungs:
        if needed <= room.memory_bytes:
            if after is None:
                measures = _spared(parts, work, room, measures)
                needed = needed_bytes(parts, work, room, measures)
            plan = Plan(
                verdict=Verdict.HERE,
                needed_bytes=needed,
                available_bytes=room.memory_bytes,
                measures=measures,
                evict=evictions(room, needed),
                growth=growth_of(parts, work, room, measures),
                rung=number,
            )
            return plan if after is not None else _corrected(plan, parts, work, room, factors)
    least = min((needed for _number, _measures, needed in rungs), default=0)
    if after is not None and not rungs:
        least = after.needed_bytes
    whole = needed_bytes(parts, work, room, frozenset())
    can_go = after is None and whole <= room.elsewhere_bytes
    return Plan(
        verdict=Verdict.ELSEWHERE if can_go else Verdict.NOWHERE,
        needed_bytes=least,
        available_bytes=room.memory_bytes,
        largest_side=largest_side(parts, work, room, is_less=after is not None),
    )


def _corrected(plan: Plan, parts: Parts, work: Work, room: Room, factors: Factors) -> Plan:
    """With the same pixels, but by what was measured: what waits aside, and who has to go.

    If nothing fits by that, it is tried as it was planned, with all the memory there is; a batch is
    not: its pictures can be made alone.
    """
    factor = factors.get(plan.label, 1.0)
    if factor == 1.0:
        return plan
    measures, needed = plan.measures - ASIDE, 0
    asides = [frozenset[Measure]()]
    asides += [frozenset({each}) for each in LADDER if each in ASIDE & room.measures]
    for aside in asides:
        needed = needed_bytes(parts, work, room, measures | aside, factor)
        if needed <= room.memory_bytes:
            measures |= aside
            break
    else:
        if work.batch > 1:
            return replace(plan, verdict=Verdict.NOWHERE)
        measures, needed = plan.measures, room.memory_bytes
    return replace(
        plan,
        needed_bytes=needed,
        measures=measures,
        evict=evictions(room, needed),
        growth=growth_of(parts, work, room, measures),
        factor=factor,
    )


def largest_side(parts: Parts, work: Work, room: Room, *, is_less: bool = False) -> int:
    """The side of the largest square that fits by any means, a multiple of 8; 0 if none does.

    `is_less`: the picture was tried and failed, so the answer is well below its size.
    """

    def fits(side: int) -> bool:
        square = replace(work, width=side, height=side)
        if is_less and square.pixels > work.pixels * _LESS_AFTER_FAILURE:
            return False
        return any(
            needed <= room.memory_bytes
            for _number, _measures, needed in _rungs(parts, square, room)
        )

    low, high = 0, LARGEST_SIDE // 8
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * 8) else (low, middle - 1)
    return low * 8


def _rungs(parts: Parts, work: Work, room: Room) -> list[tuple[int, frozenset[Measure], int]]:
    """Number, measures and need of each rung that needs less than those before it."""
    taken: frozenset[Measure] = frozenset()
    rungs = [(0, taken, needed_bytes(parts, work, room, taken))]
    for number, measure in enumerate(LADDER, 1):
        if measure not in room.measures:
            continue
        needed = needed_bytes(parts, work, room, taken | {measure})
        # One that brings nothing alone may bring something with the next.
        taken |= {measure}
        if needed < rungs[-1][2]:
            rungs.append((number, taken, needed))
    return rungs


def _spared(
    parts: Parts, work: Work, room: Room, measures: frozenset[Measure]
) -> frozenset[Measure]:
    """Without the measures that are not needed, dearest first."""
    for measure in reversed(LADDER):
        fewer = measures - {measure}
        if needed_bytes(parts, work, room, fewer) <= room.memory_bytes:
            measures = fewer
    return measures


def evictions(room: Room, needed: int) -> tuple[str, ...]:
    """Others that must go: those that work waits for only if it cannot be done otherwise."""
    budget = room.memory_bytes - needed
    chosen = choose_evictions(room.others, budget_bytes=budget)
    if not chosen.does_fit:
        chosen = choose_evictions(room.others, budget_bytes=budget, spare_pinned=False)
    return chosen.keys
