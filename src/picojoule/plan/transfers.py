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
    """Of one value, at each memory of its way.

    Args:
        energy: of what is charged there.
        words: of the accelerator, in and out, whichever end is charged.
        reads, writes: how often they are charged.
    """

    energy: Mapping[str, float]
    words: Mapping[str, float]
    reads: Mapping[str, float]
    writes: Mapping[str, float]


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
    both = float(charging is Charging.BOTH_ENDS)
    outermost, outward = way[0], operand is Operand.OUTPUT
    # What is in the outermost memory is finished, and coded; further in an output is a sum.
    size = {x.name: plain if outward and x is not outermost else coded[x.name] for x in way}
    passes, reads, writes = (dict.fromkeys(size, 0.0) for _ in range(3))
    if outward:
        writes[outermost.name] = 1.0
    elif len(way) == 1:
        reads[outermost.name] = 1.0
    if len(way) == 1:
        passes[outermost.name] = 1.0
    for outer, inner in pairwise(way):
        passes[outer.name] += 1.0
        passes[inner.name] += 1.0
        if not outward:
            reads[outer.name] = 1.0
            writes[inner.name] = both
        else:
            writes[outer.name] = 1.0 if outer is outermost else both
            reads[inner.name] = both * inner.charge_drains
    energy = {
        x.name: size[x.name] * (reads[x.name] * x.read_energy + writes[x.name] * x.write_energy)
        for x in way
    }
    words = {name: size[name] * count for name, count in passes.items()}
    return Transfer(energy, words, reads, writes)
