"""Commands that turn saved results into something to share."""

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
from picojoule.cli.options import ANSWER, AllowIncomplete, AnswerOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.comparison import Comparison
    from picojoule.eyexam.saved import ExaminedNetwork

PLOTS = (".png", ".svg", ".pdf")

Saved = Annotated[Path, Parameter(help="A result, as estimate -o RUN.json writes it.")]
Run = Annotated[
    Path,
    Parameter(help="A result, as estimate or eyexam -o RUN.json writes it, or a run's folder."),
]
By = Annotated[str, Parameter(help="What a plot stacks: memory or operand.")]


def report(
    run: Run,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="Write here; the ending says the format.")
    ],
    before: Annotated[
        Path | None, Parameter(help="An earlier result to show beside it (.html only).")
    ] = None,
    eyexam: Annotated[
        Path | None, Parameter(help="What eyexam --json wrote, to be added (.html only).")
    ] = None,
    by: By = "memory",
    allow_incomplete: AllowIncomplete = False,
) -> int:
    """Write a saved result, or a compression run, as a report to share.

    OUTPUT ends in .html (one file that needs no network), .md (of a result), .csv (one line per
    layer, or per step of a run), or .png, .svg, .pdf (a plot for a paper). Exit code 2, with the
    report, if it leaves out operators that multiply, or may.
    """
    check_output(output, (".html", ".md", ".csv", *PLOTS))
    _check_report(output, before, eyexam, by)
    if run.is_dir():
        warnings = _report_run(
            run, output, alone=before is None and eyexam is None and by == "memory"
        )
        code = tell_left_out(warnings, allowed=allow_incomplete)
        say(f"written: {output}")
        return code

    from picojoule.estimate_records import load_estimate
    from picojoule.eyexam.saved import is_examination
    from picojoule.files import write_atomically

    if is_examination(run):
        return _report_examination(
            run,
            output,
            alone=before is None and eyexam is None and by == "memory",
            allowed=allow_incomplete,
        )
    result = load_estimate(run)
    code = tell_left_out(result.warnings, allowed=allow_incomplete)
    ending = output.suffix.lower()
    if ending in PLOTS:
        from picojoule.reports.plots import save_plot

        save_plot(result, output, by=by)
    elif ending == ".html":
        from picojoule.reports.page import estimate_page

        earlier = None if before is None else load_estimate(before)
        write_atomically(output, estimate_page(result, earlier, _examination(eyexam)))
    elif ending == ".md":
        from picojoule.reports.markdown import estimate_markdown

        write_atomically(output, estimate_markdown(result))
    else:
        write_atomically(output, as_csv(result.rows(), result.warnings))
    say(f"written: {output}")
    return code


def _report_examination(file: Path, output: Path, *, alone: bool, allowed: bool) -> int:
    """Write what ``eyexam -o`` saved; the exit code."""
    from picojoule.completeness import told
    from picojoule.errors import PicojouleError
    from picojoule.eyexam.saved import load_examination
    from picojoule.files import write_atomically
    from picojoule.reports.page import examination_page

    if not alone:
        raise PicojouleError("--before, --eyexam and --by have no effect on an examination")
    if output.suffix.lower() != ".html":
        raise PicojouleError(
            f"{file}: an examination becomes .html; for {output.suffix} ask picojoule eyexam with "
            f"-o {output}"
        )
    examination = load_examination(file)
    code = tell_left_out(told(examination.unmodelled), allowed=allowed)
    write_atomically(output, examination_page(examination))
    say(f"written: {output}")
    return code


def _report_run(folder: Path, output: Path, *, alone: bool) -> tuple[str, ...]:
    """Write a compression run: its trade-off, each step before and after; what it leaves out."""
    from picojoule.errors import PicojouleError
    from picojoule.files import write_atomically
    from picojoule.tradeoffs import read_run

    ending = output.suffix.lower()
    if not alone:
        raise PicojouleError("--before, --eyexam and --by have no effect on a run")
    tradeoff = read_run(folder)
    if ending in PLOTS:
        from picojoule.reports.plots import save_plot

        save_plot(tradeoff, output)
    elif ending == ".html":
        from picojoule.reports.tradeoff_page import tradeoff_page

        write_atomically(output, tradeoff_page(tradeoff))
    elif ending == ".md":
        from picojoule.reports.markdown import tradeoff_markdown

        write_atomically(output, tradeoff_markdown(tradeoff))
    else:
        write_atomically(output, as_csv(tradeoff.rows(), tradeoff.warnings))
    return tradeoff.warnings


def _examination(file: Path | None) -> ExaminedNetwork | None:
    from picojoule.eyexam.saved import load_examination

    return None if file is None else load_examination(file)


def _check_report(output: Path, before: Path | None, eyexam: Path | None, by: str) -> None:
    """Refuse what would have no effect."""
    from picojoule.errors import PicojouleError, did_you_mean

    if by not in ("memory", "operand"):
        near = did_you_mean(by, ("memory", "operand"))
        raise PicojouleError(f"--by: {by!r}{near}; there are memory and operand")
    ending = output.suffix.lower()
    if by != "memory" and ending not in PLOTS:
        raise PicojouleError(f"--by has no effect on {ending}, which shows both")
    if before is not None and ending != ".html":
        raise PicojouleError(f"--before has no effect on {ending}; see picojoule compare")
    if eyexam is not None and ending != ".html":
        raise PicojouleError(f"--eyexam has no effect on {ending}")


def compare(
    before: Saved,
    after: Saved,
    /,
    *,
    allow_incomplete: AllowIncomplete = False,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Set two saved results side by side.

    OUTPUT ends in .html, .md, .csv (one line per layer), .json, .txt (this answer),
    or .png, .svg, .pdf (a plot for a paper). Exit code 2, with the answer, if one of the two
    leaves out operators that multiply, or may.
    """
    output = answer.output
    check_output(output, (".html", ".md", ".csv", ".json", ".txt", *PLOTS))

    from picojoule.comparison import compare as set_beside
    from picojoule.estimate_records import load_estimate

    comparison = set_beside(load_estimate(before), load_estimate(after))
    code = tell_left_out(comparison.warnings, allowed=allow_incomplete)
    if output is not None and output.suffix.lower() in PLOTS:
        from picojoule.reports.plots import save_plot

        save_plot(comparison, output)
        say(f"written: {output}")
        if not answer.as_json:
            return code
        answer = replace(answer, output=None)

    def text() -> RenderableType:
        from picojoule.reports.comparison_text import comparison_report

        return comparison_report(comparison)

    def line() -> str:
        from picojoule.reports.page import comparison_words

        return comparison_words(comparison)

    give_answer(comparison.to_dict, text, answer, _writers(comparison, text), line)
    return code


def _writers(
    comparison: Comparison, text: Callable[[], RenderableType]
) -> dict[str, Callable[[], str]]:
    def as_html() -> str:
        from picojoule.reports.page import comparison_page

        return comparison_page(comparison)

    def as_markdown() -> str:
        from picojoule.reports.markdown import comparison_markdown

        return comparison_markdown(comparison)

    return {
        ".html": as_html,
        ".md": as_markdown,
        ".csv": lambda: as_csv(comparison.rows(), comparison.warnings),
        ".json": lambda: as_json_text(comparison.to_dict()),
        ".txt": lambda: plain_text(text()),
    }
