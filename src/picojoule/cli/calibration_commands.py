"""``picojoule calibrate``: constants of a chip from what was measured on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from picojoule.cli.answers import YES, as_json_text, check_output, give_answer, plain_text
from picojoule.cli.completion import complete_chips, complete_measurements
from picojoule.cli.options import ANSWER, SEARCH, AnswerOptions, SearchOptions
from picojoule.cli.progress import progress_bar
from picojoule.cli.questions import read_cache, read_seconds
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType

_ENDINGS = (".yaml", ".yml", ".json", ".txt")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What is fitted, and how."""

    fit: Annotated[
        str,
        Parameter(
            help="The constants to fit, as in control.per_cycle,dram.read: of a memory read, write "
            "or access (both), ARRAY.hop, compute.mac, control.per_cycle, control.per_element, "
            "control.per_command, static_power; of times MEMORY.bandwidth, MEMORY.latency, "
            "ARRAY.bandwidth, clock."
        ),
    ]
    time: Annotated[str, Parameter(help="Times that energies rest on: predicted, or measured.")] = (
        "predicted"
    )
    weigh: Annotated[
        str,
        Parameter(
            help="rows: each row's relative error counts alike; amounts: its error in joules and "
            "seconds, so that large layers count as they do in the sum."
        ),
    ] = "rows"


def calibrate(
    chip: Annotated[
        str, Parameter(completer=complete_chips, help="A .yaml file or a shipped name.")
    ],
    measurements: Annotated[
        str,
        Parameter(
            completer=complete_measurements,
            help="A .csv file, a network or layer per row, or the name of a shipped one.",
        ),
    ],
    /,
    *,
    options: FitOptions,
    search: SearchOptions = SEARCH,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Fit constants of a chip to measurements, and say what these can tell and what not.

    OUTPUT ends in .yaml (the chip with its fitted constants, each with its source), .json or .txt
    (this report). Rows that say check in the column use are predicted, and never fitted.
    """
    check_output(answer.output, _ENDINGS)
    _check_words(chip, options.time, answer.output)
    budget, cache = read_seconds(search.budget), read_cache(search.cache, search.no_cache)
    if search.space != "even":
        raise PicojouleError("--space: constants are fitted to even mappings alone, so far")

    from picojoule.calibration.calibration import calibrate as fitted
    from picojoule.calibration.machine import chip_file

    with progress_bar(watched=False) as told:
        result = fitted(
            chip,
            measurements,
            fit=options.fit,
            measured_time=options.time == "measured",
            weigh=options.weigh,
            dataflow=search.dataflow,
            objective=search.objective,
            factors=search.factors,
            budget=budget,
            cache=cache,
            policy=search.mapping,
            **told,
        )

    def text() -> RenderableType:
        from picojoule.reports.calibration_text import calibration_report

        return calibration_report(result)

    def line() -> str:
        from picojoule.reports.calibration_text import headline

        return headline(result)

    def machine() -> str:
        assert answer.output is not None  # written only there
        return chip_file(result, chip, answer.output, plain_text(text()).splitlines())

    writers: dict[str, Callable[[], str]] = {
        ".yaml": machine,
        ".yml": machine,
        ".json": lambda: as_json_text(result.to_dict()),
        ".txt": lambda: plain_text(text()),
    }
    give_answer(result.to_dict, text, answer, writers, line)
    return YES


def _check_words(chip: str, time: str, output: Path | None) -> None:
    times = ("predicted", "measured")
    if time not in times:
        near = did_you_mean(time, times)
        raise PicojouleError(f"--time: {time!r} is neither {' nor '.join(times)}{near}")
    if output is not None and output.exists() and output.resolve() == Path(chip).resolve():
        problem = "this is the chip that is calibrated, on which the answer rests: name another"
        raise InputError(str(output), [Mistake("file", problem)])
