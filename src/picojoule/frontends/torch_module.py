"""PyTorch modules as workloads, by way of ``torch.export``: nothing is run, shapes are exact.

Layers are the convolutions, transposed convolutions, linear layers, matrix products, two-operand
einsums and scaled dot-product attentions (two products each) of the exported ATen graph, named by
the submodule they come from. All other operators are counted in ``not_counted`` by their ATen
name, except those that only give a tensor another shape (:data:`BOOKKEEPING`).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from picojoule.errors import WorkloadError
from picojoule.frontends.products import (
    NotABatchError,
    ProblemError,
    attention_layers,
    contraction,
    product,
)
from picojoule.frontends.source_file import Findings, shortened
from picojoule.frontends.torch_export import batch_of, export_program, first_names, layer_name
from picojoule.transposed import transposed_conv
from picojoule.workload import DENSE, Layer, PerOperand, Workload, conv

BOOKKEEPING = frozenset(
    [
        "alias",
        "detach",
        "detach_",
        "dropout",
        "feature_dropout",
        "flatten",
        "identity",
        "lift_fresh_copy",
        "reshape",
        "squeeze",
        "sym_size",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
        "_assert_tensor_metadata",
        "_unsafe_view",
    ]
)
"""ATen operators without arithmetic or data movement at inference."""

_FLOAT_BITS = 16  # as for ONNX: floats of training are estimated at the field's 16 bits
_BITS = {
    torch.int8: 8,
    torch.uint8: 8,
    torch.int16: 16,
    torch.int32: 32,
    torch.int64: 64,
    torch.float8_e4m3fn: 8,
    torch.float8_e5m2: 8,
}


def read_torch(module: nn.Module, inputs: Sequence[object], *, name: str | None = None) -> Workload:
    """The workload of a PyTorch module, in evaluation mode, for example inputs.

    The module is left as it was. The batch is the first dimension of the inputs, if all of two
    or more dimensions agree on it.

    Args:
        inputs: positional arguments of ``module.forward``; only their shapes and types matter.
        name: of the network; by default the module's class.

    Raises:
        InputError: the module cannot be exported, or a layer cannot exist.
    """
    source = f"torch:{type(module).__qualname__}"
    return read_program(
        export_program(module, inputs, source=source),
        name=name or type(module).__name__,
        source=source,
        batch=batch_of(inputs),
        names=first_names(module),
    )


def read_program(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    source: str,
    batch: int = 1,
    names: Mapping[str, str] | None = None,
) -> Workload:
    """The workload of a program that was exported already.

    Args:
        name, source: of the network.
        batch: inferences that the program computes at once; one if its work does not divide.
        names: name of a parameter -> the name to call it by (:func:`first_names`).

    Raises:
        InputError: a layer cannot exist.
    """
    return read_nodes(program, name=name, source=source, batch=batch, names=names).workload


@dataclass(frozen=True, slots=True)
class ReadProgram:
    """A program's workload and, by layer, the name of the program's node that it stands for."""

    workload: Workload
    nodes: tuple[str, ...]


def read_nodes(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    source: str,
    batch: int = 1,
    names: Mapping[str, str] | None = None,
) -> ReadProgram:
    """As :func:`read_program`, with the node of each layer."""
    stored = _stored_tensors(program, names or {})
    findings = Findings(source)
    try:
        graph = _Graph(program.graph, stored, findings, batch)
        graph.walk()
    except NotABatchError:
        batch = 1
        findings = Findings(source)
        graph = _Graph(program.graph, stored, findings, batch)
        graph.walk()
    findings.raise_if_any()
    workload = Workload(
        name,
        tuple(graph.layers),
        batch=batch,
        not_counted=dict(sorted(graph.not_counted.items())),
        source=source,
    )
    return ReadProgram(workload, tuple(graph.nodes))


class _Graph:
    """Walks an exported program for *batch* inferences."""

    def __init__(
        self, graph: fx.Graph, stored: Mapping[str, _Stored], findings: Findings, batch: int
    ) -> None:
        self.layers: list[Layer] = []
        self.nodes: list[str] = []
        self.not_counted: Counter[str] = Counter()
        self._findings = findings
        self._batch = batch
        self._graph = graph
        self._stored = stored
        self._names: set[str] = set()
        self._constants = {name: stored.path for name, stored in self._stored.items()}
        self._densities: dict[str, float] = {}

    def walk(self) -> None:
        """Collect layers, and count the operators that are none."""
        for node in self._graph.nodes:
            if self._is_constant(node):
                continue  # computed from parameters only: done before inference
            if node.op != "call_function" or node.target is operator.getitem:
                continue
            op = _op(node)
            convert = _CONVERTERS.get(op)
            label: str | None = op
            if convert is not None:
                label = self._convert(node, op, convert)
            if label is not None and op not in BOOKKEEPING:
                self.not_counted[label] += 1
                self._count_inside(node)

    def _convert(self, node: fx.Node, op: str, convert: _Converter) -> str | None:
        name = self._free_name(self._weight_path(node) or _module_path(node) or node.name)
        try:
            layers = convert(self, name, node)
        except (ProblemError, WorkloadError) as error:
            self._findings.add(f"{name} ({op})", str(error))
            return None
        if isinstance(layers, str):
            return layers
        if not layers:
            return op
        self.layers += layers
        self.nodes += [node.name] * len(layers)
        self._names.update(layer.name for layer in layers)
        self._names.add(name)
        return None

    def _weight_path(self, node: fx.Node) -> str:
        """``layer1.0.conv1`` for an operator on the parameter ``layer1.0.conv1.weight``."""
        for argument in node.all_input_nodes:
            if self._is_constant(argument) and _tensor(argument).dim() > 1:
                return layer_name(self._constants[argument.name])
        return ""

    def _free_name(self, name: str) -> str:
        number, free = 1, name
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        return free

    def _count_inside(self, node: fx.Node) -> None:
        """Operators inside torch.cond and the like: which of them run is not known."""
        for argument in node.all_input_nodes:
            inner = _submodule(self._graph, argument)
            if inner is not None:
                for part in inner.graph.nodes:
                    if part.op == "call_function" and part.target is not operator.getitem:
                        op = _op(part)
                        if op not in BOOKKEEPING:
                            self.not_counted[op] += 1

    # -- tensors -------------------------------------------------------------------------------

    def _is_constant(self, node: object) -> bool:
        """Whether a tensor depends on stored tensors only; asked in the order of the graph."""
        if not isinstance(node, fx.Node):
            return False
        if node.name in self._constants:
            return True
        inputs = node.all_input_nodes
        known = bool(inputs) and all(source.name in self._constants for source in inputs)
        if known and node.op == "call_function":
            self._constants[node.name] = self._constants[inputs[0].name]
        return node.name in self._constants

    def _density(self, weight: object) -> PerOperand[float]:
        """Density of a stored weight, or of one computed from stored ones (a pruning mask)."""
        if not isinstance(weight, fx.Node) or not self._is_constant(weight):
            return DENSE
        if weight.name not in self._densities:
            with torch.no_grad():
                value = self._value(weight)
                # Parameters on the meta device have shapes but no values.
                known = isinstance(value, torch.Tensor) and not value.is_meta and value.numel()
                density = int(torch.count_nonzero(value)) / value.numel() if known else 1.0
            self._densities[weight.name] = density
        return DENSE._replace(weight=self._densities[weight.name])

    def _value(self, node: fx.Node) -> Any:
        if node.name in self._stored:
            return self._stored[node.name].tensor
        target: Any = node.target
        return target(
            *fx.map_arg(node.args, self._value), **fx.map_arg(dict(node.kwargs), self._value)
        )

    def _bits(self, left: object, right: object, node: fx.Node) -> PerOperand[int]:
        return PerOperand(*(_BITS.get(_tensor(x).dtype, _FLOAT_BITS) for x in (left, right, node)))

    # -- operators -----------------------------------------------------------------------------

    def convolution(self, name: str, node: fx.Node) -> list[Layer] | str:
        """conv1d, conv2d (numbers or names as padding), convolution."""
        given = _arguments(node)
        data, weight = _shape(given["input"]), _shape(given["weight"])
        spatial = len(weight) - 2
        if spatial > 2:
            return f"{_op(node)} ({spatial}-D)"
        if len(data) == spatial + 1:  # an input without a batch dimension
            data = (1, *data)
        stride = _numbers(given.get("stride", 1), spatial)
        dilation = _numbers(given.get("dilation", 1), spatial)
        if given.get("transposed", False):
            return self._transposed(name, node, given, data, weight)
        padding = given.get("padding", 0)
        if padding == "valid":
            padding = 0
        if padding == "same":  # stride 1; the odd one goes to the end
            totals = [(k - 1) * d for k, d in zip(weight[2:], dilation, strict=True)]
            pads = [pad for total in totals for pad in (total // 2, total - total // 2)]
        else:
            pads = [pad for pad in _numbers(padding, spatial) for _ in (0, 1)]
        groups = int(given.get("groups", 1))
        if data[0] % self._batch:
            raise NotABatchError
        return [
            conv(
                name,
                input_size=_pair(data[2:]),
                in_channels=data[1],
                out_channels=weight[0],
                kernel=_pair(weight[2:]),
                stride=_pair(stride),
                dilation=_pair(dilation),
                padding=_four(pads),
                groups=groups,
                batch=data[0],
                bits=self._bits(given["input"], given["weight"], node),
                density=self._density(given["weight"]),
                weight_is_activation=not self._is_constant(given["weight"]),
            )
        ]

    def transposed(self, name: str, node: fx.Node) -> list[Layer] | str:
        """conv_transpose1d, conv_transpose2d."""
        given = _arguments(node)
        data, weight = _shape(given["input"]), _shape(given["weight"])
        if len(weight) > 4:
            return f"{_op(node)} ({len(weight) - 2}-D)"
        if len(data) == len(weight) - 1:
            data = (1, *data)
        return self._transposed(name, node, given, data, weight)

    def _transposed(
        self,
        name: str,
        node: fx.Node,
        given: Mapping[str, Any],
        data: tuple[int, ...],
        weight: tuple[int, ...],
    ) -> list[Layer]:
        spatial = len(weight) - 2
        groups = int(given.get("groups", 1))
        pads = [pad for pad in _numbers(given.get("padding", 0), spatial) for _ in (0, 1)]
        if data[0] % self._batch:
            raise NotABatchError
        return list(
            transposed_conv(
                name,
                input_size=_pair(data[2:]),
                in_channels=data[1],
                out_channels=weight[1] * groups,
                kernel=_pair(weight[2:]),
                stride=_pair(_numbers(given.get("stride", 1), spatial)),
                dilation=_pair(_numbers(given.get("dilation", 1), spatial)),
                padding=_four(pads),
                output_padding=_pair(_numbers(given.get("output_padding", 0), spatial), fill=0),
                groups=groups,
                batch=data[0],
                bits=self._bits(given["input"], given["weight"], node),
                density=self._density(given["weight"]),
                weight_is_activation=not self._is_constant(given["weight"]),
            )
        )

    def linear(self, name: str, node: fx.Node) -> list[Layer]:
        """linear: the weight is stored as [outputs, inputs]."""
        given = _arguments(node)
        weight = _shape(given["weight"])
        right = weight[::-1] if len(weight) == 2 else weight
        return self._product(
            name, node, given["input"], given["weight"], _shape(given["input"]), right
        )

    def matmul(self, name: str, node: fx.Node) -> list[Layer]:
        """mm, bmm, matmul, mv, dot."""
        left, right = node.args[0], node.args[1]
        return self._product(name, node, left, right, _shape(left), _shape(right))

    def addmm(self, name: str, node: fx.Node) -> list[Layer]:
        """addmm, baddbmm: the sum with the first argument is not counted."""
        left, right = node.args[1], node.args[2]
        return self._product(name, node, left, right, _shape(left), _shape(right))

    def _product(
        self,
        name: str,
        node: fx.Node,
        left: object,
        right: object,
        left_shape: tuple[int, ...],
        right_shape: tuple[int, ...],
    ) -> list[Layer]:
        weight, stored = right, "right"
        bits = self._bits(left, right, node)
        if not self._is_constant(right) and self._is_constant(left):
            weight, stored = left, "left"
            bits = PerOperand(bits.weight, bits.input, bits.output)
        return [
            product(
                name,
                left_shape,
                right_shape,
                stored=stored if self._is_constant(weight) else None,
                batch=self._batch,
                bits=bits,
                density=self._density(weight),
            )
        ]

    def einsum(self, name: str, node: fx.Node) -> list[Layer] | None:
        """einsum of two operands that is one batched product; others are not counted."""
        equation, operands = node.args[0], node.args[1]
        if not isinstance(equation, str) or not isinstance(operands, Sequence):
            return None
        if len(operands) != 2:
            return None
        left, right = operands
        if not self._is_constant(right) and self._is_constant(left):
            inputs, arrow, output = equation.partition("->")
            equation = ",".join(reversed(inputs.split(","))) + arrow + output
            left, right = right, left
        layer = contraction(
            name,
            equation,
            _shape(left),
            _shape(right),
            stored=self._is_constant(right),
            batch=self._batch,
            bits=self._bits(left, right, node),
            density=self._density(right),
        )
        return None if layer is None else [layer]

    def attention(self, name: str, node: fx.Node) -> list[Layer]:
        """scaled_dot_product_attention."""
        query, key, value = (_shape(argument) for argument in node.args[:3])
        return attention_layers(
            name,
            query,
            key,
            value,
            batch=self._batch,
            bits=self._bits(node.args[0], node.args[1], node),
        )


_Converter = Callable[[_Graph, str, fx.Node], "list[Layer] | str | None"]
_CONVERTERS: dict[str, _Converter] = {
    "conv1d": _Graph.convolution,
    "conv2d": _Graph.convolution,
    "conv3d": _Graph.convolution,
    "convolution": _Graph.convolution,
    "conv_transpose1d": _Graph.transposed,
    "conv_transpose2d": _Graph.transposed,
    "conv_transpose3d": _Graph.transposed,
    "linear": _Graph.linear,
    "mm": _Graph.matmul,
    "bmm": _Graph.matmul,
    "matmul": _Graph.matmul,
    "mv": _Graph.matmul,
    "dot": _Graph.matmul,
    "addmm": _Graph.addmm,
    "baddbmm": _Graph.addmm,
    "einsum": _Graph.einsum,
    "scaled_dot_product_attention": _Graph.attention,
}


@dataclass(frozen=True, slots=True)
class _Stored:
    """A parameter, buffer or constant, and its path in the module."""

    path: str
    tensor: torch.Tensor


def _stored_tensors(
    program: torch.export.ExportedProgram, first: Mapping[str, str]
) -> dict[str, _Stored]:
    """Name of a placeholder -> the parameter, buffer or constant it stands for."""
    signature = program.graph_signature
    stored: dict[str, _Stored] = {}
    for table, tensors in (
        (signature.inputs_to_parameters, program.state_dict),
        (signature.inputs_to_buffers, {**program.constants, **program.state_dict}),
        (signature.inputs_to_lifted_tensor_constants, program.constants),
    ):
        for placeholder, target in table.items():
            if isinstance(tensors.get(target), torch.Tensor):
                stored[placeholder] = _Stored(first.get(target, target), tensors[target])
    return stored


def _op(node: fx.Node) -> str:
    """``conv2d`` for ``torch.ops.aten.conv2d.default``; the namespace too if it is not ATen."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return str(getattr(node.target, "__name__", node.target))
    full = str(schema.name)
    return full.removeprefix("aten::").replace("::", ".")


def _arguments(node: fx.Node) -> dict[str, Any]:
    target: Any = node.target  # an OpOverload
    names = [argument.name for argument in target._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _module_path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


def _submodule(graph: fx.Graph, node: fx.Node) -> fx.GraphModule | None:
    if node.op != "get_attr" or graph.owning_module is None:
        return None
    found = getattr(graph.owning_module, str(node.target), None)
    return found if isinstance(found, fx.GraphModule) else None


def _tensor(argument: object) -> torch.Tensor:
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else argument
    if not isinstance(value, torch.Tensor):
        raise ProblemError(f"{shortened(str(argument))} is not one tensor")
    return value


def _shape(argument: object) -> tuple[int, ...]:
    shape = tuple(_tensor(argument).shape)
    if not all(isinstance(size, int) for size in shape):
        raise ProblemError(f"the shape {shape} depends on data")
    return shape


def _numbers(value: object, length: int) -> list[int]:
    given = list(value) if isinstance(value, Sequence) else [value]
    numbers = [number for number in given if isinstance(number, int)]
    if len(numbers) != len(given) or len(numbers) not in (1, length):
        raise ProblemError(f"{value!r} are not {length} whole numbers")
    return numbers if len(numbers) == length else numbers * length


def _pair(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])


def _four(pads: Sequence[int]) -> tuple[int, int, int, int]:
    return (pads[0], pads[1], pads[2], pads[3]) if len(pads) == 4 else (0, 0, pads[0], pads[1])
