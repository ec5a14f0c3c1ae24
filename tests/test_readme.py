"""The README's Python runs, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from picojoule.cli import app
from picojoule.dataflow import DATAFLOWS
from picojoule.frontends import shipped_networks
from picojoule.specs import shipped_accelerators

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_there_is_python() -> None:
    assert BLOCKS


def test_commands_exist() -> None:
    named = set(re.findall(r"^\| `picojoule (\w+)", README, re.MULTILINE))
    assert named == {name for name in app if not name.startswith("-")}


def test_lists_are_complete() -> None:
    words = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL)))
    # eyeriss-isca16 comes in variants for other dataflows, described in one phrase.
    chips = {n for n in shipped_accelerators() if not n.startswith("eyeriss-isca16-")}
    assert chips <= words
    assert set(DATAFLOWS) <= words
    assert {n for n in shipped_networks() if not n.startswith("bvlc-alexnet-")} <= words
