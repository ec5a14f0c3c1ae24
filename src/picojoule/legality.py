"""What a mapping may do on an accelerator: rules by name, each a predicate of its own.

A mapping is legal for a layer if it breaks no rule. :data:`RULES` is the table that
:func:`violations` goes through, that ``picojoule check`` and ``picojoule list rules`` print, and
whose names stand in errors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from picojoule.accelerator import Accelerator, Array, Level
from picojoule.dataflow import Dataflow
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import held_words
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Extents, Layer, Operand


class Violation(NamedTuple):
    """Which rule a mapping breaks, and where."""

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


class _Case(NamedTuple):
    """A mapping of a layer on an accelerator, whose levels and arrays are looked up once."""

    layer: Layer
    accelerator: Accelerator
    mapping: Mapping
    levels: tuple[Level, ...]
    arrays: tuple[Array | None, ...]

    def beneath(self, stage: int) -> Array | None:
        """The array right beneath a stage: no stage of a level inside it comes before."""
        mapping = self.mapping
        level = max(mapping.levels[: stage + 1])
        return self.arrays[level] if mapping.first(level + 1) == stage + 1 else None


class Rule(NamedTuple):
    """What a legal mapping keeps to.

    Args:
        name: as errors call it.
        says: the rule in words.
        breaches: what a mapping does against it, one message for each place.
    """

    name: str
    says: str
    breaches: Callable[[_Case], Iterable[str]]


def violations(layer: Layer, accelerator: Accelerator, mapping: Mapping) -> tuple[Violation, ...]:
    """Why *mapping* is not legal for *layer* on *accelerator*; empty if it is.

    >>> from picojoule import conv, load_accelerator
    >>> from picojoule.mapping import Mapping, Stage
    >>> layer = conv("x", input_size=(9, 9), in_channels=1, out_channels=1, kernel=(1, 1))
    >>> whole = Stage(layer.bounds)
    >>> chip = load_accelerator("eyeriss-isca16")
    >>> [violation.rule for violation in violations(layer, chip, Mapping((whole, whole)))]
    ['stages']
    """
    case = _Case(layer, accelerator, mapping, accelerator.levels, accelerator.arrays)
    broken: list[Violation] = []
    for name, _, breaches in RULES:
        broken += [Violation(name, message) for message in breaches(case)]
        if broken and name == STAGES:
            break  # without a stage for each level, the other rules have nothing to look at
    return tuple(broken)


def dataflow_problem(accelerator: Accelerator, dataflow: Dataflow) -> str | None:
    """Why *accelerator* has no mapping under *dataflow*, whatever the layer; None if it may have.

    A dataflow says what the elements store; an operand that it does not store must be let past the
    memories inside the innermost array.

    >>> from picojoule.dataflow import DATAFLOWS
    >>> from picojoule.specs import load_accelerator
    >>> dataflow_problem(load_accelerator("eyeriss"), DATAFLOWS["rs"])
    """
    wanted = dataflow.element_keeps
    inside = [n for n, array in enumerate(accelerator.arrays) if array is not None]
    if wanted is None or not inside:
        return None
    for index, level in enumerate(accelerator.levels):
        stuck = level.keeps - wanted - level.may_bypass
        if index > inside[-1] and stuck:
            return (
                f"dataflow {dataflow.name!r} does not store the {_named(stuck)} in level {index} "
                f"({level.name}), which {accelerator.name!r} does not let bypass it"
            )
    return None


# -- what a tile takes -------------------------------------------------------------------------


def tile_words(layer: Layer, tile: Extents, operand: Operand, *, padded: bool = False) -> int:
    """Words of *operand* in a tile; of the input at most what is stored of it."""
    if operand is not Operand.INPUT:
        return math.prod(tile[DIMS.index(dim)] for dim in RELEVANT[operand])
    words = tile.N * tile.G * tile.C
    rows, columns = layer.axis(0, padded=padded), layer.axis(1, padded=padded)
    words *= min(rows.extent(tile.P, tile.R), len(rows.stored))
    return words * min(columns.extent(tile.Q, tile.S), len(columns.stored))


def tile_bits(layer: Layer, accelerator: Accelerator, tile: Extents, operand: Operand) -> float:
    """Bits that a tile takes in a memory: uncoded, outputs at the width of partial sums."""
    words = tile_words(layer, tile, operand, padded=accelerator.charge_padding)
    return words * _width(layer, accelerator, operand)


def held_bits(
    layer: Layer, accelerator: Accelerator, mapping: Mapping, stage: int, operand: Operand
) -> float:
    """Bits that *operand* takes in a memory of a stage's level: :func:`tile_bits` of its tile.

    Where an array outside the stage lies inside its memory, of the tiles of all elements.
    """
    level, tile = mapping.levels[stage], mapping.tile(stage)
    if max(mapping.levels[: stage + 1]) == level:
        return tile_bits(layer, accelerator, tile, operand)
    words = held_words(layer, mapping, stage, operand, padded=accelerator.charge_padding)
    return words * _width(layer, accelerator, operand)


def contents(layer: Layer, accelerator: Accelerator, mapping: Mapping) -> list[dict[str, Any]]:
    """For each memory, the bits of each operand that one instance holds, and its capacity."""
    rows = []
    for index, level in enumerate(accelerator.levels):
        for memory in level.memories:
            holds = {
                operand.value: held_bits(layer, accelerator, mapping, stage, operand)
                for operand in OPERANDS
                if operand in memory.keeps
                for stage in mapping.holders(operand)
                if mapping.levels[stage] == index
            }
            rows.append(
                {
                    "memory": memory.name,
                    "holds": holds,
                    "used": sum(holds.values()),
                    "capacity": memory.capacity,
                }
            )
    return rows


def _width(layer: Layer, accelerator: Accelerator, operand: Operand) -> float:
    if operand is Operand.OUTPUT:
        return accelerator.psum_bits(layer.bits.output)
    return layer.stored_bits(operand)


# -- the rules ---------------------------------------------------------------------------------


def _places(case: _Case) -> Iterator[tuple[int, Level, Stage]]:
    mapping = case.mapping
    return (
        (n, case.levels[level], stage)
        for n, (level, stage) in enumerate(zip(mapping.levels, mapping.stages, strict=True))
    )


def _where(case: _Case, stage: int) -> str:
    level = case.mapping.levels[stage]
    which = "" if case.mapping.levels.count(level) == 1 else f", stage {stage}"
    return f"{_named_level(case, level)}{which}"


def _named_level(case: _Case, level: int) -> str:
    return f"level {level} ({case.levels[level].name})"


def _named(operands: frozenset[Operand]) -> str:
    return ", ".join(operand.value for operand in OPERANDS if operand in operands)


def _stages(case: _Case) -> Iterator[str]:
    stages, levels, wanted = case.mapping.stages, case.mapping.levels, len(case.levels)
    if len(levels) != len(stages):
        yield f"{len(stages)} stages, and the levels of {len(levels)}"
    elif case.mapping.even and len(stages) != wanted:
        yield f"{len(stages)} stages for {wanted} memory levels"
    elif list(dict.fromkeys(levels)) != list(range(wanted)) or levels.count(0) > 1:
        yield (
            f"stages of the levels {', '.join(map(str, levels))}: of level 0 there is one, and of "
            f"each of the {wanted} levels at least one, the first of them inside that of the level "
            "outside it"
        )


def _whole_layer(case: _Case) -> Iterator[str]:
    tile = case.mapping.stages[0].tile
    if tile != case.layer.bounds:
        yield f"the outermost tile {tile} is not the layer {case.layer.bounds}"


def _nested_tiles(case: _Case) -> Iterator[str]:
    for n, _, stage in _places(case):
        inner = case.mapping.tile(n + 1)
        if any(i > t for i, t in zip(inner, stage.tile, strict=True)):
            yield f"{_where(case, n)}: the tile {stage.tile} is smaller than {inner} inside it"


def _nested_levels(case: _Case) -> Iterator[str]:
    mapping = case.mapping
    for operand in OPERANDS:
        for outer, inner in itertools.pairwise(mapping.holders(operand)):
            if mapping.levels[outer] >= mapping.levels[inner]:
                yield (
                    f"{_where(case, inner)} keeps the {operand.value} inside "
                    f"{_where(case, outer)}, which keeps it as well"
                )


def _held_operands(case: _Case) -> Iterator[str]:
    for n, level, stage in _places(case):
        if not stage.keeps <= level.keeps:
            yield f"{_where(case, n)} cannot keep: {_named(stage.keeps - level.keeps)}"


def _bypass(case: _Case) -> Iterator[str]:
    for n, level in enumerate(case.levels):
        skipped = level.keeps - case.mapping.kept(n)
        if skipped and not skipped <= level.may_bypass:
            forbidden = skipped - level.may_bypass
            yield f"{_named_level(case, n)} may not be bypassed by: {_named(forbidden)}"


def _capacity(case: _Case) -> Iterator[str]:
    mapping = case.mapping
    for index, level in enumerate(case.levels):
        for memory in level.memories:
            if memory.capacity is None:
                continue
            needed = sum(
                held_bits(case.layer, case.accelerator, mapping, n, operand)
                for operand in OPERANDS
                if operand in memory.keeps
                for n in mapping.holders(operand)
                if mapping.levels[n] == index
            )
            if needed > memory.capacity:
                yield f"{memory.name} holds {memory.capacity:g} bits; the tile needs {needed:g}"


def _axes(case: _Case) -> Iterator[str]:
    for n, _, stage in _places(case):
        array = case.beneath(n)
        axes = len(array.axes) if array else 0
        if len(stage.spatial) > axes:
            yield (
                f"{_where(case, n)}: unrolling along {len(stage.spatial)} axes; there are {axes}"
            )


def _axis_length(case: _Case) -> Iterator[str]:
    for n, _, stage in _places(case):
        array = case.beneath(n)
        for axis, unrolled in zip(array.axes if array else (), stage.spatial, strict=False):
            used = math.prod(unrolled)
            if used > axis.size:
                yield f"{_where(case, n)}: {used} elements along axis {axis.name!r} of {axis.size}"


def _axis_loops(case: _Case) -> Iterator[str]:
    for n, _, stage in _places(case):
        array = case.beneath(n)
        for axis, unrolled in zip(array.axes if array else (), stage.spatial, strict=False):
            for dim, factor in zip(DIMS, unrolled, strict=True):
                if factor > 1 and dim not in axis.dims:
                    yield (
                        f"{_where(case, n)}: {dim.value} may not be unrolled along "
                        f"axis {axis.name!r}"
                    )


STAGES = "stages"
RULES = (
    Rule(STAGES, "there is one stage for each memory level, or one for each operand", _stages),
    Rule("whole-layer", "the outermost tile is the whole layer", _whole_layer),
    Rule("nested-tiles", "no tile is larger than the one outside it", _nested_tiles),
    Rule(
        "nested-levels",
        "each tile of an operand lies in a level inside that of the one outside it",
        _nested_levels,
    ),
    Rule("held-operands", "a level keeps only operands that its memories can hold", _held_operands),
    Rule("bypass", "an operand passes a level by only where the level allows it", _bypass),
    Rule("capacity", "the tiles that a memory keeps fit it together, uncoded", _capacity),
    Rule("axes", "loops are unrolled along no more axes than the array has", _axes),
    Rule("axis-length", "no axis is unrolled over more elements than it has", _axis_length),
    Rule("axis-loops", "along an axis run only loops that its wiring allows", _axis_loops),
)
"""All rules; the first is what the others take for granted."""
