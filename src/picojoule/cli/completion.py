"""What a shell offers while a command is typed, and the script that makes it do so."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

Shell = Literal["bash", "zsh", "fish", "powershell"]


def completion(
    shell: Annotated[Shell, Parameter(help="The shell that reads the script.")], /
) -> int:
    """Print the script that makes a shell complete commands, options, networks and chips.

    For this session: eval "$(picojoule completion bash)". For every one: put that line into
    ~/.bashrc, or the output where your shell looks for completions.
    """
    from picojoule.cli.answers import YES, print_text
    from picojoule.cli.commands import app

    print_text(app.generate_completion(shell=shell).rstrip("\n"))
    return YES


def complete_networks(context: CompletionContext) -> list[str]:
    """Shipped networks, and files."""
    from picojoule.frontends import shipped_networks

    return [*shipped_networks(), *_files(context.incomplete)]


def complete_chips(context: CompletionContext) -> list[str]:
    """Shipped chips, and files of chips."""
    from picojoule.specs import shipped_accelerators

    return [*shipped_accelerators(), *_files(context.incomplete, ".yaml", ".yml")]


def complete_measurements(context: CompletionContext) -> list[str]:
    """Shipped tables of measurements, and files of such."""
    from picojoule.calibration.measurements import shipped_measurements

    return [*shipped_measurements(), *_files(context.incomplete, ".csv")]


def complete_layers(context: CompletionContext) -> list[str]:
    """Layers of the shipped network that was typed before."""
    from picojoule.frontends import load, shipped_networks

    typed = context["network"].raw
    return [layer.name for layer in load(typed)] if typed in shipped_networks() else []


def complete_dataflows(context: CompletionContext) -> list[tuple[str, str]]:
    """Dataflows and what they are."""
    del context
    from picojoule.dataflow import DATAFLOWS

    return [(x.name, x.title) for x in DATAFLOWS.values()]


def complete_objectives(context: CompletionContext) -> list[str]:
    """Objectives."""
    del context
    from picojoule.question import OBJECTIVES

    return list(OBJECTIVES)


def complete_between(context: CompletionContext) -> list[str]:
    """Where tensors between layers may lie."""
    del context
    from picojoule.question import BETWEEN

    return list(BETWEEN)


def complete_policies(context: CompletionContext) -> list[str]:
    """Mapping policies."""
    del context
    from picojoule.question import POLICIES

    return list(POLICIES)


def _files(begun: str, *endings: str) -> Iterator[str]:
    folder, slash, name = begun.rpartition("/")
    for path in sorted(Path(folder or slash or ".").glob(f"{glob.escape(name)}*")):
        shown = f"{folder}{slash}{path.name}"
        if path.is_dir():
            yield f"{shown}/"
        elif not endings or shown.endswith(endings):
            yield shown
