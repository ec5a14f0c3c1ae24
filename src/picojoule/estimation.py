"""What one inference costs: the best mapping of every layer, priced and added up."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from picojoule.accelerator import Accelerator
from picojoule.cost import Cost, evaluate
from picojoule.dataflow import Dataflow
from picojoule.dataflow import dataflow as named_dataflow
from picojoule.errors import PicojouleError, did_you_mean
from picojoule.estimate_records import Estimate, LayerEstimate, SearchRecord
from picojoule.frontends import load
from picojoule.mapper.cache import Cache, find
from picojoule.specs import load_accelerator
from picojoule.units import whole
from picojoule.workload import NO_SCALES, OPERANDS, Layer, Operand, PerOperand, Workload

if TYPE_CHECKING:
    from picojoule.mapper.found import Found
    from picojoule.mapping import Mapping as LoopNest


def estimate(
    source: object,
    accelerator: str | os.PathLike[str] | Accelerator,
    *,
    batch: int | None = None,
    dataflow: str | Dataflow | None = None,
    objective: str = "energy",
    factors: str = "all",
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
    budget: float | None = None,
    mappings: Mapping[str, LoopNest] | None = None,
    cache: Cache = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Estimate:
    """Estimate the energy of one inference, each layer under its best mapping.

    Args:
        source: anything :func:`frontends.load` reads.
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        batch: inferences at once; by default what the network says.
        dataflow: by default the accelerator's own.
        objective: "energy", "latency" or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        bits: width of all operands, or by operand name, instead of the network's.
        density: by operand name ("input", "weight", "output"), instead of the network's.
        budget: seconds of search per distinct layer; by default until proved optimal.
        mappings: by layer name; these layers are priced as given, not searched.
        cache: where searches are kept: True for the user's cache folder, False for nowhere, or a
            folder (see :mod:`cache`).
        progress: called with (layers done, layers in all, layer name).

    Raises:
        InputError: if the network or the accelerator cannot be read.
        NoMappingError: if a layer has no legal mapping.
    """
    machine = load_accelerator(accelerator)
    network = prepared(load(source), batch=batch, bits=bits, density=density)
    flow = (
        dataflow
        if isinstance(dataflow, Dataflow)
        else named_dataflow(dataflow or machine.default_dataflow)
    )
    given = mappings or {}
    for name in given:
        network[name]  # a name without a layer is an error, not without effect
    known: dict[tuple[object, ...], Found] = {}
    layers = []
    for done, batched in enumerate(network):
        if progress is not None:
            progress(done, len(network), batched.name)
        images = images_at_once(batched, machine, network.batch)
        layer = batched.with_batch_share(images, network.batch)
        if layer.name in given:
            cost = evaluate(layer, machine, given[layer.name])
            record = SearchRecord("given", 0.0, 0, 0, 0.0)
            layers.append(_priced(batched, cost, given[layer.name], record, images))
            continue
        key = layer.signature()
        if key not in known:
            known[key] = find(
                layer, machine, flow, objective, factors=factors, budget=budget, cache=cache
            )
        found = known[key]
        record = SearchRecord(
            found.status,
            # per inference; an energy-delay product is one of two per-inference figures
            found.lower_bound / (images**2 if objective == "edp" else images),
            found.explored,
            found.pruned,
            found.seconds,
            found.space,
        )
        layers.append(_priced(batched, found.cost, found.mapping, record, images))
    return Estimate(
        network.name,
        machine.name,
        network.batch,
        machine.energy_unit,
        flow.name,
        objective,
        tuple(layers),
        network.not_counted,
        machine,
    )


def images_at_once(layer: Layer, machine: Accelerator, batch: int) -> int:
    """How many of the batch's inferences share what is on the chip.

    The whole batch, unless the machine runs sets of images whose output maps are all resident in
    the level below the outermost: then the largest divisor of the batch that fits, at least one.
    """
    if not machine.resident_images:
        return batch
    memory = machine.levels[1].holder(Operand.OUTPUT)
    if memory is None or memory.capacity is None:
        return batch
    per_image = layer.size(Operand.OUTPUT) / batch * machine.psum_bits(layer.bits.output)
    room = int(memory.capacity // per_image)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(1, room))


def prepared(
    network: Workload,
    *,
    batch: int | None = None,
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
) -> Workload:
    """The network with the caller's batch, widths and densities in place of its own."""
    if batch is not None:
        network = network.with_batch(batch)
    if isinstance(bits, int):
        network = network.with_layers(bits=PerOperand(bits, bits, bits), scale_bits=NO_SCALES)
    elif isinstance(bits, PerOperand):
        network = network.with_layers(bits=bits, scale_bits=NO_SCALES)
    elif bits:
        _check_operands("bits", bits)
        network = replace(network, layers=tuple(x.with_widths(**bits) for x in network))
    if density:
        _check_operands("density", density)
        network = _with_each(network, lambda layer: {"density": layer.density._replace(**density)})
    return network


def _check_operands(what: str, given: Mapping[str, Any]) -> None:
    known = [operand.value for operand in OPERANDS]
    for name in given:
        if name not in known:
            near = did_you_mean(name, known)
            raise PicojouleError(f"{what} of {name!r}{near}; the operands are {', '.join(known)}")


def _with_each(network: Workload, changes: Callable[[Layer], dict[str, Any]]) -> Workload:
    return replace(network, layers=tuple(replace(x, **changes(x)) for x in network))


def _priced(
    layer: Layer, cost: Cost, mapping: LoopNest, record: SearchRecord, images: int
) -> LayerEstimate:
    """The price per inference of *layer*, of which *cost* is that of *images* inferences."""
    by_operand = {name: value / images for name, value in cost.by_operand.items()}
    by_memory = {name: value / images for name, value in cost.by_memory.items()}
    return LayerEstimate(
        layer.name,
        cost.macs / images,
        cost.effectual_macs / images,
        math.fsum(by_memory.values()),
        by_operand,
        by_memory,
        {name: dict(_words(operands, images)) for name, operands in cost.accesses.items()},
        cost.cycles / images,
        cost.utilization,
        cost.limited_by,
        mapping,
        record,
        layer,
    )


def _words(operands: Mapping[Operand, Any], images: int) -> Iterator[tuple[str, dict[str, float]]]:
    for operand, access in operands.items():
        yield (
            operand.value,
            {"read": whole(access.read / images), "write": whole(access.write / images)},
        )
