"""What one value takes on its way between the outermost memory and one nearer by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from picojoule.accelerator import Accelerator, Charging, Memory
from picojoule.graph import Tensor
from picojoule.workload import Extents, Layer, Operand, PerOperand


class Near(NamedTuple):
    """A memory on the chip, of which there is one, and its level."""

    memory: Memory
    level: int


class Transfer(NamedTuple):
    """Of one value: the energy at each memory of its way, and the words in or out of each."""

    energy: Mapping[str, float]
    words: Mapping[str, float]


def one_word(tensor: Tensor) -> Layer:
    """A layer of one word of the tensor's width and density: what codes it codes the tensor."""
    return Layer(
        tensor.name,
        Extents(),
        bits=PerOperand(tensor.bits, tensor.bits, tensor.bits),
        density=PerOperand(tensor.density, tensor.density, tensor.density),
        scale_bits=PerOperand(tensor.scale_bits, tensor.scale_bits, tensor.scale_bits),
    )


def near_memories(accelerator: Accelerator) -> Iterator[Near]:
    """The memories in which a tensor may stay, outermost first: those outside every array."""
    for level, part in enumerate(accelerator.levels):
        if level:
            yield from (Near(memory, level) for memory in part.memories)
        if accelerator.arrays[level] is not None:
            return


def way_to(accelerator: Accelerator, level: int, operand: Operand) -> list[Memory]:
    """The memories that keep *operand*, from the outermost to the one at *level*."""
    parts = accelerator.levels[: level + 1]
    return [memory for part in parts if (memory := part.holder(operand)) is not None]


def transfer(
    way: Sequence[Memory],
    operand: Operand,
    coded: Mapping[str, float],
    plain: float,
    charging: Charging,
) -> Transfer:
    """One value of *operand* along *way*: inward, or outward if it is an output.

    Args:
        way: outermost first; from or to something without a memory if it is that one alone.
        coded: words of the accelerator that the value takes as each memory codes it.
        plain: the same uncoded, of outputs as a partial sum.
    """
    both = charging is Charging.BOTH_ENDS
    energy, words = dict.fromkeys(coded, 0.0), dict.fromkeys(coded, 0.0)
    outermost = way[0]
    if operand is Operand.OUTPUT:
        # What reaches the outermost memory is finished: coded, and written whoever is charged.
        energy[outermost.name] += coded[outermost.name] * outermost.write_energy
    elif len(way) == 1:
        energy[outermost.name] += coded[outermost.name] * outermost.read_energy
    if len(way) == 1:
        words[outermost.name] += coded[outermost.name]
    for outer, inner in pairwise(way):
        if operand is not Operand.OUTPUT:
            energy[outer.name] += coded[outer.name] * outer.read_energy
            energy[inner.name] += coded[inner.name] * inner.write_energy * both
            sizes = coded[outer.name], coded[inner.name]
        else:
            energy[outer.name] += plain * outer.write_energy * (both and outer is not outermost)
            energy[inner.name] += plain * inner.read_energy * (both and inner.charge_drains)
            sizes = coded[outer.name] if outer is outermost else plain, plain
        words[outer.name] += sizes[0]
        words[inner.name] += sizes[1]
    return Transfer(energy, words)
