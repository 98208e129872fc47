"""A machine joins: one command, and what it writes; the word of a cloud that takes it back."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from gpuagent.__main__ import choose_device
from gpuagent.runner.notice import NOTICE_SECONDS, NoticeWatch
from gpuagent.runner.settings import Settings, SettingsInvalidError

from .support import ROOT, wait_until

TOKEN = "stj_CANARY-join-token"
Answer = Callable[[str, str, dict[str, str], bytes], tuple[int, str]]


class Server:
    """Answers over real HTTP as it is told to."""

    def __init__(self, answer: Answer) -> None:
        handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    answer: Answer

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, text = self.answer(self.command, self.path, dict(self.headers), body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = _handle

    @override
    def log_message(self, *_args: object) -> None:
        pass


class Studio(Server):
    """The one call of the studio that joining needs."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        super().__init__(self._join)

    def _join(
        self, _method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str]:
        if path != "/agent/v1/join":
            return 404, "{}"
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, json.dumps({"detail": "no"})
        self.bodies.append(json.loads(body))
        joined = {
            "type": "agent.joined",
            "agent_id": "agt_01J",
            "name": "gpu-7",
            "token": "sta_CANARY-agent-token",
            "namespace": "agent:agt_01J",
            "redis_url": "rediss://agt_01J:CANARY-redis@redis.example:6380/0",
        }
        return 200, json.dumps(joined)


@pytest.fixture
def studio() -> Iterator[Studio]:
    running = Studio()
    yield running
    running.close()


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpuagent", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_command_makes_a_machine_an_agent(studio: Studio, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("join", "--url", f"{studio.url}/", "--token", TOKEN),
        *("--name", "gpu-7", "--device", "cuda:1", "--labels", "Large, fp8"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "gpu-7 (agt_01J)" in done.stdout
    assert studio.bodies == [
        {
            "type": "agent.join",
            "name": "gpu-7",
            "device": "cuda:1",
            "labels": ["large", "fp8"],
        }
    ]
    # Its secrets are in a file for this user alone, and nowhere else
    path = tmp_path / ".config" / "studio" / "agent.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["agent.json"]
    assert "CANARY" not in done.stdout + path.name
    # and are all that running needs
    settings = Settings.from_env({"HOME": str(tmp_path), "STUDIO_AGENT_CREDENTIALS": str(path)})
    assert settings.studio_url == studio.url
    assert settings.redis_url.startswith("rediss://agt_01J:")
    assert (settings.device, settings.labels) == ("cuda:1", ("large", "fp8"))
    assert settings.cache.name == "agt_01J"


def test_token_may_come_over_standard_input(studio: Studio, tmp_path: Path) -> None:
    """Arguments can be read by everybody on the machine."""
    done = subprocess.run(
        [sys.executable, "-m", "gpuagent", "join", "--url", studio.url, "--token", "-"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        input=f"{TOKEN}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert studio.bodies[0]["name"]


def test_second_agent_needs_another_file(studio: Studio, tmp_path: Path) -> None:
    join = ("join", "--url", studio.url, "--token", TOKEN)
    assert run(tmp_path, *join).returncode == 0
    again = run(tmp_path, *join)
    assert again.returncode == 1
    assert "--replace" in again.stderr
    assert len(studio.bodies) == 1  # no use of the token was spent
    other = tmp_path / "elsewhere" / "second.json"
    assert run(tmp_path, *join, "--credentials", str(other)).returncode == 0
    assert other.exists()
    assert run(tmp_path, *join, "--replace").returncode == 0


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("{studio}", "stj_wrong", "used up, expired or revoked"),
        ("{studio}/elsewhere", TOKEN, "no studio at this address"),
        ("http://127.0.0.1:9", TOKEN, "cannot be reached"),
        ("http://studio.example", TOKEN, "https://"),
        ("studio.example", TOKEN, "https://studio.example"),
    ],
)
def test_what_went_wrong_is_said_and_nothing_is_written(
    studio: Studio, tmp_path: Path, url: str, token: str, said: str
) -> None:
    done = run(tmp_path, "join", "--url", url.format(studio=studio.url), "--token", token)
    assert done.returncode == 1
    assert said in done.stderr
    assert token not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".config").exists()


def test_unwritable_place_is_said_with_what_to_do(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(
        tmp_path,
        *("join", "--url", studio.url, "--token", TOKEN),
        *("--credentials", str(tmp_path / "file" / "agent.json")),
    )
    assert done.returncode == 1
    assert "Remove that agent" in done.stderr


def test_running_before_joining_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "run", STUDIO_URL="https://studio.example")
    assert done.returncode == 2
    assert "python -m gpuagent join" in done.stderr


@pytest.mark.parametrize(
    ("device", "visible", "then"),
    [
        ("", None, None),
        ("cuda", None, None),
        ("cpu", "0,1", ""),
        ("cuda:3", None, "3"),
        ("cuda:1", "4,6", "6"),
        ("cuda:0", "GPU-abc", "GPU-abc"),
    ],
)
def test_each_agent_sees_its_own_gpu(device: str, visible: str | None, then: str | None) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    choose_device(device, environment)
    assert environment.get("CUDA_VISIBLE_DEVICES") == then


def test_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsInvalidError, match="STUDIO_AGENT_DEVICE"):
        choose_device("cuda:2", {"CUDA_VISIBLE_DEVICES": "4,6"})


def aws(
    method: str, path: str, headers: dict[str, str], _body: bytes, *, ends: bool
) -> tuple[int, str]:
    if method == "PUT" and path == "/latest/api/token":
        return 200, "secret" if "X-aws-ec2-metadata-token-ttl-seconds" in headers else ""
    if headers.get("X-aws-ec2-metadata-token") != "secret":
        return 401, ""
    action = json.dumps({"action": "terminate", "time": "2026-11-21T08:22:00Z"})
    return (200, action) if ends else (404, "")


def gcp(
    _method: str, path: str, headers: dict[str, str], _body: bytes, *, ends: bool
) -> tuple[int, str]:
    assert path == "/computeMetadata/v1/instance/preempted"
    assert headers.get("Metadata-Flavor") == "Google"
    return 200, "TRUE" if ends else "FALSE"


def azure(
    _method: str, path: str, headers: dict[str, str], _body: bytes, *, ends: bool
) -> tuple[int, str]:
    assert path.startswith("/metadata/scheduledevents?api-version=")
    assert headers.get("Metadata") == "true"
    events = [{"EventType": "Preempt" if ends else "Freeze", "EventStatus": "Scheduled"}]
    return 200, json.dumps({"Events": events})


@pytest.mark.parametrize(("kind", "service"), [("aws", aws), ("gcp", gcp), ("azure", azure)])
def test_word_of_the_cloud_is_heard_once_it_comes(
    kind: str, service: Callable[..., tuple[int, str]]
) -> None:
    state = {"ends": False, "asked": 0}

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        state["asked"] += 1
        return service(method, path, headers, body, ends=state["ends"])

    server = Server(answer)
    heard: list[float] = []
    watch = NoticeWatch(kind, heard.append, address=server.url, every_seconds=0.02)
    watch.start()
    wait_until(lambda: state["asked"] > 3, seconds=10)
    assert heard == []
    state["ends"] = True
    wait_until(lambda: heard, seconds=10, what="the word")
    assert heard == [NOTICE_SECONDS[kind]]
    server.close()


def test_metadata_service_that_talks_nonsense_is_no_notice() -> None:
    asked: list[int] = []

    def answer(*_call: object) -> tuple[int, str]:
        asked.append(1)
        return 200, "<html>"

    server = Server(answer)
    heard: list[float] = []
    watches = [
        NoticeWatch(kind, heard.append, address=server.url, every_seconds=0.02)
        for kind in NOTICE_SECONDS
    ]
    for watch in watches:
        watch.start()
    wait_until(lambda: len(asked) > 12, seconds=10)
    for watch in watches:
        watch.close()
    server.close()
    assert heard == []
