"""What ``map`` shows of a mapping: the nest, the words on every edge, other choices."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.alternatives import Alternative
from picojoule.estimate_records import Estimate, LayerEstimate, SearchRecord
from picojoule.estimation import estimate
from picojoule.mapping import Mapping, Stage
from picojoule.reports.explanation import alternatives_report, edges, loop_nest
from picojoule.reports.tables import plain
from picojoule.reports.text import mapping_report
from picojoule.workload import OPERANDS, Dim, Extents, Operand, Workload, conv, linear
from tests.interpreter import interpret
from tests.strategies import layers, mappings, sized_for

ALL = frozenset(OPERANDS)
MACHINE = Accelerator(
    "tiny",
    (
        Level((Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=200.0),)),
        Array("pes", (Axis("x", 4),), hop_energy=2.0),
        Level((Memory("spad", keeps=ALL, capacity=256.0, read_energy=1.0, write_energy=1.0),)),
    ),
    compute=Compute(1.0),
)
LINEAR = linear("fc", in_features=6, out_features=4)
MAPPING = Mapping(
    (
        Stage(LINEAR.bounds, (Dim.M, Dim.C), spatial=(Extents(M=2),)),
        Stage(Extents(C=3), (Dim.C,)),
    )
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_edges_agree_with_the_interpreter(data: st.DataObject) -> None:
    """Word for word: what goes down, what comes up, and what the inner ends handle."""
    layer = data.draw(layers())
    mapping = data.draw(mappings(layer))
    tally = interpret(layer, mapping)
    depth = len(mapping.stages)
    rows = edges(layer, sized_for(mapping), mapping)
    assert len(rows) == len({edge for edge, _ in tally.loads})
    for row in rows:
        operand, parent = Operand(row["operand"]), int(row["from"][1:])
        child = depth if row["to"] == "multipliers" else int(row["to"][1:])
        edge = (operand, parent, child)
        outer, inner = tally.loads[edge, parent], tally.loads[edge, child]
        if operand is Operand.OUTPUT:
            assert (row["down"], row["up"], row["inside"]) == (tally.reads[edge], outer, inner)
        else:
            assert (row["down"], row["up"], row["inside"]) == (outer, 0, inner)


def test_edges_are_per_inference() -> None:
    mapping = Mapping((Stage(LINEAR.bounds._replace(N=2)), MAPPING.stages[1]))
    batched = edges(LINEAR.with_batch(2), MACHINE, mapping, 2)
    of_inputs = next(row for row in batched if row["operand"] == "input" and row["from"] == "dram")
    # Order N G M C: the input comes in anew for each of the four outputs, six words each time.
    assert of_inputs["down"] == 24


def test_the_loop_nest() -> None:
    assert loop_nest(LINEAR, MACHINE, MAPPING) == (
        "dram [ input:6 weight:24 output:4 ; tile M4 C6 ]\n"
        "------------------------------------------------\n"
        "| for M in [0:2)\n"
        "|   for C in [0:2)\n"
        "|     for M in [0:2) (Spatial-X)\n"
        "\n"
        "spad [ input:3 weight:3 output:1 ; tile C3 ]\n"
        "--------------------------------------------\n"
        "|       for C in [0:3)\n"
        "|         multiply and accumulate"
    )


def priced(objective: str = "energy", batch: int = 1) -> Estimate:
    return estimate(Workload("net", (LINEAR,)), MACHINE, batch=batch, objective=objective)


def test_a_gap_is_on_the_scale_of_one_inference() -> None:
    for objective in ("energy", "latency", "edp"):
        made = priced(objective, batch=3)
        layer = made.layers[0]
        assert math.isclose(layer.gap(made.objective), 0.0, abs_tol=1e-9)
        halved = replace(layer.search, lower_bound=layer.search.lower_bound / 2, status="feasible")
        loose = replace(layer, search=halved)
        assert math.isclose(loose.gap(made.objective), 1.0)
        assert "at most 100 %" in loose.certificate(made.objective)


def alternative(layer: LayerEstimate, status: str, ends: tuple[float, float]) -> Alternative:
    record = SearchRecord(status=status, lower_bound=0.0, explored=0, pruned=0, seconds=0.0)
    found = replace(layer, search=record)
    return Alternative(
        kind="array",
        change=f"[{status}]",
        estimate=found,
        reason="",
        energy_ratio=1.25,
        cycles_ratio=2.0,
        ratio=1.25,
        ratio_range=ends,
    )


def test_other_choices_as_a_table() -> None:
    made = priced()
    layer = made.layers[0]
    others = [
        alternative(layer, "optimal", (1.25, 1.25)),
        alternative(layer, "feasible", (0.5, math.inf)),
        Alternative(
            kind="dataflow", change="dataflow \x1b[31mws", estimate=None, reason="does not fit"
        ),
    ]
    text = plain(mapping_report(made, LINEAR, MACHINE, others))
    flat = " ".join(text.split())
    assert "[optimal]" in flat
    assert "1.250 2.000 optimal" in flat
    assert "feasible, energy ratio 0.500 to unknown" in flat
    assert "\x1b" not in text
    assert "does not fit" in flat
    assert "other choices" not in plain(mapping_report(made, LINEAR, MACHINE))
    assert "edp ratio" in " ".join(plain(alternatives_report(others, "edp", "pJ")[0]).split())


def test_the_report_shows_edges() -> None:
    layer = conv("c", input_size=(4, 4), in_channels=2, out_channels=2, kernel=(3, 3))
    made = estimate(Workload("net", (layer,)), MACHINE)
    text = plain(mapping_report(made, layer, MACHINE))
    for part in ("dram - spad", "spad - multipliers", "shared by", "no mapping of the space"):
        assert part in text
