"""Channels of onnxruntime's blocked layout without those that fill up its blocks.

Channels are kept in blocks of 8 or 16. Where they do not fill the last one, onnxruntime adds zeros
to the weights, and the widths of the network are no longer in the shapes. They are in the operators
that enter and leave the layout, and else in the zeros themselves.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from picojoule.frontends.onnx_calls import Call
from picojoule.frontends.onnx_shapes import attributes, label_of, names_in

BLOCKED_CONV = "com.microsoft.nchwc.Conv"
BLOCKS = (8, 16)
_MOST_FOLLOWED = 256
_SUMMED = 3  # the place of what a Conv adds to its output

_PER_CHANNEL = names_in(
    """
    com.microsoft.nchwc.MaxPool com.microsoft.nchwc.AveragePool com.microsoft.nchwc.GlobalMaxPool
    com.microsoft.nchwc.GlobalAveragePool com.microsoft.nchwc.Upsample Add Clip Elu
    HardSigmoid HardSwish LeakyRelu Mul Relu Sigmoid Sum Tanh com.microsoft.QuickGelu
    """
)
"""Operators whose output has the channels of their inputs, in the layout these are in."""


def true_filters(call: Call, node: NodeProto | None = None) -> int:
    """Filters of a blocked Conv, by default the call's own, without those of zeros."""
    node = call.node if node is None else node
    filled = _weight_shape(call, node)[0]
    if _is_depthwise(call, node):
        return min(filled, true_channels(call, node.input[0]))
    filters = _channels_on_leaving(call, node.output[0] if node.output else "")
    if filters is None:
        filters = _filters_but_zeros(call, node)
    return filters if filled - max(BLOCKS) < filters <= filled else filled


def true_channels(call: Call, name: str) -> int:
    """Channels of a tensor that a blocked Conv reads."""
    for _ in range(_MOST_FOLLOWED):
        node = call.producers.get(name)
        label = "" if node is None else label_of(node)
        if node is None or not node.input:
            break
        if label == BLOCKED_CONV:
            if not _is_depthwise(call, node):
                return true_filters(call, node)
        elif label not in _PER_CHANNEL:
            break
        name = node.input[0]
    shape = call.traced.shape(name)
    return shape[1] if shape is not None and len(shape) > 1 else 0


def _channels_on_leaving(call: Call, name: str) -> int | None:
    """What the operators say that leave the layout behind *name*, or behind what is made of it."""
    seen, waiting = {name}, [name]
    while waiting and len(seen) < _MOST_FOLLOWED:
        tensor = waiting.pop(0)
        for node in call.consumers.get(tensor, ()):
            if node.op_type == "ReorderOutput":
                channels = attributes(node).get("channels")
                return channels if isinstance(channels, int) else None
            kept = label_of(node) in _PER_CHANNEL
            if label_of(node) == BLOCKED_CONV:
                summed = len(node.input) > _SUMMED and node.input[_SUMMED] == tensor
                kept = summed or (node.input[0] == tensor and _is_depthwise(call, node))
            if kept and node.output and node.output[0] not in seen:
                seen.add(node.output[0])
                waiting.append(node.output[0])
    return None


def _filters_but_zeros(call: Call, node: NodeProto) -> int:
    """Filters up to the last that is not zero; all of them where no values are there.

    Values are stored as [blocks of filters, rest, filters of a block]. In the wrong block a zero
    meets values of other filters, so the block in which more is zero is the right one.
    """
    filled = _weight_shape(call, node)[0]
    constant = call.traced.constants.get(node.input[1])
    tensor = None if constant is None else constant.tensor
    if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
        call.traced.remark(
            "channels of a blocked layout are counted with those that fill its blocks, where no "
            "operator leaves the layout and the weights are not in the file"
        )
        return filled
    try:
        values = numpy_helper.to_array(tensor)
        used = [
            np.flatnonzero(values.reshape(filled // block, -1, block).any(axis=1))
            for block in BLOCKS
            if filled % block == 0
        ]
    except (ValueError, TypeError, KeyError, RuntimeError):  # damaged: whoever reads it says so
        return filled
    return min((int(filters[-1]) + 1 for filters in used if filters.size), default=filled)


def _is_depthwise(call: Call, node: NodeProto) -> bool:
    """Whether every channel has its own filter."""
    shape = _weight_shape(call, node)
    return shape[0] > 1 and attributes(node).get("group", 1) == shape[0] and shape[1] == 1


def _weight_shape(call: Call, node: NodeProto) -> tuple[int, ...]:
    shape = call.traced.shape(node.input[1]) if len(node.input) > 1 else None
    return shape if shape is not None and len(shape) > 1 else (0, 0)
