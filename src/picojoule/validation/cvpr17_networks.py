"""CVPR'17 Table 1: GoogLeNet and SqueezeNet, whose zeros the paper does not print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.validation.figures import PublishedNumber, figure
from picojoule.workload import Workload

SIMULATOR = "eyeriss-cvpr17-simulator"
BATCH = 48  # CVPR'17 §5.1


def cvpr17_networks() -> Iterator[PublishedNumber]:
    """The unpruned networks: no promise, since their zeros are taken from elsewhere or guessed."""
    for network, note in (
        (squeezenet(), "zeros measured on SqueezeNet 1.1, layer by layer"),
        (googlenet(), "one density guessed for all layers, from the MACs printed"),
    ):
        yield PublishedNumber(
            figure="CVPR'17 Table 1",
            quantity=f"{network.name} energy",
            kind="energy",
            origin="simulator",
            paper=figure("cvpr17_table1", network=network.name)["", "energy"],
            ours=estimate(network, SIMULATOR, batch=BATCH, policy="published").energy,
            note=note,
        )


def squeezenet() -> Workload:
    """SqueezeNet 1.0 with the densities of 1.1's layers of the same names, on real images."""
    densities = figure("squeezenet_densities")
    network = load("squeezenet1.0")
    layers = (
        replace(
            layer,
            density=layer.density._replace(
                input=densities[layer.name, "input_density"],
                output=densities[layer.name, "output_density"],
            ),
        )
        for layer in network
    )
    return replace(network, layers=tuple(layers))


def googlenet() -> Workload:
    """GoogLeNet with the share of MACs that CVPR'17 does as the density of every feature map."""
    network = load("googlenet")
    done = figure("cvpr17_table1", network="googlenet")["", "effectual_macs"]
    density = done / sum(layer.macs for layer in network)
    layers = (
        replace(x, density=x.density._replace(input=density, output=density)) for x in network
    )
    return replace(network, layers=tuple(layers))
