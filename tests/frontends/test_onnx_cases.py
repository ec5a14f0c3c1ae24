"""Operators with and without products, beside what onnxruntime runs for them.

The onnx package has some 1,900 small models, with inputs, for its operators. With the bodies of all
functions written out, what of them runs is in onnxruntime's profile, and what that multiplies has
to be what the reader counts.
"""

from __future__ import annotations

import pytest
from onnx import ModelProto, NodeProto

from picojoule.frontends.operators import OperatorKind, kind_of
from tests.frontends.onnx_trials import (
    NodeCase,
    expanded,
    node_cases,
    operators_in,
    our_macs,
)
from tools.counts import runtime

SHARES = 8
MULTIPLY = (OperatorKind.COUNTED, OperatorKind.MULTIPLIES, OperatorKind.UNKNOWN)
DEFINED_ANEW = {"test_affine_grid_2d", "test_affine_grid_2d_align_corners"}
"""Cases whose bodies multiply more than the operator has to: two dimensions as if there were three."""


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


@pytest.mark.parametrize("share", range(SHARES))
def test_what_runs_is_counted_and_nothing_else(share: int) -> None:
    wrong, compared = {}, 0
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
