"""What reports are made of: cells, tables, paragraphs, and how they are printed.

Names come from the user's files, so they are never read as markup and lose control characters.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from io import StringIO
from typing import IO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from picojoule.reports.scale import percent as percent

WIDTH = 100
_UNBOUNDED = 10_000


def show(renderable: RenderableType, file: IO[str]) -> None:
    """Print to a terminal or a pipe; colours only on a terminal, and not under ``NO_COLOR``."""
    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    with console.capture() as captured:  # rich itself would exit where a pipe is closed early
        _print(console, renderable)
    file.write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def plain(renderable: RenderableType, width: int = WIDTH) -> str:
    """Return as text without colours; wider than *width* only where a table needs it."""
    file = StringIO()
    console = Console(
        file=file, width=width, highlight=False, markup=False, emoji=False, color_system=None
    )
    _print(console, renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _print(console: Console, renderable: RenderableType) -> None:
    """Print part by part. Tables and warnings are as wide as they need to be: nothing is cut."""
    parts = renderable.renderables if isinstance(renderable, Group) else [renderable]
    for part in parts:
        if isinstance(part, Table) or (isinstance(part, Text) and part.no_wrap):
            console.width, width = _UNBOUNDED, console.width
            console.print(part)
            console.width = width
        else:
            console.print(part)


def printable(text: str) -> str:
    """*text* with its control characters replaced, so that no name can steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def cell(value: object, style: str = "") -> Text:
    """Any value as it is written, without markup."""
    return Text(printable(str(value)), style=style)


def prose(text: str, style: str = "") -> Text:
    """A paragraph, broken into lines."""
    return cell(textwrap.fill(printable(text), WIDTH - 2), style)


def warning(text: str) -> Text:
    """A sentence on one line, however long, so that who looks at the first line sees all of it."""
    return Text(printable(text), style="bold red", no_wrap=True)


def table(*columns: str, title: str = "", footer: bool = False) -> Table:
    """A table whose first column is a name and whose other columns are numbers."""
    empty = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_footer=footer,
        header_style="bold",
        title=cell(title, "bold") if title else None,
        title_justify="left",
    )
    for index, name in enumerate(columns):
        if index == 0:
            empty.add_column(cell(name), overflow="fold", max_width=30)
        else:
            empty.add_column(cell(name), justify="right", no_wrap=True)
    return empty


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Two columns: what, and its value."""
    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold", max_width=WIDTH - 18)
    for name, value in facts:
        shown.add_row(cell(name, "bold"), cell(value))
    return shown
