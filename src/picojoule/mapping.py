"""The mapping: how a layer's loops are cut into tiles, ordered, and spread over an array.

A :class:`Mapping` has one :class:`Stage` per memory level, outermost first. A stage says what one
instance of its level holds (``tile``), in which order its loops run over the steps below it
(``order``, outermost first), which operands it keeps, and how each step is spread over the axes of
the array beneath it (``spatial``). Tile sizes need not divide anything: a step at the edge is
smaller, never rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from picojoule.display import Displayed
from picojoule.errors import InputError, Mistake, did_you_mean
from picojoule.workload import DIMS, OPERANDS, Dim, Extents, Operand

ONES = Extents()


@dataclass(frozen=True, slots=True)
class Stage:
    """One memory level of a mapping.

    Args:
        tile: what one instance of the level holds; for the outermost level, the whole layer.
        order: the level's loops, outermost first; dimensions left out run outside the others.
        keeps: operands held here; the others pass by.
        spatial: for each axis of the array beneath the level, the unrolling along it.
    """

    tile: Extents
    order: tuple[Dim, ...] = ()
    keeps: frozenset[Operand] = frozenset(OPERANDS)
    spatial: tuple[Extents, ...] = ()

    @property
    def fanout(self) -> Extents:
        """Unrolling of each dimension over all axes together."""
        return Extents(*(math.prod(axis[d] for axis in self.spatial) for d in range(8)))


@dataclass(frozen=True, slots=True)
class Mapping(Displayed):
    """Stages, outermost first."""

    stages: tuple[Stage, ...]

    def __repr__(self) -> str:
        return f"<Mapping {' > '.join(str(stage.tile) for stage in self.stages)}>"

    def tile(self, level: int) -> Extents:
        """The tile of *level*; below the innermost level, the single MAC."""
        return self.stages[level].tile if level < len(self.stages) else ONES

    def step(self, level: int) -> Extents:
        """By how much the loops of *level* advance: the tiles of all elements beneath, together."""
        inner, fanout = self.tile(level + 1), self.stages[level].fanout
        return Extents(
            *(min(t, f * i) for t, f, i in zip(self.stages[level].tile, fanout, inner, strict=True))
        )

    def loops(self, level: int) -> tuple[tuple[Dim, int], ...]:
        """The loops of *level* that run more than once: (dimension, steps), outermost first."""
        tile, step = self.stages[level].tile, self.step(level)
        counts = {d: -(-t // s) for d, t, s in zip(DIMS, tile, step, strict=True)}
        order = self.stages[level].order
        full = tuple(d for d in DIMS if d not in order) + order
        return tuple((d, counts[d]) for d in full if counts[d] > 1)

    def active(self, level: int) -> Extents:
        """Elements of the array beneath *level* in use along each dimension in a full step."""
        step, inner = self.step(level), self.tile(level + 1)
        return Extents(*(-(-s // i) for s, i in zip(step, inner, strict=True)))

    def text(self, titles: Sequence[str]) -> str:
        """The loop nest as Timeloop draws it; *titles* are the levels', outermost first.

        >>> whole = Stage(Extents(M=4, C=6), (Dim.M, Dim.C), spatial=(Extents(M=2),))
        >>> print(Mapping((whole, Stage(Extents(C=3), (Dim.C,)))).text(["DRAM", "Registers"]))
        DRAM
        ----
        | for M in [0:2)
        |   for C in [0:2)
        |     for M in [0:2) (Spatial-X)
        <BLANKLINE>
        Registers
        ---------
        |       for C in [0:3)
        |         multiply and accumulate
        """
        lines: list[str] = []
        depth = 0

        def loop(text: str) -> None:
            nonlocal depth
            lines.append(f"| {'  ' * depth}{text}")
            depth += 1

        for level, stage in enumerate(self.stages):
            lines += [*([""] if level else []), titles[level], "-" * len(titles[level])]
            for dim, count in self.loops(level):
                loop(f"for {dim.value} in [0:{count})")
            inner = self.tile(level + 1)
            for axis, unrolled in enumerate(stage.spatial):
                for d, (dim, factor) in enumerate(zip(DIMS, unrolled, strict=True)):
                    used = min(factor, -(-stage.tile[d] // inner[d]))
                    if used > 1:
                        loop(f"for {dim.value} in [0:{used}) (Spatial-{_axis_letter(axis)})")
        loop("multiply and accumulate")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and YAML."""
        return {
            "stages": [
                {
                    "tile": stage.tile._asdict(),
                    "order": [d.value for d in stage.order],
                    "keeps": [o.value for o in OPERANDS if o in stage.keeps],
                    "spatial": [
                        {d: f for d, f in axis._asdict().items() if f > 1} for axis in stage.spatial
                    ],
                }
                for stage in self.stages
            ]
        }


def _axis_letter(axis: int) -> str:
    return "XYZ"[axis] if axis < 3 else str(axis)


def parse_mapping(data: object, source: str) -> Mapping:
    """Read what :meth:`Mapping.to_dict` wrote; all mistakes at once.

    Raises:
        InputError: with a path for each mistake.
    """
    mistakes: list[Mistake] = []
    stages: list[Stage] = []
    keys = ("tile", "order", "keeps", "spatial")
    if not isinstance(data, dict) or not isinstance(data.get("stages"), list) or len(data) != 1:
        raise InputError(source, [Mistake("$", "a mapping has one key, 'stages', with a list")])
    for index, raw in enumerate(data["stages"]):
        path = f"$.stages[{index}]"
        if not isinstance(raw, dict):
            mistakes.append(Mistake(path, f"a stage has the keys {', '.join(keys)}"))
            continue
        mistakes += [
            Mistake(f"{path}.{key}", f"unknown key{did_you_mean(str(key), keys)}")
            for key in raw
            if key not in keys
        ]
        if "tile" not in raw:
            mistakes.append(Mistake(f"{path}.tile", "required field missing"))
        tile = _extents(raw.get("tile", {}), f"{path}.tile", mistakes)
        order = _members(Dim, raw.get("order", []), f"{path}.order", mistakes)
        keeps = _members(
            Operand, raw.get("keeps", [o.value for o in OPERANDS]), f"{path}.keeps", mistakes
        )
        spatial = raw.get("spatial", [])
        if not isinstance(spatial, list):
            mistakes.append(Mistake(f"{path}.spatial", "a list with one entry for each axis"))
            spatial = []
        axes = tuple(
            _extents(axis, f"{path}.spatial[{n}]", mistakes) for n, axis in enumerate(spatial)
        )
        stages.append(Stage(tile, tuple(order), frozenset(keeps), axes))
    if mistakes:
        raise InputError(source, mistakes)
    return Mapping(tuple(stages))


def _extents(raw: object, path: str, mistakes: list[Mistake]) -> Extents:
    if not isinstance(raw, MappingABC):
        mistakes.append(Mistake(path, "a table of dimensions, such as {M: 16, C: 4}"))
        return ONES
    sizes: dict[str, int] = {}
    for key, value in raw.items():
        if key not in Extents._fields:
            mistakes.append(Mistake(f"{path}.{key}", "unknown dimension; N G M C P Q R S exist"))
        elif not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 40:
            mistakes.append(Mistake(f"{path}.{key}", f"{value!r} is not a whole number above 0"))
        else:
            sizes[key] = value
    return Extents(**sizes)


def _members(kind: Any, raw: object, path: str, mistakes: list[Mistake]) -> list[Any]:
    values = [member.value for member in kind]
    if not isinstance(raw, list):
        mistakes.append(Mistake(path, f"a list of {', '.join(values)}"))
        return []
    members = []
    for value in raw:
        if value not in values:
            mistakes.append(Mistake(path, f"{value!r} is none of {', '.join(values)}"))
        elif kind(value) in members:
            mistakes.append(Mistake(path, f"{value!r} stands twice"))
        else:
            members.append(kind(value))
    return members
