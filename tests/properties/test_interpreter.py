"""``traffic`` and ``cost`` agree word for word with the interpreter that walks the nest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picojoule.cost import evaluate
from picojoule.traffic import compute_steps, flows
from picojoule.workload import DEFAULT_BITS, DENSE, Operand
from tests.interpreter import interpret
from tests.strategies import layers, mappings, reuses, sized_for


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_agree(data: st.DataObject) -> None:
    _words_agree(data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_of_many_agree(data: st.DataObject) -> None:
    _words_agree(data)


def _words_agree(data: st.DataObject) -> None:
    layer = data.draw(layers(largest=32))
    mapping = data.draw(mappings(layer))
    reuse = data.draw(reuses(mapping))
    tally = interpret(layer, mapping, reuse)
    for flow in flows(layer, mapping, reuse):
        edge = (flow.operand, flow.parent, flow.child)
        walked = tuple(tally.loads[edge, grain] for grain in range(flow.parent, flow.child + 1))
        assert flow.words == walked, edge
    assert layer.time_steps * compute_steps(mapping) == tally.steps


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_accesses_agree(data: st.DataObject) -> None:
    """Reads and writes of every memory, both ends charged, no zeros."""
    layer = data.draw(layers(largest=32))
    layer = replace(layer, bits=DEFAULT_BITS, density=DENSE)
    mapping = data.draw(mappings(layer))
    tally = interpret(layer, mapping)
    cost = evaluate(layer, sized_for(mapping), mapping)
    depth = len(mapping.stages)
    expected: dict[str, dict[Operand, list[int]]] = {f"m{level}": {} for level in range(depth)}
    for operand, parent, child in {edge for edge, _ in tally.loads}:
        at_parent = tally.loads[(operand, parent, child), parent]
        at_child = tally.loads[(operand, parent, child), child]
        above = expected[f"m{parent}"].setdefault(operand, [0, 0])
        below = expected[f"m{child}"].setdefault(operand, [0, 0]) if child < depth else [0, 0]
        if operand is Operand.OUTPUT:
            down = tally.reads[operand, parent, child]
            above[0] += down
            above[1] += at_parent
            below[0] += at_child
            below[1] += down
        else:
            above[0] += at_parent
            below[1] += at_child
    for name, operands in expected.items():
        for operand, (read, write) in operands.items():
            access = cost.accesses[name][operand]
            assert (access.read, access.write) == (read, write), (name, operand)
