"""When an agent takes itself out, and when not."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gpuagent.runner.failures import attempt_error, is_device_failure
from gpuagent.runner.health import HANG_LEAST_SECONDS, Health, SickCode
from gpuagent.runner.telemetry import NvmlDevice, PeakMemory, SlowdownWatch, read_cpu


class Clock:
    """Time that the test moves, with the regular look that the heartbeat takes."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at

    def pass_by(self, seconds: float, health: Health) -> bool:
        """True if a hang was found on the way."""
        found = False
        while seconds > 0:
            part = min(seconds, 5.0)
            self.at += part
            seconds -= part
            found = health.check() or found
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


def make_steps(health: Health, clock: Clock, count: int, seconds: float = 2.0) -> None:
    health.begin("kind", 50)
    for _ in range(count):
        assert not clock.pass_by(seconds, health)
        health.step()


def test_step_that_takes_twenty_times_its_median_is_a_hang(health: Health, clock: Clock) -> None:
    make_steps(health, clock, 6)
    assert not clock.pass_by(39, health)
    assert health.code == ""
    assert clock.pass_by(3, health)
    assert health.code == SickCode.HANG
    assert not clock.pass_by(100, health)  # found once


def test_short_steps_may_take_a_while(health: Health, clock: Clock) -> None:
    make_steps(health, clock, 10, seconds=0.01)
    assert not clock.pass_by(HANG_LEAST_SECONDS - 1, health)
    assert clock.pass_by(2, health)


def test_nothing_is_said_of_a_kind_that_is_not_known(health: Health, clock: Clock) -> None:
    make_steps(health, clock, 4)
    assert not clock.pass_by(1_000, health)


def test_pause_of_the_whole_process_is_no_hang(health: Health, clock: Clock) -> None:
    make_steps(health, clock, 6)
    clock.at += 600  # nobody looked
    assert not health.check()
    assert not clock.pass_by(30, health)
    assert clock.pass_by(15, health)


def test_between_pictures_nothing_hangs(health: Health, clock: Clock) -> None:
    make_steps(health, clock, 6)
    health.end()
    assert not clock.pass_by(1_000, health)


def test_seconds_left_are_those_of_the_steps_left(health: Health, clock: Clock) -> None:
    assert health.seconds_left() is None
    make_steps(health, clock, 10)
    clock.at += 1
    assert health.seconds_left() == pytest.approx(40 * 2 - 1)
    health.end()
    assert health.seconds_left() is None


def test_memory_that_runs_out_again_and_again_makes_sick(health: Health) -> None:
    for kind in ("a", "a", "a", "a"):
        health.ran_out_of_memory(kind)
    assert health.code == ""  # one recipe may be estimated too low
    health.ran_out_of_memory("b")
    assert health.code == SickCode.OUT_OF_MEMORY


def test_a_picture_in_between_takes_the_strikes_away(health: Health) -> None:
    for kind in ("a", "b"):
        health.ran_out_of_memory(kind)
        health.got_corrupt(kind)
    health.picture_made()
    health.ran_out_of_memory("c")
    health.got_corrupt("c")
    assert health.code == ""


def test_one_broken_file_in_the_store_makes_no_agent_sick(health: Health) -> None:
    for _ in range(10):
        health.got_corrupt("same")
    assert health.code == ""
    health.got_corrupt("second")
    health.got_corrupt("third")
    assert health.code == SickCode.CORRUPT_WEIGHTS


def test_first_reason_stays_until_a_person_says_otherwise() -> None:
    told: list[int] = []
    health = Health(on_sick=lambda: told.append(1))
    health.be_sick(SickCode.ECC_ERRORS)
    health.be_sick(SickCode.FAILED)
    assert (health.code, told) == ("gpu.ecc_errors", [1])
    health.recover()
    assert health.code == ""
    health.be_sick(SickCode.FAILED)
    assert health.code == "gpu.failed"


@pytest.mark.parametrize(
    ("error", "is_failure"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (type("AcceleratorError", (RuntimeError,), {})("device-side assert triggered"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA error: out of memory"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("CUDA error"), False),
    ],
)
def test_gpu_that_failed_is_told_from_work_that_failed(error: Exception, is_failure: bool) -> None:
    assert is_device_failure(error) is is_failure
    if is_failure:
        assert attempt_error(error).code == "agent.lost"  # not the picture's fault


class Nvml(SimpleNamespace):
    """NVML as its manual says it answers."""

    class NVMLError(Exception):
        pass

    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    ecc = 2
    knows_power = True

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetTemperature(self, _handle: str, sensor: int) -> int:
        assert sensor == 0
        return 71

    def nvmlDeviceGetPowerUsage(self, _handle: str) -> int:
        if not self.knows_power:
            raise self.NVMLError
        return 312_500

    def nvmlDeviceGetUtilizationRates(self, _handle: str) -> SimpleNamespace:
        return SimpleNamespace(gpu=98, memory=40)

    def nvmlDeviceGetMemoryInfo(self, _handle: str) -> SimpleNamespace:
        return SimpleNamespace(used=5 * 1024**3, total=80 * 1024**3)

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: str) -> int:
        return 0x01 | 0x04 | 0x40

    def nvmlDeviceGetTotalEccErrors(self, _handle: str, kind: int, counter: int) -> int:
        assert (kind, counter) == (1, 0)
        return self.ecc


@pytest.fixture
def nvml() -> Iterator[Nvml]:
    yield Nvml()


def test_nvml_is_read_in_the_units_of_the_wire(nvml: Nvml) -> None:
    assert NvmlDevice(nvml, "GPU-1").read() == {
        "temperature_c": 71.0,
        "power_w": 312.5,
        "utilization": 0.98,
        "memory_used_bytes": 5 * 1024**3,
        "throttled": ["power_cap", "hardware_thermal"],
    }


def test_what_a_card_does_not_know_is_left_out(nvml: Nvml) -> None:
    nvml.knows_power = False
    found = NvmlDevice(nvml, "GPU-1").read()
    assert "power_w" not in found
    assert found["temperature_c"] == 71.0


def test_only_new_ecc_errors_count(nvml: Nvml) -> None:
    device = NvmlDevice(nvml, "GPU-1")
    assert not device.has_new_ecc_errors()
    nvml.ecc = 3
    assert device.has_new_ecc_errors()


def test_a_device_that_the_hardware_slows_down_for_long_is_out_until_it_has_cooled() -> None:
    at = 0.0
    watch = SlowdownWatch(clock=lambda: at)
    hot = ["power_cap", "hardware_thermal"]
    # A pause begins the minute anew.
    news: list[tuple[float, bool]] = []
    for until, reasons in ((50, hot), (55, []), (200, hot), (400, []), (405, hot), (900, [])):
        while at < until:
            at += 5
            if (seen := watch.see(reasons)) is not None:
                news.append((at, seen))
    assert news == [(120.0, True), (710.0, False)]


@pytest.mark.parametrize("reasons", [None, [], ["power_cap"], ["thermal", "sync_boost"]])
def test_what_was_chosen_or_is_usual_is_no_slowdown(reasons: object) -> None:
    at = 0.0
    watch = SlowdownWatch(clock=lambda: at)
    for _ in range(100):
        at += 5
        assert watch.see(reasons) is None


def test_machine_without_a_gpu_tells_its_load_and_this_process_memory() -> None:
    found = read_cpu()
    assert 0 <= float(str(found["utilization"])) <= 1
    assert int(str(found["memory_used_bytes"])) > 10 * 1024**2


def test_peak_of_memory_is_measured_from_a_reset() -> None:
    peak = PeakMemory(has_gpu=False)
    peak.reset()
    before = peak.read()
    assert before is not None
    large = bytearray(200 * 1024**2)
    del large
    after = peak.read()
    assert after is not None
    assert after - before > 150 * 1024**2
    peak.reset()
    assert (peak.read() or 0) < after - 100 * 1024**2


def test_growth_is_what_comes_on_top_of_a_loaded_model() -> None:
    peak = PeakMemory(has_gpu=False)
    peak.reset()
    assert peak.growth() is None
    loading = bytearray(200 * 1024**2)
    del loading
    model = bytearray(50 * 1024**2)
    peak.mark()
    picture = bytearray(100 * 1024**2)
    del picture
    growth, highest = peak.growth(), peak.read()
    assert growth is not None
    assert 80 * 1024**2 < growth < 150 * 1024**2
    # The peak is that of all of it, loading included.
    assert highest is not None
    assert highest > growth + len(model) + 40 * 1024**2
