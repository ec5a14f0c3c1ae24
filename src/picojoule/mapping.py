"""The mapping: how a layer's loops are cut into tiles, ordered, and spread over an array.

A :class:`Mapping` is one nest of :class:`Stage`, outermost first. A stage says what one instance of
its level holds (``tile``), in which order its loops run over the steps below it (``order``,
outermost first), which operands it keeps, and how each step is spread over the axes of the array
beneath it (``spatial``). Tile sizes need not divide anything: a step at the edge is smaller, never
rounded up.

In an *even* mapping each memory level has one stage: its operands share their tile boundaries. In
an *uneven* one a level has several, each for other operands, with loops between them: each operand
has tiles of its own.
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
    """One memory level of a mapping, or those of its operands that share their tile boundaries.

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
    """Stages, outermost first.

    Args:
        levels: of the accelerator, one for each stage; left out: one stage for each level. The
            array beneath a level lies above the first stage of a level further in. A stage that
            comes later although its level lies outside that array holds the tiles of all its
            elements together.
    """

    stages: tuple[Stage, ...]
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.levels:
            object.__setattr__(self, "levels", tuple(range(len(self.stages))))

    @property
    def even(self) -> bool:
        """Whether each level has one stage, whose operands share their tile boundaries."""
        return self.levels == tuple(range(len(self.stages)))

    @property
    def depth(self) -> int:
        """Number of memory levels."""
        return max(self.levels, default=-1) + 1

    def first(self, level: int) -> int:
        """The first stage of *level* or of one further in; what lies outside it, its arrays do.

        >>> Mapping((Stage(ONES),) * 4, levels=(0, 1, 2, 1)).first(2)
        2
        """
        inside = (n for n, place in enumerate(self.levels) if place >= level)
        return next(inside, len(self.stages))

    def holders(self, operand: Operand) -> list[int]:
        """The stages that keep *operand*, outermost first."""
        return [n for n, stage in enumerate(self.stages) if operand in stage.keeps]

    def __repr__(self) -> str:
        return f"<Mapping {' > '.join(str(stage.tile) for stage in self.stages)}>"

    def tile(self, stage: int) -> Extents:
        """The tile of a stage; below the innermost one, the single MAC."""
        return self.stages[stage].tile if stage < len(self.stages) else ONES

    def step(self, stage: int) -> Extents:
        """By how much a stage's loops advance: the tiles of all elements beneath, together."""
        inner, fanout = self.tile(stage + 1), self.stages[stage].fanout
        return Extents(
            *(min(t, f * i) for t, f, i in zip(self.stages[stage].tile, fanout, inner, strict=True))
        )

    def loops(self, stage: int) -> tuple[tuple[Dim, int], ...]:
        """The loops of a stage that run more than once: (dimension, steps), outermost first."""
        tile, step = self.stages[stage].tile, self.step(stage)
        counts = {d: -(-t // s) for d, t, s in zip(DIMS, tile, step, strict=True)}
        order = self.stages[stage].order
        full = tuple(d for d in DIMS if d not in order) + order
        return tuple((d, counts[d]) for d in full if counts[d] > 1)

    def active(self, stage: int) -> Extents:
        """Elements of the array beneath a stage in use along each dimension in a full step."""
        step, inner = self.step(stage), self.tile(stage + 1)
        return Extents(*(-(-s // i) for s, i in zip(step, inner, strict=True)))

    def used(self, level: int) -> int:
        """Elements in use, in a full step, of the array beneath a memory *level*."""
        return math.prod(self.active(self.first(level + 1) - 1))

    def kept(self, level: int) -> frozenset[Operand]:
        """Operands that a memory *level* keeps, in all of its stages."""
        stages = zip(self.levels, self.stages, strict=True)
        return frozenset[Operand]().union(*(x.keeps for place, x in stages if place == level))

    @property
    def titles(self) -> list[str]:
        """What stages are called where their accelerator is not at hand.

        >>> whole, part = Stage(ONES), Stage(ONES, keeps=frozenset({Operand.INPUT}))
        >>> Mapping((whole, part, part), levels=(0, 1, 1)).titles
        ['level 0', 'level 1: input', 'level 1: input']
        """
        titles = []
        for level, stage in zip(self.levels, self.stages, strict=True):
            kept = ", ".join(o.value for o in OPERANDS if o in stage.keeps)
            one = self.levels.count(level) == 1
            titles.append(f"level {level}" if one else f"level {level}: {kept or 'nothing'}")
        return titles

    def text(self, titles: Sequence[str]) -> str:
        """The loop nest as Timeloop draws it; *titles* are the stages', outermost first.

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

        for n, stage in enumerate(self.stages):
            lines += [*([""] if n else []), titles[n], "-" * len(titles[n])]
            for dim, count in self.loops(n):
                loop(f"for {dim.value} in [0:{count})")
            inner = self.tile(n + 1)
            for axis, unrolled in enumerate(stage.spatial):
                for d, (dim, factor) in enumerate(zip(DIMS, unrolled, strict=True)):
                    used = min(factor, -(-stage.tile[d] // inner[d]))
                    if used > 1:
                        loop(f"for {dim.value} in [0:{used}) (Spatial-{_axis_letter(axis)})")
        loop("multiply and accumulate")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and YAML; of an uneven mapping with the level of each stage."""
        return {
            "stages": [
                {
                    **({} if self.even else {"level": level}),
                    "tile": stage.tile._asdict(),
                    "order": [d.value for d in stage.order],
                    "keeps": [o.value for o in OPERANDS if o in stage.keeps],
                    "spatial": [
                        {d: f for d, f in axis._asdict().items() if f > 1} for axis in stage.spatial
                    ],
                }
                for level, stage in zip(self.levels, self.stages, strict=True)
            ]
        }


def _axis_letter(axis: int) -> str:
    return "XYZ"[axis] if axis < 3 else str(axis)


def parse_mapping(data: object, source: str) -> Mapping:
    """Read what :meth:`Mapping.to_dict` wrote; all mistakes at once.

    A stage that names no level is of the next one inward from that of the stage before it.

    Raises:
        InputError: with a path for each mistake.
    """
    mistakes: list[Mistake] = []
    stages: list[Stage] = []
    levels: list[int] = []
    keys = ("level", "tile", "order", "keeps", "spatial")
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
        level = raw.get("level", levels[-1] + 1 if levels else 0)
        if not isinstance(level, int) or isinstance(level, bool) or not 0 <= level <= index:
            said = f"{level!r} is no level: the outermost is 0, here at most {index}"
            mistakes.append(Mistake(f"{path}.level", said))
            level = index
        levels.append(level)
    if mistakes:
        raise InputError(source, mistakes)
    return Mapping(tuple(stages), tuple(levels))


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
