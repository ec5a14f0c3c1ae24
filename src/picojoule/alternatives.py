"""What other choices would cost: each with the best mapping that it allows.

A choice is one change: another dataflow, a memory twice or half as large at equal energy per
access, an operand sent past a memory or kept there, an array twice or half as long along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from picojoule.accelerator import Accelerator, Array, Axis, Level, Memory
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.errors import NoMappingError
from picojoule.estimate_records import LayerEstimate
from picojoule.estimation import price
from picojoule.mapper.cache import Cache
from picojoule.mapping import Mapping
from picojoule.question import Progress, Question, ask
from picojoule.units import show_capacity
from picojoule.workload import OPERANDS, Layer, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One other choice, beside the one made.

    Args:
        kind: "dataflow", "capacity", "bypass" or "array".
        change: what is different, in words.
        estimate: the layer with its best mapping under that choice; None if there is none.
        reason: why there is none, or that none was found in the time given.
        energy_ratio, cycles_ratio: to the choice made; None if there is no mapping.
        ratio: of the objective, found to found.
        ratio_range: what is proved of the ratio of the two optima: (at least, at most). Equal to
            ``ratio`` twice if both mappings are proved optimal.
    """

    kind: str
    change: str
    estimate: LayerEstimate | None
    reason: str = ""
    energy_ratio: float | None = None
    cycles_ratio: float | None = None
    ratio: float | None = None
    ratio_range: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``map --explain --json``; energies and cycles are per inference."""
        priced = self.estimate
        return {
            "kind": self.kind,
            "change": self.change,
            "status": "none" if priced is None else priced.search.status,
            "reason": self.reason,
            "energy": None if priced is None else priced.energy,
            "cycles": None if priced is None else priced.cycles,
            "energy_ratio": _finite(self.energy_ratio),
            "cycles_ratio": _finite(self.cycles_ratio),
            "ratio": _finite(self.ratio),
            "ratio_range": None
            if self.ratio_range is None
            else [_finite(x) for x in self.ratio_range],
        }


class _Choice(NamedTuple):
    kind: str
    change: str
    question: Question


def alternatives(
    layer: Layer,
    accelerator: Accelerator,
    *,
    batch: int = 1,
    dataflow: str | Dataflow | None = None,
    objective: str = "energy",
    factors: str = "all",
    budget: float | None = None,
    cache: Cache = True,
    chosen: LayerEstimate | None = None,
    progress: Progress | None = None,
) -> tuple[Alternative, ...]:
    """What the layer would cost after each single other choice, in the order of the kinds.

    Args:
        batch: the inferences that *layer* stands for.
        dataflow, objective, factors, budget, cache: as for :func:`estimate`; the budget is for each
            search.
        chosen: the layer's estimate under the choice made, if it is at hand.
        progress: called with (choices done, choices in all, change).

    Raises:
        NoMappingError: if the choice made has no mapping itself.
    """
    question = ask(
        Workload(layer.name, (layer,), batch=batch),
        accelerator,
        dataflow=dataflow,
        objective=objective,
        factors=factors,
        budget=budget,
        cache=cache,
    )
    return weigh(question, chosen=chosen, progress=progress)


def weigh(
    question: Question, *, chosen: LayerEstimate | None = None, progress: Progress | None = None
) -> tuple[Alternative, ...]:
    """Answer *question*, which is about one layer: what each single other choice would cost.

    Args:
        chosen, progress: as in :func:`alternatives`.

    Raises:
        NoMappingError: if the choice made has no mapping itself.
    """
    (layer,) = question.network
    present = chosen or price(question).layers[0]
    choices = [
        *_dataflows(question),
        *_capacities(question),
        *_bypasses(question, present.mapping),
        *_arrays(question),
    ]
    weighed = []
    for done, choice in enumerate(choices):
        if progress is not None:
            progress(done, len(choices), choice.change)
        try:
            (other,) = price(choice.question).layers
        except NoMappingError as error:
            reason = str(error).removeprefix(f"layer {layer.name!r}: ")
            weighed.append(
                Alternative(kind=choice.kind, change=choice.change, estimate=None, reason=reason)
            )
        else:
            weighed.append(_compared(choice, other, present))
    return tuple(weighed)


def _compared(choice: _Choice, other: LayerEstimate, present: LayerEstimate) -> Alternative:
    objective = choice.question.objective
    value, present_value = other.value(objective), present.value(objective)
    return Alternative(
        kind=choice.kind,
        change=choice.change,
        estimate=other,
        reason="",
        energy_ratio=_ratio(other.energy, present.energy),
        cycles_ratio=_ratio(other.cycles, present.cycles),
        ratio=_ratio(value, present_value),
        ratio_range=(
            _ratio(other.search.lower_bound, present_value),
            _ratio(value, present.search.lower_bound),
        ),
    )


def _finite(value: float | None) -> float | None:
    """As JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


def _ratio(value: float, to: float) -> float:
    if to == 0:
        return 1.0 if value == 0 else math.inf
    return value / to


# -- the choices ---------------------------------------------------------------------------


def _dataflows(question: Question) -> Iterator[_Choice]:
    for other in DATAFLOWS.values():
        if other != question.dataflow:
            changed = replace(question, dataflow=other)
            yield _Choice("dataflow", f"dataflow {other.name}", changed)


def _capacities(question: Question) -> Iterator[_Choice]:
    for memory in question.accelerator.memories.values():
        if memory.capacity is None:
            continue
        for factor in (2.0, 0.5):
            size = memory.capacity * factor
            change = f"{memory.name} of {show_capacity(size)}, not {show_capacity(memory.capacity)}"
            other = replace(memory, capacity=size)
            yield _Choice("capacity", change, _with_memory(question, other))


def _bypasses(question: Question, mapping: Mapping) -> Iterator[_Choice]:
    """For each operand that may bypass a memory, what the mapping does not do.

    Where the dataflow says what the elements store, there is nothing to choose inside the array.
    """
    levels, fixed = question.accelerator.levels, question.dataflow.element_keeps is not None
    arrays = [n for n, array in enumerate(question.accelerator.arrays) if array is not None]
    free = arrays[-1] + 1 if arrays and fixed else len(levels)
    for index, level in enumerate(levels[:free]):
        for memory in level.memories:
            for operand in OPERANDS:
                if operand not in memory.may_bypass or operand not in memory.keeps:
                    continue
                only = frozenset({operand})
                forced = replace(memory, may_bypass=memory.may_bypass - only)
                if operand in mapping.kept(index):
                    forced = replace(forced, keeps=memory.keeps - only)
                    change = f"{operand.value} past {memory.name}"
                else:
                    change = f"{operand.value} kept in {memory.name}"
                yield _Choice("bypass", change, _with_memory(question, forced))


def _arrays(question: Question) -> Iterator[_Choice]:
    for array in question.accelerator.nest:
        if not isinstance(array, Array):
            continue
        for axis in array.axes:
            for size in (axis.size * 2, axis.size // 2):
                if size < 1:
                    continue
                axes = tuple(replace(x, size=size) if x is axis else x for x in array.axes)
                change = f"{array.name} of {_sizes(axes)}, not {_sizes(array.axes)}"
                other = replace(array, axes=axes)
                nest = (other if part is array else part for part in question.accelerator.nest)
                yield _Choice("array", change, _with_nest(question, nest))


def _sizes(axes: tuple[Axis, ...]) -> str:
    return " x ".join(str(axis.size) for axis in axes)


def _with_memory(question: Question, changed: Memory) -> Question:
    """The same of the accelerator with the memory of that name in place of its own."""
    return _with_nest(
        question,
        (
            part
            if isinstance(part, Array)
            else Level(tuple(changed if x.name == changed.name else x for x in part.memories))
            for part in question.accelerator.nest
        ),
    )


def _with_nest(question: Question, nest: Iterable[Level | Array]) -> Question:
    return replace(question, accelerator=replace(question.accelerator, nest=tuple(nest)))
