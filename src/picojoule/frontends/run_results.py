"""Networks that compression delivered: the results of runs, and the released models' cards.

``prune`` and ``adapt`` write down what they priced, layer by layer with densities and widths, so
that it can be priced again anywhere, without torch and without the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from picojoule.errors import InputError, Mistake
from picojoule.frontends.source_file import read_text
from picojoule.network_records import network_of
from picojoule.workload import Workload

PRICED = "priced"
"""Of a result, or of a card: the network that its energy is of."""
RESULTS = ("result.json", "curve.json")
"""What ``prune`` and ``adapt`` write into ``RUN/result``."""
HEAD, RESULT = "run.json", "result"
"""A run's own record, and the folder that appears when it has ended."""


def released_networks() -> tuple[str, ...]:
    """The names of the released models, in alphabetical order."""
    folder = resources.files("picojoule") / "data" / "models"
    try:
        files = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))


def released_network(model: str, name: str | None = None) -> Workload:
    """The layers of a released model as its card has them: without dead channels, as measured.

    Raises:
        InputError: the card does not hold them.
    """
    file = resources.files("picojoule") / "data" / "models" / f"{model}.json"
    return _priced(json.loads(file.read_text("utf-8")), f"{model}.json", name or model)


def is_run(place: Path) -> bool:
    """Whether a folder is that of a compression run, or its result."""
    return any((place / name).is_file() for name in (HEAD, *RESULTS))


def read_run_result(path: str | PathLike[str], *, name: str | None = None) -> Workload:
    """The network that a run delivered, from its folder or from ``RUN/result``.

    Raises:
        InputError: the run has not ended, or is of a version that did not write the network down.
    """
    place = Path(path)
    folders = [place / RESULT, place] if (place / HEAD).is_file() else [place]
    files = [folder / file for folder in folders for file in RESULTS if (folder / file).is_file()]
    if not files:
        problem = (
            "the run has not ended, so it has no network to price yet; the same command goes on"
        )
        raise InputError(str(place), [Mistake(RESULT, problem)])
    try:
        record = json.loads(read_text(files[0]))
    except ValueError as error:
        raise InputError(
            str(files[0]), [Mistake("$", f"cannot be read as JSON: {error}")]
        ) from None
    return _priced(record, str(files[0]), name)


def _priced(record: object, source: str, name: str | None) -> Workload:
    if not isinstance(record, Mapping) or not isinstance(record.get(PRICED), Mapping):
        problem = (
            "it does not hold the layers that were priced: it was written by an earlier version; "
            "profile the network anew (picojoule profile) and estimate that"
        )
        raise InputError(source, [Mistake(f"$.{PRICED}", problem)])
    priced: Mapping[str, Any] = record[PRICED]
    network = network_of(priced, source)
    return network if name is None else replace(network, name=name)
