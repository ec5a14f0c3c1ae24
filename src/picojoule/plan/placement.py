"""A layer whose operands lie on the chip: the one-layer problem, on the machine seen from there.

A *home* is the memory in which an operand lies whole, before and after the layer runs. A layer
alone has all of its homes in the outermost level. Where an operand's home is a memory nearer by,
it passes none of the memories outside that one: on the machine seen from there the outermost
level holds that memory as well, for this operand alone, and no memory between keeps the operand.
What the memory has room for besides is less by what lies in it.

So a layer placed this way is a layer on an :class:`Accelerator` as any other: searched, checked,
priced and played through by what does it for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from picojoule.accelerator import Accelerator, Array, Level, Memory
from picojoule.plan.transfers import near_memories
from picojoule.workload import OPERANDS, Operand

Homes = Mapping[Operand, str]
"""The memory in which each operand lies that does not lie in the outermost level, by name."""


def seen_from(accelerator: Accelerator, homes: Homes, room: Mapping[str, float]) -> Accelerator:
    """The accelerator of a layer whose operands have *homes* on the chip.

    Args:
        homes: names of memories outside every array that can keep the operand.
        room: bits of each memory, by name, that what lies in it takes, these operands included.

    >>> from picojoule.specs import load_accelerator
    >>> chip = load_accelerator("eyeriss")
    >>> near = seen_from(chip, {Operand.INPUT: "buffer"}, {"buffer": 8 * 1024 * 8})
    >>> [level.name for level in near.levels[:2]]
    ['dram+buffer', 'buffer+filter-buffer']
    >>> near.levels[0].holder(Operand.INPUT).name, near.levels[1].holder(Operand.INPUT)
    ('buffer', None)
    """
    if not homes and not any(room.values()):
        return accelerator
    home_level = {
        operand: next(n for n, x in enumerate(accelerator.levels) if _named(x, name) is not None)
        for operand, name in homes.items()
    }
    nest: list[Level | Array] = []
    depth = 0
    for part in accelerator.nest:
        if isinstance(part, Array):
            nest.append(part)
            continue
        passed = {operand for operand, level in home_level.items() if level >= depth}
        memories = [_without(memory, passed, room) for memory in part.memories]
        if depth == 0:
            memories += _as_homes(accelerator, homes)
        nest.append(Level(tuple(memories)))
        depth += 1
    return replace(accelerator, nest=tuple(nest))


def places(accelerator: Accelerator) -> tuple[Memory, ...]:
    """The memories in which a tensor may lie whole, outermost first."""
    return tuple(near.memory for near in near_memories(accelerator))


def _named(level: Level, name: str) -> Memory | None:
    return next((memory for memory in level.memories if memory.name == name), None)


def _without(memory: Memory, passed: Iterable[Operand], room: Mapping[str, float]) -> Memory:
    """A memory that *passed* operands do not reach, less what lies in it."""
    capacity = memory.capacity
    if capacity is not None:
        capacity -= room.get(memory.name, 0.0)
    return replace(
        memory,
        keeps=memory.keeps - set(passed),
        may_bypass=memory.may_bypass - set(passed),
        capacity=capacity,
    )


def _as_homes(accelerator: Accelerator, homes: Homes) -> list[Memory]:
    """The memories in which operands lie whole: nothing is fetched into them, nor waited for."""
    return [
        replace(
            memory,
            keeps=frozenset(o for o in OPERANDS if homes.get(o) == memory.name),
            capacity=None,
            may_bypass=frozenset(),
            refetches=frozenset(),
            double_buffered=False,
            prefetched=False,
            latency=0.0,
        )
        for level in accelerator.levels
        for memory in level.memories
        if memory.name in homes.values()
    ]
