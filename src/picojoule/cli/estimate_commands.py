"""What a network costs, and the mapping of one of its layers: estimate, map, price."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from picojoule.cli.answers import (
    as_csv,
    as_json_text,
    check_output,
    give_answer,
    give_mapping,
    plain_text,
    tell_left_out,
)
from picojoule.cli.options import (
    ANSWER,
    SEARCH,
    Accesses,
    AllowIncomplete,
    AnswerOptions,
    Between,
    LayerName,
    Network,
    Others,
    QuestionOptions,
    SearchOptions,
)
from picojoule.cli.progress import progress_bar
from picojoule.cli.questions import read_mapping, read_question

if TYPE_CHECKING:
    from rich.console import RenderableType


def estimate(
    network: Network,
    /,
    *,
    question: QuestionOptions,
    search: SearchOptions = SEARCH,
    between: Between = None,
    others: Others = "apart",
    accesses: Accesses = None,
    allow_incomplete: AllowIncomplete = False,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Price one inference of a network, each layer under its best mapping.

    OUTPUT ends in .json, .csv (one line per layer) or .txt (this report). Exit code 2, with the
    answer, if operators that multiply, or may, are in no layer.
    """
    check_output(answer.output, (".json", ".csv", ".txt"))
    asked = read_question(network, question, search, others=others, between=between)

    from picojoule.completeness import told
    from picojoule.estimation import price

    code = tell_left_out(told(asked.network.unmodelled), allowed=allow_incomplete)

    with progress_bar() as told_by:
        result = price(asked, **told_by)

    def text() -> RenderableType:
        from picojoule.reports.text import estimate_report

        return estimate_report(result, accesses)

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(result.to_dict()),
        ".csv": lambda: as_csv(result.rows(), result.warnings),
        ".txt": lambda: plain_text(text()),
    }

    def line() -> str:
        from picojoule.reports.text import headline

        return headline(result)

    give_answer(result.to_dict, text, answer, writers, line)
    return code


def map_layer(
    network: Network,
    layer: LayerName,
    /,
    *,
    question: QuestionOptions,
    search: SearchOptions = SEARCH,
    explain: Annotated[
        bool,
        Parameter(
            negative="",
            help="Say what other choices would cost: dataflows, memory and array sizes, bypasses.",
        ),
    ] = False,
    pareto: Annotated[
        bool,
        Parameter(
            negative="",
            help="Also find every mapping that none beats in both energy and cycles.",
        ),
    ] = False,
    accesses: Accesses = None,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Find the best mapping of one layer: loop nest, accesses, and what is proved.

    OUTPUT ends in .yaml or .json (the mapping, as price reads it) or .txt (this report).
    """
    check_output(answer.output, (".yaml", ".yml", ".json", ".txt"))
    asked = read_question(network, question, search).of_layer(layer)

    from picojoule.estimation import price

    with progress_bar() as told_by:
        priced = price(asked, **told_by)
    others = None
    if explain:
        from picojoule.alternatives import weigh

        with progress_bar(watched=False) as told_by:
            others = weigh(asked, chosen=priced.layers[0], **told_by)
    front = None
    if pareto:
        from picojoule.mapper.solver import search as search_mapping

        front = search_mapping(
            asked.network[layer],
            asked.accelerator,
            asked.dataflow,
            factors=asked.factors,
            space=asked.space,
            budget=asked.budget,
            pareto=True,
        ).front
    return give_mapping(asked, priced, answer, others, front, accesses or "charged")


def price_mapping(
    network: Network,
    layer: LayerName,
    /,
    *,
    question: QuestionOptions,
    mapping: Annotated[
        Path, Parameter(name=["--mapping", "-m"], help="A mapping, as map -o writes it.")
    ],
    accesses: Accesses = None,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Price a given mapping of one layer; nothing is searched.

    OUTPUT ends in .yaml or .json (the mapping) or .txt (this report).
    """
    check_output(answer.output, (".yaml", ".yml", ".json", ".txt"))
    nest = read_mapping(mapping)
    asked = read_question(network, question).of_layer(layer)

    from picojoule.estimation import price

    priced = price(asked, mappings={layer: nest})
    return give_mapping(asked, priced, answer, accesses=accesses or "charged")
