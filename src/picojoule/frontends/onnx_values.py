"""Small values and weights computed before inference: what is known of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto, TypeProto, helper

from picojoule.frontends.onnx_shapes import (
    Traced,
    Values,
    attributes,
    names_in,
    shape_of,
    tensor_type,
)
from picojoule.frontends.onnx_tensors import Constant

# Values of at most this many elements are folded: shapes, axes, pads, scales; never weights.
MOST_FOLDED = 4096

# Operators on shapes and indices, evaluated when all of their inputs are known.
FOLDABLE = names_in(
    """
    Abs Add And Cast CastLike Ceil Concat ConstantOfShape CumSum Div Equal Expand Flatten
    Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual
    Max Min Mod Mul Neg Not NonZero Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum
    Reshape Round ScatterElements ScatterND Shape Sign Size Slice Split Sqrt Squeeze Sub
    Tile Transpose Unsqueeze Where Xor
    """
)

# Operators that keep the fraction of zeros of their first input.
SAME_ZEROS = names_in(
    """
    Identity Reshape Flatten Squeeze Unsqueeze Transpose Cast Expand QuantizeLinear Clip Quant
    IntQuant FloatQuant
    """
)


def know(traced: Traced, name: str, value: Values) -> None:
    """Note the value of a small tensor computed before inference."""
    try:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    except (ValueError, KeyError, TypeError):
        return
    traced.values[name] = value
    traced.types[name] = tensor_type(kind, value.shape)
    traced.constants[name] = Constant(value.shape, kind, density=_density(value))


def fold(traced: Traced, node: NodeProto, opsets: Mapping[str, int]) -> None:
    """Evaluate an operator on small known values."""
    inputs = [name for name in node.input if name]
    if not all(name in traced.values for name in inputs):
        return
    outputs = [name for name in node.output if name]
    if node.op_type != "NonZero":  # whose output is as small as its input, but of unknown size
        for name in outputs:
            shape = shape_of(traced.types.get(name))
            if shape is None or math.prod(shape) > MOST_FOLDED:
                return
    from onnx.reference import ReferenceEvaluator

    feeds = {name: traced.values[name] for name in inputs}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(name, traced.types[name]) for name in feeds],
        [helper.make_value_info(name, TypeProto()) for name in outputs],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports)
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the reference operators raise whatever numpy raises
        return
    for name, result in zip(outputs, results, strict=False):
        if isinstance(result, (np.ndarray, np.generic)) and result.size <= MOST_FOLDED:
            know(traced, name, np.asarray(result))
            # Its density follows from what it was made of, see derive.
            traced.constants.pop(name, None)


def derive(traced: Traced, node: NodeProto) -> None:
    """Outputs of an operator on constants are constants: computed before inference."""
    first = traced.constants.get(next((name for name in node.input if name), ""))
    for name in node.output:
        shape = shape_of(traced.types.get(name)) if name else None
        if first is None or shape is None or name in traced.constants:
            continue
        kind = traced.types[name].tensor_type.elem_type
        if node.op_type in SAME_ZEROS:
            # A view of the same values, except that a zero point per channel would have to
            # follow its axis: then the density is measured on the tensor as stored.
            traced.constants[name] = replace(first, shape=shape)
            if node.op_type in ("Cast", "QuantizeLinear"):
                traced.constants[name] = replace(first, shape=shape, element_type=kind)
        elif node.op_type == "DequantizeLinear":
            axis = attributes(node).get("axis", 1)
            traced.constants[name] = with_zero_point(
                replace(first, shape=shape),
                traced.values.get(node.input[2]) if len(node.input) > 2 else None,
                axis if isinstance(axis, int) else 1,
            )
        elif node.op_type == "ConstantOfShape" or name not in traced.values:
            # A fill is a placeholder for weights that are not there (the "light" graphs of
            # onnx), so it says nothing about zeros, even when the fill is zero. And what is
            # computed from large weights is not computed here, but taken as dense.
            traced.constants[name] = Constant(shape, kind)
        else:
            density = _density(traced.values[name])
            traced.constants[name] = Constant(shape, kind, density=density)


def _density(value: Values) -> float:
    return float(np.count_nonzero(value)) / value.size if value.size else 1.0


def with_zero_point(stored: Constant, point: Values | None, axis: int) -> Constant:
    """Integer weights of which whatever equals *point* means zero; *axis* has one point each."""
    if point is None or point.size == 0 or _is_float(stored.tensor):
        return stored
    points = tuple(int(value) for value in point.reshape(-1))
    if len(set(points)) == 1:
        return replace(stored, zero_point=points[:1])
    rank = len(stored.shape)
    moved = stored.tensor is not None and tuple(stored.tensor.dims) != stored.shape
    if point.ndim != 1 or moved or not -rank <= axis < rank or len(points) != stored.shape[axis]:
        # Blocks along two axes, or weights reordered since they were stored: taken as dense.
        return Constant(stored.shape, stored.element_type)
    return replace(stored, zero_point=points, axis=axis % rank)


def _is_float(tensor: TensorProto | None) -> bool:
    """Whether the values are stored before they were quantised: then zero is zero."""
    return tensor is not None and tensor.data_type in _FLOATS


_FLOATS = frozenset(
    [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16]
)
