"""What reports are made of: cells, tables, paragraphs, and how they are printed.

Names come from the user's files, so they are never read as markup and lose control characters.
Nothing is wider than the terminal: tables leave their least columns out, and say so; text is broken
into lines once, where it is printed, and never between a number and its unit.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import IO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from picojoule.reports.scale import percent as percent
from picojoule.units import E_MAC

WIDTH = 100
"""Columns of a file or a pipe; paragraphs are no wider on any terminal."""

_UNBOUNDED = 10_000
_NAMES, _FEWEST = 30, 10  # columns that names and words take at most, and at least
_GAP = 2  # columns between two of a table, and what its edges take together

# Stands for a blank where no line may end. No name holds it: it is not printable.
_JOINT = "\ue000"
_UNIT = r"(?:%|[kMGT]\b|[kMGTmµnpf]?(?:J|B|s|Hz|W)\b|[KMG]iB\b|bits?\b|min\b|E_MAC\b)"
_BEFORE_UNIT = re.compile(rf"(?<=\d) (?={_UNIT})")


def show(renderable: RenderableType, file: IO[str], *, wide: bool = False) -> None:
    """Print to a terminal or a pipe; colours only on a terminal, and not under ``NO_COLOR``.

    Args:
        wide: tables are as wide as they need to be: nothing is left out.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    width = console.width
    with console.capture() as captured:  # rich itself would exit where a pipe is closed early
        _print(console, renderable, width, wide=wide)
    file.write(_lines(captured.get()))


def plain(renderable: RenderableType, width: int | None = None) -> str:
    """Return as text without colours; where no *width* is given, tables are as wide as need be."""
    file = StringIO()
    console = Console(
        file=file,
        width=width or WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None,
    )
    _print(console, renderable, width or WIDTH, wide=width is None)
    return _lines(file.getvalue())


def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.replace(_JOINT, " ").splitlines()) + "\n"


def _print(console: Console, part: RenderableType, width: int, *, wide: bool) -> None:
    """Print part by part, each as wide as it may be."""
    if isinstance(part, Group):
        for one in part.renderables:
            _print(console, one, width, wide=wide)
        return
    if isinstance(part, Grid):
        table, needed, left_out = part.fitted(_UNBOUNDED if wide else width)
        console.width = max(width, needed)
        console.print(table)
        console.width = width
        if left_out:
            note = f"Left out for want of width: {', '.join(left_out)}. --wide shows all."
            console.print(prose(note, "dim"), width=min(width, WIDTH))
            console.print()
    elif isinstance(part, Picture):
        console.print(cell(part.within(_UNBOUNDED if wide else width)))
    elif isinstance(part, Text) and part.no_wrap and not console.is_terminal:
        console.width = _UNBOUNDED
        console.print(part)
        console.width = width
    elif isinstance(part, Text):
        part.no_wrap = False
        console.print(part, width=min(width, WIDTH))
    else:
        console.print(part, width=min(width, WIDTH))


def printable(text: str) -> str:
    """*text* with its control characters replaced, so that no name can steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def joined(text: str) -> str:
    """*text* that is never broken between a number and its unit, once it is printed here."""
    tied = _BEFORE_UNIT.sub(_JOINT, text.replace(f" {E_MAC}", f" {E_MAC}".replace(" ", _JOINT)))
    return tied.replace(f"{_JOINT}x E", f"{_JOINT}x{_JOINT}E")


def cell(value: object, style: str = "") -> Text:
    """Any value as it is written, without markup."""
    return Text(joined(printable(str(value))), style=style)


def prose(text: str, style: str = "") -> Text:
    """A paragraph; whoever prints it breaks it into lines."""
    return cell(text, style)


def warning(text: str) -> Text:
    """A sentence on one line in a file or a pipe, so that who reads the first line sees it all."""
    return Text(printable(text), style="bold red", no_wrap=True)


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines whose indents mean something: one that is too long goes on further in."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield cell(self.within(options.max_width))

    def within(self, width: int) -> str:
        """The picture in *width* columns."""
        return "\n".join(
            textwrap.fill(
                line,
                width,
                subsequent_indent=" " * (len(line) - len(line.lstrip()) + 4),
                drop_whitespace=True,
                break_on_hyphens=False,
            )
            for line in printable(self.text).splitlines()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a :class:`Grid`.

    Args:
        head, footer: above and below its cells.
        words: broken into lines where they are longer than *widest*; numbers never are.
        widest: columns that words take at most.
        spare: if not zero, the column is left out where there is no room for all, the one with
            the largest number first.
    """

    head: str
    footer: str = ""
    words: bool = False
    widest: int = _NAMES
    spare: float = 0.0

    @property
    def name(self) -> str:
        """Its head without a unit, on one line."""
        return self.head.replace("\n[", " [").partition(" [")[0].replace("-\n", "-")


@dataclass(slots=True)
class Grid:
    """A table: a row's first cell is a name, most others are numbers."""

    columns: Sequence[Column]
    title: str = ""
    ruled: bool = True
    rows: list[tuple[list[Text], str]] = field(default_factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.fitted(options.max_width)[0]

    def add_row(self, *cells: object, style: str = "") -> None:
        """Add a row; each cell is a :class:`Text`, or written as it is."""
        row = [x if isinstance(x, Text) else cell(x) for x in cells]
        row += [Text()] * (len(self.columns) - len(row))
        self.rows.append((row, style))

    def fitted(self, width: int) -> tuple[Table, int, tuple[str, ...]]:
        """The table in *width*, what it needs, and the columns that it leaves out for that."""
        kept = list(range(len(self.columns)))
        while self._needs(kept) > width:
            spare = [n for n in kept if self.columns[n].spare]
            if not spare:
                break
            kept.remove(max(spare, key=lambda n: self.columns[n].spare))
        names = [x.name for n, x in enumerate(self.columns) if n not in kept]
        left_out = tuple(name for name in names if name.strip("|"))
        return self._table(kept), self._needs(kept, _FEWEST), left_out

    def _needs(self, kept: Sequence[int], words: int = _UNBOUNDED) -> int:
        """The width of these columns, with *words* no wider than that."""
        widths = []
        for n in kept:
            column = self.columns[n]
            texts = [column.head, column.footer, *(row[n].plain for row, _ in self.rows)]
            widest = max(cell_len(line) for text in texts for line in text.split("\n"))
            widths.append(min(widest, column.widest, words) if column.words else widest)
        return sum(widths) + _GAP * len(kept)

    def _table(self, kept: Sequence[int]) -> Table:
        columns = [self.columns[n] for n in kept]
        table = Table(
            box=box.SIMPLE_HEAD if self.ruled else None,
            pad_edge=False,
            padding=(0, 1 if self.ruled else _GAP, 0, 0),
            show_footer=any(x.footer for x in columns),
            header_style="bold",
            title=cell(self.title, "bold") if self.title else None,
            title_justify="left",
        )
        for x in columns:
            table.add_column(
                cell(x.head),
                cell(x.footer, "bold"),
                justify="left" if x.words else "right",
                no_wrap=not x.words,
                overflow="fold",
                max_width=x.widest if x.words else None,
            )
        for row, style in self.rows:
            table.add_row(*(row[n] for n in kept), style=style)
        return table


def grid(name: str, *numbers: str, title: str = "", ruled: bool = True) -> Grid:
    """A table of a column of names and columns of numbers, none of which may be left out."""
    columns = [Column(head=name, words=True), *(Column(head=x) for x in numbers)]
    return Grid(columns, title=title, ruled=ruled)


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Two columns: what, and its value."""
    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in facts:
        shown.add_row(cell(name, "bold"), cell(value))
    return shown
