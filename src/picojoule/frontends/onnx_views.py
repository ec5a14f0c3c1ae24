"""What operators that only move values leave as it is: bit widths, and repeated values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from picojoule.frontends.onnx_shapes import Factors, Traced, attributes, names_in
from picojoule.frontends.onnx_tensors import STORED_BITS, TRAINING_TYPES, width_of

# Values on a grid of few bits stay on it; what is compared or clipped is no wider either.
_KEEP_WIDTH = names_in(
    """
    Clip DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND GlobalMaxPool Identity
    MaxPool NhwcMaxPool Pad ReduceMax ReduceMin Relu ReorderInput ReorderOutput Reshape Slice
    SpaceToDepth Split Squeeze Tile TopK Transpose Unsqueeze
    """
)
_JOIN = {"Concat": 0, "Max": 0, "Min": 0, "Where": 1}
"""Operators of several operands that keep the widest width: their first one's position."""
_SCALE = frozenset(["Add", "Cast", "Div", "Mul", "Sub"])
_QUANTIZE = {"Quant": 3, "IntQuant": 3, "Trunc": 4}
"""QONNX: the input that holds the width."""
_INTEGERS = frozenset(
    kind
    for kind in STORED_BITS
    if kind
    in (
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.INT32,
    )
)


def note_width(traced: Traced, node: NodeProto, *, constant: bool) -> None:
    """Note the bits of an operator's outputs where they are fewer than the type says.

    Args:
        constant: it is done before inference, so that what is stored is what it starts from.
    """
    if not node.output or not node.input:
        return
    op, first = node.op_type, node.input[0]
    bits: int | None = None
    if op == "DequantizeLinear":
        bits = traced.width(first)
    elif op in _QUANTIZE:
        bits = _whole(traced, node, _QUANTIZE[op])
    elif op == "BipolarQuant":
        bits = 1
    elif op == "GatherBlockQuantized" and constant:
        bits = _gathered_bits(traced, node)
    elif op == "FloatQuant":
        exponent, mantissa = _whole(traced, node, 2), _whole(traced, node, 3)
        bits = None if exponent is None or mantissa is None else 1 + exponent + mantissa
    elif op == "Clip" and traced.element_type(first) in _INTEGERS:
        bits = _clipped(traced, node)
    elif op in _KEEP_WIDTH:
        bits = _narrow(traced, first)
    elif op in _JOIN:
        widths = [_narrow(traced, name) for name in node.input[_JOIN[op] :] if name]
        bits = max((width for width in widths if width is not None), default=None)
        if None in widths:
            bits = None
    elif op in _SCALE and constant:
        bits = _scaled(traced, node)
    if bits is not None and 1 <= bits <= 64:
        traced.widths.update(dict.fromkeys((name for name in node.output[:1] if name), bits))
        if op == "Split":
            traced.widths.update(dict.fromkeys(filter(None, node.output), bits))


def note_scales(traced: Traced, node: NodeProto, *, constant: bool) -> None:
    """Note what scales and zero points of blocks add to each value of an operator's outputs.

    Scales of a whole tensor or channel are not counted: there are hardly any.

    Args:
        constant: it is done before inference, so that what is stored is what it starts from.
    """
    if not node.output or not node.input:
        return
    op, scales = node.op_type, traced.scales
    sources = list(filter(None, node.input))
    scale_bits = 0.0
    if op in ("DequantizeLinear", "QuantizeLinear"):
        scale_bits = _of_blocks(traced, node, (1, 2), 0)
    elif op == "GatherBlockQuantized" and constant:
        scale_bits = _of_blocks(traced, node, (2, 3), 128, packed=_gathered_bits(traced, node))
    elif op in _KEEP_WIDTH and sources:
        scale_bits = scales.get(sources[0], 0.0)
    elif (op in _JOIN or (op in _SCALE and constant)) and scales:
        sizes = [math.prod(traced.shape(name) or (0,)) for name in sources]
        total = sum(size * scales.get(name, 0.0) for name, size in zip(sources, sizes, strict=True))
        scale_bits = total / max(1, sum(sizes))
    if scale_bits:
        outputs = node.output if op == "Split" else node.output[:1]
        scales.update(dict.fromkeys(filter(None, outputs), scale_bits))


def _of_blocks(
    traced: Traced,
    node: NodeProto,
    places: tuple[int, int],
    default: int,
    packed: int | None = None,
) -> float:
    """Bits for each value of an operator's scales and zero points, which stand at *places*.

    Args:
        default: values of a block where the operator does not say it; 0: there are no blocks.
        packed: bits of values of which a byte holds several, and the scales' number tells nothing.
    """
    block = attributes(node).get("block_size", default)
    if not isinstance(block, int) or block < 1:
        return 0.0
    scale, zero = (node.input[place] if place < len(node.input) else "" for place in places)
    width = traced.width(scale) if scale else 0
    if zero:
        width += traced.width(zero) if packed is None else packed
    shapes = traced.shape(scale), traced.shape(node.input[0])
    if packed is not None or shapes[0] is None or not math.prod(shapes[1] or (0,)):
        return width / block
    return width * math.prod(shapes[0]) / math.prod(shapes[1] or ())


def _gathered_bits(traced: Traced, node: NodeProto) -> int:
    """Bits of what GatherBlockQuantized looks up, of which a byte may hold several."""
    bits = attributes(node).get("bits", 4)
    own = traced.width(node.input[0])
    return bits if own == 8 and isinstance(bits, int) and 1 <= bits <= 8 else own


def _narrow(traced: Traced, name: str) -> int | None:
    """The width of a tensor if something is known of it but that it is a float of training."""
    if name in traced.widths:
        return traced.widths[name]
    kind = traced.element_type(name)
    return None if kind in TRAINING_TYPES or kind not in STORED_BITS else width_of(kind)


def _scaled(traced: Traced, node: NodeProto) -> int | None:
    """Stored integers that are cast, shifted and scaled before inference stay as narrow."""
    large = max(node.input, key=lambda name: math.prod(traced.shape(name) or (0,)))
    stored_bits = _narrow(traced, large)
    scaled_bits = width_of(traced.element_type(node.output[0]))
    return None if stored_bits is None or stored_bits >= scaled_bits else stored_bits


def _whole(traced: Traced, node: NodeProto, place: int) -> int | None:
    value = traced.values.get(node.input[place]) if place < len(node.input) else None
    if value is None or value.size == 0 or value.dtype.kind not in "fiu":
        return None
    number = float(value.reshape(-1).max())
    return math.ceil(number) if 1 <= number <= 64 else None


def _clipped(traced: Traced, node: NodeProto) -> int | None:
    """Bits of integers between two known limits."""
    limits = []
    for place, word in ((1, "min"), (2, "max")):
        value = traced.values.get(node.input[place]) if place < len(node.input) else None
        limits.append(
            attributes(node).get(word) if value is None or value.size != 1 else value.item()
        )
    low, high = limits
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or low > high:
        return _narrow(traced, node.input[0])
    if low >= 0:
        needed = int(high).bit_length()
    else:
        needed = 1 + max(int(high).bit_length(), (-int(low) - 1).bit_length())
    return max(1, min(needed, traced.width(node.input[0])))


# -- repeated values -------------------------------------------------------------------------------

_SAME_PLACES = names_in("Cast CastLike DequantizeLinear Dropout Identity Neg QuantizeLinear Relu")
_RESHAPES = names_in("Flatten Reshape Squeeze Unsqueeze")


def note_copies(traced: Traced, node: NodeProto) -> None:
    """Note along which dimensions an operator's output repeats a smaller tensor."""
    if not node.output or not node.input or node.domain not in ("", "com.microsoft"):
        return
    op, first, output = node.op_type, node.input[0], node.output[0]
    before, after = traced.shape(first), traced.shape(output)
    if before is None or after is None:
        return
    source_factors = traced.copies.get(first)
    factors: Factors | None = None
    if op == "Expand":
        factors = _expanded(source_factors or _plain(before), before, after)
    elif op == "Tile" and len(before) == len(after):
        factors = _tiled(source_factors or _plain(before), before, after)
    elif op == "Gather":
        factors = _gathered(traced, node, source_factors or _plain(before), before)
    elif source_factors is not None:
        if op in _RESHAPES:
            factors = _regrouped(source_factors, after)
        elif op == "Transpose":
            order = attributes(node).get("perm", list(range(len(source_factors)))[::-1])
            if isinstance(order, list) and sorted(order) == list(range(len(source_factors))):
                factors = tuple(source_factors[axis] for axis in order)
        elif op in _SAME_PLACES or (op in ("Mul", "Div") and _is_scalar(traced, node)):
            factors = source_factors
    if factors is not None and any(repeats for axis in factors for _, repeats in axis):
        traced.copies[output] = factors


def _plain(shape: Sequence[int]) -> Factors:
    return tuple(((size, False),) for size in shape)


def _is_scalar(traced: Traced, node: NodeProto) -> bool:
    shape = traced.shape(node.input[1]) if len(node.input) > 1 else None
    return shape is not None and math.prod(shape) == 1


def _expanded(factors: Factors, before: Sequence[int], after: Sequence[int]) -> Factors | None:
    lead = len(after) - len(before)
    if lead < 0:
        return None
    spread: Factors = tuple(((size, size > 1),) for size in after[:lead])
    return spread + tuple(
        ((new, True),) if old == 1 and new > 1 else axis
        for axis, old, new in zip(factors, before, after[lead:], strict=True)
    )


def _tiled(factors: Factors, before: Sequence[int], after: Sequence[int]) -> Factors | None:
    if any(old == 0 or new % old for old, new in zip(before, after, strict=True)):
        return None
    return tuple(
        axis if old == new else ((new // old, True), *(axis if old > 1 else ()))
        for axis, old, new in zip(factors, before, after, strict=True)
    )


def _gathered(
    traced: Traced, node: NodeProto, factors: Factors, before: Sequence[int]
) -> Factors | None:
    """Each index as often as every other, in a row: numpy's repeat."""
    axis = attributes(node).get("axis", 0)
    index = traced.values.get(node.input[1]) if len(node.input) > 1 else None
    if not isinstance(axis, int) or index is None or index.ndim != 1 or not before:
        return None
    size = before[axis] if -len(before) <= axis < len(before) else 0
    times = len(index) // size if size else 0
    if times < 1 or not np.array_equal(index, np.repeat(np.arange(size), times)):
        return None
    axis %= len(before)
    return (*factors[:axis], (*factors[axis], (times, True)), *factors[axis + 1 :])


def _regrouped(factors: Factors, shape: Sequence[int]) -> Factors | None:
    """The same factors in the order of memory, in other dimensions; None if one would break."""
    waiting = [factor for axis in factors for factor in axis if factor[0] != 1]
    axes = []
    for size in shape:
        axis: list[tuple[int, bool]] = []
        missing = size
        while missing > 1:
            if not waiting:
                return None
            length, repeats = waiting.pop(0)
            if missing % length == 0:
                axis.append((length, repeats))
                missing //= length
            elif length % missing == 0:
                axis.append((missing, repeats))
                waiting.insert(0, (length // missing, repeats))
                missing = 1
            else:
                return None
        axes.append(tuple(axis) or ((size, False),))
    return None if waiting else tuple(axes)


def without_copies(
    traced: Traced, left: str, right: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a matrix product's operands of which neither repeats itself along heads.

    A leading dimension that one operand only repeats is 1 there, as numpy would broadcast it.
    """
    first, second = shapes
    rank = min(len(first), len(second)) - 2
    copies = (traced.copies.get(left), traced.copies.get(right))
    if rank < 1 or copies == (None, None):
        return shapes
    parts: list[tuple[list[int], list[int]]] = []
    for place in range(-rank - 2, -2):
        sizes = (first[place], second[place])
        factors = [
            ((size, False),) if axes is None else axes[place]
            for size, axes in zip(sizes, copies, strict=True)
        ]
        parts.append(_shared(sizes, factors))
    return (
        (*first[: -rank - 2], *(size for ours, _ in parts for size in ours), *first[-2:]),
        (*second[: -rank - 2], *(size for _, theirs in parts for size in theirs), *second[-2:]),
    )


def _shared(
    sizes: tuple[int, int], factors: list[tuple[tuple[int, bool], ...]]
) -> tuple[list[int], list[int]]:
    """One leading dimension of both operands, split so that what only repeats is 1."""
    plain = [sizes[0]], [sizes[1]]
    if sizes[0] != sizes[1]:
        return plain
    lengths = [[length for length, _ in axis] for axis in factors]
    if len(lengths[0]) == 1:
        factors[0] = tuple((length, factors[0][0][1]) for length in lengths[1])
    elif len(lengths[1]) == 1:
        factors[1] = tuple((length, factors[1][0][1]) for length in lengths[0])
    elif lengths[0] != lengths[1]:
        return plain
    ours, theirs = [], []
    for (length, left), (_, right) in zip(*factors, strict=True):
        ours.append(1 if left and not right else length)
        theirs.append(1 if right and not left else length)
    return ours, theirs
