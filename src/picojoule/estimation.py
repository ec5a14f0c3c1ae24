"""What one inference costs: the best mapping of every layer, priced and added up."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from picojoule.accelerator import Accelerator
from picojoule.cost import Cost
from picojoule.dataflow import Dataflow
from picojoule.display import shown
from picojoule.estimate_records import Estimate, LayerEstimate, SearchRecord
from picojoule.mapper.cache import Cache
from picojoule.network_plans import plan
from picojoule.plan.others import price_others
from picojoule.plan.prices import Placed
from picojoule.question import Progress, Question, Share, ask
from picojoule.units import whole
from picojoule.workload import OPERANDS, Operand, PerOperand

if TYPE_CHECKING:
    from picojoule.mapper.found import Found, Watch
    from picojoule.mapping import Mapping as LoopNest


# 84 lines: 63 of them are the arguments and what they mean, the rest hands them on.
def estimate(
    source: object,
    accelerator: str | os.PathLike[str] | Accelerator,
    *,
    node: str | None = None,
    batch: int | None = None,
    dataflow: str | Dataflow | None = None,
    objective: str = "energy",
    factors: str = "all",
    space: str = "even",
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
    profile: object = None,
    slack: float = 0.0,
    budget: float | None = None,
    mappings: Mapping[str, LoopNest] | None = None,
    cache: Cache = True,
    policy: str = "best",
    between: str | None = None,
    others: str = "apart",
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Estimate:
    """Estimate the energy of one inference, each layer under its best mapping.

    Args:
        source: anything :func:`frontends.load` reads.
        accelerator: a YAML file, a shipped name, or an :class:`Accelerator`.
        node: the accelerator made at this node of technology ("22nm"), in joules; by default the
            file's own energies.
        batch: inferences at once; by default what the network says.
        dataflow: by default the accelerator's own.
        objective: "energy", "latency" or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        space: "even" mappings, whose operands share the tiles of a memory, or also "uneven" ones.
        bits: width of all operands, or by operand name, instead of the network's.
        density: by operand name ("input", "weight", "output"), instead of the network's.
        profile: densities and widths of every layer, instead of the network's: what
            :func:`pruning.layers.profiling.profile` found, its table (.csv), a run's folder, or a
            released model's name. Layers are matched by name, or else in their order.
        slack: of the mappings that cost at most this share more energy than the best (0.01: 1 %),
            the fastest is taken.
        budget: seconds of search per distinct layer; by default until proved optimal.
        mappings: by layer name; these layers are priced as given, not searched.
        cache: where searches are kept: True for the user's cache folder, False for nowhere, or a
            folder (see :mod:`cache`).
        policy: "best" mappings, a bound for the machine; or "published": those of the machine's
            compiler, else the best of those that keep to the published rules of the dataflow and
            machine, as a chip does.
        between: where tensors between the layers lie: "dram", the outermost memory; or "keep": on
            the chip where that is best (:mod:`network_plans`). By default what the accelerator's
            file says, else "dram".
        others: "count" what operators without products move between memories in the totals, or have
            it stand "apart" from them.
        progress: called with (layers done, layers in all, layer name); by default a notebook shows
            a bar.
        watch: called a few times a second with the least objective of the layer so far and what no
            mapping is below; true takes the best so far, for this layer.

    Raises:
        InputError: if the network or the accelerator cannot be read.
        NoMappingError: if a layer has no legal mapping.
    """
    question = ask(
        source,
        accelerator,
        node=node,
        batch=batch,
        bits=bits,
        density=density,
        profile=profile,
        dataflow=dataflow,
        objective=objective,
        factors=factors,
        space=space,
        slack=slack,
        budget=budget,
        cache=cache,
        policy=policy,
        between=between,
        others=others,
    )
    with shown(progress, watch) as told:
        return price(question, mappings=mappings, **told)


def price(
    question: Question,
    *,
    mappings: Mapping[str, LoopNest] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Estimate:
    """Answer *question*: the price of each layer under its best mapping, or under its own.

    Args:
        mappings, progress, watch: as in :func:`estimate`.

    Raises:
        NoMappingError: if a layer has no legal mapping.
    """
    network, accelerator = question.network, question.accelerator
    own = mappings or {}
    for name in own:
        network[name]  # a name without a layer is an error, not without effect
    planned, kept = None, frozenset[str]()
    if question.between == "keep":
        residency, planned = plan(question, mappings=own, progress=progress, watch=watch)
        layers, kept = _placed(question, residency.layers), residency.kept
    else:
        layers = _apart(question, own, progress, watch)
    graph, counted = question.graph, question.others == "count"
    return Estimate(
        network=network.name,
        accelerator=accelerator.name,
        batch=network.batch,
        energy_unit=accelerator.energy_unit,
        dataflow=question.dataflow.name,
        objective=question.objective,
        layers=tuple(layers),
        not_counted=network.not_counted,
        machine=accelerator,
        unmodelled=network.unmodelled,
        remarks=network.remarks,
        policy=question.policy,
        rules=question.rules,
        plan=planned,
        graph=graph,
        others=None
        if graph is None
        else price_others(graph, accelerator, network.batch, counted=counted, kept=kept),
    )


def _apart(
    question: Question,
    own: Mapping[str, LoopNest],
    progress: Progress | None,
    watch: Watch | None,
) -> list[LayerEstimate]:
    """Each layer alone, from the outermost memory and back."""
    searched: dict[tuple[object, ...], Found] = {}
    layers = []
    for done, share in enumerate(question.shares()):
        name = share.layer.name
        if progress is not None:
            progress(done, len(question.network), name)
        nest = own[name] if name in own else question.compiled(share.part)
        if nest is not None:
            layers.append(_priced(share, question.price(share.part, nest), nest, GIVEN))
            continue
        key = share.part.signature()
        if key not in searched:
            searched[key] = question.find(share.part, watch=watch)
        result = searched[key]
        record = _record(share, result, question.objective)
        layers.append(_priced(share, result.cost, result.mapping, record))
    return layers


def _placed(question: Question, placed: Mapping[str, Placed]) -> list[LayerEstimate]:
    """Each layer where its operands lie, in the room that is left there."""
    layers = []
    for share in question.shares():
        place = placed[share.layer.name]
        result, homes = place.found, zip(OPERANDS, place.homes, strict=True)
        record = _record(share, result, question.objective)
        layer = _priced(share, result.cost, result.mapping, record)
        layers.append(replace(layer, homes={o.value: name for o, name in homes if name}))
    return layers


GIVEN = SearchRecord(status="given", lower_bound=0.0, explored=0, pruned=0, seconds=0.0)


def _record(share: Share, result: Found, objective: str) -> SearchRecord:
    """How a mapping was found."""
    if result.status == "given":
        return GIVEN
    images = share.images
    return SearchRecord(
        status=result.status,
        # per inference; an energy-delay product is one of two per-inference figures
        lower_bound=result.lower_bound / (images**2 if objective == "edp" else images),
        explored=result.explored,
        pruned=result.pruned,
        seconds=result.seconds,
        space=result.space,
    )


def _priced(share: Share, cost: Cost, mapping: LoopNest, record: SearchRecord) -> LayerEstimate:
    """The price per inference of a layer, of whose share *cost* is the price."""
    layer, images = share.layer, share.images
    by_operand = {name: value / images for name, value in cost.by_operand.items()}
    by_memory = {name: value / images for name, value in cost.by_memory.items()}
    return LayerEstimate(
        name=layer.name,
        macs=cost.macs / images,
        effectual_macs=cost.effectual_macs / images,
        energy=math.fsum(by_memory.values()),
        by_operand=by_operand,
        by_memory=by_memory,
        accesses={name: dict(_words(operands, images)) for name, operands in cost.accesses.items()},
        bytes_moved={
            name: {o.value: whole(bits / 8 / images) for o, bits in operands.items()}
            for name, operands in cost.moved.items()
        },
        cycles=cost.cycles / images,
        utilization=cost.utilization,
        limited_by=cost.limited_by,
        mapping=mapping,
        search=record,
        layer=layer,
    )


def _words(operands: Mapping[Operand, Any], images: int) -> Iterator[tuple[str, dict[str, float]]]:
    for operand, access in operands.items():
        yield (
            operand.value,
            {"read": whole(access.read / images), "write": whole(access.write / images)},
        )
