"""The layers a table must hold to price every network that an adaptation may come to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from picojoule.completeness import MaybeIncomplete
from picojoule.errors import PicojouleError
from picojoule.pruning.checks import check_complete
from picojoule.pruning.graph.channels import Channels
from picojoule.pruning.graph.limits import WidthLimits, natural_step
from picojoule.pruning.graph.tracing import trace
from picojoule.pruning.graph.widths import Widths, resized
from picojoule.pruning.layers.real_weights import with_real_weights
from picojoule.pruning.netadapt.recipe import Recipe
from picojoule.pruning.platforms.tables import Entry, Table, table_order
from picojoule.workload import Layer

POINTS = 5


@dataclass(frozen=True, slots=True)
class WantedLayers(MaybeIncomplete):
    """The layers that a table must hold, in its order.

    Args:
        unmodelled: operators of the network that multiply, or may, and that are no layer.
    """

    layers: tuple[Layer, ...]
    unmodelled: Mapping[str, int]


def wanted_layers(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    recipe: Recipe | None = None,
    *,
    points: int = POINTS,
    allow_incomplete: bool = False,
) -> WantedLayers:
    """Every layer of a network at a grid of widths, each once, in a table's order.

    The grid goes from the least number of channels that any choice of the recipe's narrowest
    filters leaves, to all of them, on both sides of a layer; a table with these layers covers all
    that lies between (:meth:`tables.Table.cost`).

    Args:
        inputs: example arguments of ``forward``; layers are those of one call with them.
        recipe: for how narrow a network may become: its step and floor.
        points: widths on each side of a layer, at least 2.
        allow_incomplete: go on where operators that multiply, or may, are not in the price.
    """
    traced = trace(with_real_weights(model, inputs).model, inputs)
    check_complete(traced.workload, allow_incomplete=allow_incomplete)
    widths = Widths(traced)
    # Paper mode goes lower than best mode where the recipe names no floor: both are covered.
    limits = replace(recipe or Recipe(), mode="paper").limits(widths.full)
    layers = covering(widths, limits, points)
    return WantedLayers(tuple(layers), traced.workload.unmodelled)


def covering(widths: Widths, limits: WidthLimits, points: int = POINTS) -> list[Layer]:
    """The layers of :func:`wanted_layers` of a network whose channels are known."""
    if points < 2:
        raise PicojouleError(f"points={points}: at least 2, the narrowest width and the whole")
    channels = widths.channels
    by_place: dict[object, Layer] = {}
    for each in widths.layers:
        layers = [each.layer]
        if each.path is not None:
            axes = channels.axes[each.path]
            inputs_grid = _grid(channels, axes.inputs, limits, points)
            outputs_grid = _grid(channels, axes.outputs, limits, points)
            layers += [resized(each.layer, n, m) for n in inputs_grid for m in outputs_grid]
        for layer in layers:
            by_place.setdefault(table_order(layer), layer)
    return sorted(by_place.values(), key=table_order)


def unpriced(layers: Iterable[Layer], metric: str, unit: str) -> Table:
    """A table of these layers that waits for its values (``null`` in its file)."""
    table = Table(metric, unit)
    for layer in layers:
        table.add(layer, Entry(math.nan))
    return table


def _grid(
    channels: Channels, ids: npt.NDArray[np.int64], limits: WidthLimits, points: int
) -> list[int]:
    """Numbers of positions, rising: from the fewest that may be left of *ids* to all of them."""
    # A layer may read only some channels of a group, or some of them more often than others;
    # which ones stay is decided by the weights, so the worst choice counts.
    times = np.bincount(ids, minlength=channels.count)
    least = len(ids)
    for group in channels.groups:
        own = np.sort(times[list(group.channels)])
        stay = limits.floor_of(group.name, group.width)
        least -= int(own.sum() - own[:stay].sum())
    least = max(1, least)
    step = natural_step(len(ids))
    between = np.round(np.linspace(least, len(ids), points)[1:-1] / step) * step
    inner = {int(n) for n in between if least < n < len(ids)}
    return [least, *sorted(inner), len(ids)] if least < len(ids) else [len(ids)]
