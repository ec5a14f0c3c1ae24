"""The commands: each asks, computes through the package, and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from picojoule import __version__
from picojoule.cli import report_commands, serve_command
from picojoule.cli.answers import (
    NO,
    YES,
    as_csv,
    as_json_text,
    check_output,
    give_answer,
    give_mapping,
    json_head,
    plain_text,
    print_json,
    print_report,
    print_text,
    progress_bar,
    say,
)
from picojoule.cli.lists import list_chips, list_dataflows, list_networks, machine_record
from picojoule.cli.questions import check_search, question, read_mapping, read_seconds, reader
from picojoule.errors import InputError, Mistake, PicojouleError, WorkloadError, did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType

app = App(
    name="picojoule",
    help="What one inference of a neural network costs in energy, and where it goes.",
    help_format="plaintext",
    help_epilogue=(
        "--traceback, with any command, shows where in the code an error arose. "
        "Exit codes: 0 yes; 1 the answer is no; 2 the question was wrong; 101 a bug of picojoule; "
        "130 interrupted."
    ),
    version=__version__,
    version_flags=["--version"],
)

Network = Annotated[
    str, Parameter(help="A .onnx, .csv or .txt file, file.py:function, or a shipped name.")
]
LayerName = Annotated[str, Parameter(help="A layer of the network, by name.")]
Chip = Annotated[
    str, Parameter(name=["--accelerator", "-a"], help="A .yaml file or a shipped name.")
]
Batch = Annotated[int | None, Parameter(help="Inferences at once; energies stay per inference.")]
Flow = Annotated[str | None, Parameter(help="rs, ws, osa, osb, osc, is, nlr or flexible.")]
Objective = Annotated[str, Parameter(help="What the search minimises: energy, latency or edp.")]
Bits = Annotated[
    list[str] | None,
    Parameter(negative="", help="Width of all operands (8) or of one (weight=8); repeatable."),
]
Density = Annotated[
    list[str] | None,
    Parameter(negative="", help="Share of non-zero values (weight=0.4); repeatable."),
]
Budget = Annotated[
    str | None, Parameter(help="Time to search each distinct layer: 0.5s, 200ms, 2min.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer with JSON.")]
Output = Annotated[
    Path | None, Parameter(name=["--output", "-o"], help="Write here; the ending says the format.")
]


@app.command
def estimate(
    network: Network,
    /,
    *,
    accelerator: Chip,
    batch: Batch = None,
    dataflow: Flow = None,
    objective: Objective = "energy",
    bits: Bits = None,
    density: Density = None,
    budget: Budget = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """Price one inference of a network, each layer under its best mapping.

    OUTPUT ends in .json, .csv (one line per layer) or .txt (this report).
    """
    check_output(output, (".json", ".csv", ".txt"))
    check_search(dataflow, objective)
    seconds = read_seconds(budget)
    workload, machine = question(network, accelerator, batch, bits, density)

    from picojoule.estimation import estimate as price

    with progress_bar() as progress:
        answer = price(
            workload,
            machine,
            dataflow=dataflow,
            objective=objective,
            budget=seconds,
            progress=progress,
        )

    def text() -> RenderableType:
        from picojoule.reports.text import estimate_report

        return estimate_report(answer)

    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: as_json_text(answer.to_dict()),
        ".csv": lambda: as_csv(answer.rows()),
        ".txt": lambda: plain_text(text()),
    }
    return give_answer(answer.to_dict(), text, as_json, output, writers)


@app.command(name="map")
def map_layer(
    network: Network,
    layer: LayerName,
    /,
    *,
    accelerator: Chip,
    batch: Batch = None,
    dataflow: Flow = None,
    objective: Objective = "energy",
    bits: Bits = None,
    density: Density = None,
    budget: Budget = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """Find the best mapping of one layer: loop nest, accesses, and what is proved.

    OUTPUT ends in .yaml or .json (the mapping, as price reads it) or .txt (this report).
    """
    check_output(output, (".yaml", ".yml", ".json", ".txt"))
    check_search(dataflow, objective)
    seconds = read_seconds(budget)
    workload, machine = question(network, accelerator, batch, bits, density)
    one = replace(workload, layers=(workload[layer],))

    from picojoule.estimation import estimate as price

    found = price(one, machine, dataflow=dataflow, objective=objective, budget=seconds)
    return give_mapping(found, one[layer], machine, as_json, output)


@app.command(name="price")
def price_mapping(
    network: Network,
    layer: LayerName,
    /,
    *,
    accelerator: Chip,
    mapping: Annotated[
        Path, Parameter(name=["--mapping", "-m"], help="A mapping, as map -o writes it.")
    ],
    batch: Batch = None,
    bits: Bits = None,
    density: Density = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """Price a given mapping of one layer; nothing is searched.

    OUTPUT ends in .yaml or .json (the mapping) or .txt (this report).
    """
    check_output(output, (".yaml", ".yml", ".json", ".txt"))
    nest = read_mapping(mapping)
    workload, machine = question(network, accelerator, batch, bits, density)
    one = replace(workload, layers=(workload[layer],))

    from picojoule.estimation import estimate as price

    found = price(one, machine, mappings={layer: nest})
    return give_mapping(found, one[layer], machine, as_json, output)


@app.command
def check(
    file: Annotated[str, Parameter(help="A network, accelerator, mapping or estimate file.")],
    /,
    *,
    as_json: Json = False,
) -> int:
    """Say whether a file is well formed, with all of its mistakes; 1 if it is not."""
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
        answer = {"file": file, "kind": kind, "ok": not mistakes, "mistakes": listed}
        print_json({**json_head(), **answer, **({"summary": summary} if summary else {})})
    elif mistakes:
        print_text(str(InputError(f"{file} is no well-formed {kind}", mistakes)))
    else:
        print_text(f"{file} is a well-formed {kind}: {summary}")
    return NO if mistakes else YES


@app.command(name="list")
def list_shipped(
    what: Annotated[str | None, Parameter(help="chips, networks or dataflows; all.")] = None,
    /,
    *,
    as_json: Json = False,
) -> int:
    """List what comes with picojoule: chips, networks, dataflows."""
    kinds = {"chips": list_chips, "networks": list_networks, "dataflows": list_dataflows}
    if what is not None and what not in kinds:
        near = did_you_mean(what, tuple(kinds))
        raise PicojouleError(f"no list of {what!r}{near}; there are {', '.join(kinds)}")
    made = {name: make() for name, make in kinds.items() if what in (None, name)}
    if as_json:
        print_json({**json_head(), **{name: records for name, (records, _) in made.items()}})
    else:
        for _, table in made.values():
            print_report(table)
    return YES


@app.command
def show(
    chip: Annotated[str, Parameter(help="A .yaml file or a shipped name.")],
    /,
    *,
    as_json: Json = False,
) -> int:
    """Show a machine: memories, arrays, energies, and the source of each number."""
    from picojoule.specs import load_accelerator

    machine = load_accelerator(chip)
    if as_json:
        print_json({**json_head(), "accelerator": machine_record(machine)})
    else:
        from picojoule.reports.text import accelerator_report

        print_report(accelerator_report(machine))
    return YES


@app.command
def validate(*, as_json: Json = False) -> int:
    """Compare with what papers print; 1 if a comparison fails."""
    from picojoule.validation import validate as compare

    rows = list(compare())
    failed = [row for row in rows if not getattr(row, "ok", True)]
    if as_json:
        names = ("figure", "quantity", "paper", "ours", "ratio", "note")
        records = [
            {**{name: getattr(row, name) for name in names}, "ok": getattr(row, "ok", True)}
            for row in rows
        ]
        print_json({**json_head(), "ok": not failed, "rows": records})
    else:
        from picojoule.reports.text import validation_table

        print_report(validation_table(rows))
        if failed:
            say(f"{len(failed)} of {len(rows)} comparisons fail")
    return NO if failed else YES


app.command(report_commands.report)
app.command(report_commands.compare)
app.command(serve_command.serve)
