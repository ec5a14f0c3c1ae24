"""JSSC'17: the Eyeriss chip, its printed mappings, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import yaml

from picojoule.accelerator import Accelerator, Level
from picojoule.cost import Cost, evaluate
from picojoule.frontends import load
from picojoule.legality import tile_bits
from picojoule.mapping import Mapping, parse_mapping
from picojoule.simulation.simulator import simulate
from picojoule.specs import load_accelerator
from picojoule.validation.figures import PublishedNumber, figure
from picojoule.workload import Layer, Operand, PerOperand

CONV = ("conv1", "conv2", "conv3", "conv4", "conv5")


def jssc17() -> Iterator[PublishedNumber]:
    """The chip's published mappings of AlexNet, batch 4: Table III exact, Table V."""
    sizes = figure("jssc17_table3")
    measured = figure("jssc17_table5")
    output_zeros = figure("alexnet_densities", figure="CNNergy", quantity="output_zeros")
    accelerator, in_joules = load_accelerator("eyeriss"), load_accelerator("eyeriss-pj")
    network = load("bvlc-alexnet").with_batch(4)
    for name in CONV:
        mapping = published_mapping(f"jssc17-alexnet-{name}")
        density = 1 - measured[name, "input_zeros"] / 100
        nonzero = 1 - output_zeros[name, "output_zeros"]
        layer = replace(network[name], density=PerOperand(density, 1.0, nonzero))
        cost = evaluate(layer, accelerator, mapping)
        tile = mapping.stages[1].tile
        for operand, label in ((Operand.INPUT, "input"), (Operand.OUTPUT, "psum")):
            kilobytes = round(tile_bits(layer, accelerator, tile, operand) / 8192, 1)
            yield PublishedNumber(
                figure="JSSC'17 Table III",
                quantity=f"{name} {label} in the buffer, kB",
                paper=sizes[name, f"buffer.{label}"],
                ours=kilobytes,
                tolerance=0.0,
            )
        yield PublishedNumber(
            figure="JSSC'17 Table V",
            quantity=f"{name} active elements",
            paper=measured[name, "active_pes"],
            ours=cost.active_elements,
            tolerance=0.0,
        )
        yield PublishedNumber(
            figure="JSSC'17 Table V",
            quantity=f"{name} buffer, MB",
            paper=measured[name, "buffer_accesses"],
            ours=_megabytes(cost, "buffer", 6.0),
        )
        yield PublishedNumber(
            figure="JSSC'17 Table V",
            quantity=f"{name} DRAM, MB",
            paper=measured[name, "dram_accesses"],
            ours=_megabytes(cost, "dram", 200.0),
            tolerance=0.06,
        )
        yield from _in_time(layer, accelerator, mapping, measured)
        power = evaluate(layer, in_joules, mapping)
        core = (power.energy - power.by_memory["dram"]) / 1e9
        yield PublishedNumber(
            figure="JSSC'17 Table V",
            quantity=f"{name} core energy, mJ",
            paper=measured[name, "power"] * measured[name, "latency"] / 1e3,
            ours=core,
            note="clock and control are not modelled",
        )


def _in_time(
    layer: Layer, accelerator: Accelerator, mapping: Mapping, measured: dict[tuple[str, str], float]
) -> Iterator[PublishedNumber]:
    """The published mapping played through in time: with all of DRAM's traffic, and without."""
    played = simulate(layer, accelerator, mapping)
    yield PublishedNumber(
        figure="JSSC'17 Table V",
        quantity=f"{layer.name} total, ms",
        paper=measured[layer.name, "latency"],
        ours=played.cycles / 200e3,
        tolerance=0.10,
        note="played through in time (step 7 of eyexam)",
    )
    nest = tuple(
        Level(tuple(replace(memory, bandwidth=None) for memory in part.memories))
        if part is accelerator.nest[0] and isinstance(part, Level)
        else part
        for part in accelerator.nest
    )
    on_chip = simulate(layer, replace(accelerator, nest=nest), mapping)
    yield PublishedNumber(
        figure="JSSC'17 Table V",
        quantity=f"{layer.name} processing, ms",
        paper=measured[layer.name, "processing_latency"],
        ours=on_chip.cycles / 200e3,
        tolerance=0.15,
        note="the same without the time of DRAM",
    )


def _megabytes(cost: Cost, memory: str, per_word: float) -> float:
    """Bytes moved after coding, in the papers' megabytes; *per_word* is the cost of 16 bits."""
    return sum(access.energy for access in cost.accesses[memory].values()) / per_word * 2 / 1e6


def published_mapping(name: str) -> Mapping:
    """A mapping shipped in ``data/mappings``."""
    path = resources.files("picojoule") / "data" / "mappings" / f"{name}.yaml"
    return parse_mapping(yaml.safe_load(path.read_text(encoding="utf-8")), name)
