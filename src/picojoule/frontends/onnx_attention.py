"""Attention of ONNX and onnxruntime, with its projections, and mixtures of experts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from picojoule.frontends.onnx_calls import Call, Converter, NotModelledError
from picojoule.frontends.products import (
    NotABatchError,
    ProblemError,
    attention_layers,
    expert_layers,
    layer_of,
)
from picojoule.workload import Layer, PerOperand

Shape = tuple[int, ...]


def _layers(
    call: Call, query: Shape, key: Shape, value: Shape, bits: PerOperand[int] | None = None
) -> list[Layer]:
    """Scores and their product with the values; shapes are [batch, heads, tokens, width]."""
    return attention_layers(
        call.name,
        query,
        key,
        value,
        batch=call.batch,
        bits=call.bits() if bits is None else bits,
    )


def _split(shape: Shape, heads: int) -> Shape:
    """[batch, tokens, width], or with heads already apart, as [batch, heads, tokens, width]."""
    if len(shape) == 4:
        return shape
    if len(shape) != 3 or heads < 1 or shape[2] % heads:
        raise ProblemError(f"an operand of shape {list(shape)} does not split into heads")
    return shape[0], heads, shape[1], shape[2] // heads


def _longer(shape: Shape, more: int) -> Shape:
    return (*shape[:2], shape[2] + more, shape[3])


def _past(call: Call, place: int, axis: int = 2) -> int:
    """How many earlier keys there are."""
    if not call.has(place):
        return 0
    shape = call.shape(place)
    if len(shape) != axis + 2:
        raise ProblemError(f"past keys of shape {list(shape)}")
    return shape[axis]


def _attention(call: Call) -> list[Layer]:
    """Attention (opset 23)."""
    heads = [call.attributes.whole(f"{of}_num_heads", 0) for of in ("q", "kv", "kv")]
    query, key, value = (
        _split(call.shape(place), count) for place, count in zip(range(3), heads, strict=True)
    )
    past = _past(call, 4)
    once = [_heads_once(call, place, shape) for place, shape in ((1, key), (2, value))]
    return _layers(call, query, _longer(once[0], past), _longer(once[1], past))


def _heads_once(call: Call, place: int, shape: Shape) -> Shape:
    """Keys or values without the heads that only repeat others."""
    factors = call.traced.copies.get(call.input(place))
    if factors is None or len(factors) != 4:
        return shape
    times = math.prod(length for length, repeats in factors[1] if repeats)
    return (shape[0], shape[1] // times, *shape[2:])


def _projected(
    call: Call, columns: int, rows: int, inner: int, what: str, *, place: int = 1
) -> Layer:
    """A projection with stored weights."""
    return layer_of(
        f"{call.name}.{what}",
        groups=1,
        rows=rows,
        inner=inner,
        columns=columns,
        stored=True,
        batch=call.batch,
        bits=call.bits(0, place),
        density=call.density(call.weight(place)),
    )


def _packed_sizes(call: Call, width: int) -> Sequence[int]:
    """Widths of queries, keys and values that one weight makes."""
    count = call.attributes.count("qkv_hidden_sizes")
    if count:
        return call.attributes.ints("qkv_hidden_sizes", 3, 0)
    if width % 3:
        raise ProblemError(f"{width} columns are not queries, keys and values")
    return [width // 3] * 3


def _self_attention(call: Call, *, past: int = 4) -> list[Layer]:
    """Attention of com.microsoft, QAttention: one weight makes queries, keys and values."""
    batch, tokens, inner = call.shape(0, 3)
    weight = call.shape(1, 2)
    if weight[0] != inner:
        raise ProblemError(f"an input of width {inner} with weights of {list(weight)}")
    heads = call.attributes.whole("num_heads", 0)
    sizes = _packed_sizes(call, weight[1])
    query, key, value = (_split((batch, tokens, size), heads) for size in sizes)
    earlier = _past(call, past, 3)
    return [
        _projected(call, weight[1], batch * tokens, inner, "qkv"),
        *_layers(
            call,
            query,
            _longer(key, earlier),
            _longer(value, earlier),
            PerOperand(*[call.output_bits()] * 3),
        ),
    ]


def _q_attention(call: Call) -> list[Layer]:
    return _self_attention(call, past=8)


def _packed_attention(call: Call) -> list[Layer]:
    """PackedAttention: the tokens of all sequences in a row, without padding."""
    tokens, inner = call.shape(0, 2)
    weight = call.shape(1, 2)
    batch, longest = call.shape(3, 2)
    sizes = _packed_sizes(call, weight[1])
    heads = call.attributes.whole("num_heads", 0)
    query, key, value = (_split((batch, longest, size), heads) for size in sizes)
    return [
        _projected(call, weight[1], tokens, inner, "qkv"),
        *_layers(call, query, key, value, PerOperand(*[call.output_bits()] * 3)),
    ]


def _packed_multi_head(call: Call) -> list[Layer]:
    heads = call.attributes.whole("num_heads", 0)
    batch, longest = call.shape(4, 2)
    shape = call.shape(0)
    query: Shape
    key: Shape
    value: Shape
    if len(shape) == 4:  # tokens, heads, 3, width
        query = key = value = (batch, heads, longest, shape[3])
    else:
        query, key, value = (
            _split((batch, longest, call.shape(place, 2)[1]), heads) for place in range(3)
        )
    return _layers(call, query, key, value, call.bits(0, 0))


def _multi_head(call: Call, *, past: int = 6) -> list[Layer]:
    """MultiHeadAttention: apart, keys and values packed, or all three."""
    heads = call.attributes.whole("num_heads", 0)
    shape = call.shape(0)
    query: Shape
    key: Shape
    value: Shape
    bits = call.bits(0, 1 if call.has(1) else 0)
    if len(shape) == 5:  # batch, tokens, heads, 3, width
        query = key = value = (shape[0], shape[2], shape[1], shape[4])
        earlier = _past(call, past)
        return _layers(call, query, _longer(key, earlier), _longer(value, earlier), bits)
    if len(shape) == 3 and not call.has(1):  # one token with all three beside each other
        width = shape[2] // 3
        query = key = value = _split((shape[0], shape[1], width), heads)
    else:
        query, key = _split(shape, heads), call.shape(1)
        if len(key) == 5:  # batch, tokens, heads, 2, width
            key = value = (key[0], key[2], key[1], key[4])
        elif call.has(2):
            key, value = _split(key, heads), _split(call.shape(2), heads)
        else:
            key = value = _split(key, heads)
    # Keys with their heads apart are those of another sequence, all there.
    whole = call.has(1) and len(call.shape(1)) == 4
    earlier = 0 if whole else _past(call, past)
    return _layers(call, query, _longer(key, earlier), _longer(value, earlier), bits)


def _masked_multi_head(call: Call) -> list[Layer]:
    return _multi_head(call, past=5)


def _grouped(call: Call) -> list[Layer]:
    """GroupQueryAttention: fewer heads have keys than queries, and earlier keys are at hand."""
    attributes = call.attributes
    heads, groups = attributes.whole("num_heads", 0), attributes.whole("kv_num_heads", 0)
    batch, tokens, width = call.shape(0, 3)
    if min(heads, groups) < 1:
        raise ProblemError(f"{heads} heads of queries on {groups} of keys")
    if call.has(1):
        query, keys = _split((batch, tokens, width), heads), call.shape(1)
        if len(keys) not in (3, 4):
            raise ProblemError(f"keys of shape {list(keys)}")
        new = keys[-2]
        size = query[3]
    else:  # queries, keys and values side by side
        if width % (heads + 2 * groups):
            raise ProblemError(f"{width} columns are not {heads} + 2 x {groups} heads")
        size = width // (heads + 2 * groups)
        query, new = (batch, heads, tokens, size), tokens
    total = new + _past(call, 3)
    total_length = call.traced.values.get(call.input(6)) if call.has(6) else None
    if total_length is not None and total_length.size == 1:
        total = int(total_length.reshape(()))
    window = attributes.whole("local_window_size", -1)
    if window > 0:
        total = min(total, window)
    cached = call.width(3) if call.has(3) else call.width(1 if call.has(1) else 0)
    width_of_cache = attributes.whole("kv_cache_bit_width", 0)
    if 0 < width_of_cache <= 16:
        cached = width_of_cache
    return _layers(
        call,
        query,
        (batch, groups, total, size),
        (batch, groups, total, size),
        PerOperand(call.width(0), cached, call.output_bits()),
    )


def _decoder(call: Call) -> list[Layer]:
    """DecoderAttention: tokens first; queries, and keys with values, each have a weight."""
    tokens, batch, inner = call.shape(0, 3)
    others = call.shape(1, 3)[0]
    heads = call.attributes.whole("num_heads", 0)
    columns, both = call.shape(2, 2)[1], call.shape(3, 2)[1]
    query = _split((batch, tokens, columns), heads)
    key = _split((batch, others, both // 2), heads)
    return [
        _projected(call, columns, batch * tokens, inner, "query", place=2),
        _projected(call, both, batch * others, inner, "key_value", place=3),
        *_layers(call, query, key, key, PerOperand(*[call.output_bits()] * 3)),
    ]


# -- mixtures of experts ---------------------------------------------------------------------------


def _experts(
    call: Call, places: Mapping[str, int], widths: Mapping[str, int] | None = None
) -> list[Layer]:
    """MoE, QMoE: each token goes through *k* experts, over which the load is shared evenly.

    Args:
        places: of each matrix among the inputs.
        widths: of the weights, of which a byte holds several; without, they are stored as they are.
    """
    shape = call.shape(0)
    if not shape:
        raise ProblemError("an input without dimensions")
    inner, chosen = shape[-1], call.attributes.whole("k", 1)
    rows = math.prod(shape[:-1]) * chosen
    if rows % call.batch:
        raise NotABatchError
    layers: list[Layer] = []
    call.traced.remark(f"{call.label}: tokens are shared evenly among the experts")
    for what, place in places.items():
        if not call.has(place):
            continue
        experts, columns, stored = call.shape(place, 3)
        bits = None if widths is None else widths[what]
        packed = 1 if bits is None else 8 // bits if bits in (2, 4, 8) else 0
        if not packed:
            raise NotModelledError(call.label)
        width = stored * packed
        layers += expert_layers(
            f"{call.name}.{what}",
            rows=rows,
            experts=experts,
            inner=width,
            columns=columns,
            batch=call.batch,
            bits=PerOperand(
                call.width(0), call.width(place) if bits is None else bits, call.output_bits()
            ),
            density=call.density(call.weight(place) if bits is None else None),
            scale_bits=PerOperand(
                0.0, 0.0 if bits is None else _expert_scales(call, what, place + 1, bits), 0.0
            ),
        )
    if layers and inner != layers[0].bounds.C:
        raise ProblemError(f"experts of {layers[0].bounds.C} inputs for {inner} features")
    return layers


def _moe(call: Call) -> list[Layer]:
    return _experts(call, {"fc1": 2, "fc2": 4, "fc3": 6})


def _qmoe(call: Call) -> list[Layer]:
    places = {"fc1": 2, "fc2": 5, "fc3": 8}
    kind, whole = call.attributes.word("quant_type", "int"), call.attributes.whole
    width = {"fp8": 8, "fp4": 4, "nvfp4": 4}.get(kind, whole("expert_weight_bits", 4))
    return _experts(
        call, places, {what: whole(f"{what}_expert_weight_bits", width) for what in places}
    )


_EXPERT_ZEROS = {"fc1": 11, "fc2": 12, "fc3": 13}


def _expert_scales(call: Call, what: str, place: int, bits: int) -> float:
    """Bits for each weight of an expert's scales and zero points, if it has them for blocks."""
    fixed = {"fp4": 32, "nvfp4": 16}.get(call.attributes.word("quant_type", "int"), 0)
    block = call.attributes.whole("block_size", fixed)
    if block < 1 or not call.has(place):
        return 0.0
    return (call.width(place) + bits * call.has(_EXPERT_ZEROS[what])) / block


CONVERTERS: Mapping[str, Converter] = {
    "Attention": _attention,
    "com.microsoft.Attention": _self_attention,
    "com.microsoft.DecoderAttention": _decoder,
    "com.microsoft.DecoderMaskedMultiHeadAttention": _masked_multi_head,
    "com.microsoft.DecoderMaskedSelfAttention": _self_attention,
    "com.microsoft.GroupQueryAttention": _grouped,
    "com.microsoft.MoE": _moe,
    "com.microsoft.MultiHeadAttention": _multi_head,
    "com.microsoft.PackedAttention": _packed_attention,
    "com.microsoft.PackedMultiHeadAttention": _packed_multi_head,
    "com.microsoft.QAttention": _q_attention,
    "com.microsoft.QMoE": _qmoe,
}
