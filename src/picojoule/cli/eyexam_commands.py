"""``picojoule eyexam``: where the performance goes, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from picojoule.cli.answers import (
    as_csv,
    as_json_text,
    check_output,
    give_answer,
    plain_text,
    say,
    tell_left_out,
)
from picojoule.cli.options import (
    ANSWER,
    AllowIncomplete,
    AnswerOptions,
    Budget,
    CacheFolder,
    Flow,
    Network,
    NoCache,
    Policy,
    QuestionOptions,
    SearchOptions,
)
from picojoule.cli.progress import progress_bar
from picojoule.cli.questions import read_question
from picojoule.errors import PicojouleError, did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.eyexam.examination import Examination

PICTURES = (".png", ".svg", ".pdf")
PLOTS = ("waterfall", "layers", "rooflines")


def eyexam(
    network: Network,
    layer: Annotated[str | None, Parameter(help="Only this layer, step by step.")] = None,
    /,
    *,
    question: QuestionOptions,
    dataflow: Flow = None,
    mapping: Policy = "best",
    budget: Budget = None,
    cache: CacheFolder = None,
    no_cache: NoCache = False,
    plot: Annotated[
        str, Parameter(help="What a picture shows: waterfall, layers or rooflines.")
    ] = "waterfall",
    allow_incomplete: AllowIncomplete = False,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Bound the MAC/cycle of each layer in seven steps, with what binds and what would lift it.

    OUTPUT ends in .json, .csv (one line per layer and step), .txt (this report), .png, .svg or
    .pdf (a picture; needs matplotlib). Exit code 2, with the answer, if operators that multiply,
    or may, are in no layer.
    """
    check_output(answer.output, (".json", ".csv", ".txt", *PICTURES))
    if plot not in PLOTS:
        near = did_you_mean(plot, PLOTS)
        raise PicojouleError(f"no plot {plot!r}{near}; there are {', '.join(PLOTS)}")
    search = SearchOptions(
        dataflow=dataflow,
        objective="latency",
        mapping=mapping,
        budget=budget,
        cache=cache,
        no_cache=no_cache,
    )
    asked = read_question(network, question, search)
    if layer is not None:
        asked = asked.of_layer(layer)

    from picojoule.completeness import told
    from picojoule.eyexam.examination import find_bounds

    code = tell_left_out(told(asked.network.unmodelled), allowed=allow_incomplete)

    with progress_bar(watched=False) as told_by:
        examination = find_bounds(asked, **told_by)

    if answer.output is not None and answer.output.suffix.lower() in PICTURES:
        draw(examination, plot, layer, answer.output)
        say(f"written: {answer.output}")
        if not answer.as_json:
            return code
        answer = replace(answer, output=None)

    def text() -> RenderableType:
        from picojoule.reports.steps import eyexam_report, layer_report

        return (
            eyexam_report(examination)
            if layer is None
            else layer_report(examination, examination[layer])
        )

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(examination.to_dict()),
        ".csv": lambda: as_csv(examination.rows(), examination.warnings),
        ".txt": lambda: plain_text(text()),
    }

    def line() -> str:
        from picojoule.reports.steps import headline

        return headline(examination)

    give_answer(examination.to_dict, text, answer, writers, line)
    return code


def draw(result: Examination, plot: str, layer: str | None, output: Path) -> None:
    """Draw one picture into a file; the same numbers give the same bytes."""
    from picojoule.reports.plots import write_figure
    from picojoule.reports.rooflines import plot_layers, plot_rooflines, plot_waterfall

    if plot == "rooflines":
        ax = plot_rooflines(result)[0]
    elif plot == "layers":
        ax = plot_layers(result)
    else:
        ax = plot_waterfall(result, layer)
    figure = ax.get_figure(root=True)
    assert figure is not None
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "picojoule", "pdf.fonttype": 42}):
        write_figure(figure, output, dpi=150, warnings=result.warnings)
