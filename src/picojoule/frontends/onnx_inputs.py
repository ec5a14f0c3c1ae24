"""The inputs of an ONNX graph: the sizes of their dimensions, and those that are weights."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator, Mapping, Sequence

from onnx import GraphProto, NodeProto, TypeProto, ValueInfoProto

from picojoule.errors import did_you_mean
from picojoule.frontends.onnx_shapes import Traced, label_of, shape_of
from picojoule.frontends.onnx_tensors import Constant
from picojoule.frontends.source_file import Findings, shortened

SEQUENCE_NAME = re.compile(r"seq|len|time|step|token|frame|past|ctx|context|^t$", re.IGNORECASE)
BATCH_NAME = re.compile(r"batch|^n$|^b$|^bs$|sample|image", re.IGNORECASE)
_WEIGHT_NAME = re.compile(r"(weights?|kernel)(_quantized)?([._:/]?\d*)$", re.IGNORECASE)

# Where operators that nothing else than weights is given to have them.
_WEIGHT_PLACES: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvInteger": (1,),
    "ConvTranspose": (1,),
    "GRU": (1, 2),
    "LSTM": (1, 2),
    "QLinearConv": (3,),
    "RNN": (1, 2),
    "com.microsoft.FusedConv": (1,),
    "com.microsoft.MatMulNBits": (1,),
}


def weights_among_inputs(graph: GraphProto, traced: Traced) -> list[str]:
    """Take the inputs that are weights without values for constants; return their names.

    They are where only weights are given, or called weights, and have all of their sizes.
    """
    placed = {
        node.input[place]
        for node in graph.node
        for place in _WEIGHT_PLACES.get(label_of(node), ())
        if place < len(node.input)
    }
    weights = []
    for info in graph.input:
        shape = shape_of(info.type)
        if info.name in traced.constants or shape is None or len(shape) < 2 or 0 in shape:
            continue
        if info.name in placed or _WEIGHT_NAME.search(info.name):
            kind = info.type.tensor_type.elem_type
            traced.constants[info.name] = Constant(shape, kind)
            traced.types[info.name] = info.type
            weights.append(info.name)
    return weights


def bind_inputs(
    graph: GraphProto, traced: Traced, dims: Mapping[str, int], findings: Findings
) -> dict[str, int]:
    """Give every dimension of the inputs a size: an unknown first one is the batch, 1.

    Args:
        dims: sizes by the names of dimensions, or by place (``"x[1]"``).

    Returns:
        The sizes of named dimensions.
    """
    inputs = [info for info in graph.input if info.name not in traced.constants]
    bound, used, names = _named_sizes(inputs, dims)
    for place, info in enumerate(inputs):
        kind = TypeProto()
        kind.CopyFrom(info.type)
        for axis, dim in enumerate(kind.tensor_type.shape.dim):
            key = f"{info.name}[{axis}]"
            derived = _derived(dim.dim_param, bound)
            if key in dims:
                dim.dim_value = dims[key]
                used.add(key)
            elif derived is not None:
                dim.dim_value = derived
            elif not dim.HasField("dim_value") or dim.dim_value < (1 if axis == 0 else 0):
                # No length at all is possible (no past keys yet), no batch at all is not.
                if axis == 0 and not dim.dim_param:
                    dim.dim_value = 1
                    continue
                word = dim.dim_param or key
                findings.add(
                    f"graph.input[{place}] {info.name!r}",
                    f"the size of dimension {axis}"
                    f"{f' ({word})' if dim.dim_param else ''} is not in the file: "
                    f"say it with dims={{{word!r}: …}} or --dim {word}=…",
                )
        traced.types[info.name] = kind
        traced.graph_inputs[info.name] = shape_of(kind)
    for word in dims:
        if word not in used:
            near = did_you_mean(word, names)
            findings.add(f"dims {shortened(word)}", f"no input has such a dimension{near}")
    return bound


def _named_sizes(
    inputs: Sequence[ValueInfoProto], dims: Mapping[str, int]
) -> tuple[dict[str, int], set[str], list[str]]:
    """What names stand for, so that all inputs agree; which of *dims* are used; all names."""
    bound: dict[str, int] = {}
    used: set[str] = set()
    names: list[str] = []
    later = {dim.dim_param for info in inputs for dim in info.type.tensor_type.shape.dim[1:]}
    for info in inputs:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            names += [word for word in (dim.dim_param, f"{info.name}[{axis}]") if word]
            parts = list(_words(dim.dim_param))
            names += [word for word in parts if word not in names]
            for word in [dim.dim_param, *parts]:
                if word in dims:
                    bound[word] = dims[word]
                    used.add(word)
    for info in inputs:
        for dim in info.type.tensor_type.shape.dim[:1]:
            word = dim.dim_param
            is_batch = word not in later and not SEQUENCE_NAME.search(word)
            if word and (is_batch or BATCH_NAME.search(word)):
                bound.setdefault(word, 1)
    return bound, used, names


_SUMS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def _parsed(word: str) -> ast.expr | None:
    """The tree of a size that is written as a sum or a product of others."""
    if not 0 < len(word) <= 200 or not re.search(r"[-+*/]", word):
        return None
    try:
        return ast.parse(word, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _words(word: str) -> Iterator[str]:
    tree = _parsed(word)
    if tree is not None:
        yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _derived(word: str, bound: Mapping[str, int]) -> int | None:
    """The size of a named dimension, or of a sum or product of such; None if it is not known."""
    if word in bound:
        return bound[word]

    def value(node: ast.expr) -> int | None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return bound.get(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
            left, right = value(node.left), value(node.right)
            if left is None or right is None or (isinstance(node.op, ast.FloorDiv) and not right):
                return None
            return int(_SUMS[type(node.op)](left, right))
        return None

    tree = _parsed(word)
    size = None if tree is None else value(tree)
    return None if size is None or not 0 <= size < 1 << 62 else size


def with_sizes(kind: TypeProto, bound: Mapping[str, int]) -> TypeProto:
    """The type with what is known of its named dimensions."""
    sized = TypeProto()
    sized.CopyFrom(kind)
    for dim in sized.tensor_type.shape.dim:
        size = _derived(dim.dim_param, bound)
        if size is not None:
            dim.dim_value = size
    return sized


def first_sizes(graph: GraphProto, traced: Traced) -> list[tuple[str, int, str]]:
    """Name, size and name of the size of the first dimension of the inputs of more than one."""
    return [
        (info.name, shape[0], info.type.tensor_type.shape.dim[0].dim_param)
        for info in graph.input
        if (shape := traced.graph_inputs.get(info.name)) and len(shape) > 1
    ]


def names_of_trips(node: NodeProto) -> list[str]:
    """What a loop can be called by: its own name, or that of its first output."""
    return [word for word in (node.name, *node.output[:1]) if word]
