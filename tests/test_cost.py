"""The price of one mapping by hand, under each convention, and the ledger's two kinds of words.

Two filters of three channels: 6 MACs. Two elements take one filter each, with all its channels in
registers. Three inputs are read once and go to both elements; six weights and two outputs move
once.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from picojoule.accelerator import (
    Accelerator,
    Array,
    Axis,
    Charging,
    Compute,
    Control,
    HopCharge,
    Level,
    Memory,
    Network,
    SparseSupport,
    ZeroSkip,
)
from picojoule.cost import Ledger, evaluate
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import Flow, flows
from picojoule.workload import OPERANDS, Dim, Extents, Layer, Operand, PerOperand

INPUT, WEIGHT, OUTPUT = OPERANDS
LAYER = Layer("x", Extents(M=2, C=3))
MAPPING = Mapping((Stage(LAYER.bounds, spatial=(Extents(M=2),)), Stage(Extents(C=3))))

DRAM = Memory(
    "dram", keeps=frozenset(OPERANDS), capacity=None, read_energy=200.0, write_energy=200.0
)
REGISTERS = Memory(
    "registers", keeps=frozenset(OPERANDS), capacity=None, read_energy=1.0, write_energy=1.0
)
ELEMENTS = Array("elements", (Axis("row", 2),), hop_energy=2.0)


def accelerator(
    dram: Memory = DRAM, array: Array = ELEMENTS, registers: Memory = REGISTERS, **rest: object
) -> Accelerator:
    return Accelerator(
        "two elements",
        (Level((dram,)), array, Level((registers,))),
        compute=Compute(1.0),
        **rest,  # type: ignore[arg-type]
    )


def accesses(chip: Accelerator, layer: Layer = LAYER) -> dict[str, tuple[float, float]]:
    """Reads and writes by "memory operand"."""
    cost = evaluate(layer, chip, MAPPING)
    return {
        f"{name} {operand.value}": (access.read, access.write)
        for name, operands in cost.accesses.items()
        for operand, access in operands.items()
    }


def test_the_dearer_end_pays() -> None:
    assert accesses(accelerator()) == {
        "dram input": (3, 0),
        "dram weight": (6, 0),
        "dram output": (0, 2),
        "registers input": (6, 0),
        "registers weight": (6, 0),
        # 6 sums are written and 4 read back; the first read and the last write of each of the two
        # is the transfer that DRAM paid for.
        "registers output": (4, 4),
    }
    cost = evaluate(LAYER, accelerator(), MAPPING)
    # The inputs hop to two elements, 6 x 2; nobody shares weights, and no sums are added up.
    assert {o: access.energy for o, access in cost.hops["elements"].items()} == {
        INPUT: 12,
        WEIGHT: 0,
        OUTPUT: 0,
    }
    # 11 x 200 in DRAM, 12 on the way, 6 + 6 + 8 in registers, 6 MACs.
    assert cost.by_memory == {"dram": 2200, "elements": 12, "registers": 20, "compute": 6}
    assert cost.by_operand == {
        "input": 600 + 12 + 6,
        "weight": 1200 + 6,
        "output": 400 + 8,
        "compute": 6,
    }
    assert cost.energy == 2238


def test_both_ends_pay() -> None:
    both = accesses(accelerator(charging=Charging.BOTH_ENDS))
    # What DRAM sends is also written where it arrives, and finished sums are read there.
    assert both["registers input"] == (6, 6)
    assert both["registers weight"] == (6, 6)
    assert both["registers output"] == (4 + 2, 6)
    assert both["dram output"] == (0, 2)


def test_every_hop_may_cost() -> None:
    every = replace(ELEMENTS, hop_charge=HopCharge.EVERY)
    hops = evaluate(LAYER, accelerator(array=every), MAPPING).hops["elements"]
    assert {o: access.read for o, access in hops.items()} == {INPUT: 6, WEIGHT: 6, OUTPUT: 2}


def test_time_is_that_of_what_takes_longest() -> None:
    # Three steps of two MACs; without bandwidths there is nothing else.
    cost = evaluate(LAYER, accelerator(), MAPPING)
    assert (cost.compute_cycles, cost.cycles, cost.limited_by) == (3, 3, "compute")
    assert (cost.utilization, cost.active_elements) == (1, 2)
    # 11 words of 16 bits through a port of 16 bits a cycle.
    slow = evaluate(LAYER, accelerator(dram=replace(DRAM, bandwidth=16.0)), MAPPING)
    assert (slow.compute_cycles, slow.cycles, slow.limited_by) == (3, 11, "dram")
    assert slow.utilization == 6 / (11 * 2)


@pytest.mark.parametrize(
    ("network", "cycles"),
    [
        (Network.MULTICAST, 11),  # 3 inputs, 6 weights, 2 outputs
        (Network.SYSTOLIC, 11),
        (Network.UNICAST, 14),  # 6 inputs: each element is sent its own
        (Network.MESH, 7),  # as many, but two routers work side by side
    ],
)
def test_networks(network: Network, cycles: int) -> None:
    array = replace(ELEMENTS, network=network, bandwidth=16.0)
    cost = evaluate(LAYER, accelerator(array=array), MAPPING)
    assert (cost.cycles, cost.limited_by) == (cycles, "elements")


def test_a_network_for_each_operand() -> None:
    # 3 inputs at 8 bits a cycle take 6 cycles, 6 weights at 32 take 3, outputs are not limited.
    array = replace(ELEMENTS, bandwidths=PerOperand(8.0, 32.0, None))
    cost = evaluate(LAYER, accelerator(array=array), MAPPING)
    assert (cost.cycles, cost.limited_by) == (6, "elements.input")


def test_a_product_may_take_several_cycles() -> None:
    """A multiplier that serves four places in turn takes four cycles, whatever they hold."""
    layer = Layer("x", Extents(M=4, C=2))
    mapping = Mapping((Stage(layer.bounds), Stage(Extents(M=4, C=2))))
    once = evaluate(layer, accelerator(), mapping)
    slow = evaluate(layer, replace(accelerator(), compute=Compute(1.0, cycles=4)), mapping)
    assert slow.compute_cycles == 4 * once.compute_cycles
    assert slow.utilization == once.utilization
    assert slow.compute == once.compute


def test_sums_may_come_and_go_with_an_addition() -> None:
    """Two channels in the elements one after the other: sums leave, come back and leave."""
    layer = Layer("x", Extents(M=2, C=2))
    mapping = Mapping((Stage(layer.bounds, (Dim.C, Dim.M)), Stage(Extents())))
    chip = accelerator(charging=Charging.BOTH_ENDS)
    registers = evaluate(layer, chip, mapping).accesses["registers"][OUTPUT]
    # 4 additions write and 2 of them read; 4 stays end with a read, 2 begin with a write.
    assert (registers.read, registers.write) == (2 + 4, 4 + 2)
    nest = tuple(
        Level(tuple(replace(m, charge_drains=False) for m in part.memories))
        if isinstance(part, Level)
        else part
        for part in chip.nest
    )
    free = evaluate(layer, replace(chip, nest=nest), mapping)
    assert (free.accesses["registers"][OUTPUT].read, free.accesses["registers"][OUTPUT].write) == (
        2,
        4,
    )
    assert free.accesses["dram"] == evaluate(layer, chip, mapping).accesses["dram"]


def test_static_power_is_drawn_over_all_cycles() -> None:
    # 1 mW at 1 GHz is 1 pJ a cycle.
    chip = accelerator(static_power=1e-3, clock=1e9, energy_unit="pJ")
    cost = evaluate(LAYER, chip, MAPPING)
    assert cost.static == pytest.approx(3)
    assert cost.by_memory["static"] == cost.by_operand["static"] == cost.static


def test_clock_and_control_take_energy_each_cycle_and_each_command() -> None:
    control = Control(per_cycle=10.0, per_element=2.0, per_command=7.0)
    chip = accelerator(control=control)
    cost = evaluate(LAYER, chip, MAPPING)
    commands = math.prod(count for _, count in MAPPING.loops(0))
    assert cost.control == (10 + 2 * chip.elements) * 3 + 7 * commands
    assert cost.by_memory["control"] == cost.by_operand["control"] == cost.control
    assert cost.energy == evaluate(LAYER, accelerator(), MAPPING).energy + cost.control
    # Played through in time it takes longer, and what time costs follows.
    longer = evaluate(LAYER, chip, MAPPING, cycles=5.0)
    assert longer.cycles == 5
    assert longer.control == (10 + 2 * chip.elements) * 5 + 7 * commands


def test_what_counters_would_see_does_not_depend_on_who_pays() -> None:
    once = evaluate(LAYER, accelerator(charging=Charging.DEARER_END), MAPPING)
    twice = evaluate(LAYER, accelerator(charging=Charging.BOTH_ENDS), MAPPING)
    assert once.energy < twice.energy
    assert once.moved == twice.moved
    # What DRAM sends, the registers receive, and pass on to the multipliers.
    assert once.moved["registers"][WEIGHT] > once.moved["dram"][WEIGHT] > 0


def test_gating_saves_energy_and_skipping_cycles() -> None:
    layer = replace(LAYER, density=PerOperand(0.5, 1.0, 1.0))
    gate = SparseSupport(zeros=ZeroSkip.GATE, of=frozenset({INPUT}))
    gated = evaluate(layer, accelerator(sparse=gate), MAPPING)
    assert (gated.effectual_macs, gated.compute, gated.cycles) == (3, 3, 3)
    assert gated.accesses["registers"][WEIGHT].read == 3
    assert gated.accesses["dram"][WEIGHT].read == 6
    # Where every input is looked at to find the zeros, its register is read all the same.
    seen = replace(gate, charge_register_reads_of=frozenset({INPUT}))
    assert accesses(accelerator(sparse=seen), layer)["registers input"] == (6, 0)
    skip = replace(gate, zeros=ZeroSkip.SKIP)
    skipped = evaluate(layer, accelerator(sparse=skip), MAPPING)
    assert (skipped.cycles, skipped.utilization) == (1.5, 1)


def test_widths() -> None:
    # 8-bit inputs are half as dear to move, and a MAC of 8 x 16 bits half a MAC. Partial sums of 32
    # bits are twice as dear as the outputs that leave.
    layer = replace(LAYER, bits=PerOperand(8, 16, 16))
    chip = replace(accelerator(), compute=Compute(1.0, psum_bits=32))
    cost = evaluate(layer, chip, MAPPING)
    assert cost.compute == 3
    assert cost.accesses["dram"][INPUT].energy == 300
    assert cost.accesses["dram"][OUTPUT].energy == 400
    assert cost.accesses["registers"][OUTPUT].energy == 16


@pytest.mark.parametrize("charging", Charging)
def test_words_may_be_vectors_of_coefficients(charging: Charging) -> None:
    # Every word count becomes an unknown of its own; the coefficients booked for them, times the
    # counts, are the energies of the numbers.
    chip = accelerator(charging=charging, array=replace(ELEMENTS, hop_charge=HopCharge.EVERY))
    counted = flows(LAYER, MAPPING)
    counts = [1.0]
    unknown = np.eye(1 + sum(len(flow.words) + len(flow.sharing) for flow in counted))

    def unknowns(numbers: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        first = len(counts)
        counts.extend(numbers)
        return tuple(unknown[first + n] for n in range(len(numbers)))

    symbolic = [
        Flow(
            operand=flow.operand,
            parent=flow.parent,
            child=flow.child,
            words=unknowns(flow.words),
            sharing=unknowns(flow.sharing),
        )
        for flow in counted
    ]
    numbers, vectors = Ledger(LAYER, chip, one=1.0), Ledger(LAYER, chip, one=unknown[0])
    numbers.book(counted)
    vectors.book(symbolic)
    for memory, operands in numbers.accesses.items():
        for operand, access in operands.items():
            booked = vectors.accesses[memory][operand]
            assert booked.read @ counts == access.read
            assert booked.write @ counts == access.write
            assert booked.energy @ counts == access.energy
    for operand in Operand:
        energy = vectors.hops["elements"][operand].energy @ counts
        assert energy == numbers.hops["elements"][operand].energy
    assert {key: bits @ counts for key, bits in vectors.bits_moved.items()} == numbers.bits_moved
