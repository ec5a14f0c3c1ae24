"""Rooflines: how fast each layer runs, beside what its multipliers and its traffic would allow.

The roof over a memory of bandwidth B is ``min(peak, B x intensity)`` MACs per cycle, where the
intensity is MACs per byte moved there (Williams, Waterman, Patterson: Roofline, CACM 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from picojoule.accelerator import Accelerator, Memory
from picojoule.cost import evaluate
from picojoule.estimation import Estimate, LayerEstimate, images_at_once


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """A layer: MACs per byte moved at the memory, and MACs per cycle reached."""

    layer: str
    intensity: float
    speed: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """The roof of one memory, and the layers under it.

    Args:
        memory: its name.
        peak: MACs per cycle of all multipliers.
        bandwidth: bytes per cycle of one instance.
    """

    memory: str
    peak: float
    bandwidth: float
    points: tuple[RooflinePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "memory": self.memory,
            "peak": self.peak,
            "bandwidth": self.bandwidth,
            "points": [[p.intensity, p.speed, p.layer] for p in self.points],
        }


def rooflines(estimate: Estimate) -> tuple[Roofline, ...]:
    """A roofline for every memory outside all arrays that declares a bandwidth."""
    machine = estimate.machine
    if machine is None:
        return ()
    found = []
    for memory in _shared_memories(machine):
        if memory.bandwidth is None:
            continue
        points = []
        for priced in estimate.layers:
            moved = _bits(estimate, machine, priced, memory)
            if moved > 0 and priced.cycles > 0:
                points.append(
                    RooflinePoint(
                        priced.name, priced.macs / (moved / 8), priced.macs / priced.cycles
                    )
                )
        if points:
            peak = float(machine.elements * machine.compute.per_cycle)
            found.append(Roofline(memory.name, peak, memory.bandwidth / 8, tuple(points)))
    return tuple(found)


def _shared_memories(machine: Accelerator) -> list[Memory]:
    """The memories of which there is one: those outside the first array."""
    found: list[Memory] = []
    for level, array in zip(machine.levels, machine.arrays, strict=True):
        found += level.memories
        if array is not None:
            break
    return found


def _bits(estimate: Estimate, machine: Accelerator, priced: LayerEstimate, memory: Memory) -> float:
    """Bits that one inference moves at *memory*, after coding.

    Energy is linear in the bits moved (CVPR'17 §2), so the size of a coded word follows from the
    energy of the accesses.
    """
    layer = priced.layer
    if layer is None:
        return 0.0
    images = images_at_once(layer, machine, estimate.batch)
    cost = evaluate(layer.with_batch_share(images, estimate.batch), machine, priced.mapping)
    bits = []
    for access in cost.accesses[memory.name].values():
        dense = access.read * memory.read_energy + access.write * memory.write_energy
        size = access.energy / dense if dense else 1.0
        bits.append((access.read + access.write) * size * machine.word_bits)
    return math.fsum(bits) / images
