"""What operators without products move: by hand, by the price, and beside the layers' totals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator, Charging, Control, Format, Level
from picojoule.cost import evaluate
from picojoule.errors import WorkloadError
from picojoule.estimation import estimate
from picojoule.frontends import load
from picojoule.graph import Graph, Node, Tensor
from picojoule.mapping import Mapping, Stage
from picojoule.plan.others import Others, price_others
from picojoule.specs import load_accelerator
from picojoule.workload import Operand, PerOperand, Workload, conv

FLAT = load_accelerator(Path(__file__).parents[1] / "paper" / "flat-65536.yaml")


def tensor(name: str, words: int | None, bits: int = 16, density: float = 1.0) -> Tensor:
    return Tensor(name=name, words=words, bits=bits, density=density)


def operator(kind: str, reads: tuple[str, ...], makes: tuple[str, ...], **more: bool) -> Node:
    return Node(name=f"{kind} of {reads[0]}", operators=(kind,), reads=reads, makes=makes, **more)


def graph(*nodes: Node, tensors: tuple[Tensor, ...]) -> Graph:
    made = {name for node in nodes for name in node.makes}
    inputs = tuple(each.name for each in tensors if each.name not in made)
    return Graph(nodes, {each.name: each for each in tensors}, inputs, nodes[-1].makes)


def residual() -> Workload:
    """Two convolutions, an addition of both, a pooling: 128 words each, then 32."""
    ends = {"input_size": (8, 8), "in_channels": 2, "out_channels": 2, "kernel": (1, 1)}
    layers = (conv("a", **ends), conv("b", **ends))  # type: ignore[arg-type]
    drawn = graph(
        Node(name="a", operators=("Conv",), reads=("in",), makes=("a",), layers=("a",)),
        Node(name="b", operators=("Conv",), reads=("a",), makes=("b",), layers=("b",)),
        operator("Add", ("a", "b"), ("sum",)),
        operator("MaxPool", ("sum",), ("pooled",)),
        tensors=(*(tensor(name, 128) for name in ("in", "a", "b", "sum")), tensor("pooled", 32)),
    )
    return Workload("residual", layers, graph=drawn)


def priced(network: Workload, machine: Accelerator = FLAT) -> Others:
    assert network.graph is not None
    return price_others(network.graph, machine, network.batch)


def test_by_hand() -> None:
    # DRAM 200 and the buffer 6, at both ends: 206 for every word in or out.
    add, pool = priced(residual()).operators
    assert (add.operator, dict(add.words)) == ("Add", {"read": 256, "write": 128})
    assert add.energy == 206 * (256 + 128)
    assert add.by_memory == {"dram": 200 * 384, "buffer": 6 * 384}
    assert add.bytes_moved == {"dram": 768, "buffer": 768}
    each = {"dram": {"read": 256, "write": 128}, "buffer": {"read": 128, "write": 256}}
    assert add.accesses == each
    assert add.by_operand == {"other": add.energy}
    assert (pool.operator, pool.energy) == ("MaxPool", 206 * (128 + 32))
    # At the dearer end only: what the buffer takes is not charged.
    once = priced(residual(), replace(FLAT, charging=Charging.DEARER_END))
    assert [x.energy for x in once.operators] == [200 * 384, 200 * 160]
    assert (once.energy, once.words, once.cycles) == (200 * 544, 544, 0)
    assert once.operators[0].accesses["buffer"] == {"read": 0, "write": 0}


@pytest.mark.parametrize("charging", list(Charging))
@pytest.mark.parametrize("coding", [Format.DENSE, Format.BITMAP, Format.RUN_LENGTH])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("drains", [False, True])
def test_a_load_and_a_store_cost_what_the_price_says(
    charging: Charging, coding: Format, bits: int, drains: bool
) -> None:
    """As a layer pays for its input and output that goes from memory to memory in one piece."""
    levels = []
    for level in FLAT.levels:
        (memory,) = level.memories
        coded = PerOperand(coding, coding, coding)
        memory = replace(memory, write_energy=1.5 * memory.write_energy, charge_drains=drains)
        levels.append(Level((replace(memory, capacity=None, formats=coded),)))
    machine = replace(FLAT, nest=tuple(levels), charging=charging)
    layer = conv(
        "a",
        input_size=(8, 8),
        in_channels=3,
        out_channels=5,
        kernel=(1, 1),
        bits=PerOperand(bits, bits, bits),
        density=PerOperand(0.5, 1.0, 0.3),
    )
    cost = evaluate(layer, machine, Mapping((Stage(layer.bounds), Stage(layer.bounds))))
    (dram,), (buffer,) = (level.memories for level in levels)
    into, out = (cost.accesses["dram"][o].energy for o in (Operand.INPUT, Operand.OUTPUT))
    expected = {"dram": into + out, "buffer": 0.0}
    if charging is Charging.BOTH_ENDS:
        size = into / dram.read_energy * buffer.write_energy  # coded as it comes
        expected["buffer"] = size + 320 * bits / 16 * buffer.read_energy * drains
    pool = operator("Pool", ("in",), ("out",))
    drawn = graph(pool, tensors=(tensor("in", 192, bits, 0.5), tensor("out", 320, bits, 0.3)))
    (other,) = price_others(drawn, machine, 1).operators
    assert other.by_memory == pytest.approx(expected, rel=1e-12)
    assert other.bytes_moved["dram"] * 8 == pytest.approx(
        sum(cost.moved["dram"][o] for o in (Operand.INPUT, Operand.OUTPUT))
    )


def test_time_where_bandwidths_are_known_and_what_is_drawn_in_it() -> None:
    dram, buffer = FLAT.levels
    slow = replace(dram, memories=(replace(dram.memories[0], bandwidth=100.0),))
    control = Control(per_cycle=3.0)
    machine = replace(FLAT, nest=(slow, buffer), control=control, clock=1e6, static_power=2e-6)
    add, _ = priced(residual(), machine).operators
    assert (add.cycles, add.limited_by) == (384 * 16 / 100, "dram")
    # 2 µW at 1 MHz are 2 pJ a cycle.
    assert add.by_memory["control"] == pytest.approx(3 * add.cycles)
    assert add.by_memory["static"] == pytest.approx(2 * add.cycles)
    assert add.energy == pytest.approx(206 * 384 + 5 * add.cycles)
    assert add.by_operand.keys() == {"other", "control", "static"}
    assert sum(add.by_operand.values()) == pytest.approx(add.energy)


def test_a_batch_is_told_per_inference() -> None:
    one, four = priced(residual()), priced(residual().with_batch(4))
    assert [x.energy for x in four.operators] == [x.energy for x in one.operators]
    assert four.words == one.words


def test_what_lies_in_its_place_moves_nothing() -> None:
    halves = operator("Split", ("in",), ("left", "right"), in_place=True)
    tensors = (tensor("in", 8), tensor("left", 4), tensor("right", 4))
    assert price_others(graph(halves, tensors=tensors), FLAT, 1).operators == ()


@pytest.mark.parametrize("kind", ["Gather", "GATHER_ND", "embedding", "EMBEDDING_LOOKUP"])
def test_a_look_up_reads_the_rows_of_its_table(kind: str) -> None:
    looked = graph(
        operator(kind, ("ids",), ("rows",)), tensors=(tensor("ids", 4), tensor("rows", 64))
    )
    (look_up,) = price_others(looked, FLAT, 1).operators
    assert dict(look_up.words) == {"read": 4 + 64, "write": 64}
    # Of a tensor that is there, that is what is read.
    tensors = (tensor("table", 100), tensor("ids", 4), tensor("rows", 64))
    between = graph(operator(kind, ("table", "ids"), ("rows",)), tensors=tensors)
    (look_up,) = price_others(between, FLAT, 1).operators
    assert dict(look_up.words) == {"read": 104, "write": 64}


def test_an_unknown_size_is_said() -> None:
    drawn = graph(
        operator("Pool", ("in",), ("out",)), tensors=(tensor("in", 8), tensor("out", None))
    )
    others = price_others(drawn, FLAT, 1)
    assert (others.unsized, others.energy) == (1, 206 * 8)


def test_a_machine_without_a_shared_buffer_pays_the_outermost_memory() -> None:
    outermost = replace(FLAT, nest=FLAT.nest[:1])
    add, _ = priced(residual(), outermost).operators
    assert add.by_memory == {"dram": 200 * 384}
    assert add.bytes_moved == {"dram": 768}


def test_apart_no_total_moves_and_counted_they_sum() -> None:
    network = residual()
    bare = estimate(replace(network, graph=None), FLAT)
    apart, counted = (estimate(network, FLAT, others=how) for how in ("apart", "count"))
    assert bare.others is None
    assert apart.layers == bare.layers
    for name in ("energy", "cycles", "macs", "by_memory", "by_operand"):
        assert getattr(apart, name) == getattr(bare, name)
    assert apart.others is not None
    assert apart.others.energy == 206 * 544
    assert counted.layers == bare.layers
    assert counted.energy == bare.energy + 206 * 544
    assert counted.by_operand == {**bare.by_operand, "other": 206 * 544}
    assert math.isclose(sum(counted.by_memory.values()), counted.energy)
    assert counted.by_content["other"] == 206 * 544
    assert math.isclose(sum(row["energy"] for row in counted.rows()), counted.energy)
    assert [row["layer"] for row in counted.rows()] == ["a", "b", "other"]
    assert len(apart.rows()) == 2


def test_nobody_says_is_an_error_where_it_is_to_be_counted() -> None:
    with pytest.raises(WorkloadError, match="nobody says which layer's output"):
        estimate(replace(residual(), graph=None), FLAT, others="count")


@pytest.mark.parametrize("name", ["eyeriss-isca16", "tpu-v1-like", "nvdla-like", "eyeriss-pj"])
def test_every_operator_of_shipped_networks_has_a_price(name: str) -> None:
    """None is silently zero, on machines of all kinds."""
    machine = load_accelerator(name)
    for source in ("resnet50", "googlenet", "bert-base", "mlperf-tiny-kws"):
        network = load(source)
        assert network.graph is not None
        others = priced(network, machine)
        whole = {node.name for node in network.graph.nodes if not node.layers}
        moved = {node.name for node in network.graph.nodes if node.in_place}
        assert {x.name for x in others.operators} == whole - moved
        assert all(x.energy > 0 and x.sized for x in others.operators)
        for each in others.operators:
            assert math.isclose(sum(each.by_memory.values()), each.energy)
