"""How answers leave: stdout, a file, and the talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picojoule.errors import InputError, Mistake
from picojoule.version import SCHEMA_VERSION, __version__

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.alternatives import Alternative
    from picojoule.cli.options import AnswerOptions
    from picojoule.estimate_records import Estimate
    from picojoule.mapper.found import Found
    from picojoule.question import Question

YES, NO, WRONG = 0, 1, 2


def say(message: str) -> None:
    shown = "".join(c if c.isprintable() or c == "\n" else "�" for c in message)
    sys.stderr.write(shown + "\n")


def tell_left_out(warnings: Sequence[str], *, allowed: bool) -> int:
    """Say, before anything else, what the figures leave out.

    Args:
        warnings: of the result; none where it is complete.
        allowed: the user takes the figures as they are.

    Returns:
        the exit code of an answer with these figures.
    """
    for warning in warnings:
        say(warning)
    if not warnings or allowed:
        return YES
    say(
        "exit code 2 for that; --allow-incomplete takes the figures as they are; please report "
        "these operators"
    )
    return WRONG


def check_output(output: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse a file that could not be written before any work is done."""
    if output is None:
        return
    if output.suffix.lower() not in endings:
        problem = f"unknown ending {output.suffix!r}; written are {', '.join(endings)}"
        raise InputError(str(output), [Mistake("file", problem)])
    if not output.parent.is_dir():
        raise InputError(str(output), [Mistake("file", f"no folder {str(output.parent)!r}")])
    if output.is_dir():
        raise InputError(str(output), [Mistake("file", "this is a folder")])
    if not os.access(output.parent, os.W_OK):
        raise InputError(str(output), [Mistake("file", f"{str(output.parent)!r} is read-only")])


def give_answer(
    record: Callable[[], dict[str, Any]],
    text: Callable[[], RenderableType],
    answer: AnswerOptions,
    writers: dict[str, Callable[[], str]],
    line: Callable[[], str],
) -> int:
    """Give *record* or its *text* as *answer* says; one *line* of it beside a file.

    Args:
        writers: by the ending of the file.
    """
    if answer.output is not None:
        from picojoule.files import write_atomically

        write_atomically(answer.output, writers[answer.output.suffix.lower()]())
        say(f"written: {answer.output}")
    if answer.as_json:
        print_json(record())
    elif answer.output is not None:
        print_text(line())
    else:
        print_report(text(), wide=answer.wide)
    return YES


def give_mapping(
    question: Question,
    priced: Estimate,
    answer: AnswerOptions,
    alternatives: Sequence[Alternative] | None = None,
    front: Sequence[Found] | None = None,
    accesses: str = "charged",
) -> int:
    """Give the mapping of the one layer of *question*, whose price is *priced*.

    Also, if there, what *alternatives* to it would cost, and the *front* of energy and cycles.
    """
    (layer,), accelerator = question.network, question.accelerator
    nest = priced.layers[0].mapping

    def text() -> RenderableType:
        from picojoule.reports.text import mapping_report

        others, points = alternatives or (), front or ()
        return mapping_report(priced, layer, accelerator, others, points, accesses)

    def as_yaml() -> str:
        import yaml

        lines = yaml.safe_dump(nest.to_dict(), sort_keys=False, default_flow_style=None)
        title = f"{layer.name} of {priced.network} on {accelerator.name}, batch {priced.batch}"
        return f"# {title.encode('unicode_escape').decode()}\n{lines}"

    def record() -> dict[str, Any]:
        from picojoule.legality import contents
        from picojoule.reports.explanation import edges, front_rows, loop_nest

        whole = priced.to_dict()
        shared: tuple[str, ...] = ("network", "accelerator", "batch", "dataflow", "objective")
        shared += ("mapping_policy", "stands_for", "mapping_rules", "energy_unit")
        record = {
            **json_head(),
            **{name: whole[name] for name in shared},
            "layer": whole["layers"][0],
            "contents": contents(layer, accelerator, nest),
            "edges": edges(layer, accelerator, nest, priced.batch),
            "loop_nest": loop_nest(layer, accelerator, nest),
        }
        if alternatives is not None:
            record["alternatives"] = [x.to_dict() for x in alternatives]
        if front is not None:
            record["front"] = front_rows(front, priced.batch)
        return record

    writers: dict[str, Callable[[], str]] = {
        ".yaml": as_yaml,
        ".yml": as_yaml,
        ".json": lambda: as_json_text(nest.to_dict()),
        ".txt": lambda: plain_text(text()),
    }

    def line() -> str:
        from picojoule.reports.text import layer_headline

        return layer_headline(priced)

    return give_answer(record, text, answer, writers, line)


def json_head() -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "picojoule": __version__}


def as_json_text(record: object) -> str:
    return json.dumps(record, indent=1) + "\n"


def as_csv(rows: Sequence[dict[str, Any]], warnings: Sequence[str]) -> str:
    from picojoule.reports.csv_text import csv_text

    return csv_text(rows, warnings)


def plain_text(renderable: RenderableType) -> str:
    from picojoule.reports.tables import plain

    return plain(renderable)


def print_text(text: str) -> None:
    from picojoule.reports.tables import printable

    sys.stdout.write(printable(text) + "\n")


def print_json(record: object) -> None:
    sys.stdout.write(as_json_text(record))


def print_report(renderable: RenderableType, *, wide: bool = False) -> None:
    from picojoule.reports.tables import show

    show(renderable, sys.stdout, wide=wide)
