"""Every action that the code writes to the audit log is in the catalog, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from accounts.audit_catalog import ACTIONS, render_page
from tests.test_docs import read
from tests.test_style import WEB, modules

RECORDERS = {"record_event", "record_system", "record_person"}
_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
_FILE = re.compile(r"[a-z_]+\.(json|html|txt|safetensors)")
# A module that is run, and what a file says of itself.
OTHERS = {"gpuagent.maps", "modelspec.title"}


def recording_modules() -> Iterator[tuple[str, ast.Module]]:
    """Modules that write to the log: those that name one of the ways to do it."""
    for name, text in modules(*WEB):
        tree = ast.parse(text)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if names & RECORDERS:
            yield name, tree


def written() -> dict[str, str]:
    """Each text of the form of an action in such a module, however it gets to the call."""
    return {
        node.value: name
        for name, tree in recording_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _ACTION.fullmatch(node.value)
        and not _FILE.fullmatch(node.value)
        and node.value not in OTHERS
    }


def put_together() -> list[str]:
    """Calls whose action is made from parts, so that nobody could find it in the code."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in recording_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in RECORDERS
        and any(isinstance(argument, ast.JoinedStr | ast.BinOp) for argument in node.args[1:2])
    ]


def test_the_reader_sees_them() -> None:
    assert {"token.created", "upload.fetched", "passkey.added"} <= set(written())


def test_every_action_is_in_the_catalog() -> None:
    missing = {action: where for action, where in written().items() if action not in ACTIONS}
    assert missing == {}, "add it to accounts/audit_catalog.py"


def test_no_action_of_the_catalog_is_written_nowhere() -> None:
    assert set(ACTIONS) - set(written()) == set()


def test_no_action_is_put_together_from_parts() -> None:
    assert put_together() == []


def test_actions_are_a_noun_and_a_participle() -> None:
    assert all(_ACTION.fullmatch(action) and len(action) <= 64 for action in ACTIONS)
    assert list(ACTIONS) == sorted(ACTIONS)


def test_the_page_is_what_the_code_says() -> None:
    page = read("docs/reference/audit-events.md")
    assert page == render_page(), "run python -m accounts.audit_catalog"
