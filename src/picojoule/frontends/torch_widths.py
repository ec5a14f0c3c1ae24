"""Widths of the values of a quantised program: read off its quantisers, whatever tool wrote them.

A value has the width to which it was quantised as long as operators only move it or choose among
values; what is computed has that of its type again, until it is quantised on its way.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from picojoule.frontends.aten_operators import family, words

FLOAT_BITS = 16  # as for ONNX: floats of training are estimated at the field's 16 bits

_BITS = {
    torch.bool: 8,
    torch.int8: 8,
    torch.uint8: 8,
    torch.qint8: 8,
    torch.quint8: 8,
    torch.int16: 16,
    torch.uint16: 16,
    torch.int32: 32,
    torch.qint32: 32,
    torch.uint32: 32,
    torch.int64: 64,
    torch.uint64: 64,
    torch.float8_e4m3fn: 8,
    torch.float8_e5m2: 8,
    torch.float8_e4m3fnuz: 8,
    torch.float8_e5m2fnuz: 8,
    torch.float8_e8m0fnu: 8,
    torch.float4_e2m1fn_x2: 4,
    torch.quint4x2: 4,
    torch.quint2x4: 2,
}

_MOVES = words(
    """
alias amax as_strided cat chunk clone concat concatenate contiguous detach dropout expand
expand_as flatten flip gather hardtanh index index_select lift_fresh max_pool1d max_pool2d
max_pool2d_with_indices max_pool3d max_pool3d_with_indices adaptive_max_pool2d max movedim narrow
pad constant_pad_nd permute pixel_shuffle pixel_unshuffle relu relu6 repeat repeat_interleave
reshape roll select slice split split_with_sizes squeeze stack swapaxes t tile transpose
tensor_split unbind unflatten unfold unsqueeze upsample_nearest1d upsample_nearest2d
upsample_nearest3d
view view_as _unsafe_view _to to type_as convert_element_type clamp clamp_min clamp_max
masked_fill where threshold reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
broadcast_to channel_shuffle native_channel_shuffle
"""
)
"""Operators whose values are values of their input, or 0, or a bound."""

_BY_LARGEST = frozenset(["cat", "concat", "concatenate", "stack", "where"])

_AFTER = _MOVES | words(
    "add sub mul div hardswish silu sigmoid leaky_relu elu gelu tanh hardsigmoid mish prelu "
    "batch_norm native_batch_norm _native_batch_norm_legit_no_training softmax clip mean "
    "avg_pool2d adaptive_avg_pool2d"
)
"""Operators that a layer's output goes through in the pipeline before it is stored."""


def dtype_bits(dtype: torch.dtype) -> int:
    """Width of an element of a type; floats of training count as 16."""
    return _BITS.get(dtype, FLOAT_BITS)


def held_bits(node: fx.Node, held: Mapping[fx.Node, int], *, stored: bool) -> int | None:
    """Width of a node's values if they were quantised, from the widths of its inputs.

    Args:
        stored: the node is computed from stored tensors only. Its width is then that in which they
            are stored: arithmetic that makes a float of them is done where they are used.
    """
    name, namespace = _name(node)
    if name.startswith(("dequantize", "quantize", "fake_quant", "_fake_quantize", "fused_moving")):
        width = _quantiser_bits(node, name)
        if width is not None:
            return width
    sources = [source for source in node.all_input_nodes if _is_large(source, node)]
    if name in ("clamp", "clip", "hardtanh"):
        rounded = _clamped_levels(node)
        if rounded is not None:
            return rounded
    if stored:
        return _stored_bits(node, sources, held)
    if node.target is operator.getitem:
        return held.get(node.all_input_nodes[0])
    if namespace not in ("aten", "prims"):
        return None
    if name in _MOVES:
        widths = [held.get(source) for source in sources]
        if name == "index":
            widths = widths[:1]
        if not widths or any(width is None for width in widths):
            return None
        return max(width for width in widths if width is not None)
    if name in ("mul", "div", "sub", "add") and len(sources) == 1 and _is_levels(sources[0]):
        return held.get(sources[0])  # back from levels to values: scale and zero point
    return None


def block_scale_bits(
    node: fx.Node, scale_bits: Mapping[fx.Node, float], held: Mapping[fx.Node, int], *, stored: bool
) -> float:
    """Bits that scales and zero points of blocks add to each of a node's values; 0 if it has none.

    Scales of a whole tensor or channel are not counted: there are hardly any.

    Args:
        scale_bits: of the nodes before.
        held: widths of quantised values.
        stored: the node is computed from stored tensors only.
    """
    name, namespace = _name(node)
    sources = [source for source in node.all_input_nodes if _is_large(source, node)]
    if not _elements(node):
        return 0.0
    if name.startswith("dequantize"):
        arguments = _arguments(node)
        scales, zeros = (
            arguments.get(f"{word}s", arguments.get(word)) for word in ("scale", "zero_point")
        )
        if not isinstance(scales, fx.Node) or not _is_of_blocks(scales):
            return 0.0
        # Scales of the rows of an input are one for each, however many dimensions count them.
        if not stored and _elements(scales) <= _rows(node):
            return 0.0
        bits = _bits_of(scales) * _elements(scales)
        if isinstance(zeros, fx.Node):
            bits += held.get(node, FLOAT_BITS) * _elements(zeros)
        return bits / _elements(node)
    if stored:
        others = [source for source in node.all_input_nodes if source not in sources]
        if any(map(_is_of_blocks, others)) or len(sources) > 1 or not scale_bits.keys() & sources:
            return _unpacked_scale_bits(node, held)
        return scale_bits.get(sources[0], 0.0)
    if node.target is operator.getitem or (namespace in ("aten", "prims") and name in _MOVES):
        return max((scale_bits.get(source, 0.0) for source in sources), default=0.0)
    return 0.0


def _unpacked_scale_bits(node: fx.Node, held: Mapping[fx.Node, int]) -> float:
    """What the stored tensors beside the levels add to values that are unpacked from them."""
    if node not in held:
        return 0.0
    leaves = sorted(_leaves(node), key=lambda leaf: _elements(leaf) * _bits_of(leaf))
    beside = [leaf for leaf in leaves[:-1] if _is_of_blocks(leaf)]
    blocks = max((_elements(leaf) for leaf in beside if not _is_whole(leaf)), default=0)
    total = 0
    for leaf in beside:
        # A zero point for each scale is no wider than what it is a zero of.
        single = _is_whole(leaf) and _elements(leaf) == blocks
        total += _elements(leaf) * (held[node] if single else _bits_of(leaf))
    return total / _elements(node)


def _leaves(node: fx.Node) -> set[fx.Node]:
    """The tensors that a node is computed from in the end."""
    leaves, seen, waiting = set(), {node}, [node]
    while waiting:
        current = waiting.pop()
        if current.op in ("placeholder", "get_attr"):
            leaves.add(current)
        new = [source for source in current.all_input_nodes if source not in seen]
        seen.update(new)
        waiting += new
    return leaves


def _is_of_blocks(node: fx.Node) -> bool:
    """Whether there are several of something along two dimensions."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return False
    return sum(not isinstance(size, int) or size > 1 for size in value.shape) > 1


def _is_whole(node: fx.Node) -> bool:
    value: torch.Tensor = node.meta["val"]
    return not value.dtype.is_floating_point


def _bits_of(node: fx.Node) -> int:
    value = node.meta.get("val")
    return dtype_bits(value.dtype) if isinstance(value, torch.Tensor) else FLOAT_BITS


def _rows(node: fx.Node) -> int:
    value = node.meta.get("val")
    last = value.shape[-1] if isinstance(value, torch.Tensor) and value.ndim else 1
    return _elements(node) // last if isinstance(last, int) and last else 0


def wanted_bits(node: fx.Node) -> int | None:
    """Width to which a node's values are quantised before anything else uses them."""
    for _ in range(8):
        users = [user for user in node.users if user.op == "call_function"]
        widths = {_quantised_by(user) for user in users}
        if len(widths) == 1 and None not in widths:
            return widths.pop()
        if len(users) != 1:
            return None
        name, _namespace = _name(users[0])
        if name not in _AFTER and users[0].target is not operator.getitem:
            return None
        node = users[0]
    return None


def _quantised_by(user: fx.Node) -> int | None:
    name, _namespace = _name(user)
    if name.startswith(("quantize", "fake_quant", "_fake_quantize", "fused_moving")):
        return _quantiser_bits(user, name)
    return None


def _quantiser_bits(node: fx.Node, name: str) -> int | None:
    """Width of the levels of a quantiser, by its range or by its type."""
    arguments = _arguments(node)
    low = arguments.get("quant_min", arguments.get("qmin"))
    high = arguments.get("quant_max", arguments.get("qmax"))
    if isinstance(low, int) and isinstance(high, int) and high > low:
        return max(1, math.ceil(math.log2(high - low + 1)))
    types = [value for value in arguments.values() if isinstance(value, torch.dtype)]
    if name.startswith("dequantize"):
        source = node.all_input_nodes[0].meta.get("val") if node.all_input_nodes else None
        return _BITS.get(source.dtype) if isinstance(source, torch.Tensor) else None
    for kind in types:
        if kind in _BITS:
            return _BITS[kind]
    return None


def _stored_bits(node: fx.Node, sources: list[fx.Node], held: Mapping[fx.Node, int]) -> int | None:
    """Width of what is computed from stored tensors: that of the integers it is unpacked from."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return held.get(sources[0]) if sources else None
    widths = [(_packed_bits(source, held), _elements(source)) for source in sources]
    packed = [(width, elements) for width, elements in widths if width is not None]
    if not packed or _elements(node) == 0:
        return None
    width, elements = max(packed, key=lambda pair: pair[0] * pair[1])
    whole = any(
        width is None and _distinct(source) == _elements(node)
        for source, (width, _) in zip(sources, widths, strict=True)
    )
    name, _namespace = _name(node)
    if whole and name in ("mul", "where", "add", "sub"):
        return None  # a float tensor under a mask
    bits = max(1, min(width, math.ceil(width * elements / _elements(node))))
    return bits if bits <= FLOAT_BITS else None  # positions and indices, not quantised values


def _packed_bits(source: fx.Node, held: Mapping[fx.Node, int]) -> int | None:
    if source in held:
        return held[source]
    value = source.meta.get("val")
    if isinstance(value, torch.Tensor) and value.dtype is not torch.bool:
        return _BITS.get(value.dtype)
    return None


def _is_large(source: fx.Node, node: fx.Node) -> bool:
    """Whether *source* is the operand itself and not a scale, a zero point or an index of it."""
    ours, theirs = _elements(source), _elements(node)
    return theirs == 0 or (ours * 16 >= theirs and ours > (theirs > 1))  # 2 bits: packed by 16


_SPREADS = words(
    "view reshape expand repeat repeat_interleave unsqueeze to _to clone contiguous index "
    "index_select transpose permute t"
)


def _distinct(node: fx.Node) -> int:
    """Elements of a tensor before it was spread: scales stand for many values each."""
    least = _elements(node)
    while _name(node)[0] in _SPREADS and node.all_input_nodes:
        node = node.all_input_nodes[0]
        least = min(least, _elements(node))
    return least


def _elements(node: fx.Node) -> int:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        value = next((each for each in value if isinstance(each, torch.Tensor)), None)
    if not isinstance(value, torch.Tensor):
        return 0
    return math.prod(size if isinstance(size, int) else 1 for size in value.shape)


def _is_levels(node: fx.Node) -> bool:
    """Whether values are whole numbers between bounds, or such with a zero point."""
    for _ in range(3):
        name, _namespace = _name(node)
        if name in ("clamp", "clip", "hardtanh"):
            return _clamped_levels(node) is not None
        if name not in ("add", "sub", "mul", "div") or not node.all_input_nodes:
            return False
        node = node.all_input_nodes[0]
    return False


def _clamped_levels(node: fx.Node) -> int | None:
    """Width of ``clamp(round(x / scale) + zero point, low, high)``."""
    arguments = _arguments(node)
    low = arguments.get("min", arguments.get("min_val"))
    high = arguments.get("max", arguments.get("max_val"))
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or high <= low:
        return None
    source = node.all_input_nodes[0]
    for _ in range(3):
        name, _namespace = _name(source)
        if name == "round":
            return max(1, math.ceil(math.log2(high - low + 1)))
        if name not in ("add", "sub", "detach", "alias") or not source.all_input_nodes:
            return None
        source = source.all_input_nodes[0]
    return None


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    names = [] if schema is None else [argument.name for argument in schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _name(node: fx.Node) -> tuple[str, str]:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return "", ""
    namespace, _, name = str(schema.name).partition("::")
    return family(name), namespace
