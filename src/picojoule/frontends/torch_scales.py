"""Scales and zero points that PyTorch's own quantised products are given beside their operands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from torch import fx

from picojoule.frontends.torch_calls import Call
from picojoule.frontends.torch_widths import FLOAT_BITS
from picojoule.workload import Layer, Operand, PerOperand


def with_packed_scales(call: Call, layer: Layer) -> Layer:
    """A product with packed weights, of whose blocks the scales and zero points come after them."""
    block = call.arguments.get("block_size")
    if isinstance(block, int):  # they are packed with the weights
        scales = FLOAT_BITS / block if 0 < block < layer.bounds.C else 0.0
    else:
        scales = _per_value(call, call.node.args[2:], layer.bounds.M, layer.weights)
    return replace(layer, scale_bits=PerOperand(0.0, scales, 0.0))


def with_given_scales(call: Call, layer: Layer) -> Layer:
    """A product of two operands with scales: of the whole, or of a row, or of blocks."""
    operand_scales = [call.arguments.get(name) for name in ("scale_a", "scale_b")]
    counts = (layer.size(Operand.INPUT), layer.size(Operand.WEIGHT))
    first, second = (
        _per_value(call, scales if isinstance(scales, (list, tuple)) else [scales], rows, count)
        for scales, rows, count in zip(
            operand_scales, (counts[0] // layer.bounds.C, layer.bounds.M), counts, strict=True
        )
    )
    return replace(layer, scale_bits=PerOperand(first, second, 0.0))


def _per_value(call: Call, scales: Iterable[object], rows: int, count: int) -> float:
    """Bits for each of *count* values of tensors that have more than one for each of *rows*."""
    nodes = [each for each in scales if isinstance(each, fx.Node)]
    sizes = [(math.prod(call.shape(each)), call.tensors.bits(each)) for each in nodes]
    return sum(number * bits for number, bits in sizes if number > rows) / count
