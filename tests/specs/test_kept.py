"""Shipped machines that are kept as they were read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.specs import kept, load_accelerator, shipped_accelerators
from picojoule.specs.reading import read_accelerator


@pytest.mark.parametrize("name", shipped_accelerators())
def test_what_is_recalled_is_what_was_read(name: str) -> None:
    read = read_accelerator(name, None)
    kept.keep(name, read)
    recalled = kept.recall(name)
    assert recalled == read
    assert recalled is not None
    assert recalled.sources == read.sources
    as_text = [json.dumps(kept._to_json(machine)) for machine in (recalled, read)]
    assert as_text[0] == as_text[1]  # here 1 is not 1.0


def _files(cache_home: Path) -> list[Path]:
    return list((cache_home / "picojoule" / "machines").iterdir())


def test_another_state_of_the_files_is_read_anew(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = load_accelerator("eyeriss")
    wrong = replace(machine, word_bits=1)
    kept.keep("eyeriss", wrong)
    assert load_accelerator("eyeriss") == wrong
    monkeypatch.setattr(kept, "_digest", lambda: "other")
    assert load_accelerator("eyeriss") == machine
    assert len(_files(cache_home)) == 1  # the older state is gone


@pytest.mark.parametrize(
    "damage",
    ["", "{", "3", '{"Accelerator": 3}', '{"Accelerator": []}', '{"Path": ["/"]}', '{"Dim": "X"}',
     '{"Accelerator": [], "Memory": []}', "[" * 100_000],
)  # fmt: skip
def test_what_is_damaged_is_read_anew(damage: str, cache_home: Path) -> None:
    machine = load_accelerator("eyeriss")
    (file,) = _files(cache_home)
    file.write_text(damage)
    assert load_accelerator("eyeriss") == machine
    assert json.loads(file.read_bytes())


def test_an_unwritable_folder_keeps_nothing(cache_home: Path) -> None:
    (cache_home / "picojoule").write_text("a file")
    assert load_accelerator("eyeriss") == load_accelerator("eyeriss")


def test_who_asks_again_needs_no_grammar() -> None:
    code = (
        "import sys; from picojoule.specs import load_accelerator; load_accelerator('eyeriss');"
        "print(*(n for n in ('pydantic', 'yaml', 'picojoule.components') if n in sys.modules))"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [x.stdout.split() for x in said] == [["pydantic", "yaml", "picojoule.components"], []]


def test_an_edit_of_what_reads_is_noticed() -> None:
    names = {path.name for path in kept._read_by()}
    assert {"eyeriss.yaml", "sram.csv", "grammar.py", "catalogue.py", "accelerator.py"} <= names
