"""The search for the best mapping, with a proof.

A mapping's energy is a sum of products of per-dimension factors once its class is fixed
(:mod:`space`). Each class is a discrete geometric programme (:mod:`relaxation` sets it up,
:mod:`programme` bounds it, :mod:`boxes` solves it); classes are taken best first.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from functools import cache as once

from picojoule.accelerator import Accelerator, Array, Axis, Charging, Compute, Level, Memory
from picojoule.cost import evaluate
from picojoule.dataflow import Dataflow
from picojoule.errors import NoMappingError, PicojouleError
from picojoule.mapper import programme
from picojoule.mapper.best_first import SMALLEST_GAIN, Result, Solver
from picojoule.mapper.compulsory import least_cycles, least_energy
from picojoule.mapper.dive import dive
from picojoule.mapper.found import FACTORS, SPACES, Found, Watch, value_of
from picojoule.mapper.nests import NestSpace, nests, why_even
from picojoule.mapper.patience import OutOfTimeError, Patience, clock
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.space import Space
from picojoule.mapping import Mapping
from picojoule.workload import OPERANDS, Layer, conv

OBJECTIVES = {"energy": programme.ENERGY, "latency": programme.LATENCY, "edp": programme.EDP}
ROUNDING = 1e-9  # relative: sums in another order differ by less
EMPTY_HANDED = 0.6  # share of a time budget after which any mapping is taken
FOR_ANY = 0.15  # seconds that are left for that, if there are as many
LISTED = 4  # levels up to which all classes are listed whatever the time
CHEAPEST = 0.5  # share of it for the cheapest mapping, where that is only the start
SMALLEST_STEP = 1e-9  # relative: points of a front nearer than this in cycles are one


def search(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow | str | None = None,
    objective: str = "energy",
    *,
    factors: str = "all",
    space: str = "even",
    slack: float = 0.0,
    budget: float | None = None,
    pareto: bool = False,
    start: Mapping | None = None,
    floor: float = 0.0,
    watch: Watch | None = None,
) -> Found:
    """Find the mapping of *layer* with the least *objective*, and prove it.

    Args:
        dataflow: constraints on the mapping; by default the accelerator's own.
        objective: "energy", "latency" (then least energy among the fastest) or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        space: "even" mappings, whose operands share the tiles of a memory, or also "uneven" ones.
        slack: for "energy", the fastest of the mappings that cost at most this share more than the
            best is taken, which is proved as well.
        budget: seconds after which the best so far is returned as "feasible".
        pareto: also find the front of energy against cycles (:attr:`Found.front`).
        start: for "latency", a legal mapping to begin with, in place of the cheapest.
        floor: for "latency", cycles that no mapping can do without (:mod:`compulsory`,
            :mod:`parallelism`): one that takes no more is proved. Neither changes the answer.
        watch: told how the search stands, and may end it as a budget does.

    Raises:
        NoMappingError: if no mapping is legal.
    """
    _check_words(
        objective=(objective, OBJECTIVES), factors=(factors, FACTORS), space=(space, SPACES)
    )
    dataflow = accelerator.dataflow(dataflow)
    if space == "uneven" and (why := why_even(layer, accelerator, dataflow)):
        raise PicojouleError(
            f"layer {layer.name!r}: {why}: search even mappings, or another dataflow (flexible)"
        )
    if budget is not None:
        _load_compiled()
    started = clock()
    patience = Patience(math.inf if budget is None else started + budget, watch)
    timed = pareto or objective != "energy" or accelerator.time_costs or slack > 0

    def solved(exact: bool) -> tuple[Relaxation, Mapping | None, Result]:
        """The programmes, the cheapest mapping, and the best."""
        kinds = {"perfect": factors == "perfect", "uneven": space == "uneven", "exact": exact}
        relaxation = _relaxed(Space(layer, accelerator, dataflow, timed=timed, **kinds))
        if start is not None and objective == "latency" and not pareto:
            return relaxation, None, _from(relaxation, start, objective, patience, floor)
        best = _cheapest(
            relaxation, patience if objective == "energy" else patience.share(CHEAPEST)
        )
        cheapest = best.mapping
        if objective != "energy" and cheapest is not None:
            best = _from(relaxation, cheapest, objective, patience)
        elif slack and best.complete and cheapest is not None:
            best = _fastest_within(relaxation, best, slack, patience)
        return relaxation, cheapest, best

    relaxation, cheapest, best = solved(exact=False)
    result = None if best.mapping is None else _priced(relaxation, best, objective, started)
    if result is not None and best.complete and result.status != "optimal":
        relaxation, cheapest, best = solved(exact=True)  # dearer than its programme says
        again = None if best.mapping is None else _priced(relaxation, best, objective, started)
        if best.complete or (again is not None and again.value < result.value):
            result = again
    if result is None:
        raise _none_fits(relaxation.space, in_time=best.complete)
    if slack and objective == "energy":
        said = f"{result.space}; the fastest of those within {100 * slack:g} % of the least energy"
        result = replace(result, lower_bound=min(best.bound, result.value), space=said)
    if not pareto or cheapest is None:
        return result
    return replace(result, front=_front(relaxation, cheapest, patience))


def _none_fits(space: Space, *, in_time: bool) -> NoMappingError:
    """That there is no mapping, or none was met, and what may help."""
    layer, accelerator = space.layer, space.accelerator
    why = f"with the dataflow {space.dataflow.name!r}" if in_time else "in time"
    wide, word = max(layer.bits), accelerator.word_bits
    hint = "larger memories or another dataflow may help"
    if wide > word:
        hint = f"its words have {word} bits, the layer's up to {wide}: try --bits {word}"
    return NoMappingError(
        f"layer {layer.name!r}: no mapping fits {accelerator.name!r} {why}; {hint}"
    )


def _check_words(**asked: tuple[str, Collection[str]]) -> None:
    for what, (word, words) in asked.items():
        if word not in words:
            raise PicojouleError(f"no {what} {word!r}; there are {', '.join(words)}")


def _relaxed(space: Space) -> Relaxation:
    """The programmes of a space; where it has uneven mappings, with those of every nest."""
    nested = nests(space) if space.uneven else ()
    return Relaxation(space, (Relaxation(NestSpace(space, nest)) for nest in nested))


def _cheapest(relaxation: Relaxation, patience: Patience) -> Result:
    """The mapping with the least energy; out of time, the best that was met, or any."""
    solver = Solver(relaxation, programme.ENERGY, patience.share(EMPTY_HANDED, FOR_ANY))
    best = solver.solve()
    if best.complete:
        return best
    if best.mapping is None:  # most of the time is gone: with few sizes there are mappings
        few = _among_few(relaxation.space, patience)
        solver.best, solver.mapping = few.value, few.mapping
    solver.patience = patience
    return solver.solve()


def _among_few(space: Space, patience: Patience) -> Result:
    """The cheapest mapping of those with tiles that divide; out of time, one that is near by.

    Of classes with the same operands kept the first is the one that asks least of the loops: out
    of time the others are not tried.
    """
    few = Relaxation(
        Space(space.layer, space.accelerator, space.dataflow, timed=space.timed, perfect=True)
    )
    solver = Solver(few, programme.ENERGY, patience)
    try:
        with (Patience() if space.depth <= LISTED else patience).kept():
            classes = list(few.table.classes)
    except OutOfTimeError:
        return solver.solve()
    keeps = None
    for cls in classes:
        if cls.keeps == keeps and patience.over():
            continue
        solver.mapping, keeps = dive(few, cls, patience), cls.keeps
        if solver.mapping is not None:
            solver.best = evaluate(space.layer, space.accelerator, solver.mapping).energy
            break
    return solver.solve()


@once
def _load_compiled() -> None:
    """Have what is compiled loaded, by a search of nothing much: no budget is for that."""
    everything = frozenset(OPERANDS)
    outside, middle, inside = (
        Level((Memory(name, keeps=everything, capacity=size, read_energy=1.0, write_energy=1.0),))
        for name, size in (("outside", None), ("middle", 256.0), ("inside", 64.0))
    )
    nest = (outside, middle, Array("array", (Axis("row", 2),)), inside)
    tiny = Accelerator("tiny", nest, compute=Compute(1.0), charging=Charging.DEARER_END)
    layer = conv("tiny", input_size=(3, 3), in_channels=2, out_channels=2, kernel=(2, 2))
    search(layer, tiny, objective="latency")
    space = Space(layer, tiny, tiny.dataflow(None), timed=True)
    dive(Relaxation(space), next(space.classes()), Patience())


def _priced(relaxation: Relaxation, best: Result, objective: str, started: float) -> Found:
    """The result of a search, priced by ``evaluate``."""
    space, mapping = relaxation.space, best.mapping
    assert mapping is not None
    cost = evaluate(space.layer, space.accelerator, mapping)
    value = value_of(cost, objective)
    if best.complete and value > best.value * (1 + ROUNDING):
        # Unrollings that axes multiply to one by one, but not side by side.
        best = replace(best, complete=False, bound=best.value)
    bound = value
    if not best.complete:
        bound = min(max(best.bound, _least(space.layer, space.accelerator, objective)), value)
    return Found(
        mapping=mapping,
        cost=cost,
        objective=objective,
        value=value,
        status="optimal" if best.complete else "feasible",
        lower_bound=bound,
        explored=best.explored,
        pruned=best.pruned,
        space=space.text(),
        seconds=clock() - started,
    )


def _least(layer: Layer, accelerator: Accelerator, objective: str) -> float:
    """What no mapping is below, whatever was looked at."""
    energy, cycles = least_energy(layer, accelerator), least_cycles(layer, accelerator)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


def _from(
    relaxation: Relaxation, start: Mapping, objective: str, patience: Patience, floor: float = 0.0
) -> Result:
    """The best mapping for another objective than energy, from a mapping to begin with.

    For "latency" the cheapest among the fastest; its value is in cycles. Out of time it is the
    cheapest of those with few sizes to choose from, and the value may be proved all the same.
    """
    cost = evaluate(relaxation.space.layer, relaxation.space.accelerator, start)
    best = Solver(
        relaxation,
        OBJECTIVES[objective],
        patience,
        best=value_of(cost, objective),
        mapping=start,
        floor=floor,
    ).solve()
    if objective != "latency":
        return best
    if patience.over():
        return replace(best, complete=False)
    patience = Patience(patience.deadline)  # what follows is of energy: another scale
    most = best.value * (1 + SMALLEST_GAIN)
    few = None
    if patience.deadline < math.inf:
        of = relaxation.space
        sizes = Relaxation(Space(of.layer, of.accelerator, of.dataflow, timed=True, perfect=True))
        few = Solver(sizes, programme.ENERGY, patience.share(0.5), cycle_limit=most).solve()
    second = Solver(relaxation, programme.ENERGY, patience, cycle_limit=most).solve()
    if few is not None and not second.complete and few.value < second.value:
        second = replace(second, mapping=few.mapping)
    if second.mapping is None:
        return replace(best, complete=best.complete and second.complete)
    return replace(
        second,
        value=best.value,
        bound=best.bound,
        complete=best.complete and second.complete,
        explored=best.explored + second.explored,
        pruned=best.pruned + second.pruned,
    )


def _fastest_within(
    relaxation: Relaxation, best: Result, slack: float, patience: Patience
) -> Result:
    """The fastest of the mappings that cost at most a share more than the *best*; proved.

    Looks for one in half the time, then in nine tenths of it, then in any less.
    """
    space = relaxation.space
    most = best.value * (1 + slack) * (1 + SMALLEST_GAIN)
    least, explored, pruned = best.value, best.explored, best.pruned
    for factor in (0.5, 0.9, 1 - SMALLEST_STEP):
        while best.complete and best.mapping is not None:
            cycles = evaluate(space.layer, space.accelerator, best.mapping).cycles
            faster = Solver(
                relaxation, programme.ENERGY, patience, cycle_limit=factor * cycles, best=most
            ).solve()
            explored, pruned = explored + faster.explored, pruned + faster.pruned
            if faster.mapping is None:
                best = replace(best, complete=faster.complete)
                break
            best = faster
    return replace(best, bound=least, explored=explored, pruned=pruned)


def _front(relaxation: Relaxation, cheapest: Mapping, patience: Patience) -> tuple[Found, ...]:
    """Mappings that none beats in both energy and cycles, from the cheapest to the fastest.

    Each is the cheapest that is faster than the one before it, and cheaper than the fastest.
    """
    started = clock()
    last = _priced(relaxation, _from(relaxation, cheapest, "latency", patience), "latency", started)
    last = replace(last, objective="energy", value=last.cost.energy, lower_bound=last.cost.energy)
    points: list[Found] = []
    limit = math.inf
    while last.status == "optimal":
        started = clock()
        best = Solver(
            relaxation,
            programme.ENERGY,
            patience,
            cycle_limit=limit,
            best=last.value * (1 - SMALLEST_GAIN),
        ).solve()
        if best.mapping is None and best.complete:
            break
        if best.mapping is None:
            last = replace(last, status="feasible")
            break
        result = _priced(relaxation, best, "energy", started)
        if points and result.value <= points[-1].value * (1 + SMALLEST_GAIN):
            points.pop()  # as cheap and faster
        points.append(result)
        if not best.complete:
            last = replace(last, status="feasible")
        limit = result.cost.cycles * (1 - SMALLEST_STEP)
    if points and last.value <= points[-1].value * (1 + SMALLEST_GAIN):
        points.pop()
    return (*points, last)
