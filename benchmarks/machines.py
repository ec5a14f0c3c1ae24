"""Machines like a shipped one with something else: no bypass, more levels, another array."""

from __future__ import annotations

from dataclasses import replace

from picojoule.accelerator import Accelerator, Array, Level

# Buffers that may be put between the outermost memory and the array, the nearest to the array
# first: size as a part of the machine's own buffer, energy as a part of its energy.
BUFFERS = ((1.0, 1.0), (16.0, 4.0), (1 / 8, 1 / 2), (1 / 32, 1 / 4))


def varied(
    chip: Accelerator,
    *,
    bypass: bool = True,
    padded: bool | None = None,
    levels: int | None = None,
    array: int | None = None,
) -> Accelerator:
    """The same machine with one thing changed.

    Args:
        bypass: False: no operand passes by a memory.
        padded: whether padding is charged.
        levels: of memories, two at least, those of :data:`BUFFERS` between the first and the last,
            in place of the one buffer that is there.
        array: elements along each axis.
    """
    if padded is not None:
        chip = replace(chip, charge_padding=padded)
    if not bypass:
        chip = replace(
            chip, nest=tuple(_kept(part) if isinstance(part, Level) else part for part in chip.nest)
        )
    if levels is not None:
        chip = _layered(chip, levels)
    if array is not None:
        chip = replace(
            chip,
            nest=tuple(
                _squared(part, array) if isinstance(part, Array) else part for part in chip.nest
            ),
        )
    return chip


def _kept(level: Level) -> Level:
    return Level(tuple(replace(memory, may_bypass=frozenset()) for memory in level.memories))


def _squared(array: Array, size: int) -> Array:
    return replace(array, axes=tuple(replace(axis, size=size) for axis in array.axes))


def _layered(chip: Accelerator, levels: int) -> Accelerator:
    """The machine with *levels* of memories, those between ordered by their size."""
    outermost, level, *rest = chip.nest
    assert isinstance(level, Level)
    [buffer] = level.memories
    assert buffer.capacity is not None
    between = [
        Level(
            (
                replace(
                    buffer,
                    name=f"buffer-{n}",
                    capacity=float(round(buffer.capacity * size)),
                    read_energy=buffer.read_energy * energy,
                    write_energy=buffer.write_energy * energy,
                ),
            )
        )
        for n, (size, energy) in sorted(
            enumerate(BUFFERS[: levels - 2]), key=lambda one: -one[1][0]
        )
    ]
    return replace(chip, nest=(outermost, *between, *rest))
