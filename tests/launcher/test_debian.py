"""What tests need of Debian: installed where that can be done, otherwise asked for."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Collection, Sequence

import pytest

from launcher import debian
from launcher.console import Console
from launcher.debian import ensure_chromium, ensure_drawing_libraries
from launcher.errors import LauncherError


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """A Linux without any of it, where apt-get only writes down what it was asked for."""
    calls: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(argv)
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(debian, "_loads", lambda library: False)
    monkeypatch.setattr(debian, "find_chromium", lambda: None)
    monkeypatch.setattr("launcher.debian.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("launcher.debian.subprocess.run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


def have(monkeypatch: pytest.MonkeyPatch, libraries: Collection[str]) -> None:
    monkeypatch.setattr(debian, "_loads", lambda library: library in libraries)


def test_missing_libraries_are_installed_and_no_others(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, ["libEGL.so.1"])
    said = io.StringIO()

    ensure_drawing_libraries(Console(said))

    assert [argv[:2] for argv in ran] == [["apt-get", "update"], ["apt-get", "install"]]
    assert ran[1][-1] == "libgl1"
    assert "libegl1" not in ran[1]
    assert "Drawing with Skia needs libgl1: installing Debian's packages" in said.getvalue()


def test_nothing_is_done_where_the_libraries_are(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, ["libEGL.so.1", "libGL.so.1"])
    ensure_drawing_libraries(Console(io.StringIO()))
    assert ran == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_nothing_is_done_on_other_systems(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    ensure_drawing_libraries(Console(io.StringIO()))
    assert ran == []


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (
            [],
            "Drawing with Skia needs libegl1 and libgl1, not found here. Install them, for example "
            "with `sudo apt install libegl1 libgl1`, and run the command again.",
        ),
        (
            ["libGL.so.1"],
            "Drawing with Skia needs libegl1, not found here. Install it, for example "
            "with `sudo apt install libegl1`, and run the command again.",
        ),
    ],
)
def test_who_is_not_root_is_told_what_to_install(
    ran: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    there: Collection[str],
    sentence: str,
) -> None:
    have(monkeypatch, there)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(LauncherError) as caught:
        ensure_drawing_libraries(Console(io.StringIO()))

    assert str(caught.value) == sentence
    assert ran == []


def test_chromium_is_one_thing_in_two_packages(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(LauncherError) as caught:
        ensure_chromium(Console(io.StringIO()))

    assert str(caught.value) == (
        "The browser tests need Chromium, not found here. Install it, for example "
        "with `sudo apt install chromium fonts-liberation`, and run the command again."
    )
