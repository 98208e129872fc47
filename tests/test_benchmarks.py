"""The benchmarks run by themselves and end in the line that dashboards read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from launcher.layout import REPOSITORY

KEYS = {
    "overhead": {
        "direct_s",
        "studio_s",
        "ratio",
        "submit_to_first_preview_ms_p50",
        "announce_ms_p50",
        "overhead_ms_p50",
    },
    "startup": {"ready_s", "cold_first_picture_s"},
    "crypto": {
        "seal_ratio",
        "open_ratio",
        "range_read_ms",
        "range_read_cold_ms",
        "delivery_ratio",
        "rotation_rows_per_s",
    },
    "residency": {
        "store_s",
        "disk_s",
        "host_s",
        "gpu_s",
        "store_to_host_ratio",
        "disk_to_host_ratio",
    },
    "engine": {
        "single_ratio",
        "mixed_throughput_ratio",
        "lora_switch_share",
        "checkpoint_switch_ratio",
        "checkpoint_load_s",
        "lora_lay_s",
    },
    "joining": {"step_1_ms", "step_4_ms", "decode_ms", "joined_kinds3_load90_p95"},
    "sockets": {"sockets", "lag_ms_p50", "lag_ms_p95", "kib_per_socket", "cpu_share"},
    "house": {
        "object",
        "colour",
        "background",
        "style",
        "size_position",
        "two_objects",
        "seconds_per_picture",
        "ceiling_object",
        "ceiling_decoded_object",
        "four_step_object",
        "autoencoder_psnr_db",
    },
}
# A difference of two times, so it may be nothing or less.
MAY_BE_NOTHING = {"overhead_ms_p50", "lora_switch_share"}


@pytest.mark.slow_process
@pytest.mark.parametrize("name", sorted(KEYS))
def test_last_line_is_one_flat_object_of_positive_figures(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert KEYS[name] <= set(figures)
    assert all(isinstance(value, int | float) for value in figures.values())
    assert all(figures[key] > 0 for key in KEYS[name] - MAY_BE_NOTHING)
