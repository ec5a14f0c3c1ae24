"""What tensors are spared that stay: by hand, by the price, and by a mapper that may fuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Charging, Control, Format, Level
from picojoule.cost import evaluate
from picojoule.errors import WorkloadError
from picojoule.frontends import load
from picojoule.graph import Graph, Node, Tensor
from picojoule.mapping import Mapping, Stage
from picojoule.plan.spared import spared
from picojoule.specs import load_accelerator
from picojoule.workload import Dim, Layer, Operand, PerOperand, Workload, conv, linear, matmul

FLAT = load_accelerator(Path(__file__).parents[1] / "paper" / "flat-65536.yaml")


def chain(*layers: Layer) -> Workload:
    """Layers one after another; second operands are inputs of the network."""
    tensors = {"in": Tensor(name="in", words=layers[0].size(Operand.INPUT), bits=16)}
    nodes, inputs, last = [], ["in"], "in"
    for layer in layers:
        reads = [last]
        if layer.weight_is_activation:
            name = f"{layer.name}.second"
            tensors[name] = Tensor(name=name, words=layer.size(Operand.WEIGHT), bits=16)
            inputs.append(name)
            reads.append(name)
        last = layer.name
        tensors[last] = Tensor(name=last, words=layer.size(Operand.OUTPUT), bits=16)
        nodes.append(
            Node(name=last, operators=("Op",), reads=tuple(reads), makes=(last,), layers=(last,))
        )
    graph = Graph(tuple(nodes), tensors, tuple(inputs), (last,))
    network = Workload("chain", layers, graph=graph)
    assert network.graph is not None
    return network


def fc(name: str, rows: int, inner: int, columns: int) -> Layer:
    return linear(name, rows=rows, in_features=inner, out_features=columns)


def window(name: str, rows: int) -> Layer:
    return conv(name, input_size=(rows, rows), in_channels=8, out_channels=8, kernel=(3, 3))


def attention() -> tuple[Layer, Layer]:
    return (
        matmul("qk", rows=128, inner=64, columns=128),
        matmul("av", rows=128, inner=128, columns=64),
    )


# Each layer alone and the chain, free to fuse, on the same machine: AccelForge 1.0.467.
@pytest.mark.parametrize(
    ("layers", "alone", "fused"),
    [
        ((fc("a", 64, 64, 64), fc("b", 64, 64, 64)), 18_120_704, 16_433_152),
        ([fc(name, 64, 64, 64) for name in "abc"], 27_181_056, 23_805_952),
        (attention(), 65_781_760, 59_031_552),
        ((window("a", 12), window("b", 10)), 3_263_424, 2_933_824),
    ],
)
def test_a_mapper_that_fuses_is_spared_as_much(
    layers: tuple[Layer, ...], alone: int, fused: int
) -> None:
    kept = spared(chain(*layers), FLAT)
    assert alone - kept.energy == fused
    assert kept.other == kept.cycles == 0


def test_where_the_buffer_is_too_small_it_does_not() -> None:
    # DeiT-tiny's FFN: 23.4 M of 62.3 M are saved there (1,589,976,192 - 1,566,600,960).
    kept = spared(chain(fc("a", 197, 192, 768), fc("b", 197, 768, 192)), FLAT)
    hidden = kept.tensors[1]
    assert kept.energy == 412 * 197 * 768
    assert 1_589_976_192 - kept.energy < 1_566_600_960
    assert (hidden.made_by, hidden.read_by, hidden.memory) == ("a", ("b",), "buffer")
    assert hidden.room == 197 * 768 * 16
    assert not hidden.fits  # 295 KiB in 128
    assert kept.tensors[0].energy == kept.tensors[2].energy == 0  # the network's own ends


def _all_at_once(layer: Layer) -> Mapping:
    """Everything in the buffer as one tile: each operand is loaded or stored once."""
    return Mapping((Stage(layer.bounds), Stage(layer.bounds)))


@pytest.mark.parametrize("charging", list(Charging))
@pytest.mark.parametrize("coding", [Format.DENSE, Format.BITMAP, Format.RUN_LENGTH])
@pytest.mark.parametrize("psum", [None, 24])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("drains", [False, True])
def test_a_store_and_a_load_cost_what_the_price_says(
    charging: Charging, coding: Format, psum: int | None, padded: bool, drains: bool
) -> None:
    levels = []
    for level in FLAT.levels:
        (memory,) = level.memories
        # Energies of their own for each: a wrong one would show.
        memory = replace(
            memory,
            write_energy=memory.write_energy * 1.5,
            formats=PerOperand(coding, coding, coding),
            capacity=None,
            charge_drains=drains,
        )
        levels.append(Level((memory,)))
    machine = replace(
        FLAT,
        nest=tuple(levels),
        charging=charging,
        charge_padding=padded,
        compute=replace(FLAT.compute, psum_bits=psum),
    )
    bits, density = PerOperand(8, 8, 12), PerOperand(0.3, 0.5, 0.25)
    first = conv(
        "a",
        input_size=(6, 6),
        in_channels=2,
        out_channels=3,
        kernel=(3, 3),
        bits=bits,
        density=density,
    )
    second = conv(
        "b",
        input_size=(4, 4),
        in_channels=3,
        out_channels=2,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        bits=bits,
        density=density,
    )
    stored, loaded = (evaluate(layer, machine, _all_at_once(layer)) for layer in (first, second))
    both = charging is Charging.BOTH_ENDS
    dram, buffer = machine.memories["dram"], machine.memories["buffer"]
    expected = stored.accesses["dram"][Operand.OUTPUT].energy
    expected += loaded.accesses["dram"][Operand.INPUT].energy
    if both and drains:
        expected += first.size(Operand.OUTPUT) * (psum or 12) / 16 * buffer.read_energy
    if not both:  # what stays is written there; what leaves is paid outside alone
        expected -= first.size(Operand.OUTPUT) * (psum or 12) / 16 * buffer.write_energy
    if both:
        words = loaded.accesses["buffer"][Operand.INPUT]
        each_read = 8 / 16 * buffer.read_energy  # to the multiplier, uncoded
        expected += words.energy - words.read * each_read
    kept = spared(chain(first, second), machine)
    assert math.isclose(kept.energy, expected, rel_tol=1e-12)
    assert dram.write_energy != dram.read_energy


def test_time_and_what_is_drawn_in_it() -> None:
    # 100 bit/cycle of DRAM: 4096 words of 16 bit out and in again are 2 x 655.36 cycles.
    dram, buffer = FLAT.levels
    slow = replace(dram, memories=(replace(dram.memories[0], bandwidth=100.0),))
    machine = replace(FLAT, nest=(slow, buffer), control=Control(per_cycle=3.0), clock=1e6)
    network = chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64))
    kept = spared(network, machine)
    assert math.isclose(kept.cycles, 2 * 655.36)
    assert math.isclose(kept.energy, 412 * 4096 + 3 * kept.cycles)
    # Ten cycles until the first word of either transfer, and a command for it.
    late = replace(buffer, memories=(replace(buffer.memories[0], latency=10.0),))
    commanded = Control(per_cycle=3.0, per_command=7.0)
    slower = spared(network, replace(machine, nest=(slow, late), control=commanded))
    assert math.isclose(slower.cycles, 2 * 665.36)
    assert math.isclose(slower.energy, 412 * 4096 + 3 * slower.cycles + 2 * 7)
    assert (kept.by_parts, slower.by_parts) == (True, False)


def test_a_machine_that_fetches_anew_is_spared_by_whole_tensors() -> None:
    dram, buffer = FLAT.levels
    anew = replace(buffer.memories[0], refetches=frozenset({Dim.M}))
    network = chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64))
    machine = replace(FLAT, nest=(dram, replace(buffer, memories=(anew,))))
    assert [spared(network, x).by_parts for x in (FLAT, machine)] == [True, False]


def test_a_batch_is_told_per_inference() -> None:
    one = spared(chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64)), FLAT)
    four = spared(chain(fc("a", 64, 64, 64), fc("b", 64, 64, 64)).with_batch(4), FLAT)
    assert (four.energy, four.tensors[1].room) == (one.energy, one.tensors[1].room)
    assert four.batch == 4


def test_nothing_stays_where_no_memory_holds_both() -> None:
    network = load("resnet18")
    for name in ("nvdla-like", "eyeriss-v2"):
        kept = spared(network, load_accelerator(name))
        assert kept.energy == kept.other == 0
        assert {each.memory for each in kept.tensors} == {""}


def test_a_second_operand_stays_only_where_weights_can_be_read() -> None:
    # The chip's buffer keeps inputs and outputs; weights pass through another memory.
    kept = spared(load("bert-base"), load_accelerator("eyeriss"))
    by_name = {each.tensor: each for each in kept.tensors}
    assert by_name["encoder.0.attention.query"].memory == "buffer"
    key = by_name["encoder.0.attention.key"]
    assert (key.memory, key.energy) == ("", 0.0)


def test_decode_is_told_that_its_cache_comes_from_outside() -> None:
    """Keys and values of earlier tokens are loaded anyway: little is left to save."""
    kept = spared(load("gpt2-decode"), load_accelerator("eyeriss-isca16"))
    by_name = {each.tensor: each for each in kept.tensors}
    words = 768  # of the one new token, at 200 each
    assert math.isclose(by_name["concat_1"].energy, words * 200)
    # Of the new queries, keys and values the latter two are stored anyway.
    assert math.isclose(by_name["h.0.attention.qkv"].energy, words * (200 - 6))


def test_weights_are_no_tensors_and_ends_of_the_network_stay_outside() -> None:
    network = load("vgg16")
    kept = spared(network, FLAT)
    by_name = {each.tensor: each for each in kept.tensors}
    assert by_name["input"].energy == by_name["fc8"].energy == 0
    words = sum(layer.size(Operand.OUTPUT) for layer in list(network)[:-1])
    loads = sum(layer.size(Operand.INPUT) + 2 * _border(layer) for layer in list(network)[1:])
    # A store is 200 + 6, a load 200 + 6; the machine stores the padding.
    assert kept.energy == 206 * (words + loads)


def _border(layer: Layer) -> int:
    """Half of the zeros around an input."""
    rows, columns = layer.input_size
    top, bottom, left, right = layer.padding
    whole = (rows + top + bottom) * (columns + left + right)
    return layer.bounds.G * layer.bounds.C * (whole - rows * columns) // 2


def test_without_a_graph_it_says_who_tells() -> None:
    plain = replace(load("vgg16"), graph=None)
    with pytest.raises(WorkloadError, match="an ONNX or TFLite file or a torch module does"):
        spared(plain, FLAT)
