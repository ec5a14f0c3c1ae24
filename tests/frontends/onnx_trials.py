"""Operators of ONNX tried: the node cases of the onnx package, and what their outputs depend on."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx.inliner
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from picojoule.frontends.onnx_graph import convert
from tools.counts import runtime

Values = NDArray[np.float64]
NEWEST_IR = 13
"""What onnxruntime 1.32 reads."""


@dataclass(frozen=True)
class NodeCase:
    """A small model with inputs for it, as the onnx package has them for every operator."""

    name: str
    model: ModelProto
    feeds: Mapping[str, Any]


@functools.cache
def node_cases() -> tuple[NodeCase, ...]:
    """All of them; those called ``…_expanded`` hold the bodies of functions."""
    found = []
    for case in collect_testcases(None):
        model = ModelProto()
        model.CopyFrom(case.model)
        model.ir_version = min(model.ir_version, NEWEST_IR)
        names = [info.name for info in model.graph.input]
        values = [_array(value) for value in case.data_sets[0][0]]
        found.append(NodeCase(case.name, model, dict(zip(names, values, strict=False))))
    return tuple(found)


def _array(value: Any) -> Any:
    """What onnxruntime takes for an input."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


@functools.cache
def cases_by_operator() -> Mapping[tuple[str, str], tuple[NodeCase, ...]]:
    """The cases of one node alone, by its domain and type."""
    found: dict[tuple[str, str], list[NodeCase]] = defaultdict(list)
    for case in node_cases():
        if len(case.model.graph.node) == 1:
            node = case.model.graph.node[0]
            found[node.domain, node.op_type].append(case)
    return {key: tuple(cases) for key, cases in found.items()}


def expanded(model: ModelProto) -> ModelProto:
    """The model with the bodies of all functions in it, those that onnx defines as well.

    As it is where onnx cannot: a body needs types that are not in the file.
    """
    try:
        return onnx.inliner.inline_selected_functions(
            model, [], exclude=True, inline_schema_functions=True
        )
    except RuntimeError:
        return model


def operators_in(model: ModelProto) -> Iterator[NodeProto]:
    """Every operator, those of inner graphs as well."""
    waiting = [model.graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g, *attribute.graphs]


def our_macs(model: ModelProto) -> tuple[int, bool]:
    """MACs that the reader counts, and whether it says that these are all.

    A product of one MAC is put beside the model: a network without any would be refused.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.node.append(helper.make_node("MatMul", ["one", "other"], ["both"], "beside"))
    for name in ("one", "other"):
        copy.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]))
    network = convert(copy, None, source="case", name="case")
    return sum(layer.macs for layer in network) - 1, network.complete


# -- what outputs depend on --------------------------------------------------------------------


def longest_sum(model: ModelProto, feeds: Mapping[str, Any], most: int = 48) -> int:
    """How many products an output of *model* sums, found by changing inputs, one value at a time.

    Of an output that is linear in one of the inputs: the values of that input it depends on by a
    factor which another input decides. Nothing is known of the operators.

    Args:
        most: values of each input that are changed.
    """
    session = runtime.session_of(model.SerializeToString())
    names = [o.name for o in session.get_outputs() if o.type in ("tensor(float)", "tensor(double)")]

    def run(changed: Mapping[str, Any]) -> Values:
        made = session.run(names, {**feeds, **changed}) if names else []
        return np.concatenate([np.zeros(0), *(np.asarray(y, np.float64).ravel() for y in made)])

    real = {n: x for n, x in feeds.items() if getattr(x, "dtype", None) in (np.float32, np.float64)}
    return max((_products_with(run, real, name, most) for name in real), default=0)


def _products_with(
    run: Callable[[Mapping[str, Any]], Values], real: Mapping[str, Any], name: str, most: int
) -> int:
    """The same of one input."""
    random = np.random.default_rng(0)
    value, before = real[name], run({})
    steps = [random.standard_normal(value.shape).astype(value.dtype) / 2 for _ in range(2)]
    others = {
        n: (x * (1 + 0.3 * random.random(x.shape))).astype(x.dtype)
        for n, x in real.items()
        if n != name
    }
    try:
        after = [run({name: value + step}) for step in (*steps, steps[0] + steps[1])]
        elsewhere = run(others)
    except Exception:  # values that the operator does not take: whatever onnxruntime raises
        return 0
    if not value.size or any(y.shape != before.shape for y in (*after, elsewhere)):
        return 0
    bent = after[0] + after[1] - after[2] - before
    size = max(np.abs(after[2]).max(initial=0), 1e-9)
    if not np.isfinite(bent).all() or np.abs(bent).max(initial=0) > 1e-3 * size:
        return 0
    products = np.zeros(before.shape, int)
    for place in range(min(value.size, most)):
        step = np.zeros(value.size, value.dtype)
        step[place] = 1
        changed = {name: value + step.reshape(value.shape)}
        here, there = run(changed) - before, run({**others, **changed}) - elsewhere
        least = 1e-3 * np.abs(here).max(initial=0) + 1e-6 * size
        products += np.abs(here - there) > 10 * least
    return int(products.max(initial=0))
