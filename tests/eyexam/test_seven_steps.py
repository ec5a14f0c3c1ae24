"""The seven steps of small layers, by hand: each bound, and what would lift it."""

from __future__ import annotations

import math

import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.dataflow import DATAFLOWS
from picojoule.eyexam.seven_steps import (
    NOT_GIVEN,
    BoundStep,
    Examiner,
    LayerExamination,
    Roof,
    finite,
)
from picojoule.workload import DIMS, OPERANDS, Extents, Layer

ALL = frozenset(OPERANDS)
LAYER = Layer("x", Extents(M=4, C=2))  # 8 MACs


def accelerator(
    *axes: int,
    bandwidth: float | None = None,
    dims: str = "NGMCPQRS",
) -> Accelerator:
    """DRAM, an array of elements, and registers in each, which operands may pass by."""
    dram = Memory(
        "dram", keeps=ALL, capacity=None, read_energy=1.0, write_energy=1.0, bandwidth=bandwidth
    )
    registers = Memory(
        "registers",
        keeps=ALL,
        capacity=None,
        read_energy=1.0,
        write_energy=1.0,
        may_bypass=ALL,
    )
    wired = frozenset(d for d in DIMS if d.value in dims)
    array = Array("elements", tuple(Axis(str(n), size, wired) for n, size in enumerate(axes)))
    nest = (Level((dram,)), array, Level((registers,)))
    return Accelerator("tiny", nest, compute=Compute(1.0))


def examined(chip: Accelerator, dataflow: str = "flexible", images: int = 1) -> LayerExamination:
    return Examiner(LAYER, chip, DATAFLOWS[dataflow], images).examine(None, False)


def test_three_elements() -> None:
    # Step 1 and 2: all 8 MACs at once. Step 3: three elements need 4 steps, for 4 filters need two
    # rounds of at most 3, each with 2 channels. A fourth element saves a round: 8 MACs in 2 steps.
    steps = examined(accelerator(3)).steps
    assert [step.bound for step in steps[:5]] == [8, 8, 2, 2, 2]
    assert steps[0].lift == "two such layers at once (batch): 16 MAC/cycle"
    assert steps[1].limited_by == "nothing new: flexible can unroll every loop"
    assert steps[2].lift == "4 elements instead of 3: 4 MAC/cycle"
    assert steps[3].limited_by == "nothing new: arrays of 3 hold as much"
    assert steps[4].limited_by == "nothing new: the tiles of so many elements fit"
    assert examined(accelerator(3)).worst.step == 3


def test_without_bandwidths_the_last_steps_are_not_known() -> None:
    shown = examined(accelerator(3))
    assert [(step.bound, step.limited_by) for step in shown.steps[5:]] == [(None, NOT_GIVEN)] * 2
    assert shown.last == 2
    assert shown.mapping is None
    assert "mapping" not in shown.to_dict()


def test_a_dataflow_that_runs_other_loops_across_elements() -> None:
    # Output-stationary over pixels: this layer has one. Row-stationary is the first that spreads
    # filters and channels as well.
    steps = examined(accelerator(8), "osa").steps
    assert [step.bound for step in steps[:3]] == [8, 1, 1]
    assert steps[1].limited_by == "osa on tiny runs M, C one after another"
    assert steps[1].lift == "the dataflow rs: 8 MAC/cycle"


def test_wiring_that_allows_fewer_loops() -> None:
    # Eight elements among which only channels may be spread: 2 of them at work, whatever there are.
    steps = examined(accelerator(8, dims="C")).steps
    assert [step.bound for step in steps[:4]] == [8, 2, 2, 2]
    assert steps[1].limited_by == "flexible on tiny runs M one after another"
    assert steps[1].lift == "no dataflow that the accelerator can run does better"


def test_the_shape_of_the_array() -> None:
    # Nine elements in a row take all 8 MACs. As 3 x 3 they take 3 of the 4 filters by both
    # channels, so a second step is needed.
    steps = examined(accelerator(3, 3)).steps
    assert [step.bound for step in steps[:4]] == [8, 8, 8, 4]
    assert steps[3].limited_by.startswith("arrays of 3 x 3: ")
    assert steps[3].lift == "the same 9 elements as 1 x 9: 8 MAC/cycle"


def test_storage() -> None:
    # Four elements beneath a buffer of seven 16-bit words. Two filters by two channels would take 2
    # inputs, 4 weights and 2 sums: eight words. What fits (three filters and a channel, or a filter
    # and two channels, seven and five words) takes 4 steps instead of 2.
    dram, buffer = (
        Memory(name, keeps=ALL, capacity=capacity, read_energy=1.0, write_energy=1.0)
        for name, capacity in (("dram", None), ("buffer", 7 * 16.0))
    )
    nest = (Level((dram,)), Level((buffer,)), Array("elements", (Axis("row", 4),)))
    steps = examined(Accelerator("tiny", nest, compute=Compute(1.0))).steps
    assert [step.bound for step in steps[2:5]] == [4, 4, 2]
    assert steps[4].limited_by == "buffer of 14 B"
    assert steps[4].lift == "buffer of 16 B instead of 14 B: 4 MAC/cycle"


def test_bandwidth() -> None:
    # 8 elements do all in one cycle. 2 inputs, 8 weights and 4 outputs are 14 words, through 32
    # bits a cycle in 7 cycles.
    shown = examined(accelerator(8, bandwidth=32.0))
    sixth = shown.steps[5]
    assert sixth.bound == pytest.approx(8 / 7)
    assert sixth.limited_by == "dram at 32 bit/cycle"
    assert shown.search is not None
    assert shown.search.status == "optimal"
    # Played through in time, the channel may rest, but never be faster.
    assert shown.simulation is not None
    assert shown.simulation.channels == {"dram": 7}
    assert shown.simulation.cycles >= 7
    assert shown.last == 8 / shown.simulation.cycles
    # Roofs: 8 MACs over 32, 128 and 64 bits, each operand beside the others.
    assert {(r.operand, r.intensity, r.bound, r.shared) for r in shown.roofs} == {
        ("input", 8 / 32, 8.0, True),
        ("weight", 8 / 128, 2.0, True),
        ("output", 8 / 64, 4.0, True),
    }


def test_macs_are_those_of_one_image() -> None:
    assert examined(accelerator(8), images=2).macs == 4


def test_the_worst_step_takes_most_of_what_is_left() -> None:
    bounds = [8.0, 6.0, 5.0, 5.0, 1.0, None, None]
    steps = tuple(BoundStep(step, bound, "", "") for step, bound in enumerate(bounds, start=1))
    shown = LayerExamination(name="x", macs=8, peak=9.0, steps=steps)
    # Of 9: one is lost at step 1, then two, one, none, and four at step 5.
    assert shown.worst.step == 5
    assert shown.worst.title == "storage"
    assert (shown.last, shown.bound(2), shown.bound(7)) == (1.0, 6.0, None)


def test_a_roof_is_its_intensity_times_the_bandwidth() -> None:
    roof = Roof(operand="weight", channel="dram", intensity=0.5, bandwidth=64.0, shared=False)
    assert roof.bound == 32


def test_what_json_cannot_write_is_left_out() -> None:
    assert (finite(math.inf), finite(None), finite(2.0)) == (None, None, 2.0)
