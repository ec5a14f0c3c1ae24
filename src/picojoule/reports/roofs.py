"""Rooflines: how fast each layer runs, beside what its multipliers and its traffic would allow.

The roof over a memory of bandwidth B is ``min(peak, B x intensity)`` MACs per cycle, where the
intensity is MACs per byte moved there (Williams, Waterman, Patterson: Roofline, CACM 2009).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from picojoule.accelerator import Accelerator, Memory
from picojoule.cost import Ledger
from picojoule.estimate_records import Estimate, LayerEstimate
from picojoule.question import images_at_once
from picojoule.traffic import flows


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
    accelerator = estimate.machine
    if accelerator is None:
        return ()
    roofs = []
    moved = {layer.name: _moved(estimate, accelerator, layer) for layer in estimate.layers}
    for memory in _shared_memories(accelerator):
        if memory.bandwidth is None:
            continue
        points = []
        for priced in estimate.layers:
            bits = moved[priced.name].get(memory.name, 0.0)
            if bits > 0 and priced.cycles > 0:
                intensity = priced.macs / (bits / 8)
                points.append(RooflinePoint(priced.name, intensity, priced.macs / priced.cycles))
        if points:
            peak = accelerator.peak
            roofs.append(Roofline(memory.name, peak, memory.bandwidth / 8, tuple(points)))
    return tuple(roofs)


def _shared_memories(accelerator: Accelerator) -> list[Memory]:
    """The memories of which there is one: those outside the first array."""
    shared: list[Memory] = []
    for level, array in zip(accelerator.levels, accelerator.arrays, strict=True):
        shared += level.memories
        if array is not None:
            break
    return shared


def _moved(
    estimate: Estimate, accelerator: Accelerator, priced: LayerEstimate
) -> Mapping[str, float]:
    """Bits that one inference moves at each memory, after coding, whichever end pays for them."""
    if priced.layer is None:
        return {}
    images = images_at_once(priced.layer, accelerator, estimate.batch)
    layer = priced.layer.with_batch_share(images, estimate.batch)
    ledger = Ledger(layer, accelerator, one=1.0)
    ledger.book(flows(layer, priced.mapping, accelerator.input_reuse))
    moved: dict[str, float] = {}
    for (name, _), bits in ledger.bits_moved.items():
        moved[name] = moved.get(name, 0.0) + float(bits) / images
    return moved
