"""``picojoule adapt``: a network cut to a platform's budget, as a recipe file asks for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from picojoule.cli.answers import YES, json_head, print_json, print_report, say, tell_left_out
from picojoule.cli.options import AllowIncomplete, Json, Wide
from picojoule.cli.progress import changing_line, clock
from picojoule.cli.questions import need_torch
from picojoule.completeness import told
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean
from picojoule.units import E_MAC

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.pruning.datasets import Data
    from picojoule.pruning.netadapt.recipe import Adapted, Round
    from picojoule.pruning.platforms.platforms import Platform
    from picojoule.pruning.runs.executors import Executor, FromFile

FUNCTIONS = ("network", "data", "finetune", "accuracy")
OWN = ("platform", "budget", "table", "seed", "seconds")
"""Keys of a recipe beside the functions and the fields of ``adaptation.Recipe``."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Keys of a recipe that the command line may give in its place."""

    platform: Annotated[
        str | None,
        Parameter(
            help="energy:CHIP, energy:CHIP@22nm, latency:CHIP, cpu, gpu:latency, macs, weights, "
            "table:FILE, FILE.py:FUNCTION."
        ),
    ] = None
    budget: Annotated[str | None, Parameter(help="A share (50%) or a number of its unit.")] = None
    mode: Annotated[str | None, Parameter(help="best or paper.")] = None
    select: Annotated[str | None, Parameter(help="accuracy or ratio.")] = None
    table: Annotated[
        Path | None, Parameter(help="Keep measured or searched prices here, for other runs too.")
    ] = None
    seed: Annotated[int | None, Parameter(help="Of all draws.")] = None

    def given(self) -> dict[str, Any]:
        """The keys that are given, with values as a file would have them."""
        values = dataclasses.asdict(self)
        values["table"] = None if self.table is None else str(self.table)
        return {key: value for key, value in values.items() if value is not None}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Who works on a run's candidates."""

    workers: Annotated[int, Parameter(help="Processes; 0 works in this one.")] = 1
    ray: Annotated[
        str | None,
        Parameter(help="Work on a Ray cluster at this address; 'local' starts one here."),
    ] = None

    def executor(self) -> Executor:
        """The executor that these options name; whoever asks closes it."""
        from picojoule.pruning.runs.executors import Here, Processes, Ray

        if self.ray is not None:
            address = None if self.ray == "local" else self.ray
            return Ray(address, workers=max(1, self.workers))
        return Processes(self.workers) if self.workers else Here()


RECIPE = RecipeOptions()
WORK = WorkOptions()


def adapt(
    recipe: Annotated[str, Parameter(help="A YAML file: network, data, platform, budget, …")],
    /,
    *,
    output: Annotated[
        Path,
        Parameter(name=["--output", "-o"], help="The run's folder; one that was stopped goes on."),
    ],
    instead: RecipeOptions = RECIPE,
    work: WorkOptions = WORK,
    allow_incomplete: AllowIncomplete = False,
    as_json: Json = False,
    wide: Wide = False,
) -> int:
    """Cut a network, round by round, until the platform's budget is met (NetAdapt).

    Exit code 1, with the smallest price that can be had, if no network meets the budget.
    """
    need_torch()
    asked = read_recipe(Path(recipe), instead.given())

    from picojoule.pruning.netadapt.adaptation import adapt as run_adapt
    from picojoule.pruning.netadapt.recipe import Recipe, budget_of
    from picojoule.pruning.platforms.platforms import platform as named

    settings = asked["settings"]
    platform = named(settings.get("platform", "macs"), table=settings.get("table"))
    budget = settings.get("budget", "50%")
    budget_of(budget, 1.0, platform)  # what is no budget is found before anything is read
    model, inputs, data = subject(asked["functions"], recipe)
    executor = work.executor()
    with closing(executor), _live(platform, budget, output) as tell:
        adapted = run_adapt(
            model,
            data,
            platform=platform,
            budget=budget,
            recipe=Recipe(**asked["recipe"]),
            run=output,
            inputs=inputs,
            finetune=asked["functions"].get("finetune"),
            accuracy=asked["functions"].get("accuracy"),
            executor=executor,
            seconds=settings.get("seconds"),
            seed=int(settings.get("seed", 0)),
            progress=tell,
            allow_incomplete=allow_incomplete,
        )
    tell_left_out(told(adapted.unmodelled), allowed=True)
    say(f"written: {output / 'result'}")
    if as_json:
        print_json({**json_head(), **adapted.to_dict()})
    else:
        print_report(_report(adapted), wide=wide)
    return YES


def subject(functions: Mapping[str, FromFile], source: str) -> tuple[Any, Any, Data]:
    """The recipe's network, example arguments of it (one sample unless it gives them), its data.

    Raises:
        InputError: a function returns something else.
    """
    from torch import nn

    from picojoule.pruning.datasets import Data

    data = functions["data"]()
    if not isinstance(data, Data):
        raise InputError(source, [Mistake("$.data", "its function must return a Data")])
    result = functions["network"]()
    model: Any = result
    inputs: Any = (data.train.inputs[:1],)
    if isinstance(result, tuple) and len(result) == 2:
        model, inputs = result[0], result[1] if isinstance(result[1], (tuple, list)) else result[1:]
    if not isinstance(model, nn.Module):
        problem = "its function must return a torch.nn.Module, or one and its example inputs"
        raise InputError(source, [Mistake("$.network", problem)])
    return model, inputs, data


def read_recipe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's functions, settings and fields of ``adaptation.Recipe``; *options* come first.

    Raises:
        InputError: with all mistakes of the file.
    """
    from picojoule.cli.questions import read_yaml
    from picojoule.pruning.netadapt.recipe import Recipe
    from picojoule.pruning.platforms.platforms import Counted
    from picojoule.pruning.runs.executors import FromFile

    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise InputError(str(path), [Mistake("$", "a list of keys and values is wanted")])
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Recipe)}
    keys = (*FUNCTIONS, *OWN, *kinds)
    mistakes: list[Mistake] = []
    functions: dict[str, FromFile] = {}
    parts: dict[str, dict[str, Any]] = {"settings": {}, "recipe": {}}
    for key, value in {**raw, **options}.items():
        if key not in keys:
            near = did_you_mean(str(key), keys)
            mistakes.append(Mistake(f"$.{key}", f"unknown key{near}; there are {', '.join(keys)}"))
        elif key in FUNCTIONS:
            file, colon, name = str(value).rpartition(":")
            place = path.parent / file
            if not colon or not place.is_file():
                mistakes.append(Mistake(f"$.{key}", f"{value!r} is not FILE.py:FUNCTION"))
            functions[key] = FromFile(str(place), name)
        elif key in kinds and not _fits(value, kinds[key]):
            mistakes.append(Mistake(f"$.{key}", f"{value!r} is not of the kind {kinds[key]}"))
        elif key == "platform" and ".py:" in str(value):
            folder = Path() if key in options else path.parent
            file, _, name = str(value).rpartition(":")
            if not (folder / file).is_file():
                mistakes.append(Mistake("$.platform", f"{file}: no such Python file"))
            cost = FromFile(str(folder / file), name)
            parts["settings"][key] = Counted(str(value), "", cost)
        else:
            parts["recipe" if key in kinds else "settings"][key] = value
    mistakes += [Mistake(f"$.{key}", "is missing") for key in FUNCTIONS[:2] if key not in raw]
    if mistakes:
        raise InputError(str(path), mistakes)
    try:
        Recipe(**parts["recipe"])
    except PicojouleError as error:
        raise InputError(str(path), [Mistake("$", str(error))]) from None
    return {"functions": functions, **parts}


def _fits(value: object, kind: str) -> bool:
    if value is None:
        return "None" in kind
    if isinstance(value, bool):
        return False
    if kind.startswith("int"):
        return isinstance(value, int)
    if kind.startswith("float"):
        return isinstance(value, (int, float))
    return isinstance(value, str)


@contextmanager
def _live(platform: Platform, asked: float | str, run: Path) -> Iterator[Callable[[Round], None]]:
    """A line of talk per round; on a terminal also what goes on, for how long, and what is left."""
    with changing_line() as terminal:
        told = _Told(platform, asked, time.monotonic())
        if terminal is not None:
            terminal[0](f"{run}: the network as it came")

        def tell(latest: Round) -> None:
            line, following = told.lines(latest, time.monotonic())
            if terminal is None:
                say(line)
                return
            update, stay = terminal
            stay(line)
            update(following)

        yield tell


class _Told:
    """What is told of a run's rounds, and what that says of the time to come."""

    def __init__(self, platform: Platform, asked: float | str, began: float) -> None:
        self.platform, self.asked, self.began = platform, asked, began
        self.first: float | None = None

    def lines(self, latest: Round, now: float) -> tuple[str, str]:
        """The line of a round that ended at *now*, and of what follows it."""
        from picojoule.pruning.netadapt.recipe import budget_of, shown

        if self.first is None:
            self.first, self.began = latest.paid, now
        budget = budget_of(self.asked, self.first, self.platform)
        note = f"{latest.chosen}: {latest.note}" if latest.chosen else latest.note
        chosen = f"  {note}" if note else ""
        lost = f"  {latest.lost} of {latest.candidates} candidates lost" if latest.lost else ""
        name = "long fine-tune" if latest.kind != "round" else f"round {latest.number}"
        line = (
            f"{name}: {shown(latest.paid, self.platform)} "
            f"({100 * latest.paid / self.first:.1f} % of the original; budget "
            f"{shown(budget, self.platform)}), accuracy {100 * latest.accuracy:.2f} %{chosen}{lost}"
        )
        if latest.paid <= budget:
            return line, "long fine-tune, test, and writing of the result"
        following = f"round {latest.number + 1}"
        done = self.first - latest.paid
        if done > 0:
            left = (now - self.began) * (latest.paid - budget) / done
            following += f", about {clock(left)} to the budget"
        return line, following


def _report(adapted: Adapted) -> RenderableType:
    from rich.console import Group

    from picojoule.reports.tables import grid, prose
    from picojoule.reports.text import warning_lines

    begin = adapted.rounds[0]
    energy = adapted.platform.startswith("energy") and adapted.unit == "MAC"
    unit = E_MAC if energy else adapted.unit
    heads = (f"predicted\n[{unit}]", f"measured\n[{unit}]", "share", "accuracy")
    table = grid("round", *heads, ruled=False)
    for each in adapted.rounds:
        table.add_row(
            str(each.number) if each.kind == "round" else each.kind,
            f"{each.resource:.4g}",
            "" if each.measured is None else f"{each.measured:.4g}",
            f"{100 * each.paid / begin.paid:.1f} %",
            f"{100 * each.accuracy:.2f} %",
        )
    last = adapted.rounds[-1]
    lines = [
        f"{adapted.platform}: {adapted.resource:.4g} {unit}, budget {adapted.budget:.4g}, "
        f"{100 * adapted.resource / begin.paid:.1f} % of {begin.paid:.4g}"
    ]
    if last.measured is not None:
        lines.append(
            f"predicted {adapted.predicted:.4g}, measured {last.measured:.4g} "
            f"({100 * (last.measured / adapted.predicted - 1):+.1f} %)"
        )
    if adapted.test is not None:
        lines.append(f"test accuracy {100 * adapted.test.accuracy:.2f} %")
    return Group(*warning_lines(told(adapted.unmodelled)), table, *map(prose, lines))
