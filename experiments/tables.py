"""The results of the experiments on pruning as Markdown.

python -m experiments.tables [--results FOLDER] > experiments/results/pruning.md

Reads pruning.csv (of prune.py), magnitude.csv (of magnitude.py) and layers.csv (of layers.py).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Row = dict[str, str]


def rows(path: Path) -> list[Row]:
    """The lines of a table; none, if it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def grouped(found: Iterable[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows with the same values, in the order in which these first appear."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def mean(values: Sequence[float], digits: int) -> str:
    """The mean, and half the range where there is more than one."""
    middle = f"{sum(values) / len(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ± {(max(values) - min(values)) / 2:.{digits}f}"


def points(row: Row, kind: str) -> float:
    """Points of accuracy that were gained."""
    return 100 * (float(row[f"{kind}_after"]) - float(row[f"{kind}_before"]))


def table(head: str, lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    names = [name.strip() for name in head.split("|")]
    made = [names, ["---"] * len(names), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in made) + "\n"


def number(name: str, digits: int, times: float = 1.0) -> Callable[[list[Row]], str]:
    """The mean of a column."""
    return lambda found: mean([times * float(row[name]) for row in found], digits)


def outcome(found: list[Row]) -> list[str]:
    """What every table on whole networks tells."""
    seeds = ", ".join(row["seed"] for row in found)
    columns = (number("reduction", 2), number("weights_kept", 1, 100))
    changes = (mean([points(row, kind) for row in found], 2) for kind in ("validation", "test"))
    return [seeds, *(column(found) for column in columns), *changes]


OUTCOME = "seeds | energy, times less | weights kept % | validation, points | test, points"


def modes(found: list[Row]) -> str:
    """The runs that share out energy, all classes."""
    kept = [
        row | {"asked": asked(row)}
        for row in found
        if row["guide"] == row["order"] == "energy" and not row["classes"]
    ]
    groups = grouped(kept, "network", "mode", "asked")
    lines = [
        [*key, *outcome(group), number("reduction_at_44", 2)(group)]
        for key, group in groups.items()
    ]
    return table(f"network | mode | asked | {OUTCOME} | at batch 44, times less", lines)


def asked(row: Row) -> str:
    """The budget of a run."""
    words = row["command"].split()
    budget = next(name for name in ("energy", "drop") if f"--{name}" in words)
    value = float(words[words.index(f"--{budget}") + 1])
    return f"{value:g} of the energy" if budget == "energy" else f"{100 * value:g} point"


def guides(found: list[Row]) -> str:
    """Best mode by what shares out the budget."""
    kept = [
        row | {"asked": asked(row)} for row in found if row["mode"] == "best" and not row["classes"]
    ]
    groups = grouped(kept, "network", "asked", "guide")
    compared = {key[:2] for key in groups if key[2] != "energy"}
    lines = [[*key, *outcome(group)] for key, group in groups.items() if key[:2] in compared]
    return table(f"network | asked | guide | {OUTCOME}", lines)


def classes(found: list[Row]) -> str:
    """Paper mode by the classes that are kept."""
    seeds = {(row["network"], row["seed"]) for row in found if row["classes"]}
    kept = [
        row | {"kept": row["classes"].strip("()") or "all"}
        for row in found
        if row["mode"] == "paper" and row["order"] == "energy"
        if (row["network"], row["seed"]) in seeds  # like beside like
    ]
    groups = grouped(kept, "network", "kept")
    lines = [
        [*key, *outcome(group), number("energy_after", 1, 1e-6)(group)]
        for key, group in groups.items()
    ]
    return table(f"network | classes | {OUTCOME} | energy left, M", lines)


def orders(found: list[Row]) -> str:
    """Paper mode by what it takes the layers in the order of."""
    kept = [row for row in found if row["mode"] == "paper" and not row["classes"]]
    seeds = {(row["network"], row["seed"]) for row in kept if row["order"] != "energy"}
    kept = [row for row in kept if (row["network"], row["seed"]) in seeds]
    groups = grouped(kept, "network", "order")
    return table(
        f"network | order | {OUTCOME}", [[*key, *outcome(group)] for key, group in groups.items()]
    )


def baselines(found: list[Row], magnitude: list[Row]) -> str:
    """The least energy within one point of validation accuracy, ours beside magnitude pruning."""
    lines = []
    for (network,), group in grouped(magnitude, "network").items():
        ours = [
            row
            for row in found
            if row["network"] == network
            and row["guide"] == row["order"] == "energy"
            and not row["classes"]
            and points(row, "validation") >= -1
        ]
        ours = [row | {"how": f"{row['mode']} mode, {asked(row)}"} for row in ours]
        for (how,), same in grouped(ours, "how").items():
            lines.append([network, how, *outcome(same)])
        for (how, distilled), same in grouped(group, "how", "distilled").items():
            taught = "" if float(distilled) else ", no teacher"
            lines.append([network, f"magnitude, {how} threshold{taught}", *outcome(same)])
    return table(f"network | how | {OUTCOME}", lines)


def layers(found: list[Row]) -> str:
    """Output error of each rule over that of ``alps``, geometric means over a network's layers."""
    errors: dict[tuple[str, str, str], dict[str, float]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for row in found:
        if not row["held_out"]:
            continue
        place = (row["network"], row["sparsity"], row["layer"])
        errors.setdefault(place, {})[row["rule"]] = float(row["held_out"])
        spent = (row["network"], row["rule"])
        seconds[spent] = seconds.get(spent, 0.0) + float(row["seconds"])
    lines = []
    for network in dict.fromkeys(place[0] for place in errors):
        rules = list(dict.fromkeys(rule for key, rule in seconds if key == network))
        for rule in rules:
            cells = []
            for sparsity in ("0.7", "0.9", "0.95"):
                ratios = [
                    by_rule[rule] / by_rule["alps"]
                    for place, by_rule in errors.items()
                    if place[:2] == (network, sparsity) and {rule, "alps"} <= by_rule.keys()
                ]
                product = 1.0
                for ratio in ratios:
                    product *= ratio ** (1 / len(ratios))
                cells.append(f"{product:.2f} ({len(ratios)})" if ratios else "")
            lines.append([network, rule, *cells, f"{seconds[network, rule]:.1f}"])
    return table("network | rule | at 70 % | at 90 % | at 95 % | seconds, all", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    folder = parser.parse_args().results
    found, magnitude = rows(folder / "pruning.csv"), rows(folder / "magnitude.csv")
    parts = {
        "# Pruning: what was run": "Made by `experiments/tables.py` from the tables beside it; "
        "each line of those has its command. Means, and half the range over the seeds. Energy of "
        "`eyeriss-cvpr17`, row-stationary, one image at a time unless said otherwise.\n\n"
        "These runs are of commit c4c663b, and were not made again since, which takes many hours "
        "(`python -m experiments.all`). Then the density of an input was scaled down where a "
        "convolution pads it, and layers were fitted on the first samples of the set; now an input "
        "has the density that was counted, and samples are drawn. Padded networks cost more by "
        "today's rule, pruned and unpruned, so ratios move: `docs/reference/released.md` has those "
        "of the released networks. LeNet-5 pads nothing, and its prices stand.\n",
        "## Both modes": modes(found),
        "## Beside magnitude pruning": "Networks within one point of the validation accuracy of "
        "the unpruned one, which is the teacher of best mode and of `torch.nn.utils.prune`'s "
        "networks, fine-tuned stage by stage; paper mode has none.\n\n"
        f"{baselines(found, magnitude)}",
        "## What shares out the budget": f"Best mode.\n\n{guides(found)}",
        "## What paper mode takes first": f"Within one point of validation.\n\n{orders(found)}",
        "## Fewer classes": f"Paper mode, within one point.\n\n{classes(found)}",
        "## Rules, layer by layer": "Output error on images that no rule saw, over that of `alps`: "
        "geometric mean, and over how many layers. Seconds of one core for all of these layers at "
        f"three sparsities.\n\n{layers(rows(folder / 'layers.csv'))}",
    }
    sys.stdout.write("\n\n".join(f"{head}\n\n{text.strip()}" for head, text in parts.items()))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
