"""The runner's smaller parts: settings, logs, failures, outbox, pace of progress, the store."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.places import Places
from gpuagent.pipelines.preview import LatentColors
from gpuagent.protocol import sealing
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, AttemptProgress, AttemptStarted
from gpuagent.protocol.recipe import RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.runner.client import StudioRefusedError, StudioUnreachableError, persist
from gpuagent.runner.failures import attempt_error
from gpuagent.runner.held import Held
from gpuagent.runner.link import Link, Outbox
from gpuagent.runner.logs import _Formatter, log_event
from gpuagent.runner.progress import PreviewOrder, PreviewThread, ProgressReporter
from gpuagent.runner.settings import Settings, SettingsInvalidError
from gpuagent.runner.store import Store

from .support import HOUSE, ORGANIZATION, TOKEN, FakeStudio, model_ref

CANARY = "CANARY-prompt-about-a-mug"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Everything an agent needs to know."""
    credentials = tmp_path / "credentials.json"
    credentials.write_text(
        json.dumps({"agent_id": "agt_1", "token": TOKEN, "namespace": "agent:1"})
    )
    return {
        "STUDIO_URL": "http://studio:8000/",
        "REDIS_URL": "redis://:password@localhost/0",
        "STUDIO_AGENT_CREDENTIALS": str(credentials),
        "STUDIO_AGENT_CACHE": str(tmp_path / "cache"),
    }


def test_settings_are_read(environment: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_env({**environment, "STUDIO_AGENT_THREADS": "3"})
    assert settings.studio_url == "http://studio:8000"
    assert (settings.threads, settings.heartbeat_seconds) == (3, 5.0)
    assert settings.store_root is None
    assert settings.credentials.namespace == "agent:1"
    assert TOKEN not in repr(settings)
    assert "password" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STUDIO_URL", ""),
        ("STUDIO_URL", "studio:8000"),
        ("STUDIO_AGENT_DEVICE", "gpu0"),
        ("STUDIO_AGENT_SPOT", "moon"),
        ("STUDIO_AGENT_CACHE_BYTES", "0"),
        ("STUDIO_AGENT_CA_FILE", "/nowhere.pem"),
        ("STUDIO_AGENT_CREDENTIALS", "/nowhere.json"),
        ("STUDIO_AGENT_THREADS", "many"),
        ("STUDIO_AGENT_THREADS", "0"),
        ("STUDIO_HEARTBEAT_SECONDS", "-1"),
    ],
)
def test_wrong_setting_is_named(environment: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(SettingsInvalidError, match=name):
        Settings.from_env({**environment, name: value})


def test_log_line_is_key_and_value(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gpuagent"):
        log_event("attempt.end", seconds=0.12345, size="8x8", reason="two words", empty="")
    assert caplog.messages == ["attempt.end seconds=0.123 size=8x8 reason='two words' empty=''"]


def test_logged_exception_says_its_class_and_nothing_else() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.ERROR, "", 0, "it broke", (), __import__("sys").exc_info()
        )
    text = _Formatter("%(message)s").format(record)
    assert text == "it broke\nexception=ValueError"


def _torch_error(name: str, text: str) -> RuntimeError:
    kind: type[RuntimeError] = type(name, (RuntimeError,), {})
    return kind(text)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), FailureCode.OUT_OF_MEMORY),
        (_torch_error("OutOfMemoryError", "CUDA"), FailureCode.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureCode.OUT_OF_MEMORY),
        (RuntimeError(CANARY), FailureCode.INTERNAL),
        (KeyError(CANARY), FailureCode.INTERNAL),
        (OSError(28, CANARY), FailureCode.STORE_FAILED),
        (StudioUnreachableError("ConnectError"), FailureCode.STORE_FAILED),
        (AttemptFailedError(FailureCode.MODEL_CORRUPT, sha256="ab"), FailureCode.MODEL_CORRUPT),
    ],
)
def test_exception_becomes_a_code_without_its_words(error: Exception, code: FailureCode) -> None:
    told = attempt_error(error, needed_bytes=5, available_bytes=3)
    assert told.code == code
    assert CANARY not in json.dumps(told.data)
    if code is FailureCode.OUT_OF_MEMORY:
        assert told.data == {"needed_bytes": 5, "available_bytes": 3}


def test_invalid_recipe_names_fields_and_no_values() -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe({"model": "a" * 64, "prompt": "x", "sampler": CANARY})
    told = attempt_error(caught.value)
    assert (told.code, told.data) == ("recipe.invalid", {"problems": ["sampler:unknown_sampler"]})


def test_real_torch_exception_is_out_of_memory() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float32)
    assert attempt_error(caught.value).code == FailureCode.OUT_OF_MEMORY


def test_outbox_keeps_the_latest_of_each_key_in_order() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put(("progress", "a"), f"a{number}")
    outbox.put(("progress", "b"), "b0")
    first = outbox.take()
    assert first == (("progress", "a"), "a2")
    outbox.put(("progress", "a"), "a3")
    outbox.put_back(*first)
    assert [outbox.take(), outbox.take()] == [(("progress", "b"), "b0"), (("progress", "a"), "a3")]
    assert outbox.take() is None


def test_outbox_is_bounded() -> None:
    outbox = Outbox()
    for number in range(1000):
        outbox.put(("progress", str(number)), "x")
    assert len(outbox) == 256


def test_message_that_could_not_be_sent_is_kept() -> None:
    class BrokenSocket:
        async def send(self, _data: str) -> None:
            raise ConnectionError

    link = Link(Places(studio_url="http://x", token=TOKEN), on_cancel=lambda _: None)
    link.send(AttemptStarted(attempt_id="att_1", fence=1, seq=1))
    with pytest.raises(ConnectionError):
        asyncio.run(link._send_all(BrokenSocket()))  # type: ignore[arg-type]  # all it needs
    entry = link._outbox.take()
    assert entry is not None
    assert entry[0] == ("attempt.started", "att_1")


class RecordingLink(Link):
    """A link that is never started, and remembers."""

    def __init__(self) -> None:
        super().__init__(Places(studio_url="http://x", token=TOKEN), on_cancel=lambda _: None)
        self.sent: list[AttemptStarted | AttemptProgress] = []

    def send(self, message: AttemptStarted | AttemptProgress) -> None:  # type: ignore[explicit-override]  # records
        self.sent.append(message)


class RecordingPreviews(PreviewThread):
    """Remembers what was to be shown."""

    def __init__(self) -> None:
        super().__init__(lambda _frame: None)
        self.offered: list[PreviewOrder] = []

    def offer(self, order: PreviewOrder) -> None:  # type: ignore[explicit-override]  # records
        self.offered.append(order)


def test_progress_is_paced_and_the_last_step_always_told() -> None:
    # Given 3 pictures of 40 steps at 10 ms a step
    clock = iter(range(10_000))
    link, previews = RecordingLink(), RecordingPreviews()
    assignment = Assignment(
        attempt_id="att_01J00000000000000000000000",
        job_id="job_1",
        organization=ORGANIZATION,
        fence=4,
        recipe={},
        model=model_ref(HOUSE / "scheduler"),
        targets=(),
        preview_key=b64encode(sealing.new_key()).decode(),
    )
    held = Held(assignment.attempt_id, 4)
    reporter = ProgressReporter(assignment, held, link, previews, clock=lambda: next(clock) / 100)
    colors = LatentColors(factors=np.zeros((4, 3), np.float32), bias=np.zeros(3, np.float32))
    for index in range(3):
        for step in range(1, 41):
            latent = np.full((4, 2, 2), step, np.float32)
            reporter.step(index, 3, step, 40, lambda latent=latent: latent, colors)  # type: ignore[misc]  # bound now
    previews.close()
    # Then 1.2 seconds give at most 8 messages a second and each picture's last step
    told = [(m.index, m.step) for m in link.sent if isinstance(m, AttemptProgress)]
    assert told[0] == (0, 1)
    assert {(0, 40), (1, 40), (2, 40)} <= set(told)
    assert len(told) <= 1.2 * 8 + 3 + 1
    assert told == sorted(told)
    assert [m.seq for m in link.sent] == list(range(1, len(told) + 1))
    # and previews at the first step, then every half second
    assert [(o.index, int(o.latent[0, 0, 0])) for o in previews.offered] == [
        (0, 1),
        (1, 11),
        (2, 21),
    ]


def test_of_an_attempts_waiting_previews_only_the_latest_is_made() -> None:
    frames: list[tuple[str, int]] = []
    thread = PreviewThread(lambda frame: frames.append((frame.subject_id[-1], frame.index)))
    colors = LatentColors(factors=np.zeros((4, 3), np.float32), bias=np.zeros(3, np.float32))
    with thread._changed:  # as long as this is held the thread cannot take one
        for index in range(5):
            for name in "AB" if index < 3 else "A":
                attempt_id = f"att_01J0000000000000000000000{name}"
                thread._orders[attempt_id] = PreviewOrder(
                    attempt_id=attempt_id,
                    organization=ORGANIZATION,
                    index=index,
                    latent=np.zeros((4, 2, 2), np.float32),
                    colors=colors,
                    key=sealing.new_key(),
                )
        thread._changed.notify()
    from .support import wait_until

    wait_until(lambda: len(frames) == 2, seconds=5)
    thread.close()
    assert frames == [("A", 4), ("B", 2)]


def answering(*answers: object) -> Callable[[], object]:
    """A call that raises or returns these, one after the other."""
    left = list(answers)

    def call() -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


def test_unreachable_studio_is_asked_again() -> None:
    call = answering(StudioUnreachableError(), StudioUnreachableError(), "yes")
    assert persist(call, check=lambda: None, first_pause=0.001) == "yes"


def test_refusal_is_not_asked_again() -> None:
    call = answering(StudioRefusedError("HTTP 422"), "never reached")
    with pytest.raises(StudioRefusedError):
        persist(call, check=lambda: None, first_pause=0.001)


@pytest.fixture
def http() -> httpx.Client:
    """As the agent's."""
    return httpx.Client(trust_env=False)


def store_at(url: str, root: Path | None, http: httpx.Client) -> Store:
    return Store(Places(studio_url=url, token=TOKEN, store_root=root), http)


def test_store_writes_through_the_studio_when_it_cannot_reach_the_folder(
    tmp_path: Path, http: httpx.Client
) -> None:
    studio = FakeStudio(tmp_path)
    store_at(studio.url, None, http).put("/agent/v1/store/art_1", b"sealed")
    assert (tmp_path / "art_1").read_bytes() == b"sealed"
    assert studio.unauthorized == 0
    studio.close()


def test_presigned_address_gets_no_token(tmp_path: Path, http: httpx.Client) -> None:
    bucket = FakeStudio(tmp_path)
    with pytest.raises(AttemptFailedError) as caught:
        store_at("http://studio.example", None, http).put(f"{bucket.url}/agent/v1/store/a", b"x")
    assert (caught.value.code, caught.value.data) == ("store.failed", {"reason": "HTTP 401"})
    assert bucket.unauthorized == 1
    bucket.close()


def test_store_that_is_down_is_tried_again_and_then_told(
    tmp_path: Path, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuagent.runner.store._PAUSE_SECONDS", 0.001)
    studio = FakeStudio(tmp_path)
    studio.is_down = True
    with pytest.raises(AttemptFailedError) as caught:
        store_at(studio.url, None, http).put("/agent/v1/store/art_1", b"sealed")
    assert caught.value.data == {"reason": "HTTP 503"}
    studio.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:,x"])
def test_store_elsewhere_is_refused(url: str, tmp_path: Path, http: httpx.Client) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        store_at("http://studio.example", tmp_path, http).put(url, b"x")
    assert caught.value.code is FailureCode.STORE_FAILED


def test_full_disk_is_told(
    tmp_path: Path, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AttemptFailedError) as caught:
        store_at("http://x", tmp_path, http).put((tmp_path / "a").as_uri(), b"x")
    assert (caught.value.code, caught.value.data) == ("store.failed", {"reason": "disk full"})
    assert not list(tmp_path.iterdir())
