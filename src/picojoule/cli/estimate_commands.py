"""What a network costs, and the mapping of one of its layers: estimate, map, price."""

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
    give_mapping,
    plain_text,
    progress_bar,
)
from picojoule.cli.options import (
    ANSWER,
    SEARCH,
    AnswerOptions,
    LayerName,
    Network,
    QuestionOptions,
    SearchOptions,
)
from picojoule.cli.questions import read_mapping, read_question, read_search

if TYPE_CHECKING:
    from rich.console import RenderableType


def estimate(
    network: Network,
    /,
    *,
    question: QuestionOptions,
    search: SearchOptions = SEARCH,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Price one inference of a network, each layer under its best mapping.

    OUTPUT ends in .json, .csv (one line per layer) or .txt (this report).
    """
    check_output(answer.output, (".json", ".csv", ".txt"))
    how = read_search(search)
    workload, machine = read_question(network, question)

    from picojoule.estimation import estimate as price

    with progress_bar() as progress:
        found = price(workload, machine, **how, progress=progress)

    def text() -> RenderableType:
        from picojoule.reports.text import estimate_report

        return estimate_report(found)

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(found.to_dict()),
        ".csv": lambda: as_csv(found.rows()),
        ".txt": lambda: plain_text(text()),
    }
    return give_answer(found.to_dict(), text, answer, writers)


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
    answer: AnswerOptions = ANSWER,
) -> int:
    """Find the best mapping of one layer: loop nest, accesses, and what is proved.

    OUTPUT ends in .yaml or .json (the mapping, as price reads it) or .txt (this report).
    """
    check_output(answer.output, (".yaml", ".yml", ".json", ".txt"))
    how = read_search(search)
    workload, machine = read_question(network, question)
    one = replace(workload, layers=(workload[layer],))

    from picojoule.estimation import estimate as price

    found = price(one, machine, **how)
    others = None
    if explain:
        from picojoule.alternatives import alternatives

        with progress_bar() as progress:
            others = alternatives(
                one[layer],
                machine,
                batch=one.batch,
                **how,
                chosen=found.layers[0],
                progress=progress,
            )
    front = None
    if pareto:
        from picojoule.mapper.solver import search as search_mapping

        front = search_mapping(
            one[layer],
            machine,
            how["dataflow"],
            factors=how["factors"],
            budget=how["budget"],
            pareto=True,
        ).front
    return give_mapping(found, one[layer], machine, answer, others, front)


def price_mapping(
    network: Network,
    layer: LayerName,
    /,
    *,
    question: QuestionOptions,
    mapping: Annotated[
        Path, Parameter(name=["--mapping", "-m"], help="A mapping, as map -o writes it.")
    ],
    answer: AnswerOptions = ANSWER,
) -> int:
    """Price a given mapping of one layer; nothing is searched.

    OUTPUT ends in .yaml or .json (the mapping) or .txt (this report).
    """
    check_output(answer.output, (".yaml", ".yml", ".json", ".txt"))
    nest = read_mapping(mapping)
    workload, machine = read_question(network, question)
    one = replace(workload, layers=(workload[layer],))

    from picojoule.estimation import estimate as price

    found = price(one, machine, mappings={layer: nest})
    return give_mapping(found, one[layer], machine, answer)
