"""Best mode: supports by optimisation, sparsity by a knapsack against the energy model, in stages.

A stage asks every layer what it would lose at several densities, lets an integer programme share
the stage's energy among the layers, prunes them from first to last, each on the inputs its pruned
predecessors give, and fine-tunes with the dense network as the teacher. As a layer's outputs are
its successor's inputs, pruning changes the densities of activations that prices rest on; so the
programme is solved again with the densities it led to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from picojoule.errors import PicojouleError
from picojoule.pruning.allocation import Choice, allocate
from picojoule.pruning.capture import Densities, Gathered, PrunableLayer
from picojoule.pruning.paper_rounds import relative
from picojoule.pruning.quantising import quantise
from picojoule.pruning.selectors import error, fitting_rule, select
from picojoule.pruning.subject import Candidate, State, Subject, constraint_of

GUIDES = ("energy", "macs", "weights")
_CLOSE = 0.02  # an attempt within 2 % below its energy is good enough
_FINER = 3  # how often a step that cost too much accuracy is tried again with less


def prune_by_stages(
    subject: Subject,
    start: Candidate,
    budget: float | None,
    least: float | None,
    widths: Sequence[int] = (),
) -> list[Candidate]:
    """The networks of all stages, the original first.

    With a budget alone, stages lead to it in equal ratios. With a least accuracy, stages go down by
    ``options.step`` until one falls below it; from the last good network, smaller steps are tried.
    """
    if subject.options.guide not in GUIDES:
        raise PicojouleError(f"no guide {subject.options.guide!r}; there are {', '.join(GUIDES)}")
    found = [start]
    current, ratio, finer = start, subject.options.step, 0
    if budget is not None and least is None:
        whole = math.log(budget / start.price.energy)
        ratio = math.exp(whole / max(1, math.ceil(whole / math.log(subject.options.step) - 0.01)))
    for number in range(1, subject.options.rounds + 1):
        if budget is not None and current.price.energy <= budget:
            break
        goal = current.price.energy * ratio
        if budget is not None:
            goal = max(goal, budget)
            if goal < budget * 1.02:
                goal = budget
        candidate = _stage(subject, f"stage {number}", current, goal, widths)
        found.append(candidate)
        if least is not None and candidate.accuracy < least:
            finer += 1
            if finer > _FINER:
                break
            ratio = math.sqrt(ratio)
            continue
        if candidate.price.energy >= current.price.energy * 0.995:
            break  # nothing is left to save
        current = candidate
    return found


def _stage(
    subject: Subject, label: str, before: Candidate, goal: float, widths: Sequence[int]
) -> Candidate:
    curves = _curves(subject, label, before, widths)
    densities: Mapping[str, Densities] = before.densities
    aim, state, bits = goal, before.state, dict(before.bits)
    for attempt in range(1, subject.options.attempts + 1):
        name = f"{label}/attempt {attempt}"
        chosen = _allocated(subject, curves, densities, aim)
        bits = {layer: c.bits for layer, c in chosen.items() if c.bits is not None}
        state = _pruned(subject, name, before, chosen)
        state = subject.renormalised(f"{name}/norms", state)
        tried = subject.judged(name, state, bits)
        state = tried.state
        if goal * (1 - _CLOSE) <= tried.price.energy <= goal:
            break
        densities = tried.densities
    trained = subject.trained(label, state, choose=True)
    if bits:
        trained = _quantised(subject, label, trained, bits)
    made = subject.judged(label, trained, bits)
    subject.run.forget_within(label)
    return made


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
    subject: Subject, label: str, before: Candidate, widths: Sequence[int]
) -> Mapping[str, Sequence[Sequence[Any]]]:
    """By layer: (density, width or None, relative error) of all levels, measured."""

    def measure() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        network = subject.network(before.state)
        curves: dict[str, Any] = {}
        for layers in _in_portions(subject.layers):
            seed = subject.run.seed_of(label)
            for name, matrices in subject.gathered_all(layers, network, network, seed).items():
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
    before: Candidate,
    widths: Sequence[int],
) -> list[list[Any]]:
    old = layer.to_matrices(weight).to(matrices.gram.dtype)
    points: list[list[Any]] = []
    seen = set()
    for density in _levels(subject, layer, before.weights[layer.name]):
        constraint = constraint_of(subject.options.constraint, layer, density)
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
    kind = subject.options.constraint
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
    constraint = constraint_of(subject.options.constraint, layer, density)
    return select(rule, old, matrices.gram, matrices.cross, constraint, samples=matrices.samples)


def _error(weights: torch.Tensor, matrices: Gathered) -> float:
    return relative(error(weights, matrices.gram, matrices.cross), matrices.energy)


def _allocated(
    subject: Subject,
    curves: Mapping[str, Sequence[Sequence[Any]]],
    densities: Mapping[str, Densities],
    goal: float,
) -> dict[str, Choice]:
    """The choice of every layer, for a goal in energy whatever the guide counts.

    A guide other than energy shares MACs or weights instead; how many of them make the goal is
    found by bisection, so that guides are compared at equal energy.
    """
    pricing, guide = subject.pricing, subject.options.guide
    fixed = sum(
        pricing.layer(name, weight=pricing.workload[name].density.weight, densities=None)
        for name in pricing.unpruned
    )
    energies: dict[tuple[str, float, int | None], float] = {}
    offered: dict[str, list[Choice]] = {}
    for layer in subject.layers:
        macs = sum(pricing.workload[call].macs for call in layer.calls)
        groups, rows, columns = layer.matrix_shape
        for density, width, lost in curves[layer.name]:
            energy = sum(
                pricing.layer(call, weight=density, densities=densities.get(call), bits=width)
                for call in layer.calls
            )
            energies[layer.name, density, width] = energy
            cost = {
                "energy": energy,
                "macs": density * macs,
                "weights": density * groups * rows * columns,
            }[guide]
            offered.setdefault(layer.name, []).append(Choice(density, cost, lost, width))
    if guide == "energy":
        cheapest = sum(min(x.energy for x in choices) for choices in offered.values())
        # A stage cannot go below its sparsest choices; the stages after it can.
        return dict(allocate(offered, max(goal - fixed, cheapest * (1 + 1e-9))).chosen)

    def energy_of(chosen: Mapping[str, Choice]) -> float:
        return fixed + sum(energies[name, x.density, x.bits] for name, x in chosen.items())

    low = sum(min(x.energy for x in choices) for choices in offered.values()) * (1 + 1e-9)
    high = sum(max(x.energy for x in choices) for choices in offered.values())
    best = dict(allocate(offered, low).chosen)
    for _ in range(25):
        middle = math.sqrt(low * high)
        tried = dict(allocate(offered, middle).chosen)
        if energy_of(tried) <= goal:
            best, low = tried, middle
        else:
            high = middle
    return best


def _pruned(subject: Subject, name: str, before: Candidate, chosen: Mapping[str, Choice]) -> State:
    """Prune from the first layer to the last, each on what its predecessors now give."""
    state = before.state
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
            weight = state.tensors()[layer.parameter]
            matrices = subject.gathered(layer, network, teacher, subject.run.seed_of(label))
            old = layer.to_matrices(weight).to(matrices.gram.dtype)
            new = _selected(subject, layer, old, matrices, choice.density)
            record = {
                "density": int(torch.count_nonzero(new)) / new.numel(),
                "predicted": choice.error,
                "error": _error(new, matrices),
            }
            return record, {layer.parameter: layer.from_matrices(new).to(weight.dtype).clone()}

        step = subject.run.step(label, prune_layer)
        state = state.with_step(step)
        spent = subject.run.seconds().get(label, 0.0)
        subject.tell(label, spent * (len(subject.layers) - place - 1))
    return state
