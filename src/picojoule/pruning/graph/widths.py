"""The layers of a network at any width: what a platform prices before anything is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from picojoule.pruning.graph.tracing import TracedNetwork
from picojoule.workload import Layer, Workload

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Side:
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
class WidthLayer:
    """A layer of the workload whose widths follow channels; none of a product of activations.

    Args:
        path: of the module in the graph that it is.
    """

    layer: Layer
    path: str | None
    inputs: Side
    outputs: Side


class Widths:
    """The workload of a network as a function of what is kept."""

    def __init__(self, traced: TracedNetwork) -> None:
        channels = self.channels = traced.channels
        self.full = {group.name: group.width for group in channels.groups}
        self.workload: Workload = traced.workload
        owner = np.full(channels.count, -1)
        for number, group in enumerate(channels.groups):
            owner[list(group.channels)] = number
        names = [group.name for group in channels.groups]
        modules = traced.module_of_layer()
        self.layers: list[WidthLayer] = []
        for layer in self.workload:
            path = modules.get(layer.name)
            if path is None:
                nothing = Side(1, {})
                self.layers.append(WidthLayer(layer, None, nothing, nothing))
                continue
            axes = channels.axes[path]
            sides = []
            for ids in (axes.inputs, axes.outputs):
                owners, counts = np.unique(owner[ids], return_counts=True)
                positions = dict(zip(owners.tolist(), counts.tolist(), strict=True))
                fixed = positions.pop(-1, 0)
                sides.append(Side(fixed, {names[n]: count for n, count in positions.items()}))
            self.layers.append(WidthLayer(layer, path, *sides))

    def at(self, widths: Mapping[str, int]) -> list[Layer]:
        """The layers when these groups have these widths; groups not named are whole."""
        return [
            _at(each, each.inputs.at(widths, self.full), each.outputs.at(widths, self.full))
            for each in self.layers
        ]

    def kept(self, keep: Mask) -> list[Layer]:
        """The layers when exactly these channels are kept."""
        layers = []
        for each in self.layers:
            if each.path is None:
                layers.append(each.layer)
                continue
            axes = self.channels.axes[each.path]
            ins, outs = int(keep[axes.inputs].sum()), int(keep[axes.outputs].sum())
            layers.append(_at(each, ins, outs))
        return layers

    def of(self, keep: Mask) -> dict[str, int]:
        """The width of each group under a mask."""
        return {g.name: int(keep[list(g.channels)].sum()) for g in self.channels.groups}

    def touching(self, group: str) -> list[int]:
        """Numbers of the layers whose size depends on a group."""
        return [
            number
            for number, each in enumerate(self.layers)
            if group in each.inputs.per_group or group in each.outputs.per_group
        ]


def _at(each: WidthLayer, ins: int, outs: int) -> Layer:
    return each.layer if each.path is None else resized(each.layer, ins, outs)


def resized(layer: Layer, ins: int, outs: int) -> Layer:
    """The layer with so many input and output channels, over all its groups."""
    bounds = layer.bounds
    whole_in = bounds.G * bounds.C
    whole_out = bounds.G * bounds.M
    if (ins, outs) == (whole_in, whole_out):
        return layer
    if bounds.G > 1 and bounds.C == 1:  # depthwise: as many groups as channels
        narrow = bounds._replace(G=ins)
    else:
        narrow = bounds._replace(C=max(1, ins // bounds.G), M=max(1, outs // bounds.G))
    return replace(layer, bounds=narrow)
