"""Directives whose tables are made from the code: what is shipped, and the HTTP API."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive


class Generated(Directive):
    """A table; subclasses give its head and its rows."""

    head: ClassVar[tuple[str, ...]] = ()

    def rows(self) -> Iterator[tuple[str, ...]]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return [table(self.head, self.rows())]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> nodes.table:
    """A table whose first column is code."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head, code=False))
    group += nodes.tbody("", *(_row(row, code=True) for row in rows))
    return nodes.table("", group)


def _row(cells: tuple[str, ...], *, code: bool) -> nodes.row:
    made = nodes.row()
    for number, cell in enumerate(cells):
        text = nodes.literal(text=cell) if code and number == 0 else nodes.Text(cell)
        made += nodes.entry("", nodes.paragraph("", "", text))
    return made


class Chips(Generated):
    head = ("chip", "elements", "unit", "dataflow", "what")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.specs import load_accelerator, shipped_accelerators

        for name in shipped_accelerators():
            chip = load_accelerator(name)
            yield (
                name,
                str(chip.elements),
                chip.energy_unit,
                chip.default_dataflow,
                chip.description,
            )


class Networks(Generated):
    head = ("network", "layers", "MACs", "weights", "not counted")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.frontends import load, shipped_networks

        for name in shipped_networks():
            network = load(name)
            left = ", ".join(f"{op} ×{n}" for op, n in sorted(network.not_counted.items()))
            yield name, str(len(network)), f"{network.macs:,}", f"{network.weights:,}", left


class Dataflows(Generated):
    head = ("dataflow", "what", "source")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.dataflow import DATAFLOWS

        for flow in DATAFLOWS.values():
            yield flow.name, flow.title, flow.source


class Columns(Generated):
    head = ("column", "if left out")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.frontends.table import COLUMNS, DEFAULTS, SCALES

        for name in COLUMNS:
            yield name, str(DEFAULTS.get(name, "needed"))
        for name in SCALES:
            yield name, "0.0"


class LiteOperators(Generated):
    head = ("operator", "what becomes of it")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.frontends import tflite_operators as operators

        meanings = dict.fromkeys(operators.COUNTED, "counted")
        meanings |= dict.fromkeys(operators.CONTROL, "its subgraphs are counted")
        meanings |= dict.fromkeys(operators.NO_PRODUCTS, "no products")
        meanings |= dict.fromkeys(operators.NOT_MODELLED, "not modelled")
        yield from sorted(meanings.items())


class BlockFormats(Generated):
    head = ("format", "values in a block", "bytes", "bits per weight")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.frontends.gguf_file import FORMATS

        for found in FORMATS.values():
            yield found.name, str(found.values), str(found.size), f"{found.bits_per_value:g}"


class RecipeKeys(Generated):
    head = ("key", "meaning", "if left out")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.pruning.netadapt.recipe import Recipe

        said = inspect.cleandoc(Recipe.__doc__ or "").partition("Args:\n")[2]
        fields = {field.name: field.default for field in dataclasses.fields(Recipe)}
        for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n     +.*)*)", said, re.MULTILINE):
            for name in names.split(", "):
                default = fields.pop(name)
                yield name, " ".join(text.split()), "" if default is None else str(default)
        if fields:
            raise ValueError(f"no words about {', '.join(fields)} in the docstring of Recipe")


class Endpoints(Generated):
    head = ("request", "what", "answers")

    def rows(self) -> Iterator[tuple[str, ...]]:
        from picojoule.server.app import create_app

        with tempfile.TemporaryDirectory() as folder:
            app = create_app(Path(folder) / "store.sqlite3")
            described: dict[str, Any] = app.openapi()
            app.state.services.store.close()
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                what = operation.get("description", operation["summary"]).partition("\n\n")[0]
                codes = ", ".join(sorted(operation["responses"]))
                yield f"{method.upper()} {path}", " ".join(what.split()), codes


class Commands(Directive):
    """A section for each command: what it does, and every argument and option of it."""

    def run(self) -> list[nodes.Node]:
        from picojoule.cli import app

        return [_command(name, app[name]) for name in app if not name.startswith("-")]


def _command(name: str, command: Any) -> nodes.section:
    section = nodes.section(ids=[nodes.make_id(name)], names=[name])
    section += nodes.title("", f"picojoule {name}")
    arguments = list(command.assemble_argument_collection())
    words = [_usage(x) for x in arguments if x.required]
    rest = ["[OPTIONS]"] if any(not x.required for x in arguments) else []
    section += nodes.literal_block(text=" ".join(["picojoule", name, *words, *rest]))
    for part in inspect.cleandoc(command.default_command.__doc__).split("\n\n"):
        section += nodes.paragraph(text=" ".join(part.split()))
    section += table(("argument", "meaning", "if left out"), map(_option, arguments))
    return section


def _option(argument: Any) -> tuple[str, ...]:
    default = argument.field_info.default
    plain = "needed" if argument.required else "" if default in (None, False) else str(default)
    return ", ".join(argument.names), str(argument.parameter.help or ""), plain


def _usage(argument: Any) -> str:
    name = max(argument.names, key=len)
    if not name.startswith("-"):
        return str(name)
    return f"{name} {name.lstrip('-').upper()}"


def setup(app: Any) -> dict[str, bool]:
    """Register the directives."""
    for name, kind in (
        ("shipped-chips", Chips),
        ("shipped-networks", Networks),
        ("shipped-dataflows", Dataflows),
        ("table-columns", Columns),
        ("tflite-operators", LiteOperators),
        ("gguf-formats", BlockFormats),
        ("recipe-keys", RecipeKeys),
        ("http-api", Endpoints),
        ("commands", Commands),
    ):
        app.add_directive(name, kind)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
