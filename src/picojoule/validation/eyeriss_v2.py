"""Eyeriss v2: the efficiency of single layers, dense, sparse and depthwise, without DRAM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.validation.figures import PublishedNumber, figure
from picojoule.workload import Layer, depthwise

HEAVIER = "its elements code, queue and route more than the first chip's, whose control we take"


def _layers() -> Iterator[tuple[str, Layer]]:
    """Layers by the network of their row; AlexNet's with the zeros of CVPR'17's tables."""
    yield "bvlc-alexnet", load("bvlc-alexnet-cvpr17")["conv3"]
    yield "bvlc-alexnet-eap", load("bvlc-alexnet-eap")["conv3"]
    # The last depthwise layer of MobileNetV1 of width 0.5 on 128 x 128 images.
    last = depthwise(
        "depthwise_13", input_size=(4, 4), channels=512, kernel=(3, 3), padding=(1,) * 4
    )
    yield "mobilenetv1-0.5", last


def eyeriss_v2() -> Iterator[PublishedNumber]:
    """Nominal operations for an energy, zeros counted and DRAM left out."""
    for network, layer in _layers():
        paper = figure("jetcas19_efficiency", network=network)[layer.name, "efficiency"]
        workload = replace(load("bvlc-alexnet"), layers=(layer,))
        # Tile sizes that divide: all sizes take minutes on this machine.
        ours = estimate(workload, "eyeriss-v2-pj", bits=8, factors="perfect")
        on_chip = ours.energy - ours.by_memory["dram"]
        yield PublishedNumber(
            figure="JETCAS'19",
            quantity=f"{network} {layer.name}, GOPS/W",
            kind="energy",
            origin="layout",
            paper=paper,
            ours=2 * layer.macs / (on_chip / 1e3),
            note=HEAVIER,
        )
