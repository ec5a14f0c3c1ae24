"""The house: how long a module and a function may be, and what nothing may be called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("src", "tests", "tools", "benchmarks", "studies", "experiments")
MODULES = [
    path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    # benchmarks.beside keeps the builds that it compares in a hidden folder.
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
SOURCES = sorted((ROOT / "src/picojoule").rglob("*.py"))
LONGEST_MODULE = 600
LONGEST_FUNCTION = 80

# The first is a public function and would hide behind a package; the second is the user's own.
NO_PACKAGES = {"search", "model"}
# Public functions: a module of that name would be had in the place of the function.
VERBS = {"adapt", "compare", "estimate", "evaluate", "examine", "find", "load", "prune", "search"}
# Rooms for whatever has none.
NO_ROOMS = {"base", "common", "core", "helpers", "manager", "misc", "utils"}


def overlong(text: str) -> Iterator[str]:
    """Functions past the limit that no comment with ``lines:`` above them excuses."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        above = lines[first - 2].strip() if first > 1 else ""
        if length > LONGEST_FUNCTION and not (above.startswith("#") and "lines:" in above):
            yield f"{node.name}: {length} lines"


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {str(p): n for p, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_no_function_is_too_long_without_a_reason_above_it() -> None:
    found = {str(path): list(overlong(path.read_text("utf-8"))) for path in MODULES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("excuse", ["", "# 82 lines: one compiled loop.\n", "# 82 of them\n"])
def test_what_is_too_long_is_found(excuse: str) -> None:
    body = "    x = 1\n" * LONGEST_FUNCTION
    text = f"import y\n\n\n{excuse}@y.z\ndef long():\n{body}\n\ndef short():\n    return 1\n"
    assert list(overlong(text)) == ([] if "lines:" in excuse else ["long: 81 lines"])


def test_names_that_trap_are_not_taken() -> None:
    assert SOURCES
    packages = {path.parent.name for path in SOURCES if path.name == "__init__.py"}
    modules = {path.stem for path in SOURCES}
    assert packages & (NO_PACKAGES | VERBS | NO_ROOMS) == set()
    assert modules & (NO_PACKAGES | VERBS | NO_ROOMS) == set()
