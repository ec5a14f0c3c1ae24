"""The best widths by the table: least error within a budget, exactly.

The model is NetAdapt's own: the cost of a network is the sum of its layers' costs, a layer's cost a
function of its input and output widths. The error is a sum over groups
(:class:`importance.RemovalOrder`). Between two groups lies a table; groups in a row (a chain) are
solved by a dynamic programme over Pareto labels, anything else (residual groups, concatenations) by
a mixed-integer programme (HiGHS).

A layer that reads several groups side by side costs a function of their sum; it is taken as linear
between its narrowest and its widest input, the only approximation here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from picojoule.pruning.graph.widths import Side, Widths
from picojoule.pruning.milp import milp
from picojoule.workload import Layer

Floats = npt.NDArray[np.float64]

MOST_LABELS = 200_000
"""Pareto labels per width of a chain before the mixed-integer programme takes over."""

ROUNDING = 1e-9
"""Relative: a sum of costs that is over the budget by less is within it."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Widths with the least error among those within a budget.

    Args:
        widths: by group; empty if no widths are within the budget.
        cost, error: by the model.
        status: "optimal" (proved), "feasible" (time ran out), or "unreachable".
        bound: no widths within the budget have less error.
    """

    widths: Mapping[str, int]
    cost: float
    error: float
    status: str
    bound: float


@dataclass(frozen=True, eq=False)
class TableModel:
    """Costs of a network by the options of its groups.

    Args:
        options: the widths each group may have, rising.
        constant: cost of the layers that no group touches.
        single: cost by the option of one group.
        pairs: cost by the options of two groups, [first, second].
    """

    options: Mapping[str, tuple[int, ...]]
    constant: float
    single: Mapping[str, Floats]
    pairs: Mapping[tuple[str, str], Floats]

    def cost(self, choice: Mapping[str, int]) -> float:
        """Cost at an option number per group."""
        total = self.constant + math.fsum(self.single[g][choice[g]] for g in self.options)
        return total + math.fsum(t[choice[a], choice[b]] for (a, b), t in self.pairs.items())

    def least(self) -> float:
        """Cost with every group at its narrowest (costs that rise with width assumed)."""
        return self.cost(dict.fromkeys(self.options, 0))


def table_model(
    widths: Widths,
    options: Mapping[str, Sequence[int]],
    cost: Callable[[Layer], float],
    progress: Callable[[int, int], None] | None = None,
) -> TableModel:
    """Price every layer at every option of the groups around it."""
    constant = 0.0
    chosen = {name: tuple(sorted(set(widths_of))) for name, widths_of in options.items()}
    single = {name: np.zeros(len(widths_of)) for name, widths_of in chosen.items()}
    pairs: dict[tuple[str, str], Floats] = {}

    def add(first: str, second: str, table: Floats) -> None:
        if first == second:
            single[first] += np.diag(table)
        elif (second, first) in pairs:
            pairs[second, first] += table.T
        else:
            before = pairs.get((first, second))
            pairs[first, second] = table if before is None else before + table

    for number, layer in enumerate(widths.layers):
        if progress is not None:
            progress(number, len(widths.layers))

        def price(at: Mapping[str, int], number: int = number) -> float:
            return cost(widths.at(at)[number])

        ins = [name for name in layer.inputs.per_group if name in chosen]
        outs = [name for name in layer.outputs.per_group if name in chosen]
        if not ins and not outs:
            constant += price({})
            continue
        if len(set(ins + outs)) == 1:
            (name,) = set(ins + outs)
            single[name] += [price({name: width}) for width in chosen[name]]
            continue
        if len(ins) == 1 and len(outs) == 1:
            first, second = ins[0], outs[0]
            table = [[price({first: a, second: b}) for b in chosen[second]] for a in chosen[first]]
            add(first, second, np.array(table))
            continue
        # Several groups on one side: linear between all of them narrow and all of them wide.
        many, other = (ins, outs) if len(ins) > 1 else (outs, ins)
        side = layer.inputs if many is ins else layer.outputs
        partner = other[0] if other else many[0]
        many = [name for name in many if name != partner]
        narrow = {name: chosen[name][0] for name in many}
        wide = {name: chosen[name][-1] for name in many}
        low = np.array([price({**narrow, partner: b}) for b in chosen[partner]])
        high = np.array([price({**wide, partner: b}) for b in chosen[partner]])
        single[partner] += low

        def positions(name: str, width: int, side: Side = side) -> float:
            return side.per_group[name] * width / widths.full[name]

        span = sum(positions(n, wide[n]) - positions(n, narrow[n]) for n in many)
        for name in many:
            share = [
                (positions(name, width) - positions(name, narrow[name])) / max(span, 1e-9)
                for width in chosen[name]
            ]
            add(name, partner, np.outer(share, high - low))
    return TableModel(chosen, constant, single, pairs)


def solve(
    model: TableModel, errors: Mapping[str, Sequence[float]], budget: float, seconds: float = 20.0
) -> Optimum:
    """The options with the least sum of errors whose cost is within the budget.

    Args:
        errors: by group, the error of each option.
        seconds: for the mixed-integer programme; then the best so far, "feasible".
    """
    table = {name: np.asarray(errors[name], float) for name in model.options}
    budget += abs(budget) * ROUNDING
    chain = chain_of(model)
    optimum = None if chain is None else _by_labels(model, table, budget, chain)
    if optimum is None:
        optimum = _by_milp(model, table, budget, seconds)
    return optimum


def chain_of(model: TableModel) -> list[str] | None:
    """The groups in a row such that only neighbours share a layer; None if they do not lie so."""
    near: dict[str, list[str]] = {name: [] for name in model.options}
    for a, b in model.pairs:
        near[a].append(b)
        near[b].append(a)
    if any(len(neighbours) > 2 for neighbours in near.values()):
        return None
    row: list[str] = []
    seen: set[str] = set()
    for start in near:
        if start in seen or len(near[start]) > 1:
            continue
        name: str | None = start
        while name is not None:
            row.append(name)
            seen.add(name)
            name = next((n for n in near[name] if n not in seen), None)
    return row if len(row) == len(near) else None  # a ring has no end to start from


def _result(
    model: TableModel, choice: Mapping[str, int], error: float, bound: float, status: str
) -> Optimum:
    widths = {name: model.options[name][n] for name, n in choice.items()}
    return Optimum(widths=widths, cost=model.cost(choice), error=error, status=status, bound=bound)


_UNREACHABLE = Optimum(
    widths={}, cost=math.inf, error=math.inf, status="unreachable", bound=math.inf
)


def _by_labels(
    model: TableModel, errors: Mapping[str, Floats], budget: float, chain: Sequence[str]
) -> Optimum | None:
    """Pareto labels (cost, error) per option of the group at the end; None if they are too many."""
    if not chain:
        return _result(model, {}, 0.0, 0.0, "optimal") if model.constant <= budget else _UNREACHABLE
    links = [_link(model, a, b) for a, b in itertools.pairwise(chain)]
    rest = _least_rest(model, chain, links)
    # One row per label: cost, error, label it came from.
    first = model.single[chain[0]] + model.constant
    columns = [np.array([[first[n], errors[chain[0]][n], -1.0]]) for n in range(len(first))]
    steps = [columns]
    for place in range(1, len(chain)):
        name, link = chain[place], links[place - 1]
        offsets = np.cumsum([0, *(len(labels) for labels in steps[-1])])
        columns = []
        for option in range(len(model.options[name])):
            extended = []
            for before, labels in enumerate(steps[-1]):
                cost = labels[:, 0] + link[before, option] + model.single[name][option]
                error = labels[:, 1] + errors[name][option]
                origin = offsets[before] + np.arange(len(labels))
                fits = cost + rest[place][option] <= budget
                extended.append(np.column_stack([cost, error, origin])[fits])
            columns.append(_pareto(np.concatenate(extended)))
            if len(columns[-1]) > MOST_LABELS:
                return None
        steps.append(columns)
    best, at = math.inf, (-1, -1)
    for option, labels in enumerate(steps[-1]):
        labels = labels[labels[:, 0] <= budget]
        if len(labels) and labels[-1, 1] < best:
            best, at = float(labels[-1, 1]), (option, len(labels) - 1)
    if at[0] < 0:
        return _UNREACHABLE
    choice = {}
    option, number = at
    for place in range(len(chain) - 1, -1, -1):
        choice[chain[place]] = option
        origin = int(steps[place][option][number, 2])
        if place:
            option = 0
            while origin >= len(steps[place - 1][option]):
                origin -= len(steps[place - 1][option])
                option += 1
            number = origin
    return _result(model, choice, best, best, "optimal")


def _link(model: TableModel, first: str, second: str) -> Floats:
    if (first, second) in model.pairs:
        return model.pairs[first, second]
    if (second, first) in model.pairs:
        return model.pairs[second, first].T
    return np.zeros((len(model.options[first]), len(model.options[second])))


def _least_rest(model: TableModel, chain: Sequence[str], links: Sequence[Floats]) -> list[Floats]:
    """For each option of each group, the least that all groups behind it can cost."""
    rest = [np.zeros(len(model.options[chain[-1]]))]
    for place in range(len(chain) - 2, -1, -1):
        behind = links[place] + model.single[chain[place + 1]] + rest[0]
        rest.insert(0, behind.min(axis=1))
    return rest


def _pareto(labels: Floats) -> Floats:
    """The labels that no other beats in both cost and error, by rising cost."""
    labels = labels[np.lexsort((labels[:, 1], labels[:, 0]))]
    best = np.minimum.accumulate(labels[:, 1])
    keep = np.ones(len(labels), bool)
    keep[1:] = labels[1:, 1] < best[:-1]
    return labels[keep]


def _by_milp(
    model: TableModel, errors: Mapping[str, Floats], budget: float, seconds: float
) -> Optimum:
    """One binary per option; per pair of groups a table of shares whose margins are the options."""
    from scipy.optimize import Bounds, LinearConstraint
    from scipy.sparse import coo_array

    start: dict[str, int] = {}
    count = 0
    for name, options in model.options.items():
        start[name] = count
        count += len(options)
    binaries = count
    corner: dict[tuple[str, str], int] = {}
    for (a, b), table in model.pairs.items():
        corner[a, b] = count
        count += table.size
    cost, objective = np.zeros(count), np.zeros(count)
    rows: list[tuple[int, int, float]] = []
    values: list[float] = []
    for name, options in model.options.items():
        own = slice(start[name], start[name] + len(options))
        cost[own], objective[own] = model.single[name], errors[name]
        rows += [(len(values), start[name] + n, 1.0) for n in range(len(options))]
        values.append(1.0)
    for (a, b), table in model.pairs.items():
        first = corner[a, b]
        cost[first : first + table.size] = table.reshape(-1)
        height, width = table.shape
        for n in range(height):
            rows += [(len(values), first + n * width + m, 1.0) for m in range(width)]
            rows.append((len(values), start[a] + n, -1.0))
            values.append(0.0)
        for m in range(width):
            rows += [(len(values), first + n * width + m, 1.0) for n in range(height)]
            rows.append((len(values), start[b] + m, -1.0))
            values.append(0.0)
    row, column, value = zip(*rows, strict=True)
    matrix = coo_array((value, (row, column)), shape=(len(values), count))
    # HiGHS works to absolute tolerances: both sums are brought to the order of one.
    price, scale = max(abs(budget), 1e-30), max(float(objective.max(initial=0.0)), 1e-30)
    room = (budget - model.constant) / price
    solved = milp(
        objective / scale,
        integrality=(np.arange(count) < binaries).astype(int),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(matrix.tocsr(), values, values),
            LinearConstraint((cost / price).reshape(1, -1), -np.inf, room),
        ],
        options={"time_limit": seconds, "mip_rel_gap": 1e-6},
    )
    if solved.x is None:
        return _UNREACHABLE
    choice = {
        name: int(np.argmax(solved.x[start[name] : start[name] + len(options)]))
        for name, options in model.options.items()
    }
    error = math.fsum(errors[name][n] for name, n in choice.items())
    status = "optimal" if solved.status == 0 else "feasible"
    bound = error if status == "optimal" else float(solved.mip_dual_bound or 0.0) * scale
    return _result(model, choice, error, bound, status)
