"""Budgets and words of the house style, held by a machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("studio", "accounts", "workspaces", "library", "jobs", "gpuagent", "launcher", "house")
WEB = ("studio", "accounts", "workspaces", "library", "jobs")
MODULE_LINES_MAX, MODULE_LINES_P90 = 400, 250
FUNCTION_LINES_MAX, LONG_FUNCTIONS_SHARE = 50, 0.02

# Words of the right-hand column of the table of words that can mean nothing else in this code.
# Where a word is somebody else's name (a framework's, a wire format's) it is allowed there.
BANNED = {
    "tenant": "organization",
    "realm": "organization",
    "album": "board",
    "blob": "model file",
    "checkpoint_version": "model version",
    "infotext_dict": "manifest",
    "prediction": "job",
    "waiting_prompt": "job",
    "job_run": "attempt",
    "execution": "attempt",
    "bridge": "agent",
    "worker_node": "agent",
    "kudos": "usage record",
    "addon": "adapter",
    "cancelled": "canceled",
    "cancelling": "canceling",
    "revision": "model version",
    "cfg": "guidance_scale",
}
ALLOWED = {
    ("accounts/api.py", "tenant"): "TenantView: the base of views that open a scope",
    ("jobs/api/views.py", "tenant"): "the same class, used",
    ("jobs/api/uploads.py", "tenant"): "the same class, used",
    ("*", "cancelled"): "asyncio.CancelledError and Future.cancelled are the library's names",
}


def modules(*packages: str) -> Iterator[tuple[str, str]]:
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def functions(*packages: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, text in modules(*packages):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {name: text.count("\n") for name, text in modules()}
    assert not {name: n for name, n in lengths.items() if n > MODULE_LINES_MAX}
    nine_in_ten = sorted(lengths.values())[int(len(lengths) * 0.9)]
    assert nine_in_ten <= MODULE_LINES_P90


def test_few_functions_are_longer_than_50_lines() -> None:
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for _name, node in functions()]
    long = sum(length > FUNCTION_LINES_MAX for length in lengths)
    assert long / len(lengths) <= LONG_FUNCTIONS_SHARE


def test_every_function_is_annotated() -> None:
    missing = []
    for name, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if arguments and arguments[0].arg in ("self", "cls"):
            arguments = arguments[1:]
        if node.returns is None or any(argument.annotation is None for argument in arguments):
            missing.append(f"{name}:{node.lineno} {node.name}")
    assert missing == []


def test_our_own_packages_are_imported_at_the_top() -> None:
    """A local import hides a cycle."""
    hidden = []
    for name, node in functions():
        for inner in ast.walk(node):
            module = ""
            if isinstance(inner, ast.ImportFrom):
                module = inner.module or ""
            elif isinstance(inner, ast.Import):
                module = inner.names[0].name
            if module.split(".")[0] in PACKAGES:
                hidden.append(f"{name}:{node.lineno} {module}")
    assert hidden == []


def identifiers(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
    return found


def words_of(identifier: str) -> str:
    """`CamelCase` and `snake_case` alike become `_words_apart_`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().strip("_")
    return f"_{snake}_"


def test_one_word_for_each_thing() -> None:
    wrong = []
    for name, text in modules():
        for identifier in sorted(identifiers(text)):
            for word, better in BANNED.items():
                is_used = f"_{word}_" in words_of(identifier)
                if is_used and not {(name, word), ("*", word)} & set(ALLOWED):
                    wrong.append(f"{name}: {identifier} (say {better})")
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name for name, text in modules() if text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert [name for name in silent if name != "manage.py"] == []


def test_every_silenced_check_says_why() -> None:
    """`# noqa: X` and `# type: ignore[x]` are followed by a reason on the same line."""
    pattern = re.compile(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])(?P<rest>.*)$")
    bare = []
    for name, text in modules(*PACKAGES, "tests"):
        for number, line in enumerate(text.splitlines(), 1):
            match = pattern.search(line)
            if match and "#" not in match["rest"] and not match["rest"].strip():
                bare.append(f"{name}:{number}")
    assert bare == []
