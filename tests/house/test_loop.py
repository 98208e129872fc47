"""A training run: what it learns survives a kill, and a matrix is a matrix however it is shaped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from typing_extensions import override

from house.training.loop import Plan, Run
from house.training.optimizer import Mixed

STEPS = 12


class Small(nn.Module):
    """A convolution (by Muon), a thin layer and a bias (by AdamW)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(4, 24, 3, padding=1)
        self.thin = nn.Conv2d(24, 2, 1)

    @override
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.thin(torch.tanh(self.wide(values)))
        return made


def _start(folder: Path, steps: int = STEPS) -> tuple[Run, Small]:
    torch.manual_seed(0)
    small = Small()
    plan = Plan(steps, warmup=2, decay=0.5, average=0.9)
    return Run(folder, {"small": small}, [(small.parameters(), 1e-2)], plan), small


def _learn(run: Run, small: Small, until: int) -> list[float]:
    losses = []
    while run.step < until:
        random = torch.Generator().manual_seed(run.step)
        values = torch.randn(8, 4, 6, 6, generator=random)
        loss = (small(values) - values[:, :2].roll(1, -1)).square().mean()
        run.learn(loss, 8)
        losses.append(loss.item())
    return losses


def test_a_run_taken_up_again_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole, kept = _start(tmp_path / "whole")
    _learn(whole, kept, STEPS)
    first, before = _start(tmp_path / "broken")
    _learn(first, before, 5)
    first.save()
    _learn(first, before, 7)  # lost with the process
    second, after = _start(tmp_path / "broken")
    assert second.resume()
    assert second.step == 5
    _learn(second, after, STEPS)
    whole.averaged()
    second.averaged()
    for one, other in zip(kept.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_half_written_checkpoint_is_not_read(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, 3)
    run.save()
    (tmp_path / "checkpoint.part").write_bytes(b"the machine went down here")
    again, _ = _start(tmp_path)
    assert again.resume()
    assert again.step == 3


def test_without_a_checkpoint_there_is_nothing_to_take_up(tmp_path: Path) -> None:
    run, _ = _start(tmp_path)
    assert not run.resume()


def test_it_learns(tmp_path: Path) -> None:
    run, small = _start(tmp_path, steps=150)
    losses = _learn(run, small, 150)
    assert losses[-1] < losses[0] / 3


def test_swapping_twice_changes_nothing(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, 4)
    before = [p.detach().clone() for p in small.parameters()]
    run.swap()
    assert not torch.equal(before[0], small.wide.weight)
    run.swap()
    assert all(torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True))


def test_the_rate_rises_stays_and_falls() -> None:
    plan = Plan(1_000, warmup=100, decay=0.4)
    assert plan.rate(0) < 0.02
    assert plan.rate(300) == plan.rate(599) == pytest.approx(1.0, abs=2e-3)
    assert plan.rate(800) == pytest.approx(0.5, abs=2e-3)
    assert plan.rate(999) < 0.01
    assert Plan(2_000, warmup=100, decay=0.4).rate(999) == pytest.approx(1.0, abs=2e-3)


def test_a_longer_plan_goes_on_at_its_own_rate(tmp_path: Path) -> None:
    run, small = _start(tmp_path, steps=8)
    _learn(run, small, 8)
    run.save()
    longer, same = _start(tmp_path, steps=16)
    assert longer.resume()
    assert not longer.done
    assert longer.plan.rate(longer.step) > 0.9
    _learn(longer, same, 16)
    assert longer.done


def test_a_shorter_plan_is_done(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, 6)
    run.save()
    shorter, _ = _start(tmp_path, steps=4)
    assert shorter.resume()
    assert shorter.done


def test_a_rate_changed_meanwhile_holds(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, 3)
    run.save()
    torch.manual_seed(0)
    other = Small()
    plan = Plan(STEPS, warmup=2, decay=0.5, average=0.9)
    slow = Run(tmp_path, {"small": other}, [(other.parameters(), 1e-9)], plan)
    assert slow.resume()
    before = other.wide.weight.detach().clone()
    _learn(slow, other, 4)
    assert torch.allclose(before, other.wide.weight, atol=1e-6)


def test_the_checkpoint_before_the_rate_falls_is_kept(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, run.plan.falls_at)
    assert not (tmp_path / "stable.pt").exists()
    _learn(run, small, run.plan.falls_at + 1)
    assert torch.load(tmp_path / "stable.pt", weights_only=True)["step"] == run.plan.falls_at


def test_a_run_upon_something_else_is_refused(tmp_path: Path) -> None:
    run, small = _start(tmp_path)
    _learn(run, small, 2)
    run.save()
    torch.manual_seed(0)
    plan = Plan(STEPS)
    other = Run(tmp_path, {"small": small}, [(small.parameters(), 1e-2)], plan, of="another base")
    with pytest.raises(SystemExit, match="remove"):
        other.resume()
    wider = nn.Linear(30, 30)
    with pytest.raises(SystemExit, match="remove"):
        Run(tmp_path, {"small": wider}, [(wider.parameters(), 1e-2)], plan).resume()


def test_running_means_go_with_the_checkpoint(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(3)
    run = Run(tmp_path, {"norm": norm}, [(norm.parameters(), 1e-2)], Plan(STEPS))
    run.learn(norm(torch.randn(8, 3) + 5).square().mean(), 8)
    run.save()
    fresh = nn.BatchNorm1d(3)
    again = Run(tmp_path, {"norm": fresh}, [(fresh.parameters(), 1e-2)], Plan(STEPS))
    assert again.resume()
    kept, before = fresh.running_mean, norm.running_mean
    assert kept is not None
    assert before is not None
    assert torch.equal(kept, before)


def test_only_matrices_are_orthogonalised() -> None:
    small = Small()
    both = Mixed([(small.parameters(), 1e-2)])
    muon, rest = both.state_dict()
    assert len(muon["param_groups"][0]["params"]) == 1
    assert len(rest["param_groups"][0]["params"]) == 3
    assert len(Mixed([(small.parameters(), 1e-2)], muon=False).state_dict()) == 1
