"""Plans: the cheapest rung that fits, who has to go for it, and what fits if nothing does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.planning.eviction import Kept, choose_evictions
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.planning.plan import (
    LADDER,
    Measure,
    Parts,
    Plan,
    Room,
    Verdict,
    Work,
    largest_side,
    make_plan,
    needed_bytes,
)

GIB = 1024**3
SD15 = Parts(encoders=246 * 1024**2, denoiser=1_720 * 1024**2, vae=335 * 1024**2)
GPU = frozenset(
    {
        Measure.VAE_TILES,
        Measure.SPLIT_GUIDANCE,
        Measure.ENCODERS_ASIDE,
        Measure.PARTS_ASIDE,
    }
)

sizes = st.integers(0, 12 * GIB)
parts = st.builds(Parts, encoders=sizes, denoiser=sizes, vae=st.integers(0, GIB))
works = st.builds(
    Work,
    width=st.integers(8, 256).map(lambda n: n * 8),
    height=st.integers(8, 256).map(lambda n: n * 8),
    adapters_bytes=st.integers(0, GIB),
    opened_bytes=st.integers(0, GIB),
    held_bytes=st.integers(0, GIB),
)
kept = st.lists(
    st.builds(
        Kept,
        key=st.text("abcdefgh", min_size=4, max_size=4),
        size_bytes=st.integers(0, 8 * GIB),
        used=st.integers(0, 100),
        is_pinned=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda k: k.key,
).map(tuple)
rooms = st.builds(
    Room,
    memory_bytes=st.integers(0, 80 * GIB),
    measures=st.frozensets(st.sampled_from(Measure)),
    denoiser_float_bytes=st.sampled_from([2, 4]),
    tile_side=st.sampled_from([128, 256, 512, 1024]),
    others=kept,
    elsewhere_bytes=st.integers(0, 200 * GIB),
)


@given(parts, works, rooms)
def test_plan_here_fits_and_uses_only_what_the_device_can(
    model: Parts, work: Work, room: Room
) -> None:
    plan = make_plan(model, work, room)
    if plan.verdict is not Verdict.HERE:
        return
    assert plan.needed_bytes == needed_bytes(model, work, room, plan.measures)
    assert plan.needed_bytes <= room.memory_bytes
    assert plan.measures <= room.measures
    stays = sum(k.size_bytes for k in room.others if k.key not in plan.evict)
    assert stays + plan.needed_bytes <= room.memory_bytes
    # and no measure was taken for nothing
    for measure in plan.measures:
        fewer = plan.measures - {measure}
        assert needed_bytes(model, work, room, fewer) > room.memory_bytes


@given(parts, works, rooms)
def test_what_is_resident_never_changes_how_a_picture_is_made(
    model: Parts, work: Work, room: Room
) -> None:
    """Else the same recipe would give other bytes on another day."""
    alone = make_plan(model, work, replace(room, others=()))
    beside = make_plan(model, work, room)
    assert (alone.verdict, alone.measures) == (beside.verdict, beside.measures)


@given(parts, works, rooms)
def test_pinned_ones_go_only_when_the_others_are_not_enough(
    model: Parts, work: Work, room: Room
) -> None:
    plan = make_plan(model, work, room)
    pinned = {k.key for k in room.others if k.is_pinned}
    if pinned & set(plan.evict):
        without = sum(k.size_bytes for k in room.others if k.is_pinned)
        assert without + plan.needed_bytes > room.memory_bytes


@given(parts, works, rooms)
def test_more_memory_never_makes_it_worse(model: Parts, work: Work, room: Room) -> None:
    less = make_plan(model, work, room)
    more = make_plan(model, work, replace(room, memory_bytes=room.memory_bytes + GIB))
    if less.verdict is Verdict.HERE:
        assert more.verdict is Verdict.HERE
        assert more.rung <= less.rung
    assert largest_side(model, work, replace(room, memory_bytes=room.memory_bytes + GIB)) >= (
        largest_side(model, work, room)
    )


@given(parts, works, rooms)
def test_what_does_not_fit_says_what_would(model: Parts, work: Work, room: Room) -> None:
    plan = make_plan(model, work, room)
    if plan.verdict is Verdict.HERE:
        return
    whole = needed_bytes(model, work, room, frozenset())
    assert (plan.verdict is Verdict.ELSEWHERE) == (whole <= room.elsewhere_bytes)
    assert plan.needed_bytes > room.memory_bytes
    side = plan.largest_side
    assert side % 8 == 0
    square = replace(work, width=side, height=side)
    if side:
        assert make_plan(model, square, room).verdict is Verdict.HERE
    larger = replace(work, width=side + 8, height=side + 8)
    assert make_plan(model, larger, room).verdict is not Verdict.HERE


@given(parts, works, rooms)
def test_ladder_after_failures_goes_down_and_ends_with_something_smaller(
    model: Parts, work: Work, room: Room
) -> None:
    plan = make_plan(model, work, room)
    seen: list[Plan] = []
    while plan.verdict is Verdict.HERE:
        if seen:
            assert plan.rung > seen[-1].rung
            assert plan.needed_bytes < seen[-1].needed_bytes
        seen.append(plan)
        plan = make_plan(model, work, room, after=plan)
    assert len(seen) <= len(LADDER) + 1
    if seen:
        assert plan.verdict is Verdict.NOWHERE
        assert plan.largest_side**2 <= 0.75 * work.pixels


def test_rungs_of_a_small_gpu() -> None:
    """Stable Diffusion 1.5 in 4 GiB: the larger the picture, the further down the ladder."""
    room = Room(memory_bytes=4 * GIB, measures=GPU, denoiser_float_bytes=2)

    def measures(side: int) -> set[Measure]:
        plan = make_plan(SD15, Work(width=side, height=side), room)
        assert plan.verdict is Verdict.HERE
        return set(plan.measures)

    assert measures(512) == set()
    assert measures(768) == {Measure.VAE_TILES}
    too_large = make_plan(SD15, Work(width=4096, height=4096), room)
    assert too_large.verdict is Verdict.NOWHERE
    assert 768 < too_large.largest_side < 4096


def test_one_that_does_not_fit_goes_elsewhere_if_somebody_has_the_memory() -> None:
    room = Room(memory_bytes=2 * GIB, elsewhere_bytes=24 * GIB)
    work = Work(width=1024, height=1024)
    assert make_plan(SD15, work, room).verdict is Verdict.ELSEWHERE
    assert make_plan(SD15, work, replace(room, elsewhere_bytes=0)).verdict is Verdict.NOWHERE


def test_label_names_what_changes_pixels_and_nothing_else() -> None:
    measures = frozenset({Measure.ENCODERS_ASIDE, Measure.SPLIT_GUIDANCE, Measure.VAE_TILES})
    plan = Plan(verdict=Verdict.HERE, needed_bytes=1, available_bytes=1, measures=measures)
    assert plan.label == "vae_tiles+split_guidance"


@given(kept, st.integers(0, 30 * GIB), st.integers(0, 10 * GIB), st.booleans())
def test_evictions_are_enough_and_none_too_many(
    items: tuple[Kept, ...], budget: int, coming: int, spare: bool
) -> None:
    chosen = choose_evictions(items, budget_bytes=budget, coming_bytes=coming, spare_pinned=spare)
    by_key = {k.key: k for k in items}
    gone = [by_key[key] for key in chosen.keys]
    stays = sum(k.size_bytes for k in items) - sum(k.size_bytes for k in gone)
    assert chosen.does_fit == (stays + coming <= budget)
    assert not (spare and any(k.is_pinned for k in gone))
    if chosen.does_fit:
        for item in gone:
            assert stays + item.size_bytes + coming > budget
    else:
        may_stay = {k.key for k in items if spare and k.is_pinned}
        assert set(by_key) - set(chosen.keys) == may_stay


def test_least_recently_used_goes_first_and_pinned_ones_last() -> None:
    items = [
        Kept(key="new", size_bytes=4, used=9),
        Kept(key="old", size_bytes=4, used=1),
        Kept(key="waited-for", size_bytes=4, used=0, is_pinned=True),
    ]
    assert choose_evictions(items, budget_bytes=8).keys == ("old",)
    assert choose_evictions(items, budget_bytes=4).keys == ("old", "new")
    all_gone = choose_evictions(items, budget_bytes=0, spare_pinned=False)
    assert all_gone.keys == ("old", "new", "waited-for")


@pytest.mark.parametrize("measure", LADDER)
def test_every_measure_brings_something_somewhere(measure: Measure) -> None:
    work = Work(width=1024, height=1024)
    room = Room(memory_bytes=0, tile_side=256)
    others = frozenset(LADDER[: LADDER.index(measure)])
    before = needed_bytes(SD15, work, room, others)
    assert needed_bytes(SD15, work, room, others | {measure}) < before


def test_a_starting_picture_in_the_same_memory_is_reckoned_with() -> None:
    """It is opened before the model runs, and what is held of it lies there while it does."""
    plain, room = Work(width=512, height=512), Room(memory_bytes=8 * GIB, measures=GPU)
    need = needed_bytes(SD15, plain, room, frozenset())
    held = needed_bytes(SD15, replace(plain, held_bytes=GIB), room, frozenset())
    assert held == need + GIB
    small = needed_bytes(SD15, replace(plain, opened_bytes=GIB // 2), room, frozenset())
    assert small == need, "opening needs less than decoding will"
    large = needed_bytes(SD15, replace(plain, opened_bytes=4 * GIB), room, frozenset())
    assert large == SD15.total + 4 * GIB + OVERHEAD_BYTES
    tight = Room(memory_bytes=need, measures=GPU)
    assert make_plan(SD15, plain, tight).measures == frozenset()
    assert make_plan(SD15, replace(plain, held_bytes=GIB // 2), tight).measures


def test_a_batch_needs_more_for_denoising_and_no_more_for_decoding() -> None:
    room = Room(memory_bytes=80 * GIB, denoiser_float_bytes=4)
    needs = [
        needed_bytes(SD15, Work(width=512, height=512, batch=batch), room, frozenset())
        for batch in (1, 2, 4, 8)
    ]
    # At batch 1 decoding is the worst moment; from some batch on, denoising.
    assert needs[0] == needs[1] < needs[2] < needs[3]
    assert needs[3] - needs[2] == 4 * 512 * 512 * 370 * 4
