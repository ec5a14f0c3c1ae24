"""AlexNet, dense and pruned, with the densities that papers publish of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from picojoule.workload import PerOperand, Workload
from tools.network_builder import Builder

DATA = Path(__file__).resolve().parent.parent / "src" / "picojoule" / "data"

ALEXNET_PAPER = (
    "Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012"
)
ALEXNET_TABLE = (
    "layer table: BVLC Caffe bvlc_alexnet (227 x 227 input, conv2, conv4, conv5 in two groups), "
    "the network of ISCA'16, JSSC'17, CVPR'17 and Asilomar'17; MACs and weights per layer agree "
    "with the figures derived from them"
)


def bvlc_alexnet(classes: int = 1000) -> Builder:
    net = Builder(channels=3, size=227)
    net.conv("conv1", 96, 11, stride=4, then="Relu LRN")
    net.pool("MaxPool", 3, 2)
    net.conv("conv2", 256, 5, pad=2, groups=2, then="Relu LRN")
    net.pool("MaxPool", 3, 2)
    net.conv("conv3", 384, 3, pad=1)
    net.conv("conv4", 384, 3, pad=1, groups=2)
    net.conv("conv5", 256, 3, pad=1, groups=2)
    net.pool("MaxPool", 3, 2)
    net.full("fc6", 4096)
    net.full("fc7", 4096)
    net.full("fc8", classes, then="Softmax")
    return net


def published(file: str, quantity: str, network: str, figure: str = "") -> dict[str, float]:
    """Layer -> value of *quantity* in ``data/published/FILE.csv``."""
    with (DATA / "published" / f"{file}.csv").open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        return {
            row["layer"]: float(row["value"])
            for row in rows
            if row["quantity"] == quantity
            and row["network"] == network
            and row["figure"].startswith(figure)
            and row["layer"]
        }


def with_densities(
    workload: Workload, inputs: dict[str, float], weights: dict[str, float]
) -> Workload:
    """Set the densities of inputs and weights, and those of the outputs that follow from them.

    conv3, conv4, fc6 and fc7 write just what the next layer reads. Max-pooling stands behind
    conv1, conv2 and conv5: there the output density is the one that CNNergy publishes for the
    unpruned network. The scores of fc8 are dense.
    """
    zeros = published("alexnet_densities", "output_zeros", "bvlc-alexnet")
    names = [layer.name for layer in workload]
    outputs = {name: inputs[after] for name, after in pairwise(names)}
    for pooled in ("conv1", "conv2", "conv5"):
        outputs[pooled] = round(1 - zeros[pooled], 4)
    outputs["fc8"] = 1.0
    layers = [
        replace(x, density=PerOperand(inputs[x.name], weights.get(x.name, 1.0), outputs[x.name]))
        for x in workload
    ]
    return replace(workload, layers=tuple(layers))


OUTPUTS = (
    "output densities: the next layer's input density; before max-pooling (conv1, conv2, conv5) "
    "1 - CNNergy's ofmap zero fractions, which are of the unpruned network"
)
NO_PADDING = (
    "a density is effectual over dense MACs, so MACs on padding zeros count as skipped and the "
    "stored map is a little denser"
)


def alexnet_cvpr17() -> Workload:
    source = (
        f"{ALEXNET_PAPER}; {ALEXNET_TABLE}; input densities: computation bars of CVPR'17 Fig. 4 / "
        f"dense MACs (digitised), {NO_PADDING}; {OUTPUTS}"
    )
    name = "bvlc-alexnet-cvpr17"
    inputs = published("alexnet_densities", "input_density", name)
    return with_densities(bvlc_alexnet().workload(name, source), inputs, {})


def alexnet_asilomar() -> Workload:
    source = (
        f"{ALEXNET_PAPER}; {ALEXNET_TABLE}; input densities: conv1-conv5 computation bars of "
        "Asilomar'17 Fig. 6 / dense MACs (digitised), fc6-fc8 the website's sample as quoted by "
        f"its users (0.2887, 0.1688, 0.1875); {OUTPUTS}"
    )
    name = "bvlc-alexnet-asilomar"
    inputs = published("alexnet_densities", "input_density", name)
    return with_densities(bvlc_alexnet().workload(name, source), inputs, {})


def pruned_weights(name: str) -> dict[str, float]:
    """Weight densities: 1 - CVPR'17 Table 2."""
    removed = published("cvpr17_table2", "weights_removed", name)
    return {layer: round(1 - percent / 100, 2) for layer, percent in removed.items()}


def pruned_inputs(name: str) -> dict[str, float]:
    """Input densities: non-skipped MACs / (dense MACs x weight density), at most 1.

    Two digits, as many as the weight densities have.
    """
    effectual = published("cvpr17_macs_pruned", "effectual_macs", name)
    weights = pruned_weights(name)
    return {
        layer.name: min(1.0, round(effectual[layer.name] / (layer.macs * weights[layer.name]), 2))
        for layer in bvlc_alexnet().layers
    }


PRUNED = (
    "weight densities: 1 - CVPR'17 Table 2; input densities: non-skipped MACs of CVPR'17 Fig. 4 "
    f"(digitised) / (dense MACs x weight density), at most 1, two digits; {NO_PADDING}; {OUTPUTS}"
)


def alexnet_dc() -> Workload:
    source = f"Han et al., Deep Compression, ICLR 2016; {ALEXNET_TABLE}; {PRUNED}"
    net = bvlc_alexnet().workload("bvlc-alexnet-dc", source)
    return with_densities(net, pruned_inputs(net.name), pruned_weights(net.name))


def alexnet_eap() -> Workload:
    source = f"Yang et al., Energy-Aware Pruning, CVPR 2017; {ALEXNET_TABLE}; {PRUNED}"
    net = bvlc_alexnet().workload("bvlc-alexnet-eap", source)
    return with_densities(net, pruned_inputs(net.name), pruned_weights(net.name))


def alexnet_eap_classes(suffix: str, classes: int, note: str) -> Workload:
    """Energy-aware pruned AlexNet for fewer classes; its activations are not published."""
    name = f"bvlc-alexnet-eap-{suffix}"
    source = (
        f"Yang et al., Energy-Aware Pruning, CVPR 2017; {ALEXNET_TABLE}, fc8 with {classes} "
        "outputs; weight densities: 1 - CVPR'17 Table 2; input densities are NOT published: those "
        f"of bvlc-alexnet-eap stand in; {note}; {OUTPUTS}"
    )
    net = bvlc_alexnet(classes).workload(name, source)
    weights = pruned_weights(name)
    if not weights["fc6"]:  # printed as "~100 % removed"
        total = {"10r": 0.100e6, "10d": 0.090e6}[suffix]  # non-zero weights, CVPR'17 Fig. 5
        left = total - sum(x.weights * weights[x.name] for x in net if x.name.startswith("conv"))
        dense = sum(x.weights for x in net if x.name.startswith("fc"))
        weights |= dict.fromkeys(("fc6", "fc7", "fc8"), round(left / dense, 4))
    return with_densities(net, pruned_inputs("bvlc-alexnet-eap"), weights)


FC_LEFT = (
    "fc6-fc8 are printed as ~100 % removed: their density spreads evenly what Fig. 5's weights "
    "leave after conv1-conv5, good to its order of magnitude; "
)
