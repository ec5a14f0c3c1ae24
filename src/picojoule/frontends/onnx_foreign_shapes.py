"""Shapes of operators that onnx has no schema for: onnxruntime's own, and those of QONNX.

Most either keep the shape of one input, or are an operator of ONNX under another name, with other
places for its inputs or with channels last: data says which. The rest is worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from onnx import NodeProto, TensorProto, TypeProto, helper

from picojoule.frontends.onnx_shapes import (
    LARGEST_DIMENSION,
    Traced,
    attributes,
    infer_types,
    names_in,
    shape_of,
    tensor_type,
)

_LATEST = {"": 21}
_QONNX = frozenset(["qonnx.custom_op.general", "onnx.brevitas"])
_RUNTIME = frozenset(["com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", ""])

# Outputs of the shape and type of the first input.
_SAME = names_in(
    """
    Affine BiasAdd BiasDropout BiasGelu BiasSoftmax BitmaskBiasDropout BitmaskDropout
    BranchwiseRMSNorm ComplexMul ComplexMulConj FastGelu GatedAdd GatedRMSNorm Gelu
    GemmaRotaryEmbedding GroupNorm ImageScaler MemcpyFromHost MemcpyToHost MoE MoEPacked
    MRotaryEmbedding ParametricSoftplus QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QMoE
    QOrderedGelu QOrderedLayerNormalization QuickGelu ReorderInput RMSNormRotary RotaryEmbedding
    ScaledSiLU ScaledTanh SimplifiedLayerNormalization SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization TorchEmbedding Trilu MulInteger BatchNormalization
    InstanceNormalization LRN Quant IntQuant BipolarQuant Trunc FloatQuant
    QuantizeWithOrder DequantizeWithOrder
    """
)
_ALSO_SAME = {"SkipLayerNormalization": (3,), "SkipSimplifiedLayerNormalization": (3,)}
"""Further outputs of that shape: the sum with what was skipped."""

# Operator -> the one of ONNX it is, and the places of that one's inputs.
_STANDS_FOR: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "AveragePool": ("AveragePool", (0,)),
    "Conv": ("Conv", (0, 1)),
    "ConvTranspose": ("ConvTranspose", (0, 1)),
    "ConvTransposeWithDynamicPads": ("ConvTranspose", (0, 1)),
    "DepthToSpace": ("DepthToSpace", (0,)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "ExpandDims": ("Unsqueeze", (0, 1)),
    "FusedConv": ("Conv", (0, 1)),
    "FusedGemm": ("Gemm", (0, 1)),
    "GatherND": ("GatherND", (0, 1)),
    "GemmFastGelu": ("MatMul", (0, 1)),
    "GemmFloat8": ("Gemm", (0, 1)),
    "GlobalAveragePool": ("GlobalAveragePool", (0,)),
    "GlobalLpPool": ("GlobalAveragePool", (0,)),
    "GlobalMaxPool": ("GlobalMaxPool", (0,)),
    "LpPool": ("LpPool", (0,)),
    "MatMulInteger16": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "MaxPool": ("MaxPool", (0,)),
    "MaxpoolWithMask": ("MaxPool", (0,)),
    "NhwcConv": ("Conv", (0, 1)),
    "NhwcFusedConv": ("Conv", (0, 1)),
    "NhwcMaxPool": ("MaxPool", (0,)),
    "Pad": ("Pad", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearConvTranspose": ("ConvTranspose", (0, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearWhere": ("Add", (1, 4)),
    "QOrderedMatMul": ("MatMul", (0, 2)),
    "Range": ("Range", (0, 1, 2)),
    "Resize": ("Resize", (0, 1, 2, 3)),
    "SpaceToDepth": ("SpaceToDepth", (0,)),
    "SparseToDenseMatMul": ("Gemm", (0, 1)),
}
_CHANNELS_LAST = frozenset(["NhwcConv", "NhwcFusedConv", "NhwcMaxPool"])


def foreign_types(node: NodeProto, traced: Traced) -> dict[str, TypeProto]:
    """Types of the outputs of *node* as far as they follow from those of its inputs."""
    op = node.op_type
    if node.domain not in _RUNTIME | _QONNX or not node.output or not node.input:
        return {}
    special = _SPECIAL.get(op)
    if special is not None and node.domain == "com.microsoft":
        return _named(node, special(node, traced))
    if op in ("QuantizeLinear", "DequantizeLinear"):
        return _requantised(node, traced)
    if op in ("ReorderOutput", "Upsample") and node.domain == "com.microsoft.nchwc":
        return _named(node, _blocked(node, traced))
    if op in _SAME:
        kind = traced.types.get(node.input[0])
        places = (0, *_ALSO_SAME.get(op, ()))
        names = [node.output[place] for place in places if place < len(node.output)]
        return {} if kind is None else {name: kind for name in names if name}
    if op in _STANDS_FOR:
        return _as_another(node, traced)
    return {}


def channels_last(node: NodeProto) -> bool:
    """Whether an operator's maps have their channels as the last dimension."""
    if node.domain == "com.ms.internal.nhwc" or node.op_type in _CHANNELS_LAST:
        return True
    return attributes(node).get("channels_last", 0) == 1 and node.op_type != "ReorderInput"


def _as_another(node: NodeProto, traced: Traced) -> dict[str, TypeProto]:
    """By onnx's own inference, as the operator it stands for."""
    op, places = _STANDS_FOR[node.op_type]
    names = [node.input[place] if place < len(node.input) else "" for place in places]
    types = {name: traced.types[name] for name in names if name in traced.types}
    last = channels_last(node)
    if last and names[0] in types:
        moved = _with_moved_channels(types[names[0]], first=True)
        if moved is None:
            return {}
        types[names[0]] = moved
    for name in names[:2]:  # quantised operands: onnx wants the types of floats
        if name in types and op not in ("Range", "Pad", "GatherND", "Unsqueeze"):
            plain = TypeProto()
            plain.CopyFrom(types[name])
            plain.tensor_type.elem_type = TensorProto.FLOAT
            types[name] = plain
    shared_attributes = {"transA", "transB"} if op == "Gemm" else _WINDOW
    stand_in = helper.make_node(op, names, node.output[:1])
    stand_in.attribute.extend(a for a in node.attribute if a.name in shared_attributes)
    if node.op_type == "ConvTransposeWithDynamicPads" and len(node.input) > 2:
        pads = traced.values.get(node.input[2])
        if pads is None:
            return {}
        stand_in.attribute.append(helper.make_attribute("pads", [int(x) for x in pads.flat]))
    values = {name: traced.values[name] for name in names[1:] if name in traced.values}
    output_type = infer_types(stand_in, types, values, _LATEST).get(node.output[0])
    if output_type is None:
        return {}
    if last:
        output_type = _with_moved_channels(output_type, first=False) or output_type
    element = traced.element_type(node.input[0])
    if op not in ("Range",) and element in (TensorProto.INT8, TensorProto.UINT8):
        narrow = node.op_type.startswith("Q") or node.op_type == "NhwcMaxPool"
        output_type.tensor_type.elem_type = element if narrow else TensorProto.FLOAT
    return {node.output[0]: output_type}


_WINDOW = names_in(
    """
    auto_pad blocksize ceil_mode count_include_pad dilations group kernel_shape mode output_padding
    output_shape p pads strides coordinate_transformation_mode nearest_mode axes
    """
)


def _with_moved_channels(kind: TypeProto, *, first: bool) -> TypeProto | None:
    shape = shape_of(kind)
    if shape is None or len(shape) < 3:
        return None
    moved = (shape[0], shape[-1], *shape[1:-1]) if first else (shape[0], *shape[2:], shape[1])
    return tensor_type(kind.tensor_type.elem_type, moved)


def _requantised(node: NodeProto, traced: Traced) -> dict[str, TypeProto]:
    """QuantizeLinear, DequantizeLinear of com.microsoft: the zero point, or scale, has the type."""
    shape = traced.shape(node.input[0])
    if shape is None:
        return {}
    element: int = TensorProto.FLOAT
    if len(node.input) > 1 and node.op_type == "DequantizeLinear":
        element = traced.element_type(node.input[1]) or TensorProto.FLOAT
    elif node.op_type == "QuantizeLinear":
        element = TensorProto.UINT8
        if len(node.input) > 2 and node.input[2]:
            element = traced.element_type(node.input[2]) or element
    return {node.output[0]: tensor_type(element, shape)}


_Shapes = Sequence[tuple[int, ...] | None] | None


def _named(
    node: NodeProto, shapes: _Shapes, element: int = TensorProto.FLOAT
) -> dict[str, TypeProto]:
    return {
        name: tensor_type(element, shape)
        for name, shape in zip(node.output, shapes or (), strict=False)
        if name and shape is not None and all(0 <= size <= LARGEST_DIMENSION for size in shape)
    }


class _Reader:
    """Shapes and whole-number attributes of one operator; what is missing ends the reading."""

    def __init__(self, node: NodeProto, traced: Traced) -> None:
        self._node, self._traced = node, traced
        self._attributes = attributes(node)

    def has(self, place: int) -> bool:
        return place < len(self._node.input) and bool(self._node.input[place])

    def shape(self, place: int, rank: int | None = None) -> tuple[int, ...]:
        shape = self._traced.shape(self._node.input[place]) if self.has(place) else None
        if shape is None or (rank is not None and len(shape) != rank):
            raise _UnknownError
        return shape

    def whole(self, name: str, default: int = 0) -> int:
        value = self._attributes.get(name, default)
        if not isinstance(value, int):
            raise _UnknownError
        return value

    def wholes(self, name: str) -> list[int]:
        value = self._attributes.get(name, [])
        return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []

    def reals(self, name: str) -> list[float]:
        value = self._attributes.get(name, [])
        return [float(x) for x in value] if isinstance(value, list) else []


class _UnknownError(Exception):
    """A shape does not follow from what is known."""


def _rule(
    work: Callable[[_Reader], Sequence[tuple[int, ...] | None]],
) -> Callable[[NodeProto, Traced], _Shapes]:
    def apply(node: NodeProto, traced: Traced) -> _Shapes:
        try:
            return work(_Reader(node, traced))
        except (_UnknownError, IndexError, ValueError, ZeroDivisionError):  # of another rank
            return None

    return apply


def _blocked(node: NodeProto, traced: Traced) -> _Shapes:
    def work(of: _Reader) -> Sequence[tuple[int, ...]]:
        images, channels, *size = of.shape(0)
        if node.op_type == "Upsample":
            scales = of.wholes("scales") or [1] * 4
            return [(images, channels, *(s * u for s, u in zip(size, scales[2:], strict=False)))]
        channels = of.whole("channels", channels)
        last = of.whole("channels_last") == 1
        return [(images, *size, channels) if last else (images, channels, *size)]

    return _rule(work)(node, traced)


def _matmul(of: _Reader) -> Sequence[tuple[int, ...]]:
    """FusedMatMul and TransposeMatMul: each operand transposed or not."""
    if not of.shape(0) or not of.shape(1):
        raise _UnknownError
    left, right = matmul_shapes(
        of.shape(0),
        of.shape(1),
        [of.whole(name) for name in ("transA", "transB", "transBatchA", "transBatchB")],
    )
    rank = max(len(left), len(right))
    lead = [(1,) * (rank - len(shape)) + shape[:-2] for shape in (left, right)]
    return [(*(max(pair) for pair in zip(*lead, strict=True)), left[-2], right[-1])]


def matmul_shapes(
    left: tuple[int, ...], right: tuple[int, ...], flags: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both operands as MatMul would have them.

    Args:
        flags: transA, transB, transBatchA, transBatchB; the latter two move the first dimension
            to the last place of the leading ones.
    """
    operands = []
    left = left if len(left) > 1 else (1, *left)
    right = right if len(right) > 1 else (*right, 1)
    for shape, swap, turn in ((left, flags[0], flags[2]), (right, flags[1], flags[3])):
        if turn and len(shape) > 2:
            shape = (*shape[1:-1], shape[0], shape[-1])
        operands.append((*shape[:-2], shape[-1], shape[-2]) if swap else shape)
    return operands[0], operands[1]


def _attention(of: _Reader, weight: int = 1, past: int = 4) -> Sequence[tuple[int, ...]]:
    """Attention, QAttention: projections of one input."""
    batch, tokens, _ = of.shape(0, 3)
    heads = of.whole("num_heads", 1)
    sizes = of.wholes("qkv_hidden_sizes") or [of.shape(weight, 2)[1] // 3] * 3
    earlier = of.shape(past)[3] if of.has(past) else 0
    present = (2, batch, heads, earlier + tokens, sizes[0] // heads)
    return [(batch, tokens, sizes[2]), present]


def _multi_head(of: _Reader) -> Sequence[tuple[int, ...]]:
    query = of.shape(0)
    batch, tokens, heads = query[0], query[1], of.whole("num_heads", 1)
    if len(query) == 5:  # packed: tokens, heads, 3, width
        return [(batch, tokens, heads * query[4])]
    width = query[2]
    if of.has(2):
        value = of.shape(2)
        width = value[2] if len(value) == 3 else heads * value[-1]
    elif of.has(1):  # keys and values packed
        width = heads * of.shape(1)[-1]
    return [(batch, tokens, width)]


def _grouped(of: _Reader) -> Sequence[tuple[int, ...]]:
    batch, tokens, width = of.shape(0, 3)
    heads, groups = of.whole("num_heads", 1), of.whole("kv_num_heads", 1)
    size = width // (heads if of.has(1) else heads + 2 * groups)
    earlier = of.shape(3, 4)[2] if of.has(3) else 0
    keys = of.shape(1)[1] if of.has(1) else tokens
    cache = (batch, groups, earlier + keys, size)
    return [(batch, tokens, heads * size), cache, cache]


def _embedded(of: _Reader) -> Sequence[tuple[int, ...]]:
    ids = of.shape(0, 2)
    embedded = (*ids, of.shape(2, 2)[1])
    return [embedded, (ids[0],), embedded]


def _recurrent(of: _Reader) -> Sequence[tuple[int, ...]]:
    steps, batch, _ = of.shape(0, 3)
    directions, hidden = of.shape(1, 3)[0], of.whole("hidden_size", of.shape(2, 3)[1])
    state = (directions, batch, hidden)
    return [(steps, directions, batch, hidden), state, state]


def _gathered(of: _Reader) -> Sequence[tuple[int, ...]]:
    data, axis = of.shape(0), of.whole("gather_axis")
    packed = 8 // of.whole("bits", 4) if of.whole("bits", 4) in (2, 4) else 1
    data = (*data[:-1], data[-1] * packed)
    return [(*data[:axis], *of.shape(1), *data[axis + 1 :])]


def _joined(node: NodeProto, traced: Traced) -> _Shapes:
    """QLinearConcat: triples of a tensor, its scale and its zero point."""
    names = node.input[2::3]
    shapes = [shape for name in names if (shape := traced.shape(name)) is not None]
    axis = attributes(node).get("axis", 0)
    if len(shapes) < len(names) or not shapes or not isinstance(axis, int):
        return None
    if not -len(shapes[0]) <= axis < len(shapes[0]):
        return None
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    return [tuple(joined)]


def _reduced(of: _Reader) -> Sequence[tuple[int, ...]]:
    shape = of.shape(0)
    axes = {axis % len(shape) for axis in of.wholes("axes") or range(len(shape))}
    if of.whole("keepdims", 1):
        return [tuple(1 if axis in axes else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _columns(of: _Reader) -> Sequence[tuple[int, ...]]:
    """Weights packed for N outputs, an attribute."""
    lead = of.shape(0)[:-1]
    return [(*lead, of.whole("N"))]


_SPECIAL: Mapping[str, Callable[[NodeProto, Traced], _Shapes]] = {
    "Attention": _rule(_attention),
    "BiasSplitGelu": _rule(lambda of: [(*of.shape(0)[:-1], of.shape(0)[-1] // 2)]),
    "CDist": _rule(lambda of: [(of.shape(0, 2)[0], of.shape(1, 2)[0])]),
    "CausalConvWithState": _rule(lambda of: [of.shape(0)]),
    "DecoderAttention": _rule(lambda of: [of.shape(0, 3)]),
    "DecoderMaskedMultiHeadAttention": _rule(_multi_head),
    "DecoderMaskedSelfAttention": _rule(_attention),
    "DynamicQuantizeLSTM": _rule(_recurrent),
    "EmbedLayerNormalization": _rule(_embedded),
    "FusedMatMul": _rule(_matmul),
    "FusedMatMulActivation": _rule(_matmul),
    "GatherBlockQuantized": _rule(_gathered),
    "GroupQueryAttention": _rule(_grouped),
    "MatMulBlockQuantizedFp4Weight": _rule(lambda of: [(*of.shape(0)[:-1], of.shape(1)[0])]),
    "MatMulBlockQuantizedFp8Weight": _rule(lambda of: [(*of.shape(0)[:-1], of.shape(1)[0])]),
    "MatMulBnb4": _rule(_columns),
    "MatMulNBits": _rule(_columns),
    "MatMulNBitsMlp": _rule(_columns),
    "MatMulNBitsQLoRA": _rule(_columns),
    "MatMulNBitsQkv": _rule(
        lambda of: (
            [(*of.shape(0)[:-1], of.whole(name)) for name in ("Nq", "Nkv", "Nkv")] + [of.shape(0)]
        )
    ),
    "MatMulPacked": _rule(_columns),
    "MultiHeadAttention": _rule(_multi_head),
    "PackedAttention": _rule(
        lambda of: [
            (
                of.shape(0)[0],
                (of.wholes("qkv_hidden_sizes") or [of.shape(1, 2)[1] // 3] * 3)[2],
            )
        ]
    ),
    "PackedMultiHeadAttention": _rule(lambda of: [(of.shape(0)[0], math.prod(of.shape(2)[1:]))]),
    "QAttention": _rule(lambda of: _attention(of, past=8)),
    "QEmbedLayerNormalization": _rule(_embedded),
    "QLinearConcat": _joined,
    "QLinearReduceMean": _rule(_reduced),
    "SwiGLU": _rule(lambda of: [(*of.shape(0)[:-1], of.shape(0)[-1] // 2)]),
    "TransposeMatMul": _rule(_matmul),
}
