"""How to make a picture in the memory there is: the cheapest way that fits.

The ladder goes from fast to slow. Which rung it is depends on the picture, the model and the
device alone, never on what else happens to be resident: some measures change pixels a little, and
the same recipe on the same device must give the same bytes. What is resident decides only what has
to go.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from gpuagent.planning.eviction import Kept, choose_evictions
from gpuagent.planning.footprints import PLAIN, Footprint
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
    `beside` those that work with this one.
    """

    verdict: Verdict
    needed_bytes: int
    available_bytes: int
    measures: frozenset[Measure] = frozenset()
    evict: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    largest_side: int = 0
    growth_bytes: int = 0
    rung: int = field(default=0, compare=False)

    @property
    def label(self) -> str:
        """The measures that change pixels, for the manifest; empty if none does."""
        return "+".join(m.value for m in LADDER if m in self.measures & CHANGE_PIXELS)


def needed_bytes(parts: Parts, work: Work, room: Room, measures: frozenset[Measure]) -> int:
    """Memory at the worst moment: while prompts are read, while denoising, or while decoding."""
    footprint = parts.footprint
    a_pixel = footprint.denoising + work.beside_count * CONTROL_ACTIVATIONS_PER_PIXEL
    denoising = int(work.pixels * a_pixel * room.denoiser_float_bytes) * work.batch
    if Measure.SPLIT_GUIDANCE in measures and footprint.can_split:
        denoising = -(-denoising // 2)
    decoding = work.pixels * footprint.decoding * 4
    tile = min(work.width, room.tile_side) * min(work.height, room.tile_side)
    if Measure.VAE_TILES in measures and tile < work.pixels:
        decoding = tile * footprint.decoding * 4 + work.pixels * TILED_OUTPUT_PER_PIXEL * 4
    encoders, denoiser, vae = parts.encoders, parts.denoiser + work.adapters_bytes, parts.vae
    beside = work.beside_bytes
    if Measure.HALF_PRECISION in measures:
        encoders, denoiser, vae = encoders // 2, denoiser // 2, vae // 2
        denoising, decoding, beside = denoising // 2, decoding // 2, beside // 2
    encoding = encoders + ENCODER_ACTIVATION_BYTES
    if Measure.PARTS_ASIDE in measures:
        peak = max(encoding, denoiser + denoising, vae + decoding)
    elif Measure.ENCODERS_ASIDE in measures:
        peak = max(encoding, denoiser + vae + max(denoising, decoding))
    else:
        peak = encoders + denoiser + vae + max(ENCODER_ACTIVATION_BYTES, denoising, decoding)
    resting = max(encoders, denoiser, vae)
    if not measures & {Measure.PARTS_ASIDE, Measure.ENCODERS_ASIDE}:
        resting = encoders + denoiser + vae
    return max(peak + work.held_bytes, resting + work.opened_bytes) + beside + OVERHEAD_BYTES


def make_plan(parts: Parts, work: Work, room: Room, *, after: Plan | None = None) -> Plan:
    """The first rung of the ladder that fits; after a plan that failed, a cheaper one than it."""
    rungs = _rungs(parts, work, room)
    if after is not None:
        rungs = [rung for rung in rungs if rung[0] > after.rung]
    for number, measures, needed in rungs:
        if needed <= room.memory_bytes:
            if after is None:
                measures = _spared(parts, work, room, measures)
                needed = needed_bytes(parts, work, room, measures)
            return Plan(
                verdict=Verdict.HERE,
                needed_bytes=needed,
                available_bytes=room.memory_bytes,
                measures=measures,
                evict=evictions(room, needed),
                growth_bytes=_growth_bytes(parts, work, needed, measures),
                rung=number,
            )
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


def _growth_bytes(parts: Parts, work: Work, needed: int, measures: frozenset[Measure]) -> int:
    """What of the need comes on top of the weights; 0 where those come and go meanwhile."""
    if measures & {Measure.PARTS_ASIDE, Measure.ENCODERS_ASIDE}:
        return 0
    weights = parts.total + work.beside_bytes
    if Measure.HALF_PRECISION in measures:
        weights //= 2
    return max(0, needed - weights - OVERHEAD_BYTES)


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
