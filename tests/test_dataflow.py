"""The dataflows are what ISCA'16 §IV and §V say of them, as data without contradictions."""

from __future__ import annotations

import pytest

from picojoule.dataflow import DATAFLOWS, Dataflow, MappingRule, RuleKind, Size, dataflow
from picojoule.errors import PicojouleError
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS
N, G, M, C, P, Q, R, S = DIMS


def test_row_stationary() -> None:
    # An element holds a whole filter row (S) and works on one row of it (R), for one output at a
    # time; a set of elements is all filter rows by output rows; the window then slides along Q.
    rs = dataflow("rs")
    assert rs.element_keeps == frozenset(OPERANDS)
    assert dict(rs.element_tile) == {P: Size.ONE, Q: Size.ONE, R: Size.ONE, S: Size.FULL}
    assert (rs.unrolled, rs.spanned, rs.inner_loop) == (frozenset({R}), frozenset({P}), Q)
    assert S not in rs.spatial
    assert rs.stationary is None


@pytest.mark.parametrize(("name", "operand"), [("ws", WEIGHT), ("is", INPUT), ("osa", OUTPUT)])
def test_what_is_stationary_is_all_that_an_element_keeps(name: str, operand: Operand) -> None:
    assert dataflow(name).stationary is operand
    assert dataflow(name).element_keeps == frozenset({operand})
    # Elements hold different values of it: only loops that index it run across them.
    assert dataflow(name).spatial <= RELEVANT[operand]


def test_output_stationary_variants_differ_in_what_runs_across_elements() -> None:
    # ISCA'16 Fig. 5: one channel and many pixels, many of both, many channels and one pixel.
    spread = {name: dataflow(name).spatial & {M, P, Q} for name in ("osa", "osb", "osc")}
    assert spread == {"osa": {P, Q}, "osb": {M, P, Q}, "osc": {M}}


def test_without_local_reuse_elements_store_nothing() -> None:
    assert dataflow("nlr").element_keeps == frozenset()
    assert dataflow("nlr").spatial == {G, M, C}


def test_lockstep_leaves_elements_one_product() -> None:
    assert dict(dataflow("lockstep").element_tile) == dict.fromkeys(DIMS, Size.ONE)


def test_flexible_constrains_nothing() -> None:
    free = dataflow("flexible")
    assert free == Dataflow("flexible", title=free.title, source=free.source)
    assert free.spatial == set(Dim)
    assert free.element_keeps is None


@pytest.mark.parametrize("name", DATAFLOWS)
def test_no_contradictions(name: str) -> None:
    rules = dataflow(name)
    assert rules.name == name
    assert rules.title
    assert rules.source
    assert rules.unrolled | rules.spanned <= rules.spatial
    if rules.stationary is not None:
        assert rules.stationary in (rules.element_keeps or OPERANDS)


def test_an_unknown_dataflow_suggests_a_near_one() -> None:
    with pytest.raises(PicojouleError, match="did you mean 'osa'"):
        dataflow("os-a")


def test_published_rules_are_in_force_only_where_asked_for() -> None:
    rs = dataflow("rs")
    assert not rs.ruled
    assert [rule.rule for rule in rs.published] == [RuleKind.SUMS_STAY, RuleKind.EVEN_STRIPS]
    published = rs.as_published()
    assert published.even_strips
    assert published.ruled
    more = MappingRule(rule=RuleKind.ON_ARRAY, loops=frozenset({M}), source="x", status="derived")
    assert published.as_published([more]).on_array == {M}
    assert (published.name, published.spatial) == (rs.name, rs.spatial)


def test_every_published_rule_has_a_source() -> None:
    for flow in DATAFLOWS.values():
        for rule in flow.published:
            assert rule.source
            assert rule.status in ("published", "derived", "assumed", "fitted")
