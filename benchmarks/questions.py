"""What the benchmarks search: layers of shipped networks, each shape once, and variants of them."""

from __future__ import annotations

from collections.abc import Iterable

import picojoule
from benchmarks.record import Row

CHIP = "eyeriss"
NETWORKS = ("bvlc-alexnet", "resnet50", "mobilenetv2", "bert-base")
VARIANTS = 1000
CHANNEL_STEP, STEPS = 8, 7  # a sweep: the full count and six reductions, in both directions


def distinct_layers(*networks: str) -> list[Row]:
    """One layer of each shape."""
    rows: dict[object, Row] = {}
    for network in networks:
        for layer in picojoule.load(network):
            rows.setdefault(layer.signature(), {"network": network, "layer": layer.name})
    return list(rows.values())


def layers_of(networks: Iterable[str]) -> list[Row]:
    """One layer of each shape of each network."""
    return [row for network in networks for row in distinct_layers(network)]


def channel_variants() -> list[Row]:
    """Shapes as a table of NetAdapt holds them: fewer filters, fewer input channels, or both.

    Every distinct convolution of ResNet-50 with both counts lowered in steps of eight channels;
    the first 1,000, layer by layer, each layer from the full size down.
    """
    rows = []
    for row in distinct_layers("resnet50"):
        bounds = picojoule.load("resnet50")[row["layer"]].bounds
        for m in range(STEPS):
            for c in range(STEPS):
                channels = {"M": bounds.M - CHANNEL_STEP * m, "C": bounds.C - CHANNEL_STEP * c}
                if min(channels.values()) > 0:
                    rows.append({**row, "channels": channels})
    return rows[:VARIANTS]
