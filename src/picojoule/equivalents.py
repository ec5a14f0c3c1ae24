"""Layers that give the same outputs by other products, as some machines run them."""

from __future__ import annotations

import math
from dataclasses import replace

from picojoule.accelerator import Accelerator
from picojoule.workload import Layer, Workload


def as_run(network: Workload, accelerator: Accelerator) -> Workload:
    """*network* in the products that the accelerator makes of it; it says where they differ.

    Strides that it does not have are folded into channels, and then 3 x 3 filters run as Winograd
    does them, if it does.
    """
    steps = [
        (accelerator.fold_strides, folded_strides, "folds strides into channels"),
        (accelerator.winograd, winograd, "runs 3 x 3 filters as Winograd does"),
    ]
    for applies, step, what in steps:
        layers = tuple(step(layer) for layer in network)
        changed = sum(new is not old for new, old in zip(layers, network, strict=True))
        if not applies or not changed:
            continue
        macs = sum(layer.macs for layer in layers) - sum(layer.macs for layer in network)
        remark = f"{accelerator.name} {what}: {changed} layers have {abs(macs)} MACs "
        remark += "more, with zeros that fill up filters" if macs > 0 else "less"
        network = replace(network, layers=layers, remarks=(*network.remarks, remark))
    return network


def folded_strides(layer: Layer) -> Layer:
    """The same outputs by a layer of stride 1: rows and columns side by side become channels.

    A stride of ``U x V`` makes ``U*V`` times as many input channels; filters that do not fill
    them are filled up with zeros, which count as products and lower the density of weights.
    Dilated layers stay as they are.

    >>> from picojoule import conv
    >>> layer = conv("x", input_size=(7, 7), in_channels=8, out_channels=4, kernel=(3, 3),
    ...              stride=(2, 2), padding=(1, 1, 1, 1))
    >>> layer = folded_strides(layer)
    >>> layer.bounds.C, layer.bounds.R, layer.input_size, layer.padding
    (32, 2, (4, 4), (1, 0, 1, 0))
    """
    if layer.stride == (1, 1) or layer.dilation != (1, 1):
        return layer
    sizes, taps, pads = [], [], []
    for axis, stride in enumerate(layer.stride):
        before = layer.padding[2 * axis]
        outputs, kernel = layer.bounds[4 + axis], layer.bounds[6 + axis]
        # Tap r meets row p*stride + r - before, so place (r - before) // stride of its fold.
        first, last = -before // stride, (kernel - 1 - before) // stride
        size = min(-(-layer.input_size[axis] // stride), outputs + last)
        taps.append(last - first + 1)
        sizes.append(size)
        pads += [-first, outputs + last - size]
    bounds = layer.bounds._replace(C=layer.bounds.C * math.prod(layer.stride), R=taps[0], S=taps[1])
    filled = layer.bounds.C * layer.bounds.R * layer.bounds.S / (bounds.C * bounds.R * bounds.S)
    return replace(
        layer,
        bounds=bounds,
        stride=(1, 1),
        padding=(pads[0], pads[1], pads[2], pads[3]),
        input_size=(sizes[0], sizes[1]),
        density=layer.density._replace(weight=layer.density.weight * filled),
    )


def winograd(layer: Layer) -> Layer:
    """A 3 x 3 filter of stride 1 as Winograd does it (Lavin, Gray: CVPR 2016), F(2 x 2, 3 x 3).

    Each 2 x 2 outputs take 16 products of transformed inputs and weights where they took 36;
    there are 16 transformed weights for 9. Such four outputs count as one of four times the
    width. The transforms themselves are not counted. Other layers stay as they are.

    >>> from picojoule import conv
    >>> layer = conv("x", input_size=(6, 6), in_channels=8, out_channels=4, kernel=(3, 3),
    ...              padding=(1, 1, 1, 1))
    >>> layer.macs / winograd(layer).macs
    2.25
    """
    plain = layer.stride == layer.dilation == (1, 1) and layer.bounds[6:] == (3, 3)
    if not plain or layer.bounds.C == 1 or layer.weight_is_activation:
        return layer
    rows, columns = (-(-n // 2) for n in layer.bounds[4:6])
    top, left = layer.padding[0], layer.padding[2]
    below = max(0, 2 * rows + 2 - top - layer.input_size[0])
    right = max(0, 2 * columns + 2 - left - layer.input_size[1])
    return replace(
        layer,
        bounds=layer.bounds._replace(P=rows, Q=columns, R=4, S=4),
        stride=(2, 2),
        padding=(top, below, left, right),
        bits=layer.bits._replace(output=4 * layer.bits.output),
    )
