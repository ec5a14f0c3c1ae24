"""Paper mode: energy-aware pruning as published (CVPR'17 §4), round after round."""

from __future__ import annotations

from typing import Any

import torch

from picojoule.errors import PicojouleError
from picojoule.pruning.energy_aware.subject import JudgedNetwork, State, Subject
from picojoule.pruning.layers.capture import PrunableLayer
from picojoule.pruning.layers.constraints import Unstructured
from picojoule.pruning.layers.selectors import eap, error

ORDERS = ("energy", "macs", "weights", "network")


def prune_by_rounds(
    subject: Subject, start: JudgedNetwork, budget: float | None, least: float | None
) -> list[JudgedNetwork]:
    """The networks of all rounds, the original first; the last may have failed.

    A round prices the network, takes its layers from the costliest down, prunes each and fits it
    again, then fine-tunes the whole network. Rounds end when the budget is met. When a network's
    accuracy falls below *least*, the last one that passed is pruned again by half as much; after
    ``options.refinements`` such halvings, rounds end too.
    """
    if subject.options.order not in ORDERS:
        raise PicojouleError(f"no order {subject.options.order!r}; there are {', '.join(ORDERS)}")
    networks, current = [start], start
    rate, halvings = subject.options.rate, 0
    for number in range(1, subject.options.rounds + 1):
        if budget is not None and current.price.energy <= budget:
            break
        label = f"round {number}"
        state = _one_round(subject, label, current, rate)
        state = subject.renormalised(f"{label}/norms", state)
        state = subject.trained(label, state, choose=False)
        candidate = subject.judged(label, state)
        subject.run.forget_within(label)
        networks.append(candidate)
        if candidate.weights == current.weights:
            break  # every layer is down to its last weights
        if least is None or candidate.accuracy >= least:
            current = candidate
            continue
        halvings += 1
        if halvings > subject.options.refinements:
            break
        rate /= 2
    return networks


def ordered(subject: Subject, candidate: JudgedNetwork) -> list[PrunableLayer]:
    """The layers, what costs most first."""
    in_workload = {layer.name: layer for layer in subject.pricing.workload}

    def worth(layer: PrunableLayer) -> float:
        if subject.options.order == "energy":
            return sum(candidate.price.layers[call] for call in layer.calls)
        if subject.options.order == "macs":
            return candidate.weights[layer.name] * sum(
                in_workload[call].macs for call in layer.calls
            )
        groups, rows, columns = layer.matrix_shape
        return candidate.weights[layer.name] * groups * rows * columns

    if subject.options.order == "network":
        return list(subject.layers)
    return sorted(subject.layers, key=worth, reverse=True)


def _one_round(subject: Subject, label: str, before: JudgedNetwork, rate: float) -> State:
    state = before.state
    order = ordered(subject, before)
    for place, layer in enumerate(order):
        name = f"{label}/{layer.name}"

        def prune_layer(
            state: State = state, layer: PrunableLayer = layer, name: str = name
        ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            options = subject.options
            network = subject.network(state)
            teacher = subject.network(before.state)
            weight = state.tensors()[layer.parameter]
            keep = max(1, round(int(torch.count_nonzero(weight)) * (1 - rate)))
            matrices = subject.gathered(layer, network, teacher, subject.run.seed_of(name))
            old = layer.to_matrices(weight).to(matrices.gram.dtype)
            new = eap(
                old,
                matrices.gram,
                matrices.cross,
                Unstructured(keep),
                samples=matrices.samples,
                restored=options.restored,
                norm=options.norm,
            )
            record = {
                "kept": keep,
                "of": weight.numel(),
                "error": relative(error(new, matrices.gram, matrices.cross), matrices.energy),
            }
            return record, {layer.parameter: layer.from_matrices(new).to(weight.dtype).clone()}

        step = subject.run.step(name, prune_layer)
        state = state.with_step(step)
        seconds = subject.run.seconds()
        spent = seconds.get(name, 0.0)
        subject.tell(name, spent * (len(order) - place - 1))
    return state


def relative(difference: float, energy: float) -> float:
    """An error as a share of the outputs' energy."""
    return max(0.0, (difference + energy) / energy)
