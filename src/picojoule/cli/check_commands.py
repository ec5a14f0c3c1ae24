"""What is well formed, what is shipped, what papers print: check, list, show, validate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from picojoule.cli.answers import (
    NO,
    YES,
    check_output,
    json_head,
    print_json,
    print_report,
    print_text,
    say,
)
from picojoule.cli.completion import complete_chips
from picojoule.cli.graph_answers import NO_GRAPH, GraphOptions, show_graph
from picojoule.cli.lists import (
    list_chips,
    list_components,
    list_dataflows,
    list_measurements,
    list_models,
    list_networks,
    list_rules,
    machine_record,
)
from picojoule.cli.options import Json, Node, Wide
from picojoule.cli.questions import reader
from picojoule.errors import InputError, Mistake, PicojouleError, WorkloadError, did_you_mean

FORMATS = (".png", ".svg", ".pdf")
ValidationPlot = Annotated[
    Path | None,
    Parameter(help="A picture of ours against the published: .png, .svg or .pdf."),
]


def check(
    file: Annotated[str, Parameter(help="A network, accelerator, mapping or estimate file.")],
    /,
    *,
    as_json: Json = False,
) -> int:
    """Say whether a file is well formed, with all of its mistakes; 1 if it is not.

    Of a mapping also the rules that price holds it to: they need a layer and an accelerator.
    """
    kind, read = reader(file)
    mistakes: tuple[Mistake, ...] = ()
    summary = ""
    try:
        summary = read()
    except InputError as error:
        mistakes = error.mistakes
    except WorkloadError as error:
        mistakes = (Mistake("$", str(error)),)
    if as_json:
        listed = [{"path": x.path, "message": x.message} for x in mistakes]
        answer: dict[str, object] = {
            "file": file,
            "kind": kind,
            "ok": not mistakes,
            "mistakes": listed,
        }
        if summary:
            answer["summary"] = summary
        if kind == "mapping":
            answer["rules"], _ = list_rules()
        print_json({**json_head(), **answer})
    elif mistakes:
        print_text(str(InputError(f"{file} is no well-formed {kind}", mistakes)))
    else:
        print_text(f"{file} is a well-formed {kind}: {summary}")
        if kind == "mapping":
            print_text("For a layer on an accelerator, price holds it to these rules:")
            print_report(list_rules()[1])
    return NO if mistakes else YES


def list_shipped(
    what: Annotated[
        str | None,
        Parameter(
            help="chips, networks, dataflows, components, rules, models or measurements; all."
        ),
    ] = None,
    /,
    *,
    as_json: Json = False,
    wide: Wide = False,
) -> int:
    """List what comes with picojoule: chips, networks, dataflows, components, pruned models.

    And measurements, and the rules that a mapping must keep to.
    """
    kinds = {
        "chips": list_chips,
        "networks": list_networks,
        "dataflows": list_dataflows,
        "components": list_components,
        "rules": list_rules,
        "models": list_models,
        "measurements": list_measurements,
    }
    if what is not None and what not in kinds:
        near = did_you_mean(what, tuple(kinds))
        raise PicojouleError(f"no list of {what!r}{near}; there are {', '.join(kinds)}")
    lists = {name: make() for name, make in kinds.items() if what in (None, name)}
    if as_json:
        print_json({**json_head(), **{name: records for name, (records, _) in lists.items()}})
    else:
        for _, table in lists.values():
            print_report(table, wide=wide)
    return YES


def show(
    what: Annotated[
        str,
        Parameter(
            completer=complete_chips,
            help="A machine: a .yaml file or a shipped name. With --graph, a network.",
        ),
    ],
    /,
    *,
    between: GraphOptions = NO_GRAPH,
    node: Node = None,
    as_json: Json = False,
    wide: Wide = False,
) -> int:
    """Show a machine: memories, arrays, energies, area, and the source of each number.

    Or, with --graph, a network: which layer's output is which layer's input, how large it is, and
    on a machine which stores and loads it is spared that stays on the chip.
    """
    if between.graph:
        return show_graph(what, between, node, as_json, wide)
    if between != NO_GRAPH:
        raise PicojouleError(
            "only --json, --node and --wide have an effect on a machine; with --graph, "
            f"{what!r} is a network"
        )

    from picojoule.frontends import FORMATS as OF_NETWORKS
    from picojoule.frontends import shipped_networks
    from picojoule.specs import load_accelerator

    if what in shipped_networks() or what.endswith(OF_NETWORKS):
        raise PicojouleError(f"{what!r} is a network; with --graph, what lies between its layers")
    accelerator = load_accelerator(what, node=node)
    if as_json:
        print_json({**json_head(), "accelerator": machine_record(accelerator)})
    else:
        from picojoule.reports.machines import accelerator_report

        print_report(accelerator_report(accelerator), wide=wide)
    return YES


def validate(*, plot: ValidationPlot = None, as_json: Json = False, wide: Wide = False) -> int:
    """Compare with what papers print; 1 if a comparison fails."""
    check_output(plot, FORMATS)
    from picojoule.validation.sections import validate as compare

    rows = list(compare())
    failed = [row for row in rows if not row.ok]
    if plot is not None:
        from picojoule.reports.plots import save_validation

        save_validation(rows, plot)
        say(f"written: {plot}")
    if as_json:
        from picojoule.validation.summary import errors

        whole = ("figure", "quantity", "kind", "origin", "paper", "ours", "ratio", "tolerance")
        names = (*whole, "fitted", "note", "ok")
        records = [{name: getattr(row, name) for name in names} for row in rows]
        summary = [asdict(line) for line in errors(rows)]
        print_json({**json_head(), "ok": not failed, "rows": records, "summary": summary})
    else:
        from picojoule.reports.validation_text import validation_report

        print_report(validation_report(rows), wide=wide)
        if failed:
            say(f"{len(failed)} of {len(rows)} comparisons fail")
    return NO if failed else YES
