"""The documentation: every option and key is in it, its code runs, its commands work."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from picojoule.cli import app, main
from picojoule.frontends.table import COLUMNS
from picojoule.specs import grammar

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LONG = {"tutorial"}  # trains a network and prunes it
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in LONG else [])
        for p in PAGES
        if BLOCK.search(p.read_text("utf-8"))
    ],
)
def test_code_runs(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__docs__"}
    for language, block in BLOCK.findall(place.read_text("utf-8")):
        if language == "python":
            if "import torch" in block:
                pytest.importorskip("torch")
            if "matplotlib" in block:
                pytest.importorskip("matplotlib")
            exec(compile(block, str(place), "exec"), names)
            continue
        for line in block.strip().splitlines():
            words = shlex.split(line)
            assert words[0] == "picojoule", line
            code = main(words[1:])
            said = capsys.readouterr()
            assert code == 0, (line, said.err)


def keys(model: type[BaseModel], seen: set[type]) -> set[str]:
    """Every key of a file of this grammar."""
    if model in seen:
        return set()
    seen.add(model)
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            found |= keys(part, seen)
    return found


def parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = [getattr(annotation, "__origin__", None), *getattr(annotation, "__args__", ())]
    return [x for y in inner if y is not None and y is not annotation for x in parts(y)]


def test_every_key_of_a_chip_file_is_described() -> None:
    seen: set[type] = set()
    wanted = keys(grammar.MachineFile, seen) | keys(grammar.VariantFile, seen)
    wanted |= keys(grammar.LevelPart, seen) | keys(grammar.ArrayPart, seen)
    assert {"may_bypass", "hop_charge", "count_bits", "based_on", "loops", "status"} <= wanted
    described = set(re.findall(r"`([a-z_]+)`", page("reference/chip-files.md")))
    assert wanted <= described, wanted - described


def test_every_key_of_a_table_file_is_described() -> None:
    """What a saved table holds, and what a recipe may say beside the fields of Recipe."""
    from picojoule import conv

    pytest.importorskip("torch")
    from picojoule.cli.adapt_commands import FUNCTIONS, OWN
    from picojoule.pruning.platforms.tables import Entry, Table

    table = Table("latency", "s")
    layer = conv("one", input_size=(8, 8), in_channels=1, out_channels=1, kernel=(3, 3))
    table.add(layer, Entry(1.0))
    wanted = {*table.head(), "entries", *table.rows()[0], *FUNCTIONS, *OWN}
    described = set(re.findall(r"`([A-Za-z_]+)`", page("reference/adaptation.md")))
    assert wanted <= described, wanted - described


def test_every_command_is_named() -> None:
    commands = {name for name in app if not name.startswith("-")}
    everything = "".join(p.read_text("utf-8") for p in PAGES)
    named = set(re.findall(r"picojoule ([a-z]+)", everything))
    assert commands <= named | {"list", "show"}


def test_the_site_builds_and_holds_every_option(tmp_path: Path) -> None:
    """Every option of every command and every column of a table is on a page."""
    for needed in ("furo", "myst_parser", "torch"):
        pytest.importorskip(needed)
    from sphinx.cmd.build import main as build

    from picojoule.pruning.netadapt.recipe import Recipe

    folder = tmp_path / "site"
    words = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    assert build([*words, str(DOCS), str(folder)]) == 0
    commands = re.sub(r"<[^>]+>", "", (folder / "reference/commands.html").read_text("utf-8"))
    for name in app:
        if name.startswith("-"):
            continue
        arguments = app[name].assemble_argument_collection()
        for argument in arguments:
            for option in argument.names:
                assert option.lstrip("-") in commands, (name, option)
    tables = (folder / "reference/network-files.html").read_text("utf-8")
    assert [name for name in COLUMNS if name not in tables] == []
    recipes = (folder / "reference/adaptation.html").read_text("utf-8")
    assert [field.name for field in fields(Recipe) if f">{field.name}<" not in recipes] == []
    api = (folder / "reference/http-api.html").read_text("utf-8")
    assert "/api/results/{id}/reprice" in api
