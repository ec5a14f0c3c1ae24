"""Matrix products of ONNX and onnxruntime: of floats, of integers, of packed weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from onnx import TensorProto

from picojoule.frontends.contractions import Factor, einsum_layers
from picojoule.frontends.onnx_calls import Call, Converter, NotModelledError
from picojoule.frontends.onnx_foreign_shapes import matmul_shapes
from picojoule.frontends.onnx_views import without_copies
from picojoule.frontends.products import ProblemError, layer_of, product
from picojoule.workload import Layer, PerOperand

Shape = tuple[int, ...]


def _product(
    call: Call,
    left: Shape,
    right: Shape,
    *,
    places: tuple[int, int] = (0, 1),
    zero: int | None = None,
    output_zero: int | None = None,
    integer: bool = False,
) -> list[Layer]:
    """A product of two inputs, of which one may be stored, of the shapes MatMul would see."""
    weight = call.weight(places[1], zero, -1)
    bits = call.bits(*places, output_zero=output_zero, integer=integer)
    stored = "right" if weight is not None else None
    if weight is None:
        weight = call.weight(places[0])
        if weight is not None:
            stored = "left"
            bits = PerOperand(bits.weight, bits.input, bits.output)
        else:
            names = (call.input(places[0]), call.input(places[1]))
            left, right = without_copies(call.traced, *names, (left, right))
    return [
        product(
            call.name,
            left,
            right,
            stored=stored,
            batch=call.batch,
            bits=bits,
            density=call.density(weight),
        )
    ]


def _matmul(call: Call) -> list[Layer]:
    return _product(call, call.shape(0), call.shape(1))


def _matmul_integer(call: Call) -> list[Layer]:
    return _product(call, call.shape(0), call.shape(1), zero=3, integer=True)


def _integer_to_float(call: Call) -> list[Layer]:
    return _product(call, call.shape(0), call.shape(1), zero=5)


def _qlinear_matmul(call: Call) -> list[Layer]:
    return _product(
        call, call.shape(0), call.shape(3), places=(0, 3), zero=5, output_zero=7, integer=True
    )


def _ordered_matmul(call: Call) -> list[Layer]:
    return _product(call, call.shape(0), call.shape(2), places=(0, 2))


def _dynamically_quantised(call: Call) -> list[Layer]:
    """DynamicQuantizeMatMul: the input is quantised to 8 bits first."""
    (layer,) = _product(call, call.shape(0), call.shape(1), zero=3)
    return [replace(layer, bits=layer.bits._replace(input=8))]


def _fused_matmul(call: Call) -> list[Layer]:
    flags = [call.attributes.whole(name, 0) for name in ("transA", "transB")]
    flags += [call.attributes.whole(name, 0) for name in ("transBatchA", "transBatchB")]
    left, right = call.shape(0), call.shape(1)
    if not left or not right:
        raise ProblemError(f"shapes {list(left)} and {list(right)} cannot be multiplied")
    return _product(call, *matmul_shapes(left, right, flags))


def _gemm(
    call: Call,
    places: tuple[int, int] = (0, 1),
    zero: int | None = None,
    output_zero: int | None = None,
) -> list[Layer]:
    """Gemm; its bias and scale factors are not counted, as those of Conv are not."""
    shapes = []
    for place, flag in zip(places, ("transA", "transB"), strict=True):
        shape = call.shape(place)
        if len(shape) != 2:
            raise ProblemError(f"input {place} of shape {list(shape)} is not a matrix")
        shapes.append(shape[::-1] if call.attributes.whole(flag, 0) else shape)
    return _product(call, shapes[0], shapes[1], places=places, zero=zero, output_zero=output_zero)


def _qgemm(call: Call) -> list[Layer]:
    return _gemm(call, (0, 3), zero=5, output_zero=8)


def _packed(
    call: Call, columns: int, inner: int, bits: int, place: int = 1, scales: float = 0.0
) -> Layer:
    """A product with stored weights of which the file has the packed bytes.

    Args:
        scales: bits that scales and zero points of blocks add to each weight.
    """
    shape = call.shape(0)
    if not shape or shape[-1] != inner:
        raise ProblemError(f"an input of shape {list(shape)} with {inner} rows of weights")
    if not 1 <= bits <= 16:
        raise ProblemError(f"weights of {bits} bits")
    call.input(place)
    layer = product(
        call.name,
        shape,
        (inner, columns),
        stored="right",
        batch=call.batch,
        bits=PerOperand(call.width(0), bits, call.output_bits()),
    )
    return replace(layer, scale_bits=PerOperand(0.0, scales, 0.0))


def _per_weight(
    call: Call, inner: int, default: int, width: int, word: str = "block_size"
) -> float:
    """Bits for each of *inner* weights in a row of what its blocks have together.

    Args:
        default: weights of a block where the operator does not say it.
        width: bits of a block's scale, with those of its zero point.
        word: the attribute that says how many weights a block has.
    """
    block = call.attributes.whole(word, default)
    if block < 1 or inner < 1:
        raise ProblemError(f"blocks of {block} weights in rows of {inner}")
    return -(-inner // block) * width / inner  # the last block may not be full


def _scale_width(call: Call, place: int) -> int:
    return call.width(place) if call.has(place) else 16


def _n_bits_scales(call: Call, zero: int | None = None) -> float:
    """Scales of MatMulNBits and its zero points, the latter packed like the weights or floats."""
    bits, points = call.attributes.whole("bits", 4), 0
    if zero is not None and call.has(zero):
        packed = call.traced.element_type(call.input(zero)) == TensorProto.UINT8
        points = bits if packed else call.width(zero)
    inner = call.attributes.whole("K", 0)
    return _per_weight(call, inner, 32, _scale_width(call, 2) + points)


def _n_bits(call: Call) -> list[Layer]:
    """MatMulNBits: weights of 2 to 8 bits in blocks."""
    attributes = call.attributes
    scales = _n_bits_scales(call, zero=3)
    bits = attributes.whole("bits", 4)
    return [_packed(call, attributes.whole("N", 0), attributes.whole("K", 0), bits, scales=scales)]


def _bnb4(call: Call) -> list[Layer]:
    """MatMulBnb4: a largest value for each block of a flat list of weights."""
    attributes = call.attributes
    columns, inner = attributes.whole("N", 0), attributes.whole("K", 0)
    scales = _per_weight(call, columns * inner, 64, _scale_width(call, 2))
    return [_packed(call, columns, inner, 4, scales=scales)]


_FP_Q4_BLOCKS = {0: (32, 16), 1: (32, 24), 2: (64, 16), 4: (128, 16)}
"""blk_quant_type of MatMulFpQ4 -> weights of a block, bits of its scale and 8-bit zero point."""


def _fp_q4(call: Call) -> list[Layer]:
    shape = call.traced.values.get(call.input(2))
    block_type = _FP_Q4_BLOCKS.get(call.attributes.whole("blk_quant_type", 1))
    if shape is None or shape.size != 2 or block_type is None:
        raise NotModelledError(call.label)
    inner, columns = (int(size) for size in shape.reshape(-1))
    block, bits = block_type
    scales = -(-inner // block) * bits / inner if inner > 0 else 0.0
    return [_packed(call, columns, inner, 4, scales=scales)]


def _block_float(call: Call, bits: int, block: int) -> list[Layer]:
    """Weights of 8- or 4-bit floats, [N, K], two to a byte if they have 4."""
    data, shape = call.shape(0), call.shape(1)
    inner = data[-1] if data else 0
    columns = math.prod(shape) * (8 // bits) // inner if inner else 0
    if call.width(1) < 8:  # an element type of its own
        columns = math.prod(shape) // inner if inner else 0
    scales = _per_weight(call, inner, block, _scale_width(call, 2))
    return [_packed(call, columns, inner, bits, scales=scales)]


def _several(call: Call, parts: Mapping[str, tuple[int, int]]) -> list[Layer]:
    """Products of one input with several packed weights: name -> (columns, place)."""
    bits, inner = call.attributes.whole("bits", 4), call.attributes.whole("K", 0)
    layers = []
    for what, (columns, place) in parts.items():
        scales = _per_weight(call, inner, 32, _scale_width(call, place + 1))
        layer = _packed(call, columns, inner, bits, place, scales)
        layers.append(replace(layer, name=f"{call.name}.{what}"))
    return layers


def _n_bits_mlp(call: Call) -> list[Layer]:
    columns = call.attributes.whole("N", 0)
    return _several(call, {"gate": (columns, 3), "up": (columns, 6)})


def _n_bits_qkv(call: Call) -> list[Layer]:
    query, key = call.attributes.whole("Nq", 0), call.attributes.whole("Nkv", 0)
    return _several(call, {"query": (query, 3), "key": (key, 6), "value": (key, 9)})


def _n_bits_lora(call: Call) -> list[Layer]:
    attributes = call.attributes
    columns, inner = attributes.whole("N", 0), attributes.whole("K", 0)
    scales = _n_bits_scales(call)
    layers = [_packed(call, columns, inner, attributes.whole("bits", 4), scales=scales)]
    rank = min(call.shape(3, 2))
    bits = attributes.whole("lora_bits", call.width(3))
    rows = math.prod(call.shape(0)[:-1])
    parts = (("lora_a", inner, rank, 4), ("lora_b", rank, columns, 6))
    for what, left, right, place in parts:
        layer = layer_of(
            f"{call.name}.{what}",
            groups=1,
            rows=rows,
            inner=left,
            columns=right,
            stored=True,
            batch=call.batch,
            bits=layers[0].bits._replace(weight=bits),
        )
        scales = 0.0
        if call.has(place):
            scales = _per_weight(call, left, 32, call.width(place), "lora_block_size")
        layers.append(replace(layer, scale_bits=PerOperand(0.0, scales, 0.0)))
    return layers


def _matmul_packed(call: Call) -> list[Layer]:
    attributes = call.attributes
    bits = {"int4": 4, "fp4": 4, "mxfp4": 4, "nvfp4": 4}.get(attributes.word("packed_type", ""), 8)
    return [_packed(call, attributes.whole("N", 0), attributes.whole("K", 0), bits)]


def _einsum(call: Call) -> list[Layer]:
    """Einsum of any number of operands, by pairs from left to right."""
    count = len(call.node.input)
    if count < 2:
        return []  # sums, a diagonal, another order: nothing is multiplied
    factors = []
    for place in range(count):
        weight = call.weight(place)
        factors.append(
            Factor(
                call.shape(place),
                weight is not None,
                call.width(place),
                call.density(weight).weight,
            )
        )
    return einsum_layers(
        call.name,
        call.attributes.word("equation", ""),
        factors,
        output_bits=call.output_bits(),
        batch=call.batch,
    )


def _distances(call: Call) -> list[Layer]:
    """CDist: squared distances are a product of all pairs."""
    left, right = call.shape(0, 2), call.shape(1, 2)
    return _product(call, left, right[::-1])


def _affine_grid(call: Call) -> list[Layer]:
    """AffineGrid: every place of the output times a small matrix for each image."""
    theta = call.shape(0, 3)
    places = call.traced.shape(call.node.output[0]) if call.node.output else None
    if places is None:
        size = call.traced.values.get(call.input(1))
        if size is None:
            raise NotModelledError(call.label)
        places = (theta[0], *(int(x) for x in size.reshape(-1)[2:]), theta[1])
    right = (theta[0], theta[2], theta[1])
    return _product(call, (theta[0], math.prod(places[1:-1]), theta[2]), right, places=(0, 0))


def _linear_model(call: Call) -> list[Layer]:
    """LinearClassifier and LinearRegressor: the coefficients are an attribute."""
    shape = call.shape(0)
    if not shape:
        raise ProblemError("an input without dimensions")
    rows, features = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[-1])
    count = call.attributes.count("coefficients")
    if not features or count % features:
        raise ProblemError(f"{count} coefficients for {features} features")
    return [
        layer_of(
            call.name,
            groups=1,
            rows=rows,
            inner=features,
            columns=count // features,
            stored=True,
            batch=call.batch,
            bits=PerOperand(call.width(0), 16, call.output_bits()),
        )
    ]


CONVERTERS: Mapping[str, Converter] = {
    "AffineGrid": _affine_grid,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul_integer,
    "QLinearMatMul": _qlinear_matmul,
    "ai.onnx.ml.LinearClassifier": _linear_model,
    "ai.onnx.ml.LinearRegressor": _linear_model,
    "com.microsoft.CDist": _distances,
    "com.microsoft.DynamicQuantizeMatMul": _dynamically_quantised,
    "com.microsoft.FusedGemm": _gemm,
    "com.microsoft.FusedMatMul": _fused_matmul,
    "com.microsoft.FusedMatMulActivation": _fused_matmul,
    "com.microsoft.GemmFastGelu": _matmul,
    "com.microsoft.GemmFloat8": _gemm,
    "com.microsoft.MatMulBlockQuantizedFp4Weight": lambda call: _block_float(call, 4, 16),
    "com.microsoft.MatMulBlockQuantizedFp8Weight": lambda call: _block_float(call, 8, 128),
    "com.microsoft.MatMulBnb4": _bnb4,
    "com.microsoft.MatMulFpQ4": _fp_q4,
    "com.microsoft.MatMulInteger16": _matmul_integer,
    "com.microsoft.MatMulIntegerToFloat": _integer_to_float,
    "com.microsoft.MatMulNBits": _n_bits,
    "com.microsoft.MatMulNBitsMlp": _n_bits_mlp,
    "com.microsoft.MatMulNBitsQLoRA": _n_bits_lora,
    "com.microsoft.MatMulNBitsQkv": _n_bits_qkv,
    "com.microsoft.MatMulPacked": _matmul_packed,
    "com.microsoft.QGemm": _qgemm,
    "com.microsoft.QOrderedMatMul": _ordered_matmul,
    "com.microsoft.RouterGateUpProj": _matmul,
    "com.microsoft.SparseToDenseMatMul": _gemm,
    "com.microsoft.TransposeMatMul": _fused_matmul,
}
