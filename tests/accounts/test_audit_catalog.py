"""Every action that the code writes to the audit log is in the catalog, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from accounts.audit_catalog import ACTIONS, render_page
from tests.test_docs import read
from tests.test_style import WEB, modules

RECORDERS = {"record_event": 1, "record_system": 1, "record_person": 1}
_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")


def calls() -> Iterator[tuple[str, ast.Call]]:
    for name, text in modules(*WEB):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                yield name, node


def texts(node: ast.AST) -> set[str]:
    """What an expression can be, where it is written out: a text, or one of two."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def written() -> dict[str, str]:
    """Each action and where it is written, or `?` where it cannot be read from the code."""
    found: dict[str, str] = {}
    for name, call in calls():
        function = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        function = call.func.id if isinstance(call.func, ast.Name) else function
        given = [keyword.value for keyword in call.keywords if keyword.arg == "action"]
        if function in RECORDERS:
            given += call.args[RECORDERS[function] : RECORDERS[function] + 1]
        for argument in given:
            # A service that takes the action from its callers calls it that.
            is_passed_on = isinstance(argument, ast.Name) and argument.id == "action"
            actions = texts(argument)
            if not actions and not is_passed_on and function in RECORDERS:
                found[f"? {name}:{call.lineno}"] = name
            found.update({a: name for a in actions if _ACTION.fullmatch(a)})
    return found


def test_every_action_is_in_the_catalog() -> None:
    missing = {action: where for action, where in written().items() if action not in ACTIONS}
    assert missing == {}, "add it to accounts/audit_catalog.py"


def test_no_action_of_the_catalog_is_written_nowhere() -> None:
    assert set(ACTIONS) - set(written()) == set()


def test_actions_are_a_noun_and_a_participle() -> None:
    assert all(_ACTION.fullmatch(action) and len(action) <= 64 for action in ACTIONS)
    assert list(ACTIONS) == sorted(ACTIONS)


def test_the_page_is_what_the_code_says() -> None:
    page = read("docs/reference/audit-events.md")
    assert page == render_page(), "run python -m accounts.audit_catalog"
