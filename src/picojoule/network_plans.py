"""The plan of a question: which tensors stay on the chip, and each layer's mapping beside them.

:mod:`picojoule.plan` knows graphs, layers and machines. Here it is given what a question says of
them: the search, its words and its budget, mappings that are given, sets of images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from picojoule.accelerator import Accelerator
from picojoule.errors import WorkloadError
from picojoule.graph import Node
from picojoule.legality import contents
from picojoule.mapper.found import Found, value_of
from picojoule.plan.bounds import no_graph
from picojoule.plan.others import OperatorPrices, Others, price_others
from picojoule.plan.placement import places
from picojoule.plan.prices import OUTSIDE, Part
from picojoule.plan.records import Plan, PlanStep
from picojoule.plan.residency import Residency, reside
from picojoule.question import Progress, Question, Share
from picojoule.workload import OPERANDS, Layer

if TYPE_CHECKING:
    from picojoule.mapper.found import Watch
    from picojoule.mapping import Mapping as LoopNest


def plan(
    question: Question,
    *,
    mappings: Mapping[str, LoopNest] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> tuple[Residency, Plan]:
    """The plan of *question* with the least objective.

    Args:
        mappings, progress, watch: as in :func:`estimation.price`. Operands of a layer whose
            mapping is given lie in the outermost level.

    Raises:
        WorkloadError: nobody says what lies between the layers of the network.
        NoMappingError: if a layer has no legal mapping.
    """
    graph = question.graph
    if graph is None:
        raise WorkloadError(
            f"network {question.network.name!r}: nothing can be kept between its layers: "
            f"{no_graph(question.network)}; --between dram needs to know nothing of it"
        )
    nests = dict(_nests(question, mappings or {}))
    parts = {share.layer.name: _part(share, nests) for share in question.shares()}

    def search(layer: Layer, there: Accelerator, sums_stay: bool) -> Found:
        asked = replace(question, accelerator=there)
        if sums_stay:
            asked = replace(asked, dataflow=replace(asked.dataflow, sums_stay=True))
        nest = nests.get(layer.name)
        return asked.find(layer, watch=watch) if nest is None else _given(asked, layer, nest)

    def told(name: str) -> None:
        if progress is not None:
            progress(min(len(seen), len(parts) - 1), len(parts), name)
        seen.add(name)

    seen: set[str] = set()
    prices = OperatorPrices(question.accelerator, question.network.batch)

    def operators(node: Node, kept: Collection[str]) -> float:
        if question.others != "count":
            return 0.0
        return value_of(prices.of(node, graph, kept), question.objective)

    residency = reside(
        graph, parts, question.accelerator, question.objective, search, operators, told
    )
    others = price_others(graph, question.accelerator, question.network.batch)
    return residency, _record(question, parts, residency, others)


def _record(
    question: Question, parts: Mapping[str, Part], residency: Residency, others: Others
) -> Plan:
    """The plan as plain data."""
    outside = [(placed.found, parts[name].images) for name, placed in residency.outside.items()]
    counted = question.others == "count"
    steps = []
    for node, rooms in residency.steps:
        tiles = dict.fromkeys(rooms, 0.0)
        for name in node.layers:
            placed = residency.layers[name]
            for row in contents(parts[name].share, placed.accelerator, placed.found.mapping):
                if row["memory"] in tiles and row["capacity"] is not None:
                    tiles[row["memory"]] = max(tiles[row["memory"]], row["used"])
        homes = residency.layers[node.layers[0]].homes if node.layers else OUTSIDE
        lying = {o.value: name for o, name in zip(OPERANDS, homes, strict=True) if name}
        steps.append(
            PlanStep(node=node.name, layers=node.layers, homes=lying, rooms=rooms, tiles=tiles)
        )
    return Plan(
        objective=question.objective,
        value=residency.value,
        lower_bound=residency.lower_bound,
        status=residency.status,
        capacities={x.name: x.capacity for x in places(question.accelerator)},
        stays=residency.stays,
        steps=tuple(steps),
        outside={
            "energy": math.fsum(found.cost.energy / images for found, images in outside)
            + others.energy * counted,
            "cycles": math.fsum(found.cost.cycles / images for found, images in outside)
            + others.cycles * counted,
        },
        least=residency.least,
        searched=residency.searched,
    )


def _nests(question: Question, own: Mapping[str, LoopNest]) -> Iterator[tuple[str, LoopNest]]:
    """Mappings that are not searched: given ones, and those of the machine's compiler."""
    for share in question.shares():
        name = share.layer.name
        nest = own[name] if name in own else question.compiled(share.part)
        if nest is not None:
            yield name, nest


def _part(share: Share, nests: Mapping[str, LoopNest]) -> Part:
    name, given = share.layer.name, share.layer.name in nests
    key = (share.images, *share.part.signature(), *([name] if given else []))
    return Part(
        whole=share.layer,
        share=share.part,
        images=share.images,
        key=key,
        apart=given or share.part is not share.layer,
    )


def _given(question: Question, layer: Layer, nest: LoopNest) -> Found:
    """The price of a mapping that was not searched.

    Raises:
        MappingError: it is not legal.
    """
    cost = question.price(layer, nest)
    value = value_of(cost, question.objective)
    return Found(
        mapping=nest,
        cost=cost,
        objective=question.objective,
        value=value,
        status="given",
        lower_bound=value,
        explored=0,
        pruned=0,
        space="",
        seconds=0.0,
    )
