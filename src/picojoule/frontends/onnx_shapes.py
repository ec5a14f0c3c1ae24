"""What is known about an ONNX graph before it runs: types, shapes, and constant values.

Each operator's outputs are inferred by onnx itself from the types *and the known values* of its
inputs, so that shapes computed inside the graph (``Shape``, ``Gather``, ``Concat``, ``Reshape``)
come out as numbers. No weight is read for this. :mod:`onnx_trace` goes through the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.defs
import onnx.shape_inference
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from picojoule.frontends.onnx_tensors import Constant, width_of
from picojoule.workload import Layer

Values = NDArray[np.generic]

LARGEST_DIMENSION = (1 << 63) - 1
"""What a dimension can be in a file; sizes that are given or multiplied could be more."""

INSIDE = "\x1f"
"""Between the place of a subgraph or function and the name of a tensor in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator that runs at inference.

    Args:
        path: where it stands in the file.
        node: the operator, with the names of its tensors as they are in the whole model.
        times: how often it runs in one pass.
        in_turn: of the times, how many need the one before.
    """

    path: str
    node: NodeProto
    times: int = 1
    in_turn: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """An If of which not the condition but both branches are known: one of them runs."""

    path: str
    name: str
    branches: tuple[tuple[Step | Choice, ...], ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """An operator that is counted as running, and the layers it consists of."""

    step: Step
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class Region:
    """A loop, or branches of which one runs, as what is around it sees it.

    Args:
        inputs, outputs: names of tensors outside.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def flat(steps: Sequence[Step | Choice]) -> Iterator[Step]:
    """All operators, those of every branch as well."""
    for step in steps:
        if isinstance(step, Choice):
            for branch in step.branches:
                yield from flat(branch)
        else:
            yield step


@dataclass(frozen=True, slots=True)
class Origin:
    """The operator because of which a shape is not known, and the tensor to give a shape for."""

    path: str
    label: str
    tensor: str


Factors = tuple[tuple[tuple[int, bool], ...], ...]
"""Every dimension of a tensor as factors, outermost first; True: along it all values repeat."""


@dataclass(slots=True)
class Traced:
    """Everything known about a graph: filled by ``trace``, read by the layers."""

    types: dict[str, TypeProto] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    steps: list[Step | Choice] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    """Bits of tensors that have fewer than their type says: dequantised, clipped, quantised."""
    scales: dict[str, float] = field(default_factory=dict)
    """Bits that the scales and zero points of tensors quantised in blocks add to each value."""
    copies: dict[str, Factors] = field(default_factory=dict)
    """Tensors that repeat a smaller one."""
    origins: dict[str, Origin] = field(default_factory=dict)
    graph_inputs: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    same: dict[str, str] = field(default_factory=dict)
    """Tensors that others stand for: what a function or a body is handed, and hands back."""
    regions: dict[str, Region] = field(default_factory=dict)
    """By the path of their operator."""
    remarks: list[str] = field(default_factory=list)
    unmodelled: list[str] = field(default_factory=list)
    """Labels of control flow of which not all runs are known."""

    def alias(self, new: str, name: str) -> None:
        """Let *new* stand for the tensor *name*."""
        if new != name:
            self.same[new] = name
        tables: tuple[dict[str, Any], ...] = (
            self.types,
            self.values,
            self.constants,
            self.widths,
            self.scales,
            self.copies,
            self.origins,
        )
        for table in tables:
            if name in table:
                table[new] = table[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor; None if it, or a part of it, is not known."""
        constant = self.constants.get(name)
        if constant is not None:
            return constant.shape
        return shape_of(self.types.get(name))

    def element_type(self, name: str) -> int:
        """The ONNX element type in which a tensor is kept."""
        if name in self.constants:
            return self.constants[name].element_type
        kind = self.types.get(name)
        return kind.tensor_type.elem_type if kind is not None else TensorProto.UNDEFINED

    def width(self, name: str) -> int:
        """Bits of one word of a tensor."""
        bits = self.widths.get(name)
        return width_of(self.element_type(name)) if bits is None else bits

    def remark(self, sentence: str) -> None:
        """Note what had to be assumed, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)


def names_in(text: str) -> frozenset[str]:
    """The words of a text: the names of a table of operators."""
    return frozenset(text.split())


def local_name(name: str) -> str:
    """A tensor's name as its own graph or function writes it."""
    return name.rsplit(INSIDE, 1)[-1]


def label_of(node: NodeProto) -> str:
    """What an operator is called: its domain, unless that is ONNX's own, and its type."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def shape_of(kind: TypeProto | None) -> tuple[int, ...] | None:
    """The dimensions of a tensor type; None unless all of them are known."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def tensor_type(element_type: int, shape: tuple[int, ...]) -> TypeProto:
    """The type of a tensor."""
    kind: TypeProto = helper.make_tensor_type_proto(element_type, shape)
    return kind


def attributes(node: NodeProto) -> dict[str, object]:
    """The attributes of a node as Python values; graphs and unreadable ones are left out."""
    values: dict[str, object] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        try:
            values[attribute.name] = helper.get_attribute_value(attribute)
        except ValueError:
            continue  # an attribute without a type has no value
    return values


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs inside If, Loop and Scan, with the names of their attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield attribute.name, graph


def infer_types(
    node: NodeProto,
    types: Mapping[str, TypeProto],
    values: Mapping[str, Values],
    opsets: Mapping[str, int],
) -> dict[str, TypeProto]:
    """Types of the outputs of an operator that onnx has a schema for; empty if it has none.

    Args:
        types: of its inputs; without one of them nothing is inferred.
        values: of those of them that are known.
        opsets: domain -> version.
    """
    version = opsets.get(node.domain)
    inputs = [name for name in node.input if name]
    # An input without a type would be a KeyError there.
    if version is None or not all(name in types for name in inputs):
        return {}
    input_types = {name: types[name] for name in inputs}
    imports = [helper.make_opsetid(domain, number) for domain, number in opsets.items()]
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        data = {
            name: numpy_helper.from_array(values[name], name) for name in inputs if name in values
        }
        output_types: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, input_types, data, opset_imports=imports
        )
        if any(shape_of(output_types.get(name)) is None for name in node.output if name):
            output_types = {**output_types, **_infer_body(node, input_types, data, imports)}
    except ONNX_REFUSES:
        # An operator onnx does not know or finds malformed: a layer that needs its output will
        # say so, by the name of the operator.
        return {}
    return output_types


def _infer_body(
    node: NodeProto,
    types: Mapping[str, TypeProto],
    data: Mapping[str, TensorProto],
    imports: list[onnx.OperatorSetIdProto],
) -> dict[str, TypeProto]:
    """Types of an operator that onnx defines as a function of others: by its whole body."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(name, kind) for name, kind in types.items()],
        [helper.make_value_info(name, TypeProto()) for name in node.output if name],
        initializer=list(data.values()),
    )
    model = helper.make_model(graph, opset_imports=imports)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return {
        info.name: info.type
        for info in [*inferred.graph.value_info, *inferred.graph.output]
        if info.type.WhichOneof("value")
    }


ONNX_REFUSES = (
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
