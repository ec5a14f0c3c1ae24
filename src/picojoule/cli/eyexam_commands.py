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
    progress_bar,
    say,
)
from picojoule.cli.questions import check_search, question, read_seconds
from picojoule.errors import PicojouleError, did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.eyexam import Examination

PICTURES = (".png", ".svg", ".pdf")
PLOTS = ("waterfall", "layers", "rooflines")


def eyexam(
    network: Annotated[
        str, Parameter(help="A .onnx, .csv or .txt file, file.py:function, or a shipped name.")
    ],
    layer: Annotated[str | None, Parameter(help="Only this layer, step by step.")] = None,
    /,
    *,
    accelerator: Annotated[
        str, Parameter(name=["--accelerator", "-a"], help="A .yaml file or a shipped name.")
    ],
    batch: Annotated[int | None, Parameter(help="Inferences at once.")] = None,
    dataflow: Annotated[
        str | None, Parameter(help="rs, ws, osa, osb, osc, is, nlr or flexible.")
    ] = None,
    bits: Annotated[
        list[str] | None,
        Parameter(negative="", help="Width of all operands (8) or of one (weight=8); repeatable."),
    ] = None,
    density: Annotated[
        list[str] | None,
        Parameter(negative="", help="Share of non-zero values (weight=0.4); repeatable."),
    ] = None,
    budget: Annotated[
        str | None, Parameter(help="Time to search each distinct layer: 0.5s, 200ms, 2min.")
    ] = None,
    plot: Annotated[
        str, Parameter(help="What a picture shows: waterfall, layers or rooflines.")
    ] = "waterfall",
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="Answer with JSON.")
    ] = False,
    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="Write here; the ending says the format."),
    ] = None,
) -> int:
    """Bound the MAC/cycle of each layer in seven steps, with what binds and what would lift it.

    OUTPUT ends in .json, .csv (one line per layer and step), .txt (this report), .png, .svg or
    .pdf (a picture; needs matplotlib).
    """
    check_output(output, (".json", ".csv", ".txt", *PICTURES))
    check_search(dataflow, "latency")
    if plot not in PLOTS:
        near = did_you_mean(plot, PLOTS)
        raise PicojouleError(f"no plot {plot!r}{near}; there are {', '.join(PLOTS)}")
    seconds = read_seconds(budget)
    workload, machine = question(network, accelerator, batch, bits, density)
    if layer is not None:
        workload = replace(workload, layers=(workload[layer],))

    from picojoule.eyexam import examine

    with progress_bar() as progress:
        answer = examine(workload, machine, dataflow=dataflow, budget=seconds, progress=progress)

    if output is not None and output.suffix.lower() in PICTURES:
        draw(answer, plot, layer, output)
        say(f"written: {output}")
        output = None
        if not as_json:
            return 0

    def text() -> RenderableType:
        from picojoule.reports.steps import eyexam_report, layer_report

        return eyexam_report(answer) if layer is None else layer_report(answer, answer[layer])

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(answer.to_dict()),
        ".csv": lambda: as_csv(answer.rows()),
        ".txt": lambda: plain_text(text()),
    }
    return give_answer(answer.to_dict(), text, as_json, output, writers)


def draw(answer: Examination, plot: str, layer: str | None, output: Path) -> None:
    """Draw one picture into a file."""
    from picojoule.reports.rooflines import plot_layers, plot_rooflines, plot_waterfall

    if plot == "rooflines":
        ax = plot_rooflines(answer)[0]
    elif plot == "layers":
        ax = plot_layers(answer)
    else:
        ax = plot_waterfall(answer, layer)
    figure = ax.figure
    assert figure is not None
    figure.savefig(output, dpi=150)
