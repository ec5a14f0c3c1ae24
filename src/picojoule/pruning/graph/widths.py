"""The layers of a network at any width: what a platform prices before anything is cut."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from picojoule.frontends.torch_module import read_torch
from picojoule.pruning.graph.channels import Channels
from picojoule.workload import Layer, Workload

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Axis:
    """How many positions of one side of a layer belong to each group, and to none."""

    fixed: int
    per_group: Mapping[str, int]

    def at(self, widths: Mapping[str, int], full: Mapping[str, int]) -> int:
        """Positions left at these widths of the groups; a split group counts by its share."""
        count = float(self.fixed)
        for name, positions in self.per_group.items():
            count += positions * widths.get(name, full[name]) / full[name]
        return max(1, round(count))


@dataclass(frozen=True, eq=False)
class Slot:
    """A layer of the workload whose widths follow channels; none of a product of activations."""

    layer: Layer
    path: str | None
    inputs: Axis
    outputs: Axis


class Widths:
    """The workload of a network as a function of what is kept.

    Args:
        network, channels: of :func:`graphs.trace` and :func:`channels.find_channels`.
        inputs: example arguments; priced is one call with them, whatever their batch.
    """

    def __init__(
        self, network: fx.GraphModule, channels: Channels, inputs: Sequence[torch.Tensor]
    ) -> None:
        self.channels = channels
        self.full = {group.name: group.width for group in channels.groups}
        self.workload: Workload = read_torch(network, tuple(inputs))
        owner = np.full(channels.count, -1)
        for number, group in enumerate(channels.groups):
            owner[list(group.channels)] = number
        names = [group.name for group in channels.groups]
        self.slots: list[Slot] = []
        for layer in self.workload:
            path = _path_of(layer.name, channels)
            if path is None:
                nothing = Axis(1, {})
                self.slots.append(Slot(layer, None, nothing, nothing))
                continue
            axes = channels.axes[path]
            sides = []
            for ids in (axes.inputs, axes.outputs):
                owners, counts = np.unique(owner[ids], return_counts=True)
                found = dict(zip(owners.tolist(), counts.tolist(), strict=True))
                fixed = found.pop(-1, 0)
                sides.append(Axis(fixed, {names[n]: count for n, count in found.items()}))
            self.slots.append(Slot(layer, path, *sides))

    def at(self, widths: Mapping[str, int]) -> list[Layer]:
        """The layers when these groups have these widths; groups not named are whole."""
        return [
            _at(slot, slot.inputs.at(widths, self.full), slot.outputs.at(widths, self.full))
            for slot in self.slots
        ]

    def kept(self, keep: Mask) -> list[Layer]:
        """The layers when exactly these channels are kept."""
        made = []
        for slot in self.slots:
            if slot.path is None:
                made.append(slot.layer)
                continue
            axes = self.channels.axes[slot.path]
            made.append(_at(slot, int(keep[axes.inputs].sum()), int(keep[axes.outputs].sum())))
        return made

    def of(self, keep: Mask) -> dict[str, int]:
        """The width of each group under a mask."""
        return {g.name: int(keep[list(g.channels)].sum()) for g in self.channels.groups}

    def touching(self, group: str) -> list[int]:
        """Numbers of the layers whose size depends on a group."""
        return [
            number
            for number, slot in enumerate(self.slots)
            if group in slot.inputs.per_group or group in slot.outputs.per_group
        ]


def _path_of(name: str, channels: Channels) -> str | None:
    if name in channels.axes:
        return name
    # a second call of one module, a phase of a transposed convolution
    plain = re.sub(r"\[.*\]$", "", name)
    for candidate in (plain, re.sub(r"_\d+$", "", plain)):
        if candidate in channels.axes:
            return candidate
    return None


def _at(slot: Slot, ins: int, outs: int) -> Layer:
    return slot.layer if slot.path is None else resized(slot.layer, ins, outs)


def resized(layer: Layer, ins: int, outs: int) -> Layer:
    """The layer with so many input and output channels, over all its groups."""
    bounds = layer.bounds
    whole_in = bounds.G * bounds.C
    whole_out = bounds.G * bounds.M
    if (ins, outs) == (whole_in, whole_out):
        return layer
    if bounds.G > 1 and bounds.C == 1:  # depthwise: as many groups as channels
        made = bounds._replace(G=ins)
    else:
        made = bounds._replace(C=max(1, ins // bounds.G), M=max(1, outs // bounds.G))
    return replace(layer, bounds=made)
