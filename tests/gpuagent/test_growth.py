"""What was measured corrects the planner: within bounds, and never the pixels."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.pipelines.family import Family
from gpuagent.planning.eviction import Kept
from gpuagent.planning.growth import FACTOR_MAX, FACTOR_MIN, LEAST_SEEN, Growth, Seen
from gpuagent.planning.plan import (
    ASIDE,
    CHANGE_PIXELS,
    Measure,
    Parts,
    Plan,
    Room,
    Verdict,
    Work,
    growth_of,
    make_plan,
    needed_bytes,
)
from gpuagent.protocol.messages import ModelRef
from gpuagent.runner.learned import ENTRIES_MAX, Learned

from .in_process import AgentInside
from .support import FakeStudio
from .test_plan import GIB, GPU, SD15, parts, rooms, works

LABELS = [
    "+".join(m.value for m in Measure if m in each)
    for n in range(4)
    for each in itertools.combinations([m for m in Measure if m in CHANGE_PIXELS], n)
]
factors = st.dictionaries(st.sampled_from(LABELS), st.floats(FACTOR_MIN, FACTOR_MAX))
MIB = 1024**2


@given(parts, works, rooms, factors)
def test_what_was_measured_never_changes_pixels_nor_what_can_be_made(
    model: Parts, work: Work, room: Room, measured: dict[str, float]
) -> None:
    plain = make_plan(model, work, room)
    plan = make_plan(model, work, room, factors=measured)
    assert (plan.verdict, plan.label, plan.rung) == (plain.verdict, plain.label, plain.rung)
    assert plan.largest_side == plain.largest_side
    assert plan.measures <= room.measures
    if plan.verdict is Verdict.HERE:
        assert plan.needed_bytes <= room.memory_bytes
        stays = sum(k.size_bytes for k in room.others if k.key not in plan.evict)
        assert stays + plan.needed_bytes <= room.memory_bytes
    if plan.factor < 1:
        again = make_plan(model, work, room, after=plan, factors=measured)
        assert again == plain, "what failed with less is tried as it was planned"


@given(parts, works, rooms, factors)
def test_growth_is_foreseen_as_it_would_be_measured(
    model: Parts, work: Work, room: Room, measured: dict[str, float]
) -> None:
    """From what was seen, the factor with which just that would have been foreseen."""
    plan = make_plan(model, work, room, factors=measured)
    growth = growth_of(model, work, room, plan.measures)
    for factor in (0.5, 1.0, 1.3):
        seen = growth.bytes_at(factor)
        found = growth.factor_of(seen)
        assert found is not None
        assert found >= factor - 0.01
        assert abs(growth.bytes_at(found) - seen) <= 2


def test_encoders_that_come_for_a_while_lie_beside_the_others() -> None:
    """A text encoder that is larger than all activations is what decides, then."""
    model = replace(SD15, encoders=9 * GIB)
    work, room = Work(width=512, height=512), Room(memory_bytes=0, measures=GPU)
    aside = needed_bytes(model, work, room, frozenset({Measure.ENCODERS_ASIDE}))
    assert aside > model.total
    apart = needed_bytes(model, work, room, frozenset({Measure.PARTS_ASIDE}))
    assert apart < 10 * GIB


def test_less_than_planned_leaves_parts_where_they_are_and_more_puts_them_aside() -> None:
    work = Work(width=512, height=512)
    plain = needed_bytes(SD15, work, Room(memory_bytes=0, denoiser_float_bytes=2), frozenset())
    room = Room(
        memory_bytes=plain,
        measures=GPU - CHANGE_PIXELS,
        denoiser_float_bytes=2,
        others=(Kept(key="other", size_bytes=1, used=1.0),),
    )
    assert make_plan(SD15, work, room).measures == frozenset()
    more = make_plan(SD15, work, room, factors={"": 1.2})
    assert more.measures & ASIDE
    tight = replace(room, memory_bytes=plain - 50 * MIB)
    assert make_plan(SD15, work, tight).measures & ASIDE
    less = make_plan(SD15, work, tight, factors={"": 0.8})
    assert less.measures == frozenset()
    # and what else lies there goes only if it has to
    roomy = replace(room, memory_bytes=plain + 100 * MIB)
    roomy = replace(roomy, others=(Kept(key="other", size_bytes=100 * MIB, used=1.0),))
    assert make_plan(SD15, work, roomy).evict == ()
    assert make_plan(SD15, work, roomy, factors={"": 1.05}).evict == ("other",)


def test_a_batch_that_would_not_fit_is_none() -> None:
    work = Work(width=512, height=512, batch=4)
    need = needed_bytes(SD15, work, Room(memory_bytes=0), frozenset())
    room = Room(memory_bytes=need)
    assert make_plan(SD15, work, room).verdict is Verdict.HERE
    assert make_plan(SD15, work, room, factors={"": 1.3}).verdict is Verdict.NOWHERE


def test_a_factor_rises_at_once_and_falls_slowly_after_three_pictures() -> None:
    seen = Seen()
    for _ in range(LEAST_SEEN - 1):
        seen = seen.with_picture(0.8, 512)
        assert seen.factor(512, may_lower=True) == 1.0
    seen = seen.with_picture(0.8, 512)
    assert seen.factor(512, may_lower=True) == pytest.approx(0.84)
    assert seen.factor(512, may_lower=False) == 1.0
    assert seen.factor(513, may_lower=True) == 1.0, "larger than any that was seen"
    high = seen.with_picture(1.2, 512)
    assert high.factor(512, may_lower=True) == pytest.approx(1.26)
    lower = high.with_picture(0.8, 512)
    assert 1.15 < lower.factor(512, may_lower=True) < 1.26
    for _ in range(60):
        lower = lower.with_picture(0.8, 512)
    assert lower.factor(512, may_lower=True) < 0.95


def test_factors_stay_within_bounds() -> None:
    little, much = Seen(), Seen()
    for _ in range(5):
        little, much = little.with_picture(0.01, 1), much.with_picture(90.0, 1)
    assert little.factor(1, may_lower=True) == FACTOR_MIN
    assert much.factor(1, may_lower=True) == FACTOR_MAX
    assert little.with_shortage().factor(1, may_lower=True) > 1


def plan_of(active: int, factor: float = 1.0) -> Plan:
    growth = Growth(moments=((0, active),))
    return Plan(
        verdict=Verdict.HERE, needed_bytes=1, available_bytes=1, growth=growth, factor=factor
    )


def made(learned: Learned, took: int, *, digest: str = "a", is_plain: bool = True) -> None:
    learned.made(digest, plan_of(1000), pixels=64, batch=1, growth_bytes=took, is_plain=is_plain)


@pytest.fixture
def gpu(engine: Engine) -> Engine:
    """As it would be on a GPU, for what computes nothing."""
    return replace(engine, device="cuda", gpu_class="NVIDIA L4")


def test_what_was_learned_survives_a_restart_but_no_other_device(
    gpu: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "cache" / "memory.json"
    learned = Learned(gpu, path)
    for _ in range(LEAST_SEEN):
        made(learned, 800)
    found = dict(Learned(gpu, path).factors("a", pixels=64))
    assert found == {"": pytest.approx(0.84)}
    assert Learned(gpu, path).factors("b", pixels=64) == {}
    assert Learned(gpu, path).factors("a", pixels=64, batch=2) == {}
    assert Learned(replace(gpu, gpu_class="other"), path).factors("a", pixels=64) == {}
    torch_of_tomorrow = replace(gpu, fingerprint={**gpu.fingerprint, "torch": "9"})
    assert Learned(torch_of_tomorrow, path).factors("a", pixels=64) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"device": 1}', '{"seen": {"a": 1}}', "NaN"])
def test_a_file_that_cannot_be_read_is_as_none(gpu: Engine, tmp_path: Path, text: str) -> None:
    path = tmp_path / "memory.json"
    path.write_text(text)
    learned = Learned(gpu, path)
    assert learned.factors("a", pixels=64) == {}
    made(learned, 1300)
    assert json.loads(path.read_text())["seen"]


def test_odd_numbers_in_it_are_as_none(gpu: Engine, tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    made(Learned(gpu, path), 1300)
    said = json.loads(path.read_text())
    whole = {"level": 1.3, "count": 3, "pixels": 1}
    odd: tuple[object, ...] = (
        *({**whole, "level": 1e400}, {**whole, "count": math.inf}, {**whole, "pixels": math.inf}),
        *({**whole, "level": 10**400}, {**whole, "count": math.nan}, {"level": 1}, [], "x"),
    )
    (key,) = said["seen"]
    for raw in odd:
        said["seen"] = {key: raw}
        path.write_text(json.dumps(said))
        assert Learned(gpu, path).factors("a", pixels=1) == {}
        # and what lies beside it is known all the same
        said["seen"] = {key: raw, key.replace("a/", "b/", 1): whole}
        path.write_text(json.dumps(said))
        assert Learned(gpu, path).factors("b", pixels=1) == {"": pytest.approx(1.365)}
    nested = '{"device": "x", "seen": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path.write_text(nested)
    assert Learned(gpu, path).factors("a", pixels=1) == {}


def test_a_disk_that_is_full_harms_nothing(gpu: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    learned = Learned(gpu, tmp_path / "file" / "memory.json")
    made(learned, 1300)
    assert learned.factors("a", pixels=64)[""] > 1


def test_only_so_many_are_kept_and_nothing_is_written_without_news(
    gpu: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "memory.json"
    learned = Learned(gpu, path)
    for number in range(ENTRIES_MAX // 20):
        made(learned, 1200, digest=str(number))
    before = path.stat().st_mtime_ns
    for _ in range(LEAST_SEEN):
        made(learned, 1200, digest="0")
    settled = path.stat().st_mtime_ns
    made(learned, 1200, digest="0")
    assert before < settled == path.stat().st_mtime_ns
    plain = Learned(gpu)
    for number in range(ENTRIES_MAX + 50):
        made(plain, 1200, digest=str(number))
    assert plain.factors("0", pixels=64) == {}
    assert plain.factors(str(ENTRIES_MAX + 49), pixels=64)


def test_on_a_cpu_nothing_is_lowered_and_a_batch_is_never_made_larger(
    engine: Engine, gpu: Engine
) -> None:
    """On a CPU nobody says that memory ran out: the process is killed."""
    learned = Learned(engine)
    for _ in range(LEAST_SEEN):
        made(learned, 700)
    assert learned.factors("a", pixels=64) == {"": 1.0}
    made(learned, 1300)
    assert learned.factors("a", pixels=64)[""] > 1.3
    on_gpu = Learned(gpu)
    for _ in range(LEAST_SEEN):
        on_gpu.made("a", plan_of(1000), pixels=64, batch=4, growth_bytes=700, is_plain=True)
    assert on_gpu.factors("a", pixels=64, batch=2) == {"": 1.0}


def test_what_came_with_a_picture_is_checked_but_teaches_nothing(gpu: Engine) -> None:
    learned = Learned(gpu)
    made(learned, 2000, is_plain=False)
    assert learned.factors("a", pixels=64) == {}
    assert learned.to_wire()["plans_checked"] == 1


def test_the_error_is_told_as_nine_in_ten_keep_it(gpu: Engine) -> None:
    learned = Learned(gpu)
    assert "plan_error" not in learned.to_wire()
    for took in (1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 980, 1250):
        made(learned, took)
    told: Any = learned.to_wire()
    assert told["plans_checked"] == 10
    assert told["plan_error"] == pytest.approx(0.2)
    assert told["plan_ratios"]["counts"] == {"0.9": 1, "1.0": 8, "1.05": 1}


class _Believes(Learned):
    """Is sure that pictures take less than they do."""

    @override
    def factors(self, digest: str, *, pixels: int, batch: int = 1) -> dict[str, float]:
        return {"": 0.7} if not self.shortages else {}

    @override
    def ran_out(self, digest: str, plan: Plan, *, batch: int = 1) -> None:
        self.shortages += 1

    shortages = 0


@pytest.mark.parametrize(("fails", "label"), [(0, ""), (1, ""), (2, "vae_tiles")])
def test_when_too_little_was_foreseen_the_picture_is_made_as_planned_before_the_ladder(
    fails: int,
    label: str,
    studio: FakeStudio,
    house_ref: ModelRef,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So what was learned, though wrong, costs a try and changes no pixel."""
    engine = detect_engine(threads=1)
    agent = AgentInside(tmp_path, studio, engine, models_root=Path("/"))
    agent.models.learned = _Believes(engine)
    left = [fails]
    decode = Family.decode

    def failing(self: Family, latents: torch.Tensor) -> Pixels:
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return decode(self, latents)

    monkeypatch.setattr(Family, "decode", failing)
    asked = {"prompt": "a mug", "num_inference_steps": 1, "width": 256, "height": 256, "seed": 1}
    attempt = studio.add_attempt(house_ref, asked)
    (end,) = agent.run([attempt])
    agent.close()
    assert end["status"] == "succeeded", end
    assert attempt.commits[0]["manifest"]["engine"].get("memory", "") == label
    assert end["timings"]["plan_factor"] == (0.7 if not fails else 1.0)
    assert agent.models.learned.shortages == fails
