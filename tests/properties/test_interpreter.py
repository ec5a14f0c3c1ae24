"""``traffic`` and ``cost`` agree word for word with the interpreter that walks the nest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picojoule.cost import evaluate
from picojoule.mapping import Mapping
from picojoule.traffic import compute_steps, flows, held_words
from picojoule.workload import DEFAULT_BITS, DENSE, OPERANDS, Layer, Operand
from tests.interpreter import interpret
from tests.strategies import layers, mappings, reuses, sized_for, uneven_mappings

Nests = Callable[[Layer], st.SearchStrategy[Mapping]]


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_agree(data: st.DataObject) -> None:
    _words_agree(data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_of_many_agree(data: st.DataObject) -> None:
    _words_agree(data)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_of_uneven_mappings_agree(data: st.DataObject) -> None:
    _words_agree(data, uneven_mappings)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_words_of_many_uneven_mappings_agree(data: st.DataObject) -> None:
    _words_agree(data, uneven_mappings)


def _words_agree(data: st.DataObject, nests: Nests = mappings) -> None:
    layer = data.draw(layers(largest=32))
    mapping = data.draw(nests(layer))
    reuse = data.draw(reuses(mapping))
    tally = interpret(layer, mapping, reuse)
    for flow in flows(layer, mapping, reuse):
        edge = (flow.operand, flow.parent, flow.child)
        walked = tuple(tally.loads[edge, grain] for grain in range(flow.parent, flow.child + 1))
        assert flow.words == walked, edge
    assert layer.time_steps * compute_steps(mapping) == tally.steps
    for operand in OPERANDS:
        for stage in mapping.holders(operand)[1:]:
            room = held_words(layer, mapping, stage, operand, padded=reuse.padded)
            walked_most = tally.most[operand, stage]
            # Of inputs also what lies between the rows that are needed, or only elsewhere.
            assert room == walked_most or (operand is Operand.INPUT and room >= walked_most)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_accesses_agree(data: st.DataObject) -> None:
    """Reads and writes of every memory, both ends charged, no zeros."""
    _accesses_agree(data, mappings)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_accesses_of_uneven_mappings_agree(data: st.DataObject) -> None:
    _accesses_agree(data, uneven_mappings)


def _accesses_agree(data: st.DataObject, nests: Nests) -> None:
    layer = data.draw(layers(largest=32))
    layer = replace(layer, bits=DEFAULT_BITS, density=DENSE)
    mapping = data.draw(nests(layer))
    tally = interpret(layer, mapping)
    cost = evaluate(layer, sized_for(mapping), mapping)
    for (level, operand), (read, write) in tally.accesses(mapping.depth).items():
        access = cost.accesses[f"m{level}"][operand]
        assert (access.read, access.write) == (read, write), (level, operand)
