"""The documentation: every option and key is in it, its code runs, its commands work."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterable
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


@pytest.mark.slow
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


ROOT = DOCS.parent
SOURCES = ROOT / "src"
ADDRESS = re.compile(r"\bpicojoule(?:\.[A-Za-z_]\w*)+")
ENDINGS = {"csv", "html", "json", "md", "py", "yaml"}  # file names

# The rooms whose public classes are the words of the field.
NOUNS = (
    "graph workload mapping dataflow accelerator traffic cost legality question estimate_records"
)
# What has a word of its own only in the code: kinds of columns, parts of a programme, states of a
# class. Each is explained where it stands.
PARTS = {
    "dataflow": {"Size"},
    "mapper.best_first": {"Result", "Solver"},
    "mapper.blocks": {"Words", "Ratio", "Tile", "Elements", "Total", "Place", "Window", "Key"},
    "mapper.cache": {"Census"},
    "mapper.chains": {"Cuts", "Rules"},
    "mapper.compulsory": {"Compulsory"},
    "mapper.listings": {"Asked"},
    "mapper.patience": {"OutOfTimeError", "Patience"},
    "mapper.options": {"PerBlock"},
    "mapper.programme": {"Beyond", "Multipliers"},
    "mapper.class_table": {"ClassTable", "Kind"},
    "mapper.coefficients": {"Term", "Hop", "Model"},
    "mapper.families": {"Columns", "Goal", "Members"},
    "mapper.frontier": {"Classes", "Pace", "Standing", "Starts"},
    "mapper.gathering": {"Gathering", "Rows", "Slot"},
    "mapper.relaxation": {"Relaxed"},
    "mapper.found": {"Found"},  # the glossary has what it holds: mapping, cost, front
}


def names_in(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """What statements define, by name."""
    defined: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            defined[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined[node.target.id] = node
        elif isinstance(node, ast.Assign):
            defined |= {x.id: node for x in node.targets if isinstance(x, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            defined |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.If):  # TYPE_CHECKING
            defined |= names_in(node.body)
    return defined


@functools.cache
def module_names(path: Path) -> dict[str, ast.stmt]:
    return names_in(ast.parse(path.read_text("utf-8")).body)


def exists(address: str) -> bool:
    """Whether there is such a module, a name in it, or a field or method of such a class."""
    place, names = SOURCES, address.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    module = place / "__init__.py"
    # A name of the package comes before a module of that name, as Python has it.
    if names and (place / f"{names[0]}.py").is_file():
        hidden = len(names) == 1 and names[0] in module_names(module)
        module = module if hidden else place / f"{names.pop(0)}.py"
    if not names:
        return module.is_file()
    node = module_names(module).get(names.pop(0))
    if not names:
        return node is not None
    return isinstance(node, ast.ClassDef) and len(names) == 1 and names[0] in names_in(node.body)


@pytest.mark.parametrize(
    "place",
    [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.stem,
)
def test_every_address_is_in_the_code(place: Path) -> None:
    named = set(ADDRESS.findall(place.read_text("utf-8")))
    missing = {x for x in named if x.rpartition(".")[2] not in ENDINGS and not exists(x)}
    assert missing == set()


def test_what_is_no_address_is_not_taken_for_one() -> None:
    assert exists("picojoule.mapper")
    assert exists("picojoule.workload.Layer.time_steps")
    assert not exists("picojoule.archive")
    assert not exists("picojoule.workload.Layer.steps")


def glossary() -> dict[str, str]:
    """Term -> what the page says of it."""
    entries = re.findall(r"^([^\n#:].*)\n: (.*)$", page("explanation/glossary.md"), re.MULTILINE)
    assert len(dict(entries)) == len(entries), "a term stands twice"
    return dict(entries)


def test_the_glossary_has_the_words_of_the_code() -> None:
    """Every public class of the nouns and the search, under its address."""
    explained = {x for said in glossary().values() for x in ADDRESS.findall(said)}
    mapper = [f"mapper.{path.stem}" for path in (SOURCES / "picojoule/mapper").glob("[a-z]*.py")]
    for module in (*NOUNS.split(), *mapper):
        path = SOURCES / "picojoule" / f"{module.replace('.', '/')}.py"
        classes = {
            name
            for name, node in module_names(path).items()
            if isinstance(node, ast.ClassDef) and not name.startswith("_")
        }
        parts = PARTS.get(module, set())
        assert parts <= classes, module
        missing = {x for x in classes - parts if f"picojoule.{module}.{x}" not in explained}
        assert missing == set(), module


def test_the_glossary_is_in_order() -> None:
    for section in page("explanation/glossary.md").split("\n## ")[1:]:
        terms = re.findall(r"^([^\n#:].*)\n: ", section, re.MULTILINE)
        assert terms == sorted(terms, key=str.casefold)


def test_a_word_that_gave_way_names_no_class() -> None:
    """What stands behind *Also* is another tool's word: no class of ours has it for a name."""
    terms = {term.casefold() for term in glossary()}
    others = {
        word.strip().casefold()
        for said in glossary().values()
        for listed in re.findall(r"Also: ([^.;]*)", said)
        for word in listed.split(",")
    }
    classes = {
        name.casefold(): str(path)
        for path in (SOURCES / "picojoule").rglob("*.py")
        if "server" not in path.parts  # the names of its schemas are the API's
        for name, node in module_names(path).items()
        if isinstance(node, ast.ClassDef)
    }
    assert {"chip", "schedule", "problem"} <= others
    assert {word: classes[word] for word in others - terms if word in classes} == {}
