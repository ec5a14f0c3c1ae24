"""The operators of PyTorch that multiply, each as the canonical layers it consists of.

Arguments go by the names of the operators' schemas, which the many forms of a convolution or of a
product share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from picojoule.frontends.aten_operators import words
from picojoule.frontends.contractions import Factor, einsum_layers
from picojoule.frontends.convolutions import (
    SpatialAxis,
    convolution_layers,
    shares_windows,
    transposed_layers,
)
from picojoule.frontends.products import (
    NotABatchError,
    ProblemError,
    attention_layers,
    expert_layers,
    layer_of,
)
from picojoule.frontends.torch_calls import Call, whole_numbers
from picojoule.frontends.torch_recurrence import RECURRENT_CONVERTERS
from picojoule.frontends.torch_scales import with_given_scales, with_packed_scales
from picojoule.workload import Layer, PerOperand

Converter = Callable[[Call], list[Layer]]


def _first(arguments: dict[str, Any], *names: str) -> Any:
    return next((arguments[name] for name in names if name in arguments), None)


# -- convolutions ------------------------------------------------------------------------------


def _convolution(call: Call) -> list[Layer]:
    arguments = call.arguments
    operands = _first(arguments, "input", "self"), arguments["weight"]
    data, weight = (call.shape(operand) for operand in operands)
    spatial = len(weight) - 2
    if len(data) == spatial + 1:  # an input without a batch dimension
        data = (1, *data)
    groups = int(arguments.get("groups", 1))
    if "depthwise" in call.op:
        groups = data[1]
    if data[0] % call.batch:
        raise NotABatchError
    transposed = bool(arguments.get("transposed", False)) or "transpose" in call.op
    axes = _axes(arguments, data[2:], weight[2:], transposed=transposed)
    make = transposed_layers if transposed else convolution_layers
    if not transposed and shares_windows(axes):
        call.tensors.remark(
            "a convolution along three axes reads again what windows along its third share"
        )
    return make(
        call.name,
        axes,
        in_channels=data[1],
        out_channels=weight[1] * groups if transposed else weight[0],
        groups=groups,
        batch=data[0],
        bits=call.bits(*operands),
        density=call.density(operands[1]),
        weight_is_activation=not call.tensors.is_stored(operands[1]),
    )


def _axes(
    arguments: dict[str, Any], sizes: Sequence[int], kernel: Sequence[int], *, transposed: bool
) -> list[SpatialAxis]:
    spatial = len(kernel)
    stride = whole_numbers(arguments.get("stride") or 1, spatial)
    dilation = whole_numbers(arguments.get("dilation", 1), spatial)
    padding = arguments.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":  # stride 1; the odd one goes to the end
        totals = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = [(pad, pad) for pad in whole_numbers(padding, spatial)]
    outer = whole_numbers(arguments.get("output_padding", 0) if transposed else 0, spatial)
    return [
        SpatialAxis(*axis)
        for axis in zip(sizes, kernel, stride, dilation, pads, outer, strict=True)
    ]


def _conv_tbc(call: Call) -> list[Layer]:
    arguments = call.arguments
    operands = arguments["self"], arguments["weight"]
    (steps, batch, channels), weight = (call.shape(operand) for operand in operands)
    if batch % call.batch:
        raise NotABatchError
    return convolution_layers(
        call.name,
        [SpatialAxis(steps, weight[0], padding=(arguments.get("pad", 0),) * 2)],
        in_channels=channels,
        out_channels=weight[2],
        groups=1,
        batch=batch,
        bits=call.bits(*operands),
        density=call.density(operands[1]),
        weight_is_activation=not call.tensors.is_stored(operands[1]),
    )


def _deformed(call: Call) -> list[Layer]:
    """torchvision's: where its taps lie depends on data, how many there are does not."""
    arguments = call.arguments
    operands = arguments["input"], arguments["weight"]
    data, weight = (call.shape(operand) for operand in operands)
    if data[0] % call.batch:
        raise NotABatchError
    axes = [
        SpatialAxis(size, kernel, arguments[f"stride_{a}"], arguments[f"dilation_{a}"], (pad, pad))
        for size, kernel, a, pad in zip(
            data[2:], weight[2:], "hw", (arguments["pad_h"], arguments["pad_w"]), strict=True
        )
    ]
    return convolution_layers(
        call.name,
        axes,
        in_channels=data[1],
        out_channels=weight[0],
        groups=arguments["groups"],
        batch=data[0],
        bits=call.bits(*operands),
        density=call.density(operands[1]),
        weight_is_activation=not call.tensors.is_stored(operands[1]),
    )


# -- products of two operands ------------------------------------------------------------------


def _linear(call: Call) -> list[Layer]:
    """The weight is stored as [outputs, inputs]."""
    arguments = call.arguments
    data, weight = _first(arguments, "input", "self"), _first(arguments, "weight", "mat2")
    shape = call.shape(weight)
    right = shape[::-1] if len(shape) == 2 else shape
    return [call.product(data, weight, right_shape=right)]


def _matmul(call: Call) -> list[Layer]:
    return [call.product(call.node.args[0], call.node.args[1])]


def _addmm(call: Call) -> list[Layer]:
    """The sum with the first argument is not counted."""
    return [call.product(call.node.args[1], call.node.args[2])]


def _einsum_of(call: Call, equation: str, operands: Sequence[object]) -> list[Layer]:
    return _contracted(call, equation, [call.factor(operand) for operand in operands])


def _contracted(
    call: Call, equation: str, factors: Sequence[Factor], path: Sequence[int] | None = None
) -> list[Layer]:
    return einsum_layers(
        call.name,
        equation,
        factors,
        output_bits=call.tensors.output_bits(call.node),
        batch=call.batch,
        path=path,
    )


def _addbmm(call: Call) -> list[Layer]:
    return _einsum_of(call, "bnm,bmp->np", call.node.args[1:3])


def _einsum(call: Call) -> list[Layer]:
    arguments = call.arguments
    factors = [call.factor(operand) for operand in arguments["tensors"]]
    return _contracted(call, arguments["equation"], factors, arguments.get("path"))


def _inner(call: Call) -> list[Layer]:
    left, right = call.node.args[:2]
    if not call.shape(left) or not call.shape(right):
        return []
    ranks = len(call.shape(left)) - 1, len(call.shape(right)) - 1
    ours, theirs = _LETTERS[: ranks[0]], _LETTERS[ranks[0] : sum(ranks)]
    return _einsum_of(call, f"{ours}Z,{theirs}Z->{ours}{theirs}", (left, right))


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"


def _tensordot(call: Call) -> list[Layer]:
    arguments = call.arguments
    left, right = arguments["self"], arguments["other"]
    ours = list(_LETTERS[: len(call.shape(left))])
    theirs = list(_LETTERS[len(ours) : len(ours) + len(call.shape(right))])
    for mine, other in zip(arguments["dims_self"], arguments["dims_other"], strict=True):
        theirs[other] = ours[mine]
    kept = [letter for letter in ours + theirs if (letter in ours) != (letter in theirs)]
    return _einsum_of(call, f"{''.join(ours)},{''.join(theirs)}->{''.join(kept)}", (left, right))


def _pairs_along(call: Call) -> list[Layer]:
    """linalg_vecdot, cosine_similarity: vectors along one dimension, pair by pair."""
    arguments = call.arguments
    left, right = _first(arguments, "x", "x1"), _first(arguments, "y", "x2")
    shapes = [call.shape(left), call.shape(right)]
    rank = max(len(shape) for shape in shapes)
    dim = arguments.get("dim", 1 if call.op == "cosine_similarity" else -1)
    letters = list(_LETTERS[:rank])
    terms = ["".join(letters[rank - len(shape) :]) for shape in shapes]
    kept = "".join(letters[:dim] + letters[dim:][1:])
    return _einsum_of(call, f"{terms[0]},{terms[1]}->{kept}", (left, right))


def _distances(call: Call) -> list[Layer]:
    """cdist: a product of every pair of rows."""
    left, right = call.node.args[:2]
    shape = call.shape(right)
    return [call.product(left, right, right_shape=(*shape[:-2], shape[-1], shape[-2]))]


def _distances_within(call: Call) -> list[Layer]:
    """pdist: each pair of rows once."""
    rows, width = call.shape(call.node.args[0])
    return [
        layer_of(
            call.name,
            groups=rows * (rows - 1) // 2,
            rows=1,
            inner=width,
            columns=1,
            stored=False,
            batch=1,
            bits=call.bits(call.node.args[0], call.node.args[0]),
        )
    ]


def _bilinear(call: Call) -> list[Layer]:
    """All products of two inputs, element by element, times the weights."""
    first, _, weight = call.node.args[:3]
    outputs, ours, theirs = call.shape(weight)
    pairs = math.prod(call.shape(first)[:-1])
    factors = [
        Factor((pairs, ours * theirs), stored=False, bits=call.tensors.bits(first)),
        Factor(
            (outputs, ours * theirs),
            call.tensors.is_stored(weight),
            call.tensors.bits(weight),
            call.tensors.density(weight),
        ),
    ]
    return _contracted(call, "bi,oi->bo", factors)


# -- chains of products ------------------------------------------------------------------------


def _chain(call: Call) -> list[Layer]:
    """multi_dot, chain_matmul: in the order that needs the fewest products, as PyTorch does."""
    operands = _first(call.arguments, "tensors", "matrices")
    factors = [call.factor(operand) for operand in operands]
    if len(factors) < 2:
        return []
    vectors = len(factors[0].shape) == 1, len(factors[-1].shape) == 1
    sizes = [1 if vectors[0] else factors[0].shape[0]]
    sizes += [
        1 if len(factor.shape) == 1 and at else factor.shape[-1]
        for at, factor in enumerate(factors)
    ]
    names = list(_LETTERS[: len(sizes)])
    terms = [a + b for a, b in pairwise(names)]
    shaped = [
        Factor((a, b), factor.stored, factor.bits, factor.density)
        for factor, a, b in zip(factors, sizes[:-1], sizes[1:], strict=True)
    ]
    path = _cheapest_path(sizes)
    return _contracted(call, f"{','.join(terms)}->{names[0]}{names[-1]}", shaped, path)


def _cheapest_path(sizes: Sequence[int]) -> list[int]:
    """Pairs of positions, results at the end, of the cheapest order of a chain of matrices."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            choices = [
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i, j], split[i, j] = min(choices)
    waiting: list[tuple[int, int]] = [(i, i) for i in range(count)]
    path: list[int] = []

    def multiply(i: int, j: int) -> None:
        if i == j:
            return
        k = split[i, j]
        multiply(i, k)
        multiply(k + 1, j)
        pair = waiting.index((i, k)), waiting.index((k + 1, j))
        path.extend(pair)
        for position in sorted(pair, reverse=True):
            del waiting[position]
        waiting.append((i, j))

    multiply(0, count - 1)
    return path


def _matrix_power(call: Call) -> list[Layer]:
    """By squaring."""
    matrix, power = call.node.args[0], call.node.args[1]
    if not isinstance(power, int) or power < 0:
        raise ProblemError(f"a matrix to the power of {power}")
    squarings = max(0, power.bit_length() - 1)
    factors = max(0, power.bit_count() - 1)
    return [
        call.product(matrix, matrix, name=f"{call.name}[{i}]") for i in range(squarings + factors)
    ]


# -- quantised, packed and sparse products -----------------------------------------------------


def _packed(bits: int | None = None, density: float | None = None) -> Converter:
    """A product with a weight whose rows and columns are not those it is stored in.

    Args:
        bits, density: of the weight, by the operator's definition.
    """

    def convert(call: Call) -> list[Layer]:
        data, weight = call.node.args[:2]
        shape = call.shape(data)
        width = call.bits(data, weight)
        if bits is not None:
            width = width._replace(weight=bits)
        dense = call.density(weight)
        layer = layer_of(
            call.name,
            groups=1,
            rows=math.prod(shape[:-1]),
            inner=shape[-1],
            columns=call.shape(call.node)[-1],
            stored=True,
            batch=call.batch,
            bits=width,
            density=dense._replace(weight=dense.weight if density is None else density),
        )
        return [with_packed_scales(call, layer)]

    return convert


def _semi_structured(call: Call) -> list[Layer]:
    """2:4: half of each row's values are stored."""
    arguments = call.arguments
    sparse, dense = _first(arguments, "mat1", "compressed_A"), _first(arguments, "mat2", "dense_B")
    inner, columns = call.shape(dense)
    bits = call.bits(dense, sparse)
    return [
        layer_of(
            call.name,
            groups=1,
            rows=columns,
            inner=inner,
            columns=math.prod(call.shape(call.node)) // columns,
            stored=True,
            batch=call.batch,
            bits=bits,
            density=call.density(None)._replace(weight=0.5),
        )
    ]


def _grouped(call: Call) -> list[Layer]:
    """_grouped_mm: rows (or columns, or the inner dimension) are shared out over matrices."""
    left, right = call.node.args[:2]
    ours, theirs = call.shape(left), call.shape(right)
    if len(ours) == 3 and len(theirs) == 3:
        return [call.product(left, right)]
    stored = call.tensors.is_stored(right)
    bits = call.bits(left, right)
    groups = theirs[0] if len(theirs) == 3 else ours[0] if len(ours) == 3 else 0
    call.tensors.remark("how rows are shared out over grouped products depends on data: evenly")
    if not groups:  # the inner dimension is cut into pieces
        return [call.product(left, right)]
    rows = ours[0] if len(ours) == 2 else theirs[1]
    if len(ours) == 3:
        stored, bits = (
            call.tensors.is_stored(left),
            PerOperand(bits.weight, bits.input, bits.output),
        )
    return expert_layers(
        call.name,
        rows=rows,
        experts=groups,
        inner=ours[-1],
        columns=theirs[-1] if len(ours) == 2 else ours[1],
        stored=stored,
        batch=1 if not stored else call.batch,
        bits=bits,
        density=call.density(right if len(ours) == 2 else left),
    )


# -- attention ---------------------------------------------------------------------------------


def _attention(call: Call) -> list[Layer]:
    query, key, value = call.node.args[:3]
    shapes = [call.shape(operand) for operand in (query, key, value)]
    times = call.tensors.repeats(key)
    if times > 1 and times == call.tensors.repeats(value):
        shapes[1:] = [(*x[:-3], x[-3] // times, *x[-2:]) for x in shapes[1:]]
    return attention_layers(call.name, *shapes, batch=call.batch, bits=call.bits(query, key))


def _attention_by_position(call: Call) -> list[Layer]:
    """Kernels whose operands are [batch, positions, heads, width]."""
    query, key, value = call.node.args[:3]
    shapes = [call.shape(operand) for operand in (query, key, value)]
    if any(len(shape) != 4 for shape in shapes):
        raise ProblemError("attention of packed sequences")
    turned = [(batch, heads, rows, width) for batch, rows, heads, width in shapes]
    return attention_layers(call.name, *turned, batch=call.batch, bits=call.bits(query, key))


def _fused_attention(call: Call) -> list[Layer]:
    """_native_multi_head_attention: projections included."""
    arguments = call.arguments
    data = arguments["query"]
    return _self_attention(
        call,
        data,
        arguments["qkv_weight"],
        arguments["proj_weight"],
        arguments["num_head"],
        call.name,
    )


def _self_attention(
    call: Call, data: object, inward: object, outward: object, heads: int, name: str
) -> list[Layer]:
    batch, rows, width = call.shape(data)
    head = (batch, heads, rows, width // heads)
    scores = attention_layers(name, head, head, head, batch=call.batch, bits=call.bits(data, data))
    return [
        call.product(data, inward, None, call.shape(inward)[::-1], name=f"{name}.in_proj"),
        *scores,
        call.product(data, outward, None, call.shape(outward)[::-1], name=f"{name}.out_proj"),
    ]


def _encoder_layer(call: Call) -> list[Layer]:
    """_transformer_encoder_layer_fwd: what a frozen nn.TransformerEncoderLayer becomes."""
    arguments = call.arguments
    data, first, second = arguments["src"], arguments["ffn_weight_1"], arguments["ffn_weight_2"]
    inner = (*call.shape(data)[:-1], call.shape(first)[0])
    prefix = f"{call.name}." if call.name else ""
    return [
        *_self_attention(
            call,
            data,
            arguments["qkv_weight"],
            arguments["proj_weight"],
            arguments["num_heads"],
            f"{prefix}self_attn",
        ),
        call.product(data, first, None, call.shape(first)[::-1], name=f"{prefix}linear1"),
        call.product(data, second, inner, call.shape(second)[::-1], name=f"{prefix}linear2"),
    ]


CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(
        words("""
        conv1d conv2d conv3d convolution _convolution _convolution_mode convolution_overrideable
        conv_depthwise3d _conv_depthwise2d slow_conv3d slow_conv3d_forward slow_conv_dilated2d
        slow_conv_dilated3d thnn_conv2d _slow_conv2d_forward _nnpack_spatial_convolution
        cudnn_convolution cudnn_convolution_relu cudnn_convolution_add_relu miopen_convolution
        miopen_convolution_relu miopen_convolution_add_relu miopen_depthwise_convolution
        mkldnn_convolution _mps_convolution conv_transpose1d conv_transpose2d conv_transpose3d
        slow_conv_transpose2d slow_conv_transpose3d cudnn_convolution_transpose
        miopen_convolution_transpose _mps_convolution_transpose
        """),
        _convolution,
    ),
    "conv_tbc": _conv_tbc,
    "torchvision.deform_conv2d": _deformed,
    **dict.fromkeys(["linear", "mkldnn_linear", "_weight_int8pack_mm"], _linear),
    **dict.fromkeys(
        words("""
        mm bmm matmul linalg_matmul mv dot vdot _int_mm _sparse_mm smm hspmm
        _sparse_sparse_matmul _sparse_mm_reduce_impl
        """),
        _matmul,
    ),
    **dict.fromkeys(
        ["_scaled_mm", "_scaled_mm_v2"], lambda call: [with_given_scales(call, *_matmul(call))]
    ),
    **dict.fromkeys(
        words("addmm addmv baddbmm _addmm_activation _sparse_addmm sparse_sampled_addmm sspaddmm"),
        _addmm,
    ),
    "addbmm": _addbmm,
    "einsum": _einsum,
    "tensordot": _tensordot,
    "inner": _inner,
    "linalg_vecdot": _pairs_along,
    "cosine_similarity": _pairs_along,
    **dict.fromkeys(["cdist", "_cdist_forward", "_euclidean_dist"], _distances),
    **dict.fromkeys(["pdist", "_pdist_forward"], _distances_within),
    "bilinear": _bilinear,
    **dict.fromkeys(["chain_matmul", "linalg_multi_dot"], _chain),
    **dict.fromkeys(["matrix_power", "linalg_matrix_power"], _matrix_power),
    **dict.fromkeys(
        words("""
        _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros
        _dyn_quant_matmul_4bit
        """),
        _packed(bits=4, density=1.0),
    ),
    "_mixed_dtypes_linear": _packed(),
    "_sparse_semi_structured_linear": _packed(density=0.5),
    **dict.fromkeys(
        ["_sparse_semi_structured_mm", "_sparse_semi_structured_addmm", "_cslt_sparse_mm"],
        _semi_structured,
    ),
    **dict.fromkeys(
        words(
            "_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2 transformers.grouped_mm_fallback"
        ),
        _grouped,
    ),
    **dict.fromkeys(
        words("""
        scaled_dot_product_attention _scaled_dot_product_attention_math
        _scaled_dot_product_attention_math_for_mps _scaled_dot_product_flash_attention
        _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention
        _scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable
        _cudnn_attention_forward flex_attention
        """),
        _attention,
    ),
    **dict.fromkeys(
        words("""
        _flash_attention_forward _flash_attention_forward_no_dropout_inplace
        _efficient_attention_forward
        """),
        _attention_by_position,
    ),
    "_native_multi_head_attention": _fused_attention,
    "_transformer_encoder_layer_fwd": _encoder_layer,
    **RECURRENT_CONVERTERS,
}
"""Operator -> the function that reads it into layers."""

COMPOSED = frozenset(
    [*RECURRENT_CONVERTERS, "_native_multi_head_attention", "_transformer_encoder_layer_fwd"]
)
"""Operators with more than one weight: their layers are named by the module."""
