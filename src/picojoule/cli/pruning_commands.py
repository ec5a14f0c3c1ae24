"""prune and profile: commands that run a user's network on data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from picojoule.cli.answers import (
    NO,
    YES,
    as_json_text,
    check_output,
    give_answer,
    json_head,
    plain_text,
    print_json,
    print_report,
    say,
    tell_left_out,
)
from picojoule.cli.options import ANSWER, AllowIncomplete, AnswerOptions, Chip, Json, Node, Wide
from picojoule.cli.progress import changing_line
from picojoule.cli.questions import need_torch
from picojoule.completeness import completeness, told
from picojoule.errors import InputError, Mistake, PicojouleError
from picojoule.units import energy_budget

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.pruning.datasets import Data
    from picojoule.pruning.energy_aware.options import Progress

Task = Annotated[
    str,
    Parameter(help="file.py:function, whose function returns a torch module and its Data."),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GoalOptions:
    """What a network may cost or lose, and on which machine it is priced."""

    accelerator: Chip
    node: Node = None
    energy: Annotated[
        str | None, Parameter(help="What it may cost: 30% (or 0.3) of the original, or '40 µJ'.")
    ] = None
    max_accuracy_drop: Annotated[
        float | None, Parameter(help="0.01 for one point; that is the default without --energy.")
    ] = None
    batch: Annotated[int, Parameter(help="Inferences at once, for the price.")] = 1
    dataflow: Annotated[str | None, Parameter(help="By default the accelerator's own.")] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How a network is pruned."""

    mode: Annotated[str, Parameter(help="best, or paper: CVPR'17 as published.")] = "best"
    classes: Annotated[
        str | None, Parameter(help="Keep only these outputs, and prune for them: 0,3,7.")
    ] = None
    joint: Annotated[
        str | None, Parameter(help="bits: choose the width of each layer's weights too.")
    ] = None
    constraint: Annotated[
        str, Parameter(help="unstructured, filters (channels alone), or a pattern such as 2:4.")
    ] = "unstructured"
    keep_widths: Annotated[
        bool, Parameter(help="Best mode: take weights only, leave every layer its channels.")
    ] = False
    selector: Annotated[
        str | None, Parameter(help="Best mode's rule: alps, obc, sparsegpt, eap or magnitude-ls.")
    ] = None
    epochs: Annotated[int, Parameter(help="Of fine-tuning, in each round or stage.")] = 2
    rate: Annotated[float, Parameter(help="Learning rate of fine-tuning.")] = 0.02
    seed: Annotated[int, Parameter(help="Of every draw.")] = 0


METHOD = MethodOptions()


def prune(
    task: Task,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="The run's folder; given again, it goes on.")
    ],
    goal: GoalOptions,
    method: MethodOptions = METHOD,
    allow_incomplete: AllowIncomplete = False,
    as_json: Json = False,
    wide: Wide = False,
) -> int:
    """Prune a network until it costs what it may cost; 1 if it cannot.

    A run that was stopped, by Ctrl-C or by a power cut, goes on with the same command.
    """
    if method.joint not in (None, "bits"):
        raise PicojouleError(f"--joint {method.joint!r}: only 'bits' can be chosen jointly")
    if method.epochs < 0 or method.rate <= 0:
        raise PicojouleError("--epochs must be at least 0 and --rate above 0")
    kept = None if method.classes is None else _numbers(method.classes)

    from picojoule.specs import load_accelerator

    machine = load_accelerator(goal.accelerator, node=goal.node)
    machine.dataflow(goal.dataflow)
    if goal.energy is not None:
        energy_budget(goal.energy, machine.energy_unit, machine.unit_picojoules)  # or it raises
    model, data = read_task(task)

    from picojoule.pruning.energy_aware.finetuning import FineTuning
    from picojoule.pruning.energy_aware.options import PruningOptions
    from picojoule.pruning.energy_aware.pruning import prune as run_prune

    distilled = 0.5 if method.mode == "best" else 0.0
    options = PruningOptions(
        training=FineTuning(epochs=method.epochs, rate=method.rate, distilled=distilled),
        constraint=method.constraint,
        narrow=not method.keep_widths,
        selector=method.selector,
    )
    with _live() as progress:
        pruned = run_prune(
            model,
            data,
            accelerator=machine,
            mode=method.mode,
            energy=goal.energy,
            max_accuracy_drop=goal.max_accuracy_drop,
            classes=kept,
            joint_bits=method.joint == "bits",
            batch=goal.batch,
            dataflow=goal.dataflow,
            options=options,
            seed=method.seed,
            run=output,
            progress=progress,
            allow_incomplete=allow_incomplete,
        )
    tell_left_out(told(pruned.unmodelled), allowed=True)
    say(f"written: {output / 'result'}")
    if as_json:
        print_json({**json_head(), **pruned.to_dict()})
    else:
        from picojoule.reports.pruning import pruning_report

        print_report(pruning_report(pruned.to_dict(), machine.unit_picojoules), wide=wide)
    if not pruned.met:
        say("the energy asked for was not reached; this is the cheapest network that was found")
        for obstacle in pruned.obstacles:
            say(f"  {obstacle}")
    return YES if pruned.met else NO


def profile(
    task: Task,
    /,
    *,
    samples: Annotated[int, Parameter(help="How many of the training samples to run.")] = 1000,
    seed: Annotated[int, Parameter(help="Of the draw, where the first miss classes.")] = 0,
    allow_incomplete: AllowIncomplete = False,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Record activation densities and run-length ratios on real data.

    OUTPUT ends in .csv (the network with these densities, as estimate takes it), .json or .txt
    (this report).
    """
    check_output(answer.output, (".csv", ".json", ".txt"))
    if samples < 1:
        raise PicojouleError("--samples: at least one")
    model, data = read_task(task)

    from picojoule.pruning.layers.profiling import profile as run_profile

    profile = run_profile(
        model, data, samples=samples, seed=seed, allow_incomplete=allow_incomplete
    )
    warnings = told(profile.workload.unmodelled)
    tell_left_out(warnings, allowed=True)
    whole = completeness(profile.workload.unmodelled, profile.workload.remarks)
    record = {**json_head(), **whole, "samples": profile.samples, "layers": profile.rows()}

    def text() -> RenderableType:
        from rich.console import Group

        from picojoule.reports.pruning import profile_table
        from picojoule.reports.text import warning_lines

        return Group(*warning_lines(warnings), profile_table(profile.rows(), profile.samples))

    def table() -> str:
        from picojoule.reports.network_table import format_table

        return format_table(profile.workload)

    writers: dict[str, Callable[[], str]] = {
        ".csv": table,
        ".json": lambda: as_json_text(record),
        ".txt": lambda: plain_text(text()),
    }

    def line() -> str:
        inputs = [layer.density.input for layer in profile.workload]
        return (
            f"{profile.workload.name}: {len(inputs)} layers on {profile.samples} samples, input "
            f"densities from {min(inputs):.3f} to {max(inputs):.3f}"
        )

    return give_answer(lambda: record, text, answer, writers, line)


def read_task(place: str) -> tuple[Any, Data]:
    """The network and the data that a user's function returns.

    Raises:
        InputError: there is no such function, or it returns something else.
    """
    from picojoule.frontends import call_function, function_of

    named = function_of(place)
    if named is None:
        raise InputError(
            place, [Mistake("task", "give a Python file and its function: file.py:make")]
        )
    need_torch()
    value = call_function(place, *named)

    from torch import nn

    from picojoule.pruning.datasets import Data

    if (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], nn.Module)
        and isinstance(value[1], Data)
    ):
        return value[0], value[1]
    problem = (
        f"it returns a {type(value).__name__}; a torch module and a "
        "picojoule.pruning.datasets.Data are needed: return model, Data(train, validate)"
    )
    raise InputError(place, [Mistake(named[1], problem)])


def _numbers(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdigit() and len(word) < 9 for word in words):
        raise PicojouleError(f"--classes {text!r}: numbers with commas between, as in 0,3,7")
    return tuple(int(word) for word in words)


@contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    """One changing line on a terminal; elsewhere a line for each network that was judged."""

    def line(progress: Progress) -> str:
        left = "" if progress.left is None else f", about {progress.left:.0f} s left of this part"
        return (
            f"{progress.what}: energy {100 * progress.energy:.1f} % of the original, "
            f"accuracy {100 * progress.accuracy:.2f} %{left}"
        )

    with changing_line() as terminal:

        def tell(progress: Progress) -> None:
            if terminal is None:
                if progress.left is None:
                    say(line(progress))
                return
            update, stay = terminal
            update(line(progress))
            if "/" not in progress.what:
                stay(line(progress))

        yield tell
