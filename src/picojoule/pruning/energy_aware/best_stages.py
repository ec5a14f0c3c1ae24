"""Best mode: supports by optimisation, widths and sparsity by a knapsack against the energy model.

A stage asks every layer what it would lose at several densities, and every group of channels what
its readers would lose if it got narrower; lets an integer programme share the stage's energy among
the layers; prunes them from first to last, each on the inputs its pruned predecessors give; and
fine-tunes with the dense network as the teacher. As a layer's outputs are its successor's inputs,
pruning changes the densities of activations that prices rest on; so the programme is solved again
with the densities it led to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from picojoule.errors import PicojouleError
from picojoule.pruning.energy_aware.allocation import Allocation, Choice, allocate, least_cost
from picojoule.pruning.energy_aware.offers import Menu, menu
from picojoule.pruning.energy_aware.paper_rounds import relative
from picojoule.pruning.energy_aware.subject import JudgedNetwork, State, Subject, constraint_of
from picojoule.pruning.graph.importance import RemovalOrder
from picojoule.pruning.graph.masks import mask_of
from picojoule.pruning.layers.capture import Densities, Gathered, PrunableLayer
from picojoule.pruning.layers.quantising import quantise
from picojoule.pruning.layers.selectors import error, fitting_rule, select

GUIDES = ("energy", "macs", "weights")
Keep = npt.NDArray[np.bool_]
"""One truth value per channel."""
_CLOSE = 0.02  # an attempt within 2 % below its energy is good enough
_ROOM = 0.005  # below the budget: the fine-tune moves activations, and prices with them
_FINER = 3  # how often a step that cost too much accuracy is tried again with less


def prune_by_stages(
    subject: Subject,
    start: JudgedNetwork,
    budget: float | None,
    least: float | None,
    widths: Sequence[int] = (),
) -> list[JudgedNetwork]:
    """The networks of all stages, the original first.

    With a budget alone, stages lead to it in equal ratios. With a least accuracy, stages go down by
    ``options.step`` until one falls below it; from the last good network, smaller steps are tried.
    """
    if subject.options.guide not in GUIDES:
        raise PicojouleError(f"no guide {subject.options.guide!r}; there are {', '.join(GUIDES)}")
    networks = [start]
    current, ratio, finer = start, subject.options.step, 0
    aim = 0.0 if budget is None else budget * (1 - _ROOM)
    if budget is not None and least is None:
        whole = math.log(aim / start.price.energy)
        ratio = math.exp(whole / max(1, math.ceil(whole / math.log(subject.options.step) - 0.01)))
    for number in range(1, subject.options.rounds + 1):
        if budget is not None and current.price.energy <= budget:
            break
        goal = max(current.price.energy * ratio, aim)
        if goal < aim * 1.02:
            goal = aim
        candidate = _stage(subject, f"stage {number}", current, goal, widths)
        networks.append(candidate)
        if least is not None and candidate.accuracy < least:
            finer += 1
            if finer > _FINER:
                break
            ratio = math.sqrt(ratio)
            continue
        if candidate.price.energy >= current.price.energy * 0.995:
            break  # nothing is left to save
        current = candidate
    return networks


def _stage(
    subject: Subject, label: str, before: JudgedNetwork, goal: float, widths: Sequence[int]
) -> JudgedNetwork:
    curves = _curves(subject, label, before, widths)
    traces = _traces(subject, label, before)
    densities: Mapping[str, Densities] = before.densities
    state, bits = before.state, dict(before.bits)
    for attempt in range(1, subject.options.attempts + 1):
        name = f"{label}/attempt {attempt}"
        chosen, narrower = _allocated(subject, name, before, curves, traces, densities, goal)
        bits = {layer: c.bits for layer, c in chosen.items() if c.bits is not None}
        state = _pruned(subject, name, before, chosen, _kept(subject, before, traces, narrower))
        state = subject.renormalised(f"{name}/norms", state)
        tried = subject.judged(name, state, bits)
        state = tried.state
        if goal * (1 - _CLOSE) <= tried.price.energy <= goal:
            break
        densities = tried.densities
    trained = subject.trained(label, state, choose=True)
    if bits:
        trained = _quantised(subject, label, trained, bits)
    judged = subject.judged(label, trained, bits)
    subject.run.forget_within(label)
    return judged


def _quantised(subject: Subject, label: str, before: State, bits: Mapping[str, int]) -> State:
    """Weights onto their grids, after training has moved them off."""
    state = before
    for layer in subject.layers:
        name = f"{label}/{layer.name} in bits"

        def round_layer(
            state: State = state, layer: PrunableLayer = layer, name: str = name
        ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            width = bits[layer.name]
            weight = state.tensors()[layer.parameter]
            matrices = subject.gathered(
                layer, subject.network(state), subject.network(before), subject.run.seed_of(name)
            )
            old = layer.to_matrices(weight).to(matrices.gram.dtype)
            new = quantise(old, matrices.gram, matrices.cross, width)
            record = {"bits": width, "error": _error(new, matrices)}
            return record, {layer.parameter: layer.from_matrices(new).to(weight.dtype).clone()}

        if layer.name in bits:
            state = state.with_step(subject.run.step(name, round_layer))
    return subject.renormalised(f"{label}/norms", state)


def _curves(
    subject: Subject, label: str, before: JudgedNetwork, widths: Sequence[int]
) -> Mapping[str, Sequence[Sequence[Any]]]:
    """By layer: (density, width or None, relative error) of all levels, measured."""

    def measure() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        network = subject.network(before.state)
        curves: dict[str, Any] = {}
        for layers in _in_portions(subject.layers):
            seed = subject.run.seed_of(label)
            gathered = subject.gathered_all(layers, network, network, seed, centre=True)
            for name, matrices in gathered.items():
                layer = next(x for x in layers if x.name == name)
                weight = before.state.tensors()[layer.parameter]
                curves[name] = _curve(subject, layer, weight, matrices, before, widths)
                subject.tell(f"{label}/curve of {name}")
        return curves, {}

    return subject.run.step(f"{label}/curves", measure).record


_PORTION = 1 << 26  # numbers in the matrices that are gathered in one pass: 512 MiB


def _in_portions(layers: Sequence[PrunableLayer]) -> list[tuple[PrunableLayer, ...]]:
    portions: list[tuple[PrunableLayer, ...]] = []
    room = 0
    for layer in layers:
        groups, rows, columns = layer.matrix_shape
        size = groups * columns * (columns + rows)
        if not portions or size > room:
            portions.append(())
            room = _PORTION
        portions[-1] += (layer,)
        room -= size
    return portions


def _curve(
    subject: Subject,
    layer: PrunableLayer,
    weight: torch.Tensor,
    matrices: Gathered,
    before: JudgedNetwork,
    widths: Sequence[int],
) -> list[list[Any]]:
    old = layer.to_matrices(weight).to(matrices.gram.dtype)
    points: list[list[Any]] = []
    seen = set()
    for density in _levels(subject, layer, before.weights[layer.name]):
        constraint = constraint_of(subject.constraint, layer, density)
        if constraint in seen:
            continue
        seen.add(constraint)
        new = old
        if not constraint.satisfied(old != 0):
            new = _selected(subject, layer, old, matrices, density)
        kept = int(torch.count_nonzero(new)) / new.numel()
        points.append([kept, None, _error(new, matrices)])
        for width in widths:
            rounded = quantise(new, matrices.gram, matrices.cross, width)
            points.append([kept, width, _error(rounded, matrices)])
    return points


def _levels(subject: Subject, layer: PrunableLayer, density: float) -> list[float]:
    kind = subject.constraint
    if kind != subject.options.constraint:
        return [density]  # whole filters: the widths decide
    if ":" in kind:
        m = int(kind.partition(":")[2])
        return [n / m for n in range(m, 0, -1)]
    least = max(density / 12, 1 / (layer.matrix_shape[0] * layer.matrix_shape[1]))
    count = subject.options.levels
    ratio = min(1.0, least / density) ** (1 / max(1, count - 1))
    return [density * ratio**n for n in range(count)]


def _selected(
    subject: Subject,
    layer: PrunableLayer,
    old: torch.Tensor,
    matrices: Gathered,
    density: float,
) -> torch.Tensor:
    rule = subject.options.selector or fitting_rule(old.shape)
    constraint = constraint_of(subject.constraint, layer, density)
    return select(rule, old, matrices.gram, matrices.cross, constraint, samples=matrices.samples)


def _error(weights: torch.Tensor, matrices: Gathered) -> float:
    return relative(error(weights, matrices.gram, matrices.cross), matrices.energy)


def _traces(subject: Subject, label: str, before: JudgedNetwork) -> dict[str, RemovalOrder]:
    """In which order each group of channels would get narrower, and what its readers would lose."""
    narrowing = subject.narrowing
    if narrowing is None:
        return {}

    def find() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        def batches() -> Iterator[Sequence[torch.Tensor]]:
            return ((inputs,) for inputs, _ in subject.calibration.batches(128))

        seed = subject.run.seed_of(f"{label}/widths")
        orders = narrowing.traces(before.state.tensors(), batches, seed)
        return {
            name: {"order": list(trace.order), "errors": trace.errors.tolist()}
            for name, trace in orders.items()
        }, {}

    record = subject.run.step(f"{label}/widths", find).record
    return {
        name: RemovalOrder(tuple(table["order"]), np.array(table["errors"]))
        for name, table in record.items()
    }


def _kept(
    subject: Subject,
    before: JudgedNetwork,
    traces: Mapping[str, RemovalOrder],
    narrower: Mapping[str, int],
) -> Keep | None:
    """The channels that stay at these widths; None where all stay as they are."""
    narrowing = subject.narrowing
    if narrowing is None:
        return None
    wanted = mask_of(narrowing.channels, traces, {**before.widths, **narrower})
    return narrowing.filled(wanted, traces)


def _allocated(
    subject: Subject,
    name: str,
    before: JudgedNetwork,
    curves: Mapping[str, Sequence[Sequence[Any]]],
    traces: Mapping[str, RemovalOrder],
    densities: Mapping[str, Densities],
    goal: float,
) -> tuple[dict[str, Choice], dict[str, int]]:
    """The choice of every layer and the width of every group, for a goal in energy."""

    def decide() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        offered = menu(
            subject.pricing,
            subject.layers,
            curves,
            densities,
            subject.narrowing,
            before.widths,
            traces,
        )
        allocation = _within(subject, offered, goal)
        widths: dict[str, int] = {}
        for bundle, number in allocation.widths.items():
            widths |= offered.widths[bundle][number]
        chosen = {layer: asdict(choice) for layer, choice in allocation.chosen.items()}
        return {
            "choices": chosen,
            "widths": widths,
            "error": allocation.error,
            "bound": allocation.bound,
        }, {}

    record = subject.run.step(f"{name}/allocation", decide).record
    subject.tell(f"{name}/allocation")
    chosen = {layer: Choice(**{**c, "at": ()}) for layer, c in record["choices"].items()}
    return chosen, record["widths"]


def _within(subject: Subject, offered: Menu, goal: float) -> Allocation:
    """The allocation for a goal in energy, whatever the guide counts.

    A guide other than energy shares MACs or weights instead; how many of them make the goal is
    found by bisection, so that guides are compared at equal energy.
    """
    pricing, guide = subject.pricing, subject.options.guide
    fixed = sum(
        pricing.layer(name, weight=pricing.workload[name].density.weight, densities=None)
        for name in pricing.unpruned
    )
    cost = attrgetter(guide)
    least = least_cost(offered.choices, offered.errors, cost) * (1 + 1e-9)
    # A stage cannot go below its sparsest choices; the stages after it can.
    if guide == "energy":
        return allocate(offered.choices, max(goal - fixed, least), offered.errors)
    low = least
    high = sum(max(map(cost, choices)) for choices in offered.choices.values())
    best = allocate(offered.choices, low, offered.errors, cost)
    for _ in range(12):
        middle = math.sqrt(low * high)
        tried = allocate(offered.choices, middle, offered.errors, cost)
        if fixed + sum(choice.energy for choice in tried.chosen.values()) <= goal:
            best, low = tried, middle
        else:
            high = middle
    return best


def _pruned(
    subject: Subject,
    name: str,
    before: JudgedNetwork,
    chosen: Mapping[str, Choice],
    keep: Keep | None,
) -> State:
    """Prune from the first layer to the last, each on what its predecessors now give.

    A bias takes up what is gone on the average.
    """
    state, narrowing = before.state, subject.narrowing
    if narrowing is not None and keep is not None:
        swept = narrowing.swept
        state = state.with_step(
            subject.run.step(f"{name}/narrower", lambda: ({}, swept(state.tensors(), keep)))
        )
    for place, layer in enumerate(subject.layers):
        choice = chosen[layer.name]
        label = f"{name}/{layer.name}"

        def prune_layer(
            state: State = state,
            layer: PrunableLayer = layer,
            choice: Choice = choice,
            label: str = label,
        ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            network = subject.network(state)
            teacher = subject.network(before.state)
            tensors = state.tensors()
            weight = tensors[layer.parameter]
            matrices = subject.gathered(
                layer, network, teacher, subject.run.seed_of(label), centre=True
            )
            alive = torch.ones(layer.shape, dtype=torch.bool)
            if narrowing is not None and keep is not None:
                alive = narrowing.support(layer, keep)
            alive = layer.to_matrices(alive)
            matrices = matrices.of_rows(alive.any(-1))
            old = layer.to_matrices(weight).to(matrices.gram.dtype)
            new = _selected(subject, layer, old, matrices, choice.density) * alive
            record = {
                "density": int(torch.count_nonzero(new)) / new.numel(),
                "predicted": choice.error,
                "error": _error(new, matrices),
            }
            changed = {layer.parameter: layer.from_matrices(new).to(weight.dtype).clone()}
            if layer.bias is not None and matrices.means is not None:
                mean_x, mean_y = matrices.means
                bias = mean_y - torch.einsum("grc,gc->gr", new, mean_x)
                bias = (bias * alive.any(-1)).reshape(-1)
                before_bias = before.state.tensors()[layer.bias]
                changed[layer.bias] = torch.where(
                    alive.any(-1).reshape(-1),
                    before_bias + bias.to(before_bias),
                    torch.zeros_like(before_bias),
                )
            return record, changed

        step = subject.run.step(label, prune_layer)
        state = state.with_step(step)
        spent = subject.run.seconds().get(label, 0.0)
        subject.tell(label, spent * (len(subject.layers) - place - 1))
    return state
