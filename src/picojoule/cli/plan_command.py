"""What stays on the chip between the layers of a network: plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from picojoule.cli.answers import (
    as_json_text,
    check_output,
    give_answer,
    json_head,
    plain_text,
    tell_left_out,
)
from picojoule.cli.options import (
    ANSWER,
    SEARCH,
    AllowIncomplete,
    AnswerOptions,
    Network,
    Others,
    QuestionOptions,
    SearchOptions,
)
from picojoule.cli.progress import progress_bar
from picojoule.cli.questions import read_question

if TYPE_CHECKING:
    from rich.console import RenderableType


def plan(
    network: Network,
    /,
    *,
    question: QuestionOptions,
    search: SearchOptions = SEARCH,
    others: Others = "apart",
    allow_incomplete: AllowIncomplete = False,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Show what stays on the chip between the layers, and what that saves.

    OUTPUT ends in .json or .txt (this report). Exit code 2, with the answer, if operators that
    multiply, or may, are in no layer.
    """
    check_output(answer.output, (".json", ".txt"))
    asked = read_question(network, question, search, others=others, between="keep")

    from picojoule.completeness import told
    from picojoule.estimation import price

    code = tell_left_out(told(asked.network.unmodelled), allowed=allow_incomplete)

    with progress_bar() as told_by:
        result = price(asked, **told_by)
    whole = result.to_dict()
    names = ("network", "accelerator", "batch", "dataflow", "objective", "energy_unit", "complete")
    record = {**json_head(), **{name: whole[name] for name in names}}
    record |= {"energy": result.energy, "cycles": result.cycles, "plan": whole["plan"]}

    def text() -> RenderableType:
        from picojoule.reports.plans import plan_report

        return plan_report(result)

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(record),
        ".txt": lambda: plain_text(text()),
    }

    def line() -> str:
        from picojoule.reports.plans import plan_headline

        return plan_headline(result)

    give_answer(lambda: record, text, answer, writers, line)
    return code
