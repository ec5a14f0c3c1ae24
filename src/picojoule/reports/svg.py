"""Small pictures within HTML: rows of coloured bars, and boxes within boxes; no script, no file.

Every text is escaped; colours are those of the plots. Sizes are in pixels at the usual zoom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_NAME, _BAR, _ROW, _LETTER = 150, 420, 18, 6.2
_INK, _PALE = "currentColor", "#8C8C8C"


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a picture: its name, the parts of its bar, and what stands behind it."""

    name: str
    parts: Mapping[str, float]
    note: str = ""

    @property
    def length(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a chain of boxes: what it is, in two lines, and its colour."""

    name: str
    note: str
    color: str


def bars(rows: Sequence[Bar], colors: Mapping[str, str], title: str) -> str:
    """Bars beneath each other on one scale, and what each colour means."""
    longest = max((row.length for row in rows), default=0.0)
    drawn: list[str] = []
    for index, row in enumerate(rows):
        y, at = index * _ROW, 0.0
        drawn.append(_text(_NAME - 6, y + 12, _cut(row.name), "end"))
        for part, value in row.parts.items():
            width = _BAR * value / longest if longest else 0.0
            if width > 0:
                what = f"{row.name}, {part}: {100 * value / row.length:.1f} %"
                drawn.append(_rect(_NAME + at, y + 2, width, _ROW - 5, colors[part], what))
            at += width
        drawn.append(_text(_NAME + at + 6, y + 12, row.note))
    used = dict.fromkeys(part for row in rows for part, value in row.parts.items() if value > 0)
    keys, height = _legend(used, colors, len(rows) * _ROW + 6)
    return _svg([*drawn, *keys], _NAME + _BAR + 110, height, title)


def chain(boxes: Sequence[Box], title: str) -> str:
    """Boxes from left to right, an arrow between two."""
    drawn, x, height = [], 2.0, 46
    for index, box in enumerate(boxes):
        width = _LETTER * max(len(box.name), len(box.note)) + 14
        if index:
            drawn.append(_text(x + 3, 28, "\u2192"))
            x += 18
        drawn.append(_rect(x, 4, width, 38, box.color, f"{box.name}: {box.note}", "0.25"))
        drawn.append(_text(x + 7, 19, box.name))
        drawn.append(_text(x + 7, 35, box.note))
        x += width
    return _svg(drawn, x + 4, height, title)


def _legend(parts: Iterable[str], colors: Mapping[str, str], top: int) -> tuple[list[str], int]:
    """Squares with their names, in lines; and where they end."""
    drawn, x, y = [], float(_NAME), top
    for part in parts:
        width = _LETTER * len(part) + 28
        if x > _NAME and x + width > _NAME + _BAR:
            x, y = float(_NAME), y + 16
        drawn.append(_rect(x, y, 10, 10, colors[part], part))
        drawn.append(_text(x + 14, y + 9, part))
        x += width
    return drawn, y + 16


def _svg(drawn: Sequence[str], width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:100%;font:11px sans-serif;color:inherit">{"".join(drawn)}</svg>'
    )


def _rect(
    x: float, y: float, width: float, height: float, color: str, title: str, opacity: str = "1"
) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" '
        f'fill="{color}" fill-opacity="{opacity}" stroke="{_PALE}" stroke-width="0.3">'
        f"<title>{escape(title)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>'
    )


def _cut(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"
