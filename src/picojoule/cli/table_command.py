"""``picojoule table``: what the layers of a network cost, measured before they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from picojoule.cli.adapt_commands import read_recipe, subject
from picojoule.cli.answers import YES, json_head, print_json, print_report, say, tell_left_out
from picojoule.cli.options import AllowIncomplete
from picojoule.cli.questions import need_torch
from picojoule.completeness import completeness
from picojoule.errors import InputError, Mistake, PicojouleError

if TYPE_CHECKING:
    from picojoule.workload import Layer

SAVE_EVERY = 20
"""Layers between two savings of the table."""


def table(
    recipe: Annotated[str, Parameter(help="A YAML file of `adapt`: its network, data and limits.")],
    /,
    *,
    output: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            help="The table, .json or .parquet; one that is there is gone on with.",
        ),
    ],
    platform: Annotated[
        str | None,
        Parameter(help="cpu, gpu:latency, gpu:energy, energy:CHIP, latency:CHIP."),
    ] = None,
    points: Annotated[int, Parameter(help="Widths on each side of a layer, at least 2.")] = 5,
    onnx: Annotated[
        Path | None,
        Parameter(help="A folder for each layer as ONNX, 0000.onnx being the first entry."),
    ] = None,
    allow_incomplete: AllowIncomplete = False,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="Answer with JSON.")
    ] = False,
) -> int:
    """Price every layer `adapt` may ask for, so that it can be driven from elsewhere.

    Run it where the network will run, and adapt anywhere with --platform table:FILE. Without a
    platform the values are null: measure the layers with tools of your own, and fill them in.
    """
    if onnx is not None and platform is not None:
        raise PicojouleError("--onnx is for layers that are measured elsewhere: no --platform then")
    need_torch()
    asked = read_recipe(Path(recipe), {})

    from picojoule.pruning.netadapt.coverage import unpriced, wanted_layers
    from picojoule.pruning.netadapt.recipe import Recipe

    model, inputs, _ = subject(asked["functions"], recipe)
    wanted = wanted_layers(
        model,
        inputs,
        Recipe(**asked["recipe"]),
        points=points,
        allow_incomplete=allow_incomplete,
    )
    layers = wanted.layers
    tell_left_out(wanted.warnings, allowed=True)
    if platform is not None:
        _fill(platform, output, layers)
    elif output.exists():
        raise InputError(str(output), [Mistake("file", "is there already; name a platform")])
    else:
        unpriced(layers, "latency", "s").save(output)
    say(f"written: {output}")
    if onnx is not None:
        _write_models(onnx, layers)
    if as_json:
        whole = completeness(wanted.unmodelled, ())
        print_json({**json_head(), **whole, "table": str(output), "layers": len(layers)})
    else:
        from rich.console import Group

        from picojoule.reports.text import warning_lines

        what = "without values" if platform is None else f"priced by {platform}"
        print_report(Group(*warning_lines(wanted.warnings), f"{len(layers)} layers, {what}"))
    return YES


def _fill(platform: str, output: Path, layers: Sequence[Layer]) -> None:
    """Price the layers; what is priced when it is interrupted is kept, and gone on with."""
    from picojoule.pruning.platforms.platforms import Tabled
    from picojoule.pruning.platforms.platforms import platform as named

    where = named(platform, table=output)
    if not isinstance(where, Tabled) or not where.grows:
        raise PicojouleError(
            f"{platform} needs no table; there are cpu, cpu:cpu, gpu:latency, gpu:energy, "
            "energy:CHIP, latency:CHIP"
        )
    try:
        for number, layer in enumerate(layers, 1):
            where.cost(layer)
            if number == 1:
                where.save()  # a place that cannot be written is found at once
            if number % SAVE_EVERY == 0:
                where.save()
                say(f"{number} of {len(layers)} layers")
    finally:
        where.save()


def _write_models(folder: Path, layers: Sequence[Layer]) -> None:
    """One ONNX file for each layer, in the order of the table's entries."""
    from picojoule.pruning.platforms.stopwatches import layer_model

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, layer in enumerate(layers):
            (folder / f"{number:04}.onnx").write_bytes(layer_model(layer)[0])
    except OSError as error:
        raise InputError(str(folder), [Mistake("folder", f"cannot be written: {error}")]) from None
