"""Which operator of an exported program reads what another made: the graph between its layers."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from picojoule.frontends.aten_operators import BOOKKEEPING, family, words
from picojoule.frontends.products import ProblemError
from picojoule.frontends.torch_regions import inner_graphs, region_run_once
from picojoule.frontends.torch_tensors import ProgramTensors
from picojoule.frontends.wiring import Effects, WiredOperator, connect
from picojoule.graph import Graph, Tensor
from picojoule.workload import Layer

VIEWS = (
    BOOKKEEPING
    | words("adjoint broadcast_to clone contiguous expand expand_as lift_fresh_copy matrix_H")
    | words("mH mT movedim moveaxis numpy_T permute repeat repeat_interleave swapaxes swapdims t")
    | words("tile transpose")
    | words(
        """
        quantized_decomposed.dequantize_per_tensor quantized_decomposed.dequantize_per_channel
        quantized_decomposed.dequantize_per_token quantized_decomposed.dequantize_affine
        torchao.dequantize_affine
        """
    )
)
"""Operators after which the same words lie in memory: levels are stored, not what they mean, and
of what repeats itself one of each, as layers count it."""

BY_VALUE = words(
    """
    abs acos acosh add addcdiv addcmul alpha_dropout asin asinh atan atan2 atanh batch_norm
    bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip copysign
    cos cosh cudnn_batch_norm div divide elu eq erf erfc exp exp2 expm1
    fake_quantize_per_channel_affine fake_quantize_per_tensor_affine float_power floor floor_divide
    fmax fmin fmod frac ge gelu greater gt half hardshrink hardsigmoid hardswish hardtanh isinf
    isnan le leaky_relu less log log10 log1p log2 log_sigmoid logical_and logical_not logical_or
    logical_xor lt masked_fill maximum minimum mish mul multiply native_batch_norm
    _native_batch_norm_legit_no_training ne neg negative positive pow prelu _prelu_kernel reciprocal
    relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid sign silu sin sinh softplus
    softshrink sqrt square sub subtract tan tanh threshold to _to_copy true_divide trunc type_as
    where xlogy quantized_decomposed.quantize_per_tensor quantized_decomposed.quantize_per_channel
    quantized_decomposed.quantize_per_token torchao.quantize_affine
    """
)
"""Operators that change each value by itself, those of two computed tensors pair by pair."""

SUM_FIRST = words("addmm addmv baddbmm addbmm _addmm_activation _sparse_addmm sspaddmm")
"""Operators whose first argument is added to the product of the others."""

PARTS = words("select slice narrow diagonal split split_with_sizes chunk unbind as_strided")
"""Operators whose outputs are parts of their input, in its place."""

JOINS = words("cat concat concatenate hstack vstack dstack stack column_stack")
"""Operators whose inputs are parts of their output."""

EFFECTS = Effects(VIEWS, BY_VALUE, PARTS | JOINS)


def graph_of(
    program: torch.export.ExportedProgram,
    tensors: ProgramTensors,
    layers: Sequence[Layer],
    nodes: Sequence[fx.Node],
) -> Graph | None:
    """The graph between the layers of a program; None where the program does not tell all of it.

    Args:
        nodes: for each layer, the node that it stands for.
    """
    walk = _Walk(tensors, list(zip(layers, nodes, strict=True)))
    try:
        operations = list(walk.follow(program.graph, ""))
    except _NotToldError:
        return None
    if walk.left:
        return None
    wanted = set(program.graph_signature.user_outputs)
    return connect(
        operations,
        walk.tensor,
        [node.name for node in program.graph.nodes if node.op == "placeholder"],
        [
            walk.key(node, "")
            for node in _operands(program.graph.output_node())
            if node.name in wanted and not tensors.is_stored(node)
        ],
    )


class _NotToldError(Exception):
    """A tensor is written in place through a view of it."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What a key stands for."""

    name: str
    node: fx.Node
    place: int | None = None


class _Walk:
    """Follows the operators of a program, those of regions that run once as well."""

    def __init__(self, tensors: ProgramTensors, pairs: list[tuple[Layer, fx.Node]]) -> None:
        self._tensors = tensors
        self.left = pairs
        self._values: dict[str, _Value] = {}
        self._now: dict[str, str] = {}

    def key(self, node: fx.Node, prefix: str) -> str:
        """What the value of a node is called now: in-place operators make another of it."""
        key = prefix + node.name
        while key in self._now:
            key = self._now[key]
        self._values.setdefault(key, _Value(node.name, node))
        return key

    def tensor(self, key: str) -> Tensor:
        """Words and width of a value."""
        value = self._values.get(key)
        if value is None:  # an input
            return Tensor(name=key, words=None, bits=16)
        size, node = value.node.meta.get("val"), value.node
        if value.place is not None and isinstance(size, (tuple, list)):
            size = size[value.place] if value.place < len(size) else None
        if not isinstance(size, torch.Tensor):
            return Tensor(name=value.name, words=None, bits=16)
        try:
            count = math.prod(self._tensors.size(each) for each in size.shape)
        except ProblemError:
            count = None
        bits = self._tensors.bits(node if value.place is None else size)
        return Tensor(
            name=value.name, words=count, bits=bits, scale_bits=self._tensors.scale_bits(node)
        )

    def follow(self, graph: fx.Graph, prefix: str) -> Iterator[WiredOperator]:
        """The operations of a graph in order."""
        for node in graph.nodes:
            if node.op == "placeholder":
                self.key(node, prefix)
                continue
            if node.op != "call_function" or self._tensors.is_stored(node):
                continue
            if node.target is operator.getitem:
                self._unpack(node, prefix)
                continue
            region = region_run_once(node)
            if region is not None:
                yield from self._inside(node, region.graph, region.inputs, prefix)
            elif _is_of_tensors(node):
                yield self._operation(node, prefix)

    def _inside(
        self,
        node: fx.Node,
        graph: fx.Graph,
        inputs: Sequence[tuple[fx.Node, object]],
        prefix: str,
    ) -> Iterator[WiredOperator]:
        """The operations of a region, whose ends are those of its operator."""
        inner = f"{prefix}{node.name}."
        for placeholder, outer in inputs:
            if isinstance(outer, fx.Node):
                self._now[inner + placeholder.name] = self.key(outer, prefix)
        yield from self.follow(graph, inner)
        for place, output in enumerate(_operands(graph.output_node())):
            self._now[f"{prefix}{node.name}[{place}]"] = self.key(output, inner)

    def _unpack(self, node: fx.Node, prefix: str) -> None:
        source, place = node.args
        if isinstance(source, fx.Node) and isinstance(place, int):
            key = f"{prefix}{source.name}[{place}]"
            self._values.setdefault(key, _Value(node.name, source, place))
            self._now[prefix + node.name] = key

    def _operation(self, node: fx.Node, prefix: str) -> WiredOperator:
        name = _operator(node)
        operands = _operands(node)
        if family(name) in SUM_FIRST:
            operands = [*operands[1:], *operands[:1]]
        reads = [self.key(each, prefix) for each in operands if self._is_computed(each)]
        layers = self._take(node)
        self._write(node, prefix)
        return WiredOperator(
            name=node.name,
            operator=name,
            effect=EFFECTS.of(name, family(name)),
            reads=tuple(reads),
            makes=self._made(node, prefix),
            layers=layers,
            partial=any(True for _ in inner_graphs(node)),
        )

    def _is_computed(self, node: fx.Node) -> bool:
        return not self._tensors.is_stored(node) and not isinstance(
            node.meta.get("val"), (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)
        )

    def _made(self, node: fx.Node, prefix: str) -> tuple[str, ...]:
        value = node.meta.get("val")
        if isinstance(value, (tuple, list)):
            keys = [f"{prefix}{node.name}[{place}]" for place in range(len(value))]
            for place, key in enumerate(keys):
                self._values.setdefault(key, _Value(key, node, place))
            return tuple(keys)
        key = prefix + node.name
        self._values[key] = _Value(node.name, node)
        return (key,)

    def _write(self, node: fx.Node, prefix: str) -> None:
        """From here on what an in-place operator writes to is what it makes."""
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable:
            return
        for argument, operand in zip(schema.arguments, node.args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if not written or not isinstance(operand, fx.Node):
                continue
            if operand.op == "call_function" and _is_part(operand):
                raise _NotToldError
            self._now[self.key(operand, prefix)] = prefix + node.name

    def _take(self, node: fx.Node) -> tuple[Layer, ...]:
        """The layers of a node, or of the graphs inside it: the next ones in order."""
        nodes = {node, *_nodes_inside(node)}
        count = 0
        while count < len(self.left) and self.left[count][1] in nodes:
            count += 1
        layers = tuple(layer for layer, _ in self.left[:count])
        del self.left[:count]
        return layers


def _nodes_inside(node: fx.Node) -> Iterator[fx.Node]:
    for region in inner_graphs(node):
        for each in region.graph.nodes:
            yield each
            yield from _nodes_inside(each)


def _operands(node: fx.Node) -> list[fx.Node]:
    """The nodes among the arguments in their order, each as often as it is there."""
    nodes: list[fx.Node] = []
    fx.map_arg((node.args, dict(node.kwargs)), nodes.append)
    return [each for each in nodes if each.op != "get_attr"]


def _operator(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name).removeprefix("aten::").replace("::", ".")
    return str(getattr(node.target, "_name", "") or getattr(node.target, "__name__", node.target))


def _is_part(node: fx.Node) -> bool:
    """Whether a value lies within another one."""
    return node.target is operator.getitem or family(_operator(node)) in PARTS | VIEWS


def _is_of_tensors(node: fx.Node) -> bool:
    """Whether an operator makes tensors, not sizes, marks or nothing."""
    value = node.meta.get("val")
    parts: Sequence[object] = value if isinstance(value, (tuple, list)) else [value]
    return any(isinstance(part, torch.Tensor) for part in parts)
