"""Nests of loops in which a peer places each operand by itself, as mappings of picojoule.

A nest is a list of parts, outermost first: operands placed in a memory, a loop in time, a spread
over the array. Nothing of it is rounded to what an even mapping could say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from picojoule import Extents, Mapping, Stage
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand

N, G, M, C, P, Q, R, S = DIMS
INPUT, WEIGHT, OUTPUT = OPERANDS
BUFFER, REGISTERS = 1, 2  # levels of the common machine
ZIGZAG = {"B": N, "G": G, "K": M, "C": C, "OY": P, "OX": Q, "FY": R, "FX": S}
OPERAND = {"I": INPUT, "W": WEIGHT, "O": OUTPUT}  # as both peers call them
ACCELFORGE_MEMORIES = {"MainMemory": 0, "Buffer": BUFFER, "Registers": REGISTERS}
ACCELFORGE_PART = re.compile(
    r"\[(?P<operands>[IWO,]+) in (?P<memory>\w+)\]"
    r"|T-(?P<loop>\w) in \[0\.\.\d+\) shape=(?P<step>\d+)"
    r"|S-(?P<axis>\w+)-(?P<spread>\w) in \[0\.\.(?P<count>\d+)\) shape=(?P<part>\d+)"
)


class Placed(NamedTuple):
    """An operand that a memory of a level holds from here on."""

    level: int
    operand: Operand


class Loop(NamedTuple):
    """A loop in time, with what one step of it works on."""

    dim: Dim
    step: int


class Spread(NamedTuple):
    """What runs along each axis of the array, with what one element works on."""

    axes: tuple[Extents, ...]
    tile: Extents


Part: TypeAlias = Placed | Loop | Spread


def mapping_of(bounds: Extents, parts: Sequence[Part]) -> Mapping:
    """The mapping that a nest describes, its array beneath the buffer's level.

    Loops of different dimensions that nothing lies between share a stage.
    """
    stages, levels = [Stage(bounds)], [0]
    tile, inside = bounds, False

    def begin(level: int) -> None:
        stages.append(Stage(tile, keeps=frozenset()))
        levels.append(level)

    for part in parts:
        full = bool(stages[-1].spatial)
        if isinstance(part, Placed):
            if levels[-1] != part.level or stages[-1].order or full:
                begin(part.level)
            stages[-1] = replace(stages[-1], keeps=stages[-1].keeps | {part.operand})
        elif isinstance(part, Loop):
            if full or part.dim in stages[-1].order:
                begin(REGISTERS if inside else BUFFER)
            stages[-1] = replace(stages[-1], order=(*stages[-1].order, part.dim))
            tile = tile._replace(**{part.dim.value: part.step})
        else:
            if levels[-1] == 0:
                begin(BUFFER)
            stages[-1] = replace(stages[-1], spatial=part.axes)
            tile, inside = part.tile, True
    return Mapping(tuple(stages), tuple(levels))


def zigzag(bounds: Extents, found: dict[str, Any]) -> Mapping:
    """ZigZag's mapping, even or uneven; counts that are no whole numbers are rounded up.

    ZigZag says how many loops lie inside each operand's tile in each memory, and spreads no loop
    at any place of the nest in particular. An operand's tile is the same on either side of a loop
    that does not index it: those in the registers lie as far inside as they may, those in the
    buffer as far outside, and the array above the first in the registers.
    """
    inner_first = [
        (ZIGZAG[dim], math.ceil(n)) for level in found["temporal"]["O"] for dim, n in level
    ]
    axes = tuple(
        _extents({ZIGZAG[dim]: math.ceil(n) for dim, n in axis.items()})
        for axis in (found["spatial"].get("D1", {}), found["spatial"].get("D2", {}))
    )
    placed: dict[int, list[Placed]] = {}
    for name, operand in OPERAND.items():
        registers, buffer, _ = (len(level) for level in found["temporal"][name])
        inside, outside = registers, registers + buffer
        while inside and inner_first[inside - 1][0] not in RELEVANT[operand]:
            inside -= 1
        while outside < len(inner_first) and inner_first[outside][0] not in RELEVANT[operand]:
            outside += 1
        placed.setdefault(inside, []).append(Placed(REGISTERS, operand))
        placed.setdefault(outside, []).append(Placed(BUFFER, operand))
    array = max(n for n, here in placed.items() if any(x.level == REGISTERS for x in here))

    def tile(loops: int) -> Extents:
        """What the innermost loops work on, in one element or in the whole array."""
        sizes = list(Extents())
        for dim, count in inner_first[:loops]:
            sizes[DIMS.index(dim)] *= count
        across = zip(*axes, strict=True) if loops > array or (loops == array and not below) else ()
        for n, fans in enumerate(across):
            sizes[n] *= math.prod(fans)
        return Extents(*(min(size, bound) for size, bound in zip(sizes, bounds, strict=True)))

    parts: list[Part] = []
    below = False  # whether the array lies outside already
    for loops in range(len(inner_first), -1, -1):
        here = sorted(placed.get(loops, ()), key=lambda x: x.level)
        parts += [x for x in here if x.level == BUFFER]
        if loops == array:
            below = True
            parts.append(Spread(axes, tile(loops)))
        parts += [x for x in here if x.level == REGISTERS]
        if loops:
            dim = inner_first[loops - 1][0]
            parts.append(Loop(dim, tile(loops - 1)[DIMS.index(dim)]))
    return mapping_of(bounds, parts)


def accelforge(bounds: Extents, found: str, sizes: dict[str, int]) -> Mapping:
    """AccelForge's mapping, as it prints one in a line.

    Args:
        sizes: of the array's axes, by their names.
    """
    parts: list[Part] = []
    fans: dict[str, dict[Dim, int]] = {name: {} for name in sizes}
    spread: Extents | None = None
    tile = bounds

    def close() -> Iterator[Part]:
        if spread is not None:
            yield Spread(tuple(_extents(fans[name]) for name in sizes), spread)

    for match in ACCELFORGE_PART.finditer(found):
        if match["spread"]:
            dim = Dim(match["spread"].upper())
            fans[match["axis"]][dim] = fans[match["axis"]].get(dim, 1) * int(match["count"])
            tile = spread = tile._replace(**{dim.value: int(match["part"])})
            continue
        parts += close()
        spread = None
        if match["loop"]:
            dim, step = Dim(match["loop"].upper()), int(match["step"])
            parts.append(Loop(dim, step))
            tile = tile._replace(**{dim.value: step})
        elif level := ACCELFORGE_MEMORIES[match["memory"]]:
            parts += [Placed(level, OPERAND[name]) for name in match["operands"].split(",")]
    parts += close()
    return mapping_of(bounds, parts)


def _extents(sizes: dict[Dim, int]) -> Extents:
    return Extents(*(sizes.get(dim, 1) for dim in DIMS))
