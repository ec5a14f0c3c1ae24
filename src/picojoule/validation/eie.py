"""EIE: pruned AlexNet's fully-connected layers, zeros of inputs and weights skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.validation.figures import PublishedNumber, figure

LAYERS = ("fc6", "fc7", "fc8")
UNEVEN = "elements with fewer weights wait for others: not modelled"


def eie() -> Iterator[PublishedNumber]:
    """Time and energy of each layer, at its published densities."""
    theirs = figure("eie")
    network = load("bvlc-alexnet")
    layers = []
    for name in LAYERS:
        density = network[name].density._replace(
            input=theirs[name, "input_density"], weight=theirs[name, "weight_density"]
        )
        layers.append(replace(network[name], density=density))
    ours = estimate(replace(network, layers=tuple(layers)), "eie-like", bits={"weight": 4})
    assert ours.machine is not None
    assert ours.machine.clock is not None
    for layer in ours.layers:
        yield PublishedNumber(
            figure="EIE",
            quantity=f"{layer.name}, us",
            kind="time",
            origin="layout",
            paper=theirs[layer.name, "latency"],
            ours=layer.cycles / ours.machine.clock * 1e6,
            tolerance=0.25,
            note=UNEVEN,
        )
        yield PublishedNumber(
            figure="EIE",
            quantity=f"{layer.name}, uJ",
            kind="energy",
            origin="layout",
            paper=theirs[layer.name, "energy"],
            ours=layer.energy / 1e6,
            note="0.59 W times the time; ours has its parts",
        )
