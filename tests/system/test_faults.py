"""Every kind of fault once or more, while pictures are asked for: the benchmark, small."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from launcher.layout import REPOSITORY

pytestmark = pytest.mark.slow_process

FAULTS = 16
NEVER = (
    "lost",
    "duplicated",
    "stuck",
    "charged_twice",
    "stale_writes",
    "unannounced",
    "announced_twice",
    "pages_sent_away",
    "other_answers",
    "unreadable",
)


def test_nothing_is_lost_doubled_or_stuck(
    record_property: Callable[[str, object], None],
) -> None:
    options = ["--faults", str(FAULTS), "--gap", "1", "--lease", "6", "--seed", "7"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])

    record_property(
        "agents killed among other faults: until work goes on", figures["recovery_s_max"]
    )
    assert {name: figures[name] for name in NEVER} == dict.fromkeys(NEVER, 0), done.stderr[-3000:]
    assert figures["faults"] == FAULTS
    assert figures["stored"] == figures["asked"] > 5
    assert figures["recovery_undisturbed_s_max"] <= 20
