"""From the inputs of an ONNX model through all of its operators, in the order they run.

One pass. Branches, bodies of loops and local functions are followed where they stand, with names
of their own for their tensors; how is in :mod:`onnx_control`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    numpy_helper,
)

from picojoule.errors import did_you_mean
from picojoule.frontends.onnx_foreign_shapes import foreign_types
from picojoule.frontends.onnx_inputs import bind_inputs, weights_among_inputs, with_sizes
from picojoule.frontends.onnx_shapes import (
    INSIDE,
    Choice,
    Origin,
    Step,
    Traced,
    attributes,
    infer_types,
    label_of,
    local_name,
    shape_of,
    subgraphs,
    tensor_type,
)
from picojoule.frontends.onnx_tensors import Constant
from picojoule.frontends.onnx_values import FOLDABLE, MOST_FOLDED, derive, fold, know
from picojoule.frontends.onnx_views import note_copies, note_scales, note_width
from picojoule.frontends.operators import OperatorKind, kind_of
from picojoule.frontends.source_file import Findings, shortened

# The largest networks have some ten thousand; functions that call each other can make any number.
MOST_OPERATORS = 100_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a user says about a file: sizes of dimensions, trips of loops, shapes of tensors."""

    dims: Mapping[str, int] = field(default_factory=dict)
    trips: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """The names that operators of one graph or function see.

    Args:
        prefix: before the names of tensors made here, so that no other graph has them.
        parent: the graph around a subgraph; a function has none.
        arguments: values of a function's attributes.
    """

    prefix: str = ""
    parent: Scope | None = None
    arguments: Mapping[str, AttributeProto] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The name in the whole model of what is called *name* here."""
        if not name:
            return name
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            if scope.parent is None:
                return scope.prefix + name
            scope = scope.parent
        return name

    def define(self, name: str) -> str:
        """Make a name in the whole model for a tensor of this graph."""
        if name:
            self.names[name] = self.prefix + name
        return self.resolve(name)

    def inner(self, prefix: str) -> Scope:
        """The scope of a subgraph."""
        return Scope(prefix + INSIDE, self, self.arguments)


Follower = Callable[["Tracer", NodeProto, NodeProto, Scope, str], None]
"""Follows an operator with graphs inside: as it stands, with the model's names, where, its path."""


def trace(
    model: ModelProto, control: Mapping[str, Follower], sizes: Sizes, findings: Findings
) -> Traced:
    """Follow the graph from its inputs; note in *findings* what cannot be resolved.

    Args:
        control: how operators with graphs inside are followed.
    """
    graph = model.graph
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opsets.setdefault("", opsets.get("ai.onnx", 1))  # older models than IR version 3 do not say
    tracer = Tracer(opsets, model.functions, control, sizes, findings)
    for tensor in graph.initializer:
        tracer.store(tensor.name, tensor)
    for sparse in graph.sparse_initializer:
        tracer.store_sparse(sparse.values.name, sparse)
    stored = weights_among_inputs(graph, tracer.traced)
    if stored:
        tracer.traced.remark(
            f"{len(stored)} inputs are weights without values ({', '.join(stored[:3])}"
            f"{', …' if len(stored) > 3 else ''}): their density is taken for 1"
        )
    tracer.bound = bind_inputs(graph, tracer.traced, sizes.dims, findings)
    for info in [*graph.value_info, *graph.output]:
        tracer.declared[info.name] = info.type
    tracer.traced.outputs = frozenset(output.name for output in graph.output)
    if not findings:
        with tracer.collected() as steps:
            tracer.follow(graph.node, Scope(), "graph")
        tracer.traced.steps = steps
        tracer.check_sizes()
    return tracer.traced


class Tracer:
    """Follows operators and keeps what becomes known in ``traced``."""

    def __init__(
        self,
        opsets: Mapping[str, int],
        functions: Sequence[FunctionProto],
        control: Mapping[str, Follower],
        sizes: Sizes,
        findings: Findings,
    ) -> None:
        self.traced = Traced()
        self.declared: dict[str, TypeProto] = {}
        self.bound: dict[str, int] = {}
        self.sizes = sizes
        self.findings = findings
        self.opsets = opsets
        self.times = 1
        self.in_turn = 1
        self.loops: list[str] = []
        """What loops can be called by whose trips are asked for."""
        self.used_trips: set[str] = set()
        self._used_shapes: set[str] = set()
        self._control = control
        self._functions = {_key_of(function): function for function in functions}
        self._calls: list[tuple[str, str, str]] = []
        self._steps: list[Step | Choice] = []
        self._followed = 0

    @contextmanager
    def collected(self) -> Iterator[list[Step | Choice]]:
        """The steps of what is followed meanwhile, apart from the others."""
        outer, self._steps = self._steps, []
        try:
            yield self._steps
        finally:
            self._steps = outer

    def emit(self, steps: Sequence[Step | Choice]) -> None:
        """Take collected steps for part of the whole."""
        self._steps += steps

    def check_sizes(self) -> None:
        """Note the trips and shapes that were given and belong to nothing."""
        for word in self.sizes.trips:
            if word not in self.used_trips:
                near = did_you_mean(word, self.loops)
                self.findings.add(f"trips {shortened(word)}", f"no loop is called so{near}")
        for word in self.sizes.shapes:
            if word not in self._used_shapes:
                near = did_you_mean(word, [local_name(name) for name in self.traced.types])
                self.findings.add(f"shapes {shortened(word)}", f"no operator makes it{near}")

    # -- what the file itself says -----------------------------------------------------------

    def store(self, name: str, tensor: TensorProto) -> None:
        """Take a stored tensor as a constant, and its values too if they are few."""
        shape = tuple(tensor.dims)
        if min(shape, default=1) < 0:
            self.findings.add(
                f"graph.initializer {local_name(name)!r}", f"dimensions {list(shape)}"
            )
            return
        self.traced.constants[name] = Constant(shape, tensor.data_type, tensor)
        self.traced.types[name] = tensor_type(tensor.data_type, shape)
        if math.prod(shape) <= MOST_FOLDED and tensor.data_location != TensorProto.EXTERNAL:
            # Values that cannot be read are not needed yet: a layer that needs them complains.
            with suppress(ValueError, TypeError, KeyError, RuntimeError):
                self.traced.values[name] = numpy_helper.to_array(tensor)

    def store_sparse(self, name: str, sparse: onnx.SparseTensorProto) -> None:
        """Take a sparse tensor: what is not listed is zero."""
        shape, listed = tuple(sparse.dims), math.prod(sparse.values.dims)
        size = math.prod(shape)
        if min(shape, default=1) < 1 or not 0 <= listed <= size:
            self.findings.add(
                f"graph.sparse_initializer {local_name(name)!r}",
                f"{listed} values in dimensions {list(shape)}",
            )
            return
        kind = sparse.values.data_type
        self.traced.constants[name] = Constant(shape, kind, density=listed / size)
        self.traced.types[name] = tensor_type(kind, shape)

    # -- what follows ------------------------------------------------------------------------

    def follow(self, nodes: Sequence[NodeProto], scope: Scope, path: str) -> None:
        """Infer every operator in order."""
        for index, node in enumerate(nodes):
            self._followed += 1
            if self._followed > MOST_OPERATORS:
                if self._followed == MOST_OPERATORS + 1:
                    self.findings.add(
                        path, f"more than {MOST_OPERATORS} operators with loops and functions"
                    )
                return
            self._follow_node(node, scope, f"{path}.node[{index}]")

    def enter(self, graph: GraphProto, scope: Scope) -> None:
        """Take the stored tensors and declared types of a subgraph."""
        for tensor in graph.initializer:
            self.store(scope.define(tensor.name), tensor)
        for sparse in graph.sparse_initializer:
            self.store_sparse(scope.define(sparse.values.name), sparse)
        for info in graph.value_info:
            self.declared.setdefault(scope.prefix + info.name, info.type)

    def _follow_node(self, node: NodeProto, scope: Scope, path: str) -> None:
        key = (node.domain, node.op_type, node.overload)
        if key in self._functions:
            self._call(key, node, scope, path)
            return
        bound = _bound(node, scope)
        if node.op_type == "Constant" and not node.domain:
            self._constant(node, bound, scope)
            return
        if not node.domain and node.op_type in self._control:
            self._control[node.op_type](self, node, bound, scope, path)
            return
        self._infer(bound, path)
        constant = self._evaluate(bound)
        note_width(self.traced, bound, constant=constant)
        note_scales(self.traced, bound, constant=constant)
        note_copies(self.traced, bound)
        if constant and not any(subgraphs(node)):
            derive(self.traced, bound)
        else:
            if any(subgraphs(node)):  # BeamSearch and its kin: listed with all they hold
                bound = node
            self._steps.append(Step(path, bound, self.times, self.in_turn))

    def _constant(self, node: NodeProto, bound: NodeProto, scope: Scope) -> None:
        if not node.output:
            return
        name = bound.output[0]
        for attribute in node.attribute:
            word = attribute.name
            if attribute.ref_attr_name:
                attribute = scope.arguments.get(attribute.ref_attr_name, attribute)
            if word == "value":
                self.store(name, attribute.t)
            elif word == "sparse_value":
                self.store_sparse(name, attribute.sparse_tensor)
            elif word in ("value_int", "value_ints", "value_float", "value_floats"):
                with suppress(ValueError, OverflowError, TypeError):
                    value = helper.get_attribute_value(attribute)
                    kind = np.int64 if "int" in word else np.float32
                    know(self.traced, name, np.asarray(value, dtype=kind))

    def _call(self, key: tuple[str, str, str], node: NodeProto, scope: Scope, path: str) -> None:
        """Follow a local function where it is called."""
        function = self._functions[key]
        if key in self._calls:
            self.findings.add("functions", f"{label_of(node)} cannot be inlined: it calls itself")
            return
        arguments = {attribute.name: attribute for attribute in function.attribute_proto}
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name in scope.arguments:
                    arguments[attribute.name] = scope.arguments[attribute.ref_attr_name]
            else:
                arguments[attribute.name] = attribute
        inner = Scope(f"{path}.{function.name}{INSIDE}", None, arguments)
        for place, name in enumerate(function.input):
            inner.names[name] = scope.resolve(node.input[place]) if place < len(node.input) else ""
        for info in function.value_info:
            self.declared.setdefault(inner.prefix + info.name, info.type)
        outer, self.opsets = (
            self.opsets,
            {
                **self.opsets,
                **{entry.domain: entry.version for entry in function.opset_import},
            },
        )
        self._calls.append(key)
        self.follow(function.node, inner, f"{path}.{function.name}")
        self._calls.pop()
        self.opsets = outer
        for outside, inside in zip(node.output, function.output, strict=False):
            self.traced.alias(scope.define(outside), inner.resolve(inside))

    def _infer(self, node: NodeProto, path: str) -> None:
        """Types of the outputs: inferred, else as the file declares or the user gives them."""
        types, values = self.traced.types, self.traced.values
        inferred = infer_types(node, types, values, self.opsets)
        if any(shape_of(inferred.get(name)) is None for name in node.output if name):
            inferred = {**inferred, **foreign_types(node, self.traced)}
        for place, name in enumerate(node.output):
            if not name:
                continue
            kind = inferred.get(name)
            if shape_of(kind) is None and name in self.declared:
                declared = with_sizes(self.declared[name], self.bound)
                kind = declared if shape_of(declared) is not None or kind is None else kind
            if local_name(name) in self.sizes.shapes:
                shape = tuple(self.sizes.shapes[local_name(name)])
                self._used_shapes.add(local_name(name))
                element = TensorProto.FLOAT if kind is None else kind.tensor_type.elem_type
                kind = tensor_type(element, shape)
            if shape_of(kind) is None and place == 0:
                kind = self._guess(node) or kind
            if kind is not None:
                types[name] = kind
            if shape_of(kind) is None:
                inherited = [n for n in node.input if n in self.traced.origins]
                self.traced.origins[name] = (
                    self.traced.origins[inherited[0]]
                    if inherited
                    else Origin(path, label_of(node), local_name(name))
                )

    def _guess(self, node: NodeProto) -> TypeProto | None:
        """An operator nobody knows may work element by element: then it keeps the shape."""
        first = next(iter(node.input), "")
        if kind_of(node.domain, node.op_type) is not OperatorKind.UNKNOWN:
            return None
        kind = self.traced.types.get(first)
        if shape_of(kind) is None:
            return None
        self.traced.remark(
            f"{label_of(node)} is not known: its output is taken to have the shape of its first "
            f"input; otherwise say it with --shape {local_name(node.output[0])}=…"
        )
        return kind

    def _evaluate(self, node: NodeProto) -> bool:
        """Compute what depends on constants and shapes only; return whether it does."""
        inputs = [name for name in node.input if name]
        constant = bool(inputs) and all(name in self.traced.constants for name in inputs)
        if node.domain or not node.output or not inputs:
            return constant
        shape = self.traced.shape(inputs[0])
        if node.op_type == "Shape" and shape is not None:
            settings = attributes(node)
            start, end = settings.get("start", 0), settings.get("end", len(shape))
            if isinstance(start, int) and isinstance(end, int):
                chosen = np.asarray(shape[start:end], dtype=np.int64)
                know(self.traced, node.output[0], chosen)
                return True
        elif node.op_type == "Size" and shape is not None and math.prod(shape) < 1 << 63:
            know(self.traced, node.output[0], np.asarray(math.prod(shape), dtype=np.int64))
            return True
        elif constant and node.op_type in FOLDABLE:
            fold(self.traced, node, self.opsets)
        return constant


def _key_of(function: FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


def _bound(node: NodeProto, scope: Scope) -> NodeProto:
    """The operator with the names of the whole model; without its subgraphs."""
    inputs = [scope.resolve(name) for name in node.input]
    outputs = [scope.define(name) for name in node.output]
    plain = scope.parent is None and not scope.prefix
    if plain and not any(subgraphs(node)):
        return node
    bound = NodeProto(name=node.name, op_type=node.op_type, domain=node.domain)
    bound.input.extend(inputs)
    bound.output.extend(outputs)
    if node.op_type == "Constant":
        return bound  # its value stays where it is
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        if attribute.ref_attr_name:
            argument = scope.arguments.get(attribute.ref_attr_name)
            if argument is not None:
                copy = bound.attribute.add()
                copy.CopyFrom(argument)
                copy.name = attribute.name
        else:
            bound.attribute.add().CopyFrom(attribute)
    return bound
