"""How many inferences one run of an ONNX graph makes: its batch, and how that is known.

The first dimension of the inputs is the batch, unless its name or the operators on its way say
otherwise: a recurrence, an attention or a sum over it joins what inferences would keep apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from onnx import GraphProto, NodeProto

from picojoule.frontends.onnx_inputs import BATCH_NAME, SEQUENCE_NAME, first_sizes
from picojoule.frontends.onnx_shapes import Traced, attributes, flat, names_in

_RECURRENT = names_in("LSTM GRU RNN DynamicQuantizeLSTM")
_PRODUCTS = names_in(
    "MatMul MatMulInteger FusedMatMul Gemm MatMulNBits MatMulBnb4 DynamicQuantizeMatMul"
)
_FILTERS = names_in(
    """
    Conv ConvTranspose ConvInteger FusedConv MaxPool AveragePool LpPool GlobalAveragePool
    GlobalMaxPool
    """
)
_ATTENTION = names_in(
    """
    MultiHeadAttention GroupQueryAttention QAttention DecoderMaskedMultiHeadAttention
    DecoderMaskedSelfAttention
    """
)
_OVER_AXES = names_in(
    """
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceProd ReduceSumSquare
    ReduceLogSumExp Softmax LogSoftmax CumSum ArgMax ArgMin TopK
    """
)


def batch_of(graph: GraphProto, traced: Traced) -> tuple[int, str]:
    """The batch, and a remark where it had to be taken from sizes and operators."""
    firsts = first_sizes(graph, traced)
    sizes = {size for _, size, _ in firsts}
    if len(sizes) != 1 or max(sizes) <= 1:
        return 1, ""
    (size,) = sizes
    words = [word for _, _, word in firsts if word]
    if words and all(BATCH_NAME.search(word) for word in words):
        return size, ""
    if any(SEQUENCE_NAME.search(word) and not BATCH_NAME.search(word) for word in words):
        return (
            1,
            f"the first dimension of the inputs, {words[0]}, is no batch: one run, one inference",
        )
    names = [name for name, _, _ in firsts]
    joined = _joins(traced, names, 0)
    if joined is None:
        return size, (
            f"the first dimension of the inputs, {size}, is taken for the batch: one inference "
            f"is one of {size}"
        )
    others = {shape[1] for name in names if (shape := traced.graph_inputs.get(name))}
    if len(others) == 1 and max(others) > 1 and joined in _RECURRENT:
        (second,) = others
        if _joins(traced, names, 1) is None:
            return second, (
                f"the second dimension of the inputs, {second}, is taken for the batch: {joined} "
                "goes along the first"
            )
    return 1, (
        f"the first dimension of the inputs, {size}, is no batch: {joined} joins it; one run of "
        "the graph is one inference"
    )


def _joins(traced: Traced, names: Sequence[str], axis: int) -> str | None:
    """The operator that joins entries along a dimension of the inputs; None if none does."""
    marks = dict.fromkeys(names, axis)
    for step in flat(traced.steps):
        node = step.node
        if not any(name in marks for name in node.input):
            continue
        joins = _follow(node, traced, marks)
        if joins:
            return node.op_type
    return None


def _follow(node: NodeProto, traced: Traced, marks: dict[str, int]) -> bool:
    """Mark the dimension in the outputs; whether the operator joins its entries."""
    op = node.op_type
    first = node.input[0] if node.input else ""
    shape = traced.shape(first)
    axis = marks.get(first)
    rule = _RULES.get(op)
    if rule is None and op in _PRODUCTS:
        return _product(node, traced, marks)
    if axis is None or shape is None or not node.output:
        return _elementwise(node, traced, marks) if rule is None else False
    if rule is not None:
        place = rule(node, traced, shape, axis)
        if place is None:
            return True
        if place >= 0:
            marks[node.output[0]] = place
        return False
    if op in _FILTERS:
        return _kept(node, marks, 0) if axis == 0 else True
    if op in _ATTENTION:
        return _kept(node, marks, 0) if axis == 0 else axis == 1
    if op in _RECURRENT:
        layout = attributes(node).get("layout", 0) == 1
        if axis == (1 if layout else 0):
            return True
        # [steps, directions, batch, state], or [batch, steps, directions, state]
        return _kept(node, marks, 0 if layout else 2) if axis < 2 else False
    if op in _OVER_AXES:
        return _over_axes(node, traced, marks, axis, len(shape))
    return _elementwise(node, traced, marks)


def _kept(node: NodeProto, marks: dict[str, int], axis: int) -> bool:
    marks[node.output[0]] = axis
    return False


def _elementwise(node: NodeProto, traced: Traced, marks: dict[str, int]) -> bool:
    """Where the output has the dimension in the place that numpy would give it, follow it there.

    A stored operand with one value for each place, as positions have, tells no batch from it.
    """
    output_shape = traced.shape(node.output[0]) if node.output else None
    if output_shape is None:
        return False
    for name in node.input:
        axis, shape = marks.get(name), traced.shape(name)
        if axis is None or shape is None or len(shape) > len(output_shape):
            continue
        place = axis + len(output_shape) - len(shape)
        if output_shape[place] != shape[axis]:
            continue
        marks[node.output[0]] = place
        for other in node.input:
            stored = traced.constants.get(other)
            if stored is None or node.op_type not in ("Add", "Mul", "Sub"):
                continue
            aligned = place - len(output_shape) + len(stored.shape)
            if (
                len(stored.shape) > 1
                and aligned >= 0
                and stored.shape[aligned] == output_shape[place] > 1
            ):
                return True
    return False


def _product(node: NodeProto, traced: Traced, marks: dict[str, int]) -> bool:
    """A product over the dimension, or of it with itself, joins its entries."""
    places = [marks.get(name) for name in [*node.input[:2], ""][:2]]
    shapes = [traced.shape(name) for name in [*node.input[:2], ""][:2]]
    output_shape = traced.shape(node.output[0]) if node.output else None
    if output_shape is None or shapes[0] is None:
        return False
    settings = attributes(node)
    turned = [settings.get("transA", 0), settings.get("transB", 0)]
    axes: list[int] = []
    for side in (0, 1):
        axis, shape = places[side], shapes[side]
        if axis is None or shape is None:
            continue
        back = axis - len(shape)  # -1 is the last dimension
        if turned[side] and back >= -2:
            back = -3 - back
        if back == (-1, -2)[side]:
            return True  # it is summed over
        if -back > len(output_shape):
            return False
        axes.append(len(output_shape) + back)
    if len(set(axes)) > 1:
        return True  # each entry meets each other
    if axes:
        marks[node.output[0]] = axes[0]
    return False


def _over_axes(
    node: NodeProto, traced: Traced, marks: dict[str, int], axis: int, rank: int
) -> bool:
    settings = attributes(node)
    axes = settings.get("axes", settings.get("axis"))
    axes_input = node.input[1] if len(node.input) > 1 and node.op_type != "TopK" else ""
    if axes is None and axes_input in traced.values:
        axes = [int(x) for x in traced.values[axes_input].flat]
    if axes is None:
        if node.op_type.startswith("Reduce"):
            return True
        axes = 0 if node.op_type.startswith("Arg") else -1
    over = {x % rank for x in (axes if isinstance(axes, list) else [axes]) if isinstance(x, int)}
    if axis in over:
        return True
    output_shape = traced.shape(node.output[0])
    if output_shape is not None:
        dropped = sum(x < axis for x in over) if len(output_shape) < rank else 0
        marks[node.output[0]] = axis - dropped
    return False


Rule = Callable[[NodeProto, Traced, tuple[int, ...], int], int | None]
"""Where the dimension is in the output; -1 if it is lost sight of, None if its entries join."""


def _transposed(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    del traced
    order = attributes(node).get("perm", list(range(len(shape)))[::-1])
    return order.index(axis) if isinstance(order, list) and axis in order else -1


def _reshaped(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    """The dimension of the output that begins at the same place of memory and holds it."""
    output_shape = traced.shape(node.output[0])
    before = math.prod(shape[:axis])
    if output_shape is None:
        return -1
    for place, size in enumerate(output_shape):
        if math.prod(output_shape[:place]) == before and size > 1:
            return place if size % shape[axis] == 0 else -1
    return -1


def _gathered(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    along = attributes(node).get("axis", 0)
    index = traced.shape(node.input[1]) if len(node.input) > 1 else None
    if not isinstance(along, int) or index is None:
        return -1
    along %= max(1, len(shape))
    if along == axis:
        return None  # one entry is looked at by itself: the last token, not the last image
    return axis if axis < along else axis - 1 + len(index)


def _concatenated(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    del traced
    along = attributes(node).get("axis", 0)
    return None if isinstance(along, int) and along % len(shape) == axis else axis


def _sliced(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    output_shape = traced.shape(node.output[0])
    return axis if output_shape is not None and output_shape[axis] == shape[axis] else -1


def _attended(node: NodeProto, traced: Traced, shape: tuple[int, ...], axis: int) -> int | None:
    """Attention of ONNX (tokens third of four dimensions) and of com.microsoft."""
    del node, traced
    if axis == 0:
        return 0
    return None if axis == (2 if len(shape) == 4 else 1) else -1


_RULES: Mapping[str, Rule] = {
    "Attention": _attended,
    "Concat": _concatenated,
    "Flatten": _reshaped,
    "Gather": _gathered,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Split": _sliced,
    "Squeeze": _reshaped,
    "Transpose": _transposed,
    "Unsqueeze": _reshaped,
}
