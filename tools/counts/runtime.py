"""MACs of an ONNX model as onnxruntime runs it: its profile has the shapes of every operator.

Nothing here uses picojoule's readers. An operator in a branch that is not taken has no entry, one
in a loop has as many as it runs. What a number of MACs is stands here a second time, in formulas
that know the shapes of operands and result only.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto

Shape = tuple[int, ...]


class NoFormulaError(Exception):
    """An operator multiplies, and nothing here says how much."""


@dataclass(frozen=True)
class Execution:
    """One operator, one time.

    Args:
        node: of the model; of a graph that onnxruntime made itself, a bare one.
        inputs, outputs: shapes of the tensors, without those that are left out.
    """

    node: NodeProto
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    def whole(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        return next((int(a.i) for a in self.node.attribute if a.name == name), default)

    def wholes(self, name: str, default: list[int]) -> list[int]:
        """An attribute that is a list of them."""
        return next((list(a.ints) for a in self.node.attribute if a.name == name), default)

    def word(self, name: str) -> str:
        """An attribute that is a text."""
        return next((a.s.decode() for a in self.node.attribute if a.name == name), "")


def session_of(
    model: bytes | str, level: str = "ORT_DISABLE_ALL", **options: Any
) -> onnxruntime.InferenceSession:
    """A session of one thread, at a level of optimisation."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    # Weights that are packed for the processor are missing from the profile.
    settings.add_session_config_entry("session.disable_prepacking", "1")
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def executions(model: ModelProto, feeds: Mapping[str, Any]) -> list[Execution]:
    """Every operator that onnxruntime runs for *feeds*, unoptimised."""
    copy = ModelProto()
    copy.CopyFrom(model)
    nodes = {}
    for number, node in enumerate(_nodes(copy.graph)):
        node.name = f"node{number}"
        nodes[node.name] = node
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(
            copy.SerializeToString(),
            enable_profiling=True,
            profile_file_prefix=str(Path(folder) / "profile"),
        )
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found = []
    for event in events:
        name, given = event["name"], event.get("args", {})
        if event.get("cat") == "Node" and name.endswith("_kernel_time") and "op_name" in given:
            known = nodes.get(name.removesuffix("_kernel_time"))
            node = known if known is not None else NodeProto(op_type=given["op_name"])
            shapes = (_shapes(given[which]) for which in ("input_type_shape", "output_type_shape"))
            found.append(Execution(node, *shapes))
    return found


def macs(model: ModelProto, feeds: Mapping[str, Any]) -> int:
    """MACs of all that onnxruntime runs for *feeds*, but for what can be done once for all of them.

    Raises:
        NoFormulaError: an operator multiplies, and no formula says how much.
    """
    before = _of_constants(model.graph)
    return sum(
        macs_of(execution)
        for execution in executions(model, feeds)
        if not execution.node.output or execution.node.output[0] not in before
    )


def macs_of(execution: Execution) -> int:
    """MACs of one operator."""
    op = execution.node.op_type
    if op in FORMULAS:
        return FORMULAS[op](execution)
    if op in MULTIPLY:
        raise NoFormulaError(op)
    return 0


def _of_constants(graph: GraphProto) -> set[str]:
    """Tensors that depend on nothing but stored values."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if not any(a.HasField("g") for a in node.attribute) and known.issuperset(node.input):
            known.update(node.output)
    return known


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)


def _shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(next(iter(entry.values()), ())) for entry in entries)


# -- formulas ----------------------------------------------------------------------------------


def _convolution(weight: int) -> Callable[[Execution], int]:
    def count(of: Execution) -> int:
        return math.prod(of.outputs[0]) * math.prod(of.inputs[weight][1:])

    return count


def _product(of: Execution) -> int:
    return math.prod(of.outputs[0]) * of.inputs[0][-1]


def _gemm(of: Execution) -> int:
    rows = of.outputs[0][0]
    return math.prod(of.outputs[0]) * (math.prod(of.inputs[0]) // rows if rows else 0)


def _fused_product(of: Execution) -> int:
    inner = of.inputs[0][-2 if of.whole("transA", 0) else -1]
    if of.whole("transBatchA", 0):
        raise NoFormulaError("FusedMatMul of turned batches")
    return math.prod(of.outputs[0]) * inner


def _transposed(of: Execution) -> int:
    """Outputs times the taps that reach them, of every axis.

    As of ordinary convolutions taps that reach beyond the input count, unless that were more than
    each input with each tap: then those alone count that meet a stored input.
    """
    data, weight, made = of.inputs[0], of.inputs[1], of.outputs[0]
    axes = len(weight) - 2
    found = math.prod(weight[:2]) * data[0]
    strides, dilations = of.wholes("strides", [1] * axes), of.wholes("dilations", [1] * axes)
    pads = of.wholes("pads", [0] * 2 * axes)
    for size, taps, outputs, stride, dilation, before in zip(
        data[2:], weight[2:], made[2:], strides, dilations, pads, strict=False
    ):
        if of.word("auto_pad") in ("SAME_UPPER", "SAME_LOWER") or of.wholes("output_shape", []):
            total = max(0, stride * (size - 1) + (taps - 1) * dilation + 1 - outputs)
            before = total // 2 if of.word("auto_pad") == "SAME_UPPER" else total - total // 2
        places = [
            (place + before - tap * dilation) // stride
            for place in range(outputs)
            for tap in range(taps)
            if (place + before - tap * dilation) % stride == 0
        ]
        stored = sum(0 <= place < size for place in places)
        found *= len(places) if len(places) <= size * taps else stored
    return found


def _recurrent(of: Execution) -> int:
    """Of X, W [directions, gates x hidden, inputs] and R [directions, gates x hidden, hidden].

    Peepholes, the last input of an LSTM, are three products for each hidden value.
    """
    data, inward, again = of.inputs[:3]
    names = of.node.input
    peepholes = 3 * inward[0] * again[2] if len(names) > 7 and names[7] else 0
    return data[0] * data[1] * (math.prod(inward) + math.prod(again) + peepholes)


def _einsum(of: Execution) -> int:
    equation = of.word("equation")
    terms, arrow, kept = equation.replace(" ", "").partition("->")
    if not arrow:  # what stands there once
        kept = "".join(x for x in set(terms) - {","} if terms.count(x) == 1)
    operands = terms.split(",")
    if len(operands) == 1:
        return 0
    if len(operands) > 2 or "..." in equation:
        raise NoFormulaError(f"Einsum {equation}")
    sizes = {
        letter: size
        for term, shape in zip(operands, of.inputs, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    # What only one operand has and the result has not is summed before.
    shared = [x for x in sizes if all(x in term for term in operands) or x in kept]
    return math.prod(sizes[letter] for letter in shared)


def _attention(of: Execution) -> int:
    """Of queries, keys and values of four dimensions, without a past."""
    query, key, value = of.inputs[:3]
    if len(query) != 4 or len(of.outputs) > 1:
        raise NoFormulaError("Attention with its heads side by side, or with a past")
    return math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _grid(of: Execution) -> int:
    """AffineGrid: a small matrix times every place of the output."""
    return math.prod(of.outputs[0]) * of.inputs[0][2]


def _linear_model(of: Execution) -> int:
    coefficients = next(len(a.floats) for a in of.node.attribute if a.name == "coefficients")
    return coefficients * (of.inputs[0][0] if len(of.inputs[0]) > 1 else 1)


FORMULAS: Mapping[str, Callable[[Execution], int]] = {
    **dict.fromkeys(["Conv", "ConvInteger", "DeformConv", "FusedConv"], _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(["MatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits"], _product),
    **dict.fromkeys(["MatMulIntegerToFloat", "DynamicQuantizeMatMul"], _product),
    **dict.fromkeys(["FusedMatMul", "TransposeMatMul"], _fused_product),
    **dict.fromkeys(["Gemm", "FusedGemm", "QGemm"], _gemm),
    **dict.fromkeys(["LSTM", "GRU", "RNN"], _recurrent),
    "Einsum": _einsum,
    "AffineGrid": _grid,
    "Attention": _attention,
    **dict.fromkeys(["LinearClassifier", "LinearRegressor"], _linear_model),
}
"""Operator -> its MACs by the shapes of one run."""

MULTIPLY = frozenset(
    [
        "CausalConvWithState", "DFT", "Det", "FlexAttention", "LinearAttention",
        "STFT", "SVMClassifier", "SVMRegressor",
    ]
)  # fmt: skip
"""Operators of ONNX that multiply as well, of which nothing here says how much."""
