"""Operators with and without products, beside what onnxruntime runs for them.

The onnx package has some 1,900 small models, with inputs, for its operators. With the bodies of all
functions written out, what of them runs is in onnxruntime's profile, and what that multiplies has
to be what the reader counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from picojoule.frontends.operators import OperatorKind, kind_of
from tests.frontends.onnx_graphs import MICROSOFT
from tests.frontends.onnx_trials import (
    NodeCase,
    cases_by_operator,
    expanded,
    longest_sum,
    node_cases,
    operators_in,
    our_macs,
)
from tools.counts import runtime

SHARES = 4
MULTIPLY = (OperatorKind.COUNTED, OperatorKind.MULTIPLIES, OperatorKind.UNKNOWN)
DEFINED_ANEW = {"test_affine_grid_2d", "test_affine_grid_2d_align_corners"}
"""Cases whose bodies multiply more than they have to: two dimensions as if there were three."""
INTERPOLATE = {"GridSample", "RoiAlign", "Resize", "CropAndResize"}
"""Sums of a few neighbours, which the field does not count."""
ROTATION = 2
"""Terms of a rotated pair, as of RotaryEmbedding and of complex numbers: element by element."""
TRIED = 2


def theirs(case: NodeCase, body: ModelProto) -> int | None:
    """What onnxruntime multiplies; None where it cannot run the case, or no formula says it."""
    for model in (body, case.model):
        try:
            return runtime.macs(model, case.feeds)
        except runtime.NoFormulaError:
            continue
        except Exception as error:  # a type or an operator that it does not have
            assert type(error).__module__.startswith(("onnxruntime", "builtins")), error
    return None


def multiplies(node: NodeProto) -> bool:
    """Whether the reader has to count an operator, or to say that it cannot."""
    if node.op_type == "Einsum" and len(node.input) < 2:
        return False
    return kind_of(node.domain, node.op_type) in MULTIPLY


@pytest.mark.parametrize(
    "share", [0, *(pytest.param(share, marks=pytest.mark.slow) for share in range(1, SHARES))]
)
def test_what_runs_is_counted_and_nothing_else(share: int) -> None:
    wrong: dict[str, tuple[int, int | str]] = {}
    compared = 0
    for case in node_cases()[share::SHARES]:
        macs, complete = our_macs(case.model)
        body = expanded(case.model)
        ran = theirs(case, body)
        if ran is not None:
            compared += 1
            if complete and macs != ran and case.name not in DEFINED_ANEW:
                wrong[case.name] = macs, ran
        if not any(multiplies(node) for node in operators_in(body)):
            if macs or not complete:
                wrong[case.name] = macs, "nothing that multiplies"
        elif complete and not macs and ran != 0:
            wrong[case.name] = macs, "something that multiplies"
    assert wrong == {}
    assert compared > 0.8 * len(node_cases()) / SHARES


def sequence_map(inner: NodeProto) -> ModelProto:
    """Runs an operator on every tensor of a sequence of two."""

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    body = helper.make_graph([inner], "body", [value("i", 4, 4)], [value("o", 4, 4)])
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceMap", ["s"], ["t"], body=body),
        helper.make_node("SequenceAt", ["t", "place"], ["y"]),
    ]
    place = numpy_helper.from_array(np.array(0), "place")
    graph = helper.make_graph(nodes, "g", [value("x", 4, 4)], [value("y", 4, 4)], [place])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_what_a_sequence_is_mapped_by_is_not_silent() -> None:
    assert our_macs(sequence_map(helper.make_node("Relu", ["i"], ["o"]))) == (0, True)
    assert our_macs(sequence_map(helper.make_node("MatMul", ["i", "i"], ["o"]))) == (0, False)


def test_no_output_is_a_sum_of_products() -> None:
    """Found by changing inputs, of the operators that are said to have no products."""
    keys = [key for key in cases_by_operator() if kind_of(*key) is OperatorKind.NO_PRODUCTS]
    found, tried = {}, set()
    for key in keys:
        for case in cases_by_operator()[key][:TRIED]:
            try:
                found[case.name] = longest_sum(case.model, case.feeds, most=24)
            except Exception as error:  # a type or an operator that onnxruntime does not have
                assert type(error).__module__.startswith(("onnxruntime", "builtins")), error
                continue
            tried.add(key)
            if key[1] not in INTERPOLATE:
                assert found[case.name] <= ROTATION, case.name
    assert len(tried) > 0.8 * len(keys)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("test_matmul_2d", 4),
        ("test_gemm_default_no_bias", 10),
        ("test_basic_conv_with_padding", 9),
        ("test_convtranspose", 3),
        ("test_attention_4d", 6),
        ("test_gridsample", 3),
    ],
)
def test_a_sum_of_products_is_found(name: str, least: int) -> None:
    (case,) = (case for case in node_cases() if case.name == name)
    assert longest_sum(case.model, case.feeds) >= least


FUSED: Sequence[tuple[str, str, dict[str, tuple[int, ...]], dict[str, Any]]] = [
    ("BiasGelu", "", {"x": (2, 8), "b": (8,)}, {}),
    ("FastGelu", "", {"x": (2, 8), "b": (8,)}, {}),
    ("QuickGelu", "", {"x": (2, 8)}, {}),
    ("Gelu", "", {"x": (2, 8)}, {}),
    ("SkipLayerNormalization", "", {"x": (1, 3, 8), "s": (1, 3, 8), "g": (8,), "b": (8,)}, {}),
    ("SkipSimplifiedLayerNormalization", "", {"x": (1, 3, 8), "s": (1, 3, 8), "g": (8,)}, {}),
    ("ExpandDims", "a", {"x": (2, 8)}, {}),
    ("Trilu", "", {"x": (4, 4)}, {}),
    ("UnfoldTensor", "", {"x": (2, 8)}, {"dim": 1, "size": 2, "step": 1}),
    ("MaxpoolWithMask", "m", {"x": (1, 2, 4, 4)}, {"kernel_shape": [2, 2]}),
    ("GatherND", "j", {"x": (4, 3)}, {}),
    ("Pad", "p", {"x": (4, 3)}, {}),
]
"""Operator, further inputs of whole numbers, shapes of its inputs, attributes."""
WHOLE: dict[str, Any] = {
    "a": np.array([0], np.int32),
    "j": np.array([[1]]),
    "m": np.ones((1, 2, 4, 4), np.int32),
    "p": np.array([1, 1, 1, 1]),
}


@pytest.mark.parametrize("op", [entry[0] for entry in FUSED])
def test_fused_operators_sum_no_products(op: str) -> None:
    _, further, shapes, given = next(entry for entry in FUSED if entry[0] == op)
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    feeds |= {name: WHOLE[name] for name in further}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in feeds.items()
    ]
    node = helper.make_node(op, list(feeds), ["y"], domain=MICROSOFT, **given)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    assert kind_of(MICROSOFT, op) is OperatorKind.NO_PRODUCTS
    assert our_macs(model) == (0, True)
    assert longest_sum(model, feeds) <= ROTATION
