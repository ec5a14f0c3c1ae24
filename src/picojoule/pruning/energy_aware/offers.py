"""What every layer may become at the widths around it, and what that would cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from picojoule.pruning.energy_aware.allocation import Choice
from picojoule.pruning.energy_aware.narrowing import Narrowing
from picojoule.pruning.energy_aware.pricing import Pricing
from picojoule.pruning.graph.importance import RemovalOrder
from picojoule.pruning.graph.limits import WidthLimits
from picojoule.pruning.graph.widths import WidthLayer
from picojoule.pruning.layers.capture import Densities, PrunableLayer

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Of its present width that a bundle of groups may keep in one stage."""
FLOOR = 0.05  # share of its first width that every group keeps
PRICED = 4  # densities at which a layer is priced; between them, prices are interpolated

Curve = Sequence[Sequence[Any]]
"""(density, width in bits or None, relative error) of every level of a layer."""


@dataclass(frozen=True)
class Menu:
    """All that a stage chooses from.

    Args:
        choices: by layer.
        errors: by bundle, of each of its widths; the first is the present one.
        widths: by bundle, the widths of its groups.
    """

    choices: Mapping[str, Sequence[Choice]]
    errors: Mapping[str, Sequence[float]]
    widths: Mapping[str, Sequence[Mapping[str, int]]]


def bundle_widths(
    narrowing: Narrowing, present: Mapping[str, int]
) -> dict[str, list[dict[str, int]]]:
    """The widths that each bundle may get, as widths of its groups; the present ones first."""
    first = narrowing.widths.full
    limits = WidthLimits(None, FLOOR, first)
    by_bundle: dict[str, list[dict[str, int]]] = {}
    for name, groups in narrowing.bundles.items():
        for share in SHARES:
            widths = {}
            for group in groups:
                width, step = present[group.name], limits.step_of(group.name, present[group.name])
                least = limits.floor_of(group.name, width)
                cut = round(width * share / step) * step if share < 1 else width
                widths[group.name] = min(width, max(least, cut))
            if widths not in by_bundle.setdefault(name, []):
                by_bundle[name].append(widths)
    return by_bundle


def menu(
    pricing: Pricing,
    layers: Sequence[PrunableLayer],
    curves: Mapping[str, Curve],
    densities: Mapping[str, Densities],
    narrowing: Narrowing | None = None,
    present: Mapping[str, int] | None = None,
    traces: Mapping[str, RemovalOrder] | None = None,
) -> Menu:
    """Every layer's choices at all widths around it.

    A layer that keeps n of its weights is taken to lose what it lost with n weights at its present
    width; what narrower neighbours cost it is in the errors of the widths. Both are estimates: what
    is chosen is pruned and measured.
    """
    widths: dict[str, list[dict[str, int]]] = {}
    errors: dict[str, list[float]] = {}
    by_module: dict[str | None, WidthLayer] = {}
    owner: dict[str, str] = {}
    if narrowing is not None and traces is not None:
        widths = bundle_widths(narrowing, present or narrowing.widths.full)
        by_module = {x.path: x for x in narrowing.widths.layers if x.path is not None}
        for name, groups in narrowing.bundles.items():
            owner |= {group.name: name for group in groups}
            errors[name] = [
                math.fsum(float(traces[g].errors[len(traces[g].order) - n]) for g, n in at.items())
                for at in widths[name]
            ]
    choices = {}
    for layer in layers:
        wide = by_module.get(layer.module)
        near = [] if wide is None else [*wide.inputs.per_group, *wide.outputs.per_group]
        bundles = list(dict.fromkeys(owner[name] for name in near if name in owner))
        choices[layer.name] = [
            choice
            for numbers in product(*(range(len(widths[name])) for name in bundles))
            for choice in _choices(
                pricing,
                layer,
                curves[layer.name],
                densities,
                _sides(wide, narrowing, widths, dict(zip(bundles, numbers, strict=True))),
                tuple(zip(bundles, numbers, strict=True)),
            )
        ]
    return Menu(choices, errors, widths)


def _sides(
    wide: WidthLayer | None,
    narrowing: Narrowing | None,
    widths: Mapping[str, Sequence[Mapping[str, int]]],
    at: Mapping[str, int],
) -> tuple[int, int] | None:
    """Channels on both sides of a layer."""
    if wide is None or narrowing is None:
        return None
    chosen = {group: n for name, number in at.items() for group, n in widths[name][number].items()}
    full = narrowing.widths.full
    return wide.inputs.at(chosen, full), wide.outputs.at(chosen, full)


def _choices(
    pricing: Pricing,
    layer: PrunableLayer,
    curve: Curve,
    densities: Mapping[str, Densities],
    sides: tuple[int, int] | None,
    at: tuple[tuple[str, int], ...],
) -> Iterator[Choice]:
    """The choices at one pair of widths that no other beats in both energy and error."""
    size = math.prod(layer.shape)
    room = pricing.weights_left(layer.calls[0], sides) * size
    offered: dict[tuple[float, int | None], float] = {}
    for density, bits, error in curve:
        key = (min(density * size, room) / room, bits)
        offered[key] = min(error, offered.get(key, math.inf))
    macs = sum(pricing.macs(call, sides) for call in layer.calls)
    choices = []
    for bits in dict.fromkeys(bits for _, bits in offered):
        points = sorted(density for density, other in offered if other == bits)
        picked = np.unique(np.linspace(0, len(points) - 1, PRICED).round().astype(int))
        priced = [
            sum(
                pricing.layer(
                    call,
                    weight=points[n],
                    densities=densities.get(call),
                    bits=bits,
                    sides=sides,
                )
                for call in layer.calls
            )
            for n in picked
        ]
        energies = np.interp(points, [points[n] for n in picked], priced)
        for density, energy in zip(points, energies.tolist(), strict=True):
            kept = density * room
            choices.append(
                Choice(
                    density=kept / size,
                    energy=energy,
                    error=offered[density, bits],
                    bits=bits,
                    macs=density * macs,
                    weights=kept,
                    at=at,
                )
            )
    choices.sort(key=lambda choice: (choice.error, choice.energy))
    least = math.inf
    for choice in choices:
        if choice.energy < least:
            least = choice.energy
            yield choice
