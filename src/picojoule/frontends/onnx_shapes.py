"""What is known about an ONNX graph before it runs: types, shapes, and constant values.

One pass in the order of the graph. Each operator's outputs are inferred by onnx itself from the
types *and the known values* of its inputs, so that shapes computed inside the graph (``Shape``,
``Gather``, ``Concat``, ``Reshape``) come out as numbers. No weight is read for this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx.checker
import onnx.defs
import onnx.shape_inference
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from picojoule.errors import did_you_mean
from picojoule.frontends.onnx_tensors import Constant
from picojoule.frontends.source_file import Findings, shortened

# Values of at most this many elements are folded: shapes, axes, pads, scales; never weights.
MOST_FOLDED = 4096

# Operators on shapes and indices, evaluated when all of their inputs are known.
FOLDABLE = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "Cast",
        "CastLike",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "CumSum",
        "Div",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "NonZero",
        "Or",
        "Pow",
        "Range",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
        "Xor",
    ]
)

# Operators that keep the fraction of zeros of their first input.
SAME_ZEROS = frozenset(
    ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Expand"]
)

Values = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Step:
    """One operator that runs at inference: where it stands in the file, and the operator."""

    path: str
    node: NodeProto


@dataclass(slots=True)
class Traced:
    """Everything known about a graph: filled by :func:`trace`, read by the layers."""

    types: dict[str, TypeProto] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    dequantized: dict[str, str] = field(default_factory=dict)
    """Output of a DequantizeLinear -> the integer tensor it came from."""
    graph_inputs: dict[str, tuple[int, ...] | None] = field(default_factory=dict)

    def alias(self, new: str, name: str) -> None:
        """Let *new* stand for the tensor *name*."""
        if name in self.types:
            self.types[new] = self.types[name]
        if name in self.values:
            self.values[new] = self.values[name]
        if name in self.constants:
            self.constants[new] = self.constants[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor; None if it, or a part of it, is not known."""
        constant = self.constants.get(name)
        if constant is not None:
            return constant.shape
        return shape_of(self.types.get(name))

    def element_type(self, name: str) -> int:
        """The ONNX element type in which a tensor is kept, before dequantization."""
        name = self.dequantized.get(name, name)
        if name in self.constants:
            return self.constants[name].element_type
        kind = self.types.get(name)
        return kind.tensor_type.elem_type if kind is not None else TensorProto.UNDEFINED


def shape_of(kind: TypeProto | None) -> tuple[int, ...] | None:
    """The dimensions of a tensor type; None unless all of them are known."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def attributes(node: NodeProto) -> dict[str, object]:
    """The attributes of a node as Python values; graphs and unreadable ones are left out."""
    found: dict[str, object] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        try:
            found[attribute.name] = helper.get_attribute_value(attribute)
        except ValueError:
            continue  # an attribute without a type has no value
    return found


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs inside If, Loop and Scan, with the names of their attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield attribute.name, graph


def trace(
    graph: GraphProto,
    initializers: Iterable[TensorProto],
    opsets: Mapping[str, int],
    dims: Mapping[str, int],
    findings: Findings,
) -> Traced:
    """Follow the graph from its inputs; note in *findings* what cannot be resolved.

    Args:
        initializers: the stored tensors.
        opsets: domain -> version.
        dims: sizes for dimensions that have only a name in the file.
    """
    tracer = _Tracer(opsets, findings)
    for tensor in initializers:
        tracer.store(tensor.name, tensor)
    for sparse in graph.sparse_initializer:
        tracer.store_sparse(sparse.values.name, sparse)
    tracer.bind_inputs(graph, dims)
    for info in graph.value_info:
        tracer.declared[info.name] = info.type
    for output in graph.output:
        tracer.declared[output.name] = output.type
    if not findings:
        tracer.follow(graph, "graph")
    return tracer.traced


class _Tracer:
    def __init__(self, opsets: Mapping[str, int], findings: Findings) -> None:
        self.traced = Traced()
        self.declared: dict[str, TypeProto] = {}
        self._opsets = opsets
        self._imports = [helper.make_opsetid(domain, v) for domain, v in opsets.items()]
        self._findings = findings
        self._bound: dict[str, int] = {}

    # -- what the file itself says -----------------------------------------------------------

    def store(self, name: str, tensor: TensorProto) -> None:
        """Take a stored tensor as a constant, and its values too if they are few."""
        shape = tuple(tensor.dims)
        if min(shape, default=1) < 0:
            self._findings.add(f"graph.initializer {name!r}", f"dimensions {list(shape)}")
            return
        self.traced.constants[name] = Constant(shape, tensor.data_type, tensor)
        self.traced.types[name] = helper.make_tensor_type_proto(tensor.data_type, shape)
        if math.prod(shape) <= MOST_FOLDED and tensor.data_location != TensorProto.EXTERNAL:
            # Values that cannot be read are not needed yet: a layer that needs them complains.
            with suppress(ValueError, TypeError, KeyError, RuntimeError):
                self.traced.values[name] = numpy_helper.to_array(tensor)

    def store_sparse(self, name: str, sparse: onnx.SparseTensorProto) -> None:
        """Take a sparse tensor: what is not listed is zero."""
        shape, listed = tuple(sparse.dims), math.prod(sparse.values.dims)
        size = math.prod(shape)
        if min(shape, default=1) < 1 or not 0 <= listed <= size:
            self._findings.add(
                f"graph.sparse_initializer {name!r}", f"{listed} values in dimensions {list(shape)}"
            )
            return
        kind = sparse.values.data_type
        self.traced.constants[name] = Constant(shape, kind, density=listed / size)
        self.traced.types[name] = helper.make_tensor_type_proto(kind, shape)

    def bind_inputs(self, graph: GraphProto, dims: Mapping[str, int]) -> None:
        """Give every dimension of the inputs a size: an unknown first one is the batch, 1."""
        inputs = [info for info in graph.input if info.name not in self.traced.constants]
        used: set[str] = set()
        names: list[str] = []
        later = {dim.dim_param for info in inputs for dim in info.type.tensor_type.shape.dim[1:]}
        for info in inputs:  # first pass: what names stand for, so that all inputs agree
            shape = info.type.tensor_type.shape.dim
            for axis, dim in enumerate(shape):
                names += [word for word in (dim.dim_param, f"{info.name}[{axis}]") if word]
                if dim.dim_param in dims:
                    self._bound[dim.dim_param] = dims[dim.dim_param]
                    used.add(dim.dim_param)
                elif axis == 0 and dim.dim_param and dim.dim_param not in later:
                    self._bound.setdefault(dim.dim_param, 1)
        for place, info in enumerate(inputs):
            kind = TypeProto()
            kind.CopyFrom(info.type)
            for axis, dim in enumerate(kind.tensor_type.shape.dim):
                key = f"{info.name}[{axis}]"
                if key in dims:
                    dim.dim_value = dims[key]
                    used.add(key)
                elif dim.dim_param in self._bound:
                    dim.dim_value = self._bound[dim.dim_param]
                elif not dim.HasField("dim_value") or dim.dim_value < (1 if axis == 0 else 0):
                    # No length at all is possible (no past keys yet), no batch at all is not.
                    if axis == 0 and not dim.dim_param:
                        dim.dim_value = 1
                        continue
                    word = dim.dim_param or key
                    self._findings.add(
                        f"graph.input[{place}] {info.name!r}",
                        f"the size of dimension {axis}"
                        f"{f' ({word})' if dim.dim_param else ''} is not in the file: "
                        f"say it with dims={{{word!r}: …}} or --dim {word}=…",
                    )
            self.traced.types[info.name] = kind
            self.traced.graph_inputs[info.name] = shape_of(kind)
        for word in dims:
            if word not in used:
                near = did_you_mean(word, names)
                self._findings.add(
                    f"dims {shortened(word)}", f"no input has such a dimension{near}"
                )

    # -- what follows ------------------------------------------------------------------------

    def follow(self, graph: GraphProto, path: str) -> None:
        """Infer every operator of *graph* in order."""
        for index, node in enumerate(graph.node):
            self._follow_node(node, f"{path}.node[{index}]")

    def _follow_node(self, node: NodeProto, path: str) -> None:
        if node.op_type == "Constant" and not node.domain:
            self._constant(node)
            return
        branch = self._chosen_branch(node)
        if branch is not None:
            self._take_branch(node, *branch, path)
            return
        inputs = [name for name in node.input if name]
        known = bool(inputs) and all(name in self.traced.constants for name in inputs)
        self._infer(node, inputs)
        if node.op_type == "Shape" and not node.domain:
            known = self._shape_value(node) or known
        elif node.op_type == "Size" and not node.domain:
            known = self._size_value(node) or known
        elif known and node.op_type in FOLDABLE and not node.domain:
            self._fold(node, inputs)
        if node.op_type == "DequantizeLinear" and node.input and node.output:
            self.traced.dequantized[node.output[0]] = node.input[0]
        if known and not any(subgraphs(node)):
            self._derive(node)
        else:
            self.traced.steps.append(Step(path, node))

    def _constant(self, node: NodeProto) -> None:
        if not node.output:
            return
        name = node.output[0]
        for attribute in node.attribute:
            if attribute.name == "value":
                self.store(name, attribute.t)
            elif attribute.name == "sparse_value":
                self.store_sparse(name, attribute.sparse_tensor)
            elif attribute.name in ("value_int", "value_ints"):
                self._know(name, np.asarray(helper.get_attribute_value(attribute), dtype=np.int64))
            elif attribute.name in ("value_float", "value_floats"):
                self._know(name, np.asarray(helper.get_attribute_value(attribute), dtype="<f4"))

    def _know(self, name: str, value: Values) -> None:
        """Note the value of a small tensor computed before inference."""
        try:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        except (ValueError, KeyError, TypeError):
            return
        self.traced.values[name] = value
        self.traced.types[name] = helper.make_tensor_type_proto(kind, value.shape)
        self.traced.constants[name] = Constant(value.shape, kind, density=_density(value))

    def _chosen_branch(self, node: NodeProto) -> tuple[str, GraphProto] | None:
        """The branch of an If whose condition is known."""
        if node.op_type != "If" or node.domain or not node.input:
            return None
        condition = self.traced.values.get(node.input[0])
        if condition is None or condition.size != 1:
            return None
        wanted = "then_branch" if bool(condition.reshape(())) else "else_branch"
        return next(((name, g) for name, g in subgraphs(node) if name == wanted), None)

    def _take_branch(self, node: NodeProto, name: str, graph: GraphProto, path: str) -> None:
        for tensor in graph.initializer:
            self.store(tensor.name, tensor)
        for info in graph.value_info:
            self.declared.setdefault(info.name, info.type)
        self.follow(graph, f"{path}.{name}")
        for outer, inner in zip(node.output, graph.output, strict=False):
            self.traced.alias(outer, inner.name)

    def _infer(self, node: NodeProto, inputs: list[str]) -> None:
        """Types of the outputs, by onnx's own inference, else as the file declares them."""
        found: Mapping[str, TypeProto] = {}
        names = [*inputs, *_captured(node)]
        types = {name: self.traced.types[name] for name in names if name in self.traced.types}
        version = self._opsets.get(node.domain)
        # An input without a type would be a KeyError there: nothing can be inferred.
        if version is not None and all(name in types for name in inputs):
            try:
                schema = onnx.defs.get_schema(node.op_type, version, node.domain)
                data = {
                    name: numpy_helper.from_array(self.traced.values[name], name)
                    for name in inputs
                    if name in self.traced.values
                }
                found = onnx.shape_inference.infer_node_outputs(
                    schema, node, types, data, opset_imports=self._imports
                )
                if any(shape_of(found.get(name)) is None for name in node.output if name):
                    found = {**found, **self._infer_body(node, types, data)}
            except _ONNX_REFUSES:
                # An operator onnx does not know or finds malformed: a layer that needs its
                # output will say so, by the name of the tensor.
                found = {}
        for name in node.output:
            if not name:
                continue
            kind = found.get(name)
            if shape_of(kind) is None and name in self.declared:
                declared = self._with_bound_names(self.declared[name])
                kind = declared if shape_of(declared) is not None or kind is None else kind
            if kind is not None:
                self.traced.types[name] = kind

    def _infer_body(
        self, node: NodeProto, types: Mapping[str, TypeProto], data: Mapping[str, TensorProto]
    ) -> dict[str, TypeProto]:
        """Types of an operator that onnx defines as a function of others: by its whole body."""
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_value_info(name, kind) for name, kind in types.items()],
            [helper.make_value_info(name, TypeProto()) for name in node.output if name],
            initializer=list(data.values()),
        )
        model = helper.make_model(graph, opset_imports=self._imports)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        return {
            info.name: info.type
            for info in [*inferred.graph.value_info, *inferred.graph.output]
            if info.type.WhichOneof("value")
        }

    def _with_bound_names(self, kind: TypeProto) -> TypeProto:
        bound = TypeProto()
        bound.CopyFrom(kind)
        for dim in bound.tensor_type.shape.dim:
            if dim.dim_param in self._bound:
                dim.dim_value = self._bound[dim.dim_param]
        return bound

    def _shape_value(self, node: NodeProto) -> bool:
        shape = self.traced.shape(node.input[0]) if node.input and node.output else None
        if shape is None:
            return False
        given = attributes(node)
        start, end = given.get("start", 0), given.get("end", len(shape))
        if not isinstance(start, int) or not isinstance(end, int):
            return False
        chosen = shape[start:end]
        self._know(node.output[0], np.asarray(chosen, dtype=np.int64))
        return True

    def _size_value(self, node: NodeProto) -> bool:
        shape = self.traced.shape(node.input[0]) if node.input and node.output else None
        if shape is None or math.prod(shape) >= 1 << 63:
            return False
        self._know(node.output[0], np.asarray(math.prod(shape), dtype=np.int64))
        return True

    def _fold(self, node: NodeProto, inputs: list[str]) -> None:
        """Evaluate an operator on small known values."""
        if not all(name in self.traced.values for name in inputs):
            return
        outputs = [name for name in node.output if name]
        if node.op_type != "NonZero":  # whose output is as small as its input, but of unknown size
            for name in outputs:
                shape = shape_of(self.traced.types.get(name))
                if shape is None or math.prod(shape) > MOST_FOLDED:
                    return
        from onnx.reference import ReferenceEvaluator

        feeds = {name: self.traced.values[name] for name in inputs}
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_value_info(name, self.traced.types[name]) for name in feeds],
            [helper.make_value_info(name, TypeProto()) for name in outputs],
        )
        model = helper.make_model(graph, opset_imports=self._imports)
        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(model).run(None, feeds)
        except Exception:  # the reference operators raise whatever numpy raises
            return
        for name, result in zip(outputs, results, strict=False):
            if isinstance(result, (np.ndarray, np.generic)) and result.size <= MOST_FOLDED:
                self._know(name, np.asarray(result))
                # Its density follows from what it was made of, see _derive.
                self.traced.constants.pop(name, None)

    def _derive(self, node: NodeProto) -> None:
        """Outputs of an operator on constants are constants: computed before inference."""
        first = self.traced.constants.get(next((name for name in node.input if name), ""))
        for name in node.output:
            shape = shape_of(self.traced.types.get(name)) if name else None
            if first is None or shape is None or name in self.traced.constants:
                continue
            kind = self.traced.types[name].tensor_type.elem_type
            if node.op_type in SAME_ZEROS:
                # A view of the same values, except that a zero point per channel would have to
                # follow its axis: then the density is measured on the tensor as stored.
                self.traced.constants[name] = replace(first, shape=shape)
                if node.op_type == "Cast":
                    self.traced.constants[name] = replace(first, shape=shape, element_type=kind)
            elif node.op_type == "DequantizeLinear":
                axis = attributes(node).get("axis", 1)
                self.traced.constants[name] = with_zero_point(
                    replace(first, shape=shape),
                    self.traced.values.get(node.input[2]) if len(node.input) > 2 else None,
                    axis if isinstance(axis, int) else 1,
                )
            elif node.op_type == "ConstantOfShape" or name not in self.traced.values:
                # A fill is a placeholder for weights that are not there (the "light" graphs of
                # onnx), so it says nothing about zeros, even when the fill is zero. And what is
                # computed from large weights is not computed here, but taken as dense.
                self.traced.constants[name] = Constant(shape, kind)
            else:
                density = _density(self.traced.values[name])
                self.traced.constants[name] = Constant(shape, kind, density=density)


def _density(value: Values) -> float:
    return float(np.count_nonzero(value)) / value.size if value.size else 1.0


def with_zero_point(stored: Constant, point: Values | None, axis: int) -> Constant:
    """Integer weights of which whatever equals *point* means zero; *axis* has one point each."""
    if point is None or point.size == 0:
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


def _captured(node: NodeProto) -> list[str]:
    """Names that the subgraphs of *node* may take from outside."""
    names: dict[str, None] = {}
    waiting = [graph for _, graph in subgraphs(node)]
    while waiting:
        graph = waiting.pop()
        for inner in graph.node:
            names.update(dict.fromkeys(name for name in inner.input if name))
            waiting += [deeper for _, deeper in subgraphs(inner)]
        names.update(dict.fromkeys(output.name for output in graph.output))
    return list(names)


_ONNX_REFUSES = (
    onnx.defs.SchemaError,
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
    DecodeError,
    EncodeError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
)
"""What onnx's schemas and inference raise on an operator they cannot make sense of."""
