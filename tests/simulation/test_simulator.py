"""The simulation: timelines worked out by hand, and what must hold for every mapping."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Control, Level, Memory, Network
from picojoule.cost import Ledger, evaluate
from picojoule.errors import PicojouleError
from picojoule.mapping import Mapping, Stage
from picojoule.simulation.simulator import Simulation, in_rows, price_in_time, simulate
from picojoule.traffic import flows
from picojoule.workload import OPERANDS, Dim, Extents, Layer, Operand, PerOperand
from tests.strategies import layers, mappings, sized_for, uneven_mappings

ALL = frozenset(OPERANDS)
DRAM = Level(
    (Memory("dram", keeps=ALL, capacity=None, read_energy=1, write_energy=1, bandwidth=16),)
)


def two_levels(double: bool, array: Array | None = None) -> Accelerator:
    buffer = Level(
        (
            Memory(
                "buffer",
                keeps=ALL,
                capacity=None,
                read_energy=1,
                write_energy=1,
                double_buffered=double,
            ),
        )
    )
    nest = (DRAM, *((array,) if array else ()), buffer)
    return Accelerator("two", nest, compute=Compute(1.0))


def tiles(layer: Layer, order: tuple[Dim, ...], **tile: int) -> Mapping:
    return Mapping((Stage(layer.bounds, order), Stage(Extents(**tile))))


FOUR_FILTERS = Layer("four filters", Extents(M=4, C=2))
BY_FILTER = tiles(FOUR_FILTERS, (Dim.M,), M=1, C=2)
# A visit is one filter: 2 MACs, 2 weights (2 cycles of 16 bit), 1 output (1 cycle). The 2 inputs
# come once.


def prefetched(accelerator: Accelerator) -> Accelerator:
    """The same with a buffer that is filled while the layer before runs."""
    (memory,) = accelerator.levels[-1].memories
    return replace(accelerator, nest=(DRAM, Level((replace(memory, prefetched=True),))))


def test_what_is_prefetched_is_not_waited_for() -> None:
    """Input and weights are there at once: work begins, and the next weights come meanwhile."""
    waited = simulate(FOUR_FILTERS, two_levels(True), BY_FILTER)
    at_once = simulate(FOUR_FILTERS, prefetched(two_levels(True)), BY_FILTER)
    assert (waited.ramp_up, at_once.ramp_up) == (4, 0)
    assert at_once.channels == waited.channels
    assert at_once.cycles < waited.cycles


def test_every_transfer_begins_late_by_the_latency_of_its_memory() -> None:
    """Of a single buffer each: input and weights at first, three weights, and four outputs."""
    plain = two_levels(False)
    (memory,) = plain.levels[-1].memories
    slow = replace(plain, nest=(DRAM, Level((replace(memory, latency=7.0),))))
    late = simulate(FOUR_FILTERS, slow, BY_FILTER)
    assert late.cycles == simulate(FOUR_FILTERS, plain, BY_FILTER).cycles + 7 * (2 + 3 + 4)


def test_a_layer_takes_no_less_than_its_prefetched_transfers() -> None:
    """2 cycles each of inputs and weights and 1 of the output, though it works for 2 only."""
    layer = Layer("one filter", Extents(M=1, C=2))
    found = simulate(layer, prefetched(two_levels(True)), tiles(layer, (), M=1, C=2))
    assert (found.ramp_up, found.computing, found.drain) == (0, 2, 1)
    assert found.cycles == found.channels["dram"] == 5


def test_single_buffered_tiles_and_work_take_turns() -> None:
    """Input 0-2, weights 2-4, work 4-6; then weights 6-8, output 8-9, work 9-11; and so on.

    Each of the three later visits waits 3 cycles; the last output leaves 21-22.
    """
    found = simulate(FOUR_FILTERS, two_levels(False), BY_FILTER)
    assert (found.ramp_up, found.computing, found.drain) == (4, 8, 1)
    assert sum(found.stalls.values()) == 9
    assert found.cycles == 22
    assert found.visits == 4


def test_double_buffered_tiles_arrive_during_the_work() -> None:
    """Weights of visit 1 arrive 4-6, during work 4-6; then output 0 leaves 6-7, weights 2 7-9,
    output 1 9-10, weights 3 10-12, output 2 12-13; work 6-8, 9-11, 12-14; last output 14-15.
    """
    found = simulate(FOUR_FILTERS, two_levels(True), BY_FILTER)
    assert (found.ramp_up, found.computing, found.drain) == (4, 8, 1)
    assert found.stalls == {"weight: dram > buffer": 2}
    assert found.cycles == 15
    assert found.channels == {"dram": 2 + 8 + 4}


def test_partial_sums_come_back_after_they_have_left() -> None:
    """Channels outside filters, so both sums leave and come back.

    Input 0-1, weight 1-2, work 2-3 | weight 3-4, sum 0 leaves 4-5, work 5-6 | input 6-7,
    weight 7-8, sum 1 leaves 8-9, sum 0 returns 9-10, work 10-11 | weight 11-12, sum 0 leaves
    12-13, sum 1 returns 13-14, work 14-15 | sum 1 leaves 15-16.
    """
    layer = Layer("psums", Extents(M=2, C=2))
    found = simulate(layer, two_levels(False), tiles(layer, (Dim.C, Dim.M)))
    assert (found.ramp_up, found.computing, found.drain) == (2, 4, 1)
    assert found.stalls == {"output: dram > buffer": 2 + 4 + 3}
    assert found.cycles == 16


def test_what_passes_by_waits_in_a_double_buffered_memory() -> None:
    """The next filter (4 weights) comes from DRAM during the work on this one.

    Input 0-4, weights 4-8, work 8-12 | weights 8-12, output 12-13, work 13-17 | weights 13-17,
    output 17-18, work 18-22 | output 22-23.
    """
    layer = Layer("prefetch", Extents(M=3, C=4))
    fifo = Memory(
        "fifo",
        keeps=frozenset({Operand.WEIGHT}),
        capacity=None,
        read_energy=1,
        write_energy=1,
        may_bypass=ALL,
    )
    spads = Level((Memory("spads", keeps=ALL, capacity=None, read_energy=1, write_energy=1),))
    mapping = Mapping(
        (
            Stage(layer.bounds, (Dim.M,)),
            Stage(Extents(M=1, C=4), keeps=frozenset()),
            Stage(Extents(M=1, C=4)),
        )
    )

    def cycles(memory: Memory) -> Simulation:
        chip = Accelerator("fifo", (DRAM, Level((memory,)), spads), compute=Compute(1.0))
        return simulate(layer, chip, mapping)

    prefetched = cycles(replace(fifo, double_buffered=True))
    assert (prefetched.ramp_up, prefetched.computing, prefetched.drain) == (8, 12, 1)
    assert prefetched.stalls == {"output: dram > spads": 2}
    # With room for half of it, the other half (2 cycles) comes when the spads are free: weights
    # 4-6 and 6-8, work 8-12 | weights 8-10, 12-14, output 14-15, work 15-19 | weights 15-17, 19-21,
    # output 21-22, work 22-26 | output 26-27.
    assert cycles(replace(fifo, double_buffered=True, capacity=32)).cycles == 27
    # Without a place to wait: weights 12-16, output 16-17, so each later visit waits 5 cycles.
    assert cycles(fifo).cycles == 8 + 12 + 2 * 5 + 1


def test_flows_to_the_multipliers_slow_the_work() -> None:
    """A dot product of 4 straight from DRAM: 4 inputs, 4 weights, 4 sums out and 3 back."""
    layer = Layer("dot", Extents(C=4))
    chip = Accelerator("bare", (DRAM,), compute=Compute(1.0))
    mapping = Mapping((Stage(layer.bounds),))
    found = simulate(layer, chip, mapping)
    assert found.computing == 4
    assert found.cycles == 4 + 4 + 4 + 3 == evaluate(layer, chip, mapping).cycles


def test_the_last_element_of_a_systolic_array_is_late() -> None:
    layer = Layer("x", Extents(M=4, C=3))
    axes = (Axis("rows", 3), Axis("columns", 4))
    spatial = (Extents(C=3), Extents(M=4))
    mapping = Mapping((Stage(layer.bounds, spatial=spatial), Stage(Extents())))
    times = {
        network: simulate(layer, two_levels(False, Array("a", axes, network=network)), mapping)
        for network in (Network.MULTICAST, Network.SYSTOLIC)
    }
    late = times[Network.SYSTOLIC].cycles - times[Network.MULTICAST].cycles
    assert late == (3 - 1) + (4 - 1)


@pytest.mark.parametrize(
    ("network", "cycles"),
    [
        # 2 weights and 1 input that both elements share, 2 sums out; 16 bit a cycle.
        (Network.MULTICAST, {"weight": 2, "input": 1, "output": 2}),
        (Network.UNICAST, {"weight": 2, "input": 2, "output": 2}),
        # Each element's router takes its weight, its copy of the input, its sum.
        (Network.MESH, {"weight": 1, "input": 1, "output": 1}),
    ],
)
def test_what_a_transfer_takes_of_a_network(network: Network, cycles: dict[str, int]) -> None:
    layer = Layer("x", Extents(M=2))
    array = Array("net", (Axis("row", 2),), network=network, bandwidths=PerOperand(16, 16, 16))
    chip = two_levels(True, array)
    mapping = Mapping((Stage(layer.bounds, spatial=(Extents(M=2),)), Stage(Extents())))
    found = simulate(layer, chip, mapping)
    ledger = Ledger(layer, chip, one=1.0)
    ledger.book(flows(layer, mapping))
    expected = {f"net.{name}": taken for name, taken in cycles.items()}
    assert {k: v for k, v in found.channels.items() if k != "dram"} == expected
    elements = {"net": 2 if network is Network.MESH else 1}
    for channel in ledger.channels():
        if channel.name != "dram":
            taken = channel.bits / channel.bandwidth / elements["net"]
            assert taken == expected[channel.name]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_all_is_moved_and_nothing_is_faster_than_the_latency_model(data: st.DataObject) -> None:
    """Channels carry what ``traffic`` counts, and no mapping beats ``evaluate``'s latency."""
    layer = data.draw(layers(time_steps=(1,)))
    mapping = data.draw(mappings(layer) | uneven_mappings(layer))
    if list(mapping.levels) != sorted(mapping.levels):
        with pytest.raises(PicojouleError, match="cannot be played through"):
            simulate(layer, sized_for(mapping), mapping)
        return
    chip = sized_for(mapping, padded=data.draw(st.booleans()))
    chip = replace(chip, nest=tuple(_limited(part, data) for part in chip.nest))
    ledger = Ledger(layer, chip, one=1.0)
    ledger.book(flows(layer, mapping, chip.input_reuse))
    cost, found = evaluate(layer, chip, mapping), simulate(layer, chip, mapping)
    assert found.computing == pytest.approx(cost.compute_cycles)
    parts = (found.computing, found.ramp_up, found.drain, *found.stalls.values())
    assert min(parts) >= 0
    first = next((n for n, array in enumerate(chip.arrays) if array), len(chip.levels))
    for channel in ledger.channels():
        if channel.level <= first:  # further inside only the first element is followed
            taken = channel.bits / channel.bandwidth
            assert found.channels[channel.name] == pytest.approx(taken), channel.name
            assert found.cycles >= taken * (1 - 1e-9)
    assert found.cycles >= cost.compute_cycles * (1 - 1e-9)
    # Where time costs energy, what is waited for follows the work: still no more than all of it.
    clocked = replace(chip, control=Control(per_cycle=1.0))
    bound = evaluate(layer, clocked, mapping).cycles
    assert bound >= cost.cycles
    if all(channel.level <= first for channel in ledger.channels()):
        assert found.cycles >= bound * (1 - 1e-9)
    if clocked.priced_in_time:
        assert price_in_time(layer, clocked, mapping).cycles == max(bound, found.cycles)


def _limited(part: Level | Array, data: st.DataObject) -> Level | Array:
    if isinstance(part, Array):
        return replace(
            part,
            bandwidth=data.draw(st.sampled_from([None, 16.0])),
            network=data.draw(st.sampled_from([n for n in Network if n is not Network.MESH])),
        )
    return Level(
        tuple(
            replace(
                memory,
                bandwidth=data.draw(st.sampled_from([None, 8.0, 64.0])),
                double_buffered=data.draw(st.booleans()),
            )
            for memory in part.memories
        )
    )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_time_steps_are_rows_outermost(data: st.DataObject) -> None:
    """Every count and every cycle, whatever the mapping."""
    layer = data.draw(layers(largest=32))
    shape = layer.bounds._replace(P=1, R=1)
    layer = Layer("x", shape, density=layer.density, time_steps=data.draw(st.integers(2, 5)))
    mapping = data.draw(mappings(layer))
    rows, nest = in_rows(layer, mapping)
    assert rows.time_steps == 1
    assert rows.macs == layer.macs
    accelerator = sized_for(mapping)
    assert evaluate(rows, accelerator, nest) == evaluate(layer, accelerator, mapping)
    assert simulate(layer, accelerator, mapping) == simulate(rows, accelerator, nest)


def test_time_steps_of_maps_are_refused() -> None:
    layer = Layer("x", Extents(P=2, Q=2), time_steps=3)
    mapping = Mapping((Stage(layer.bounds),))
    with pytest.raises(PicojouleError, match="3 time steps of 2 x 2 outputs"):
        simulate(layer, sized_for(mapping), mapping)
