"""Searches done before, on disk: equal problems are searched once, across networks and runs.

A *problem* is all that decides the answer of a search: the layer without its name, the accelerator
without its name and sources, the dataflow and the objective. Its hash names the entry; entries of
one state of the package's sources stand together, so that no answer outlives the code it is of::

    <folder>/searches/<fingerprint of the sources>/<two digits>/<hash of the problem>.json

An entry can save time, never change a result. It holds the whole problem and a checksum, its
mapping is priced anew when it is read, and whatever does not agree is ignored and written again.
Only proved answers are kept: what a time budget leaves unproved depends on the machine it ran on.

Several processes may share a folder: an entry appears whole or not at all, and whoever comes last
replaces an equal one. A folder that cannot be written costs one warning and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache as once
from importlib import resources
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from picojoule import files
from picojoule.accelerator import Accelerator
from picojoule.cost import evaluate
from picojoule.dataflow import Dataflow
from picojoule.errors import InputError, Mistake, PicojouleError
from picojoule.files import is_leftover, write_atomically
from picojoule.mapper.found import Found, Watch, value_of
from picojoule.mapping import Mapping as LoopNest
from picojoule.mapping import parse_mapping
from picojoule.workload import Layer

Cache = bool | str | os.PathLike[str]
"""Where searches are kept: True for the user's cache folder, False for nowhere, or a folder."""

SOURCES = (
    "accelerator",
    "compiled.arrays",
    "compiled.building",
    "compiled.functions",
    "compiled.loading",
    "compiled.units",
    "cost",
    "dataflow",
    "eyexam.parallelism",
    "graph",
    "legality",
    "mapper.bank",
    "mapper.best_first",
    "mapper.blocks",
    "mapper.boxes",
    "mapper.cache",
    "mapper.chains",
    "mapper.class_table",
    "mapper.coefficients",
    "mapper.compulsory",
    "mapper.deep_listings",
    "mapper.dive",
    "mapper.families",
    "mapper.found",
    "mapper.frontier",
    "mapper.gathering",
    "mapper.halving",
    "mapper.kernels",
    "mapper.listings",
    "mapper.mapping_classes",
    "mapper.mirroring",
    "mapper.nests",
    "mapper.options",
    "mapper.patience",
    "mapper.programme",
    "mapper.relaxation",
    "mapper.solver",
    "mapper.space",
    "mapper.tuning",
    "mapping",
    "sparsity",
    "traffic",
    "windows",
    "workload",
)
"""The modules that decide an answer or prove it: a change in any starts the cache afresh."""

# What a search does not see. Names of memories stay: they stand in the answer.
_UNSEEN = {
    Layer: frozenset({"name", "weight_is_activation"}),
    Accelerator: frozenset(
        {
            "name",
            "description",
            "sources",
            "default_dataflow",
            "default_between",
            "compiler",
            "unit_energy",
            "published",
        }
    ),
    Dataflow: frozenset({"title", "source", "published"}),
}
_PROOF = ("status", "lower_bound", "explored", "pruned", "space", "seconds")
_ROUNDING = 1e-12  # relative: powers may differ in the last digit from one C library to another

_log = logging.getLogger(__name__)
_warned: set[str] = set()


def find(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow | str | None = None,
    objective: str = "energy",
    *,
    factors: str = "all",
    space: str = "even",
    slack: float = 0.0,
    budget: float | None = None,
    cache: Cache = True,
    start: LoopNest | None = None,
    floor: float = 0.0,
    watch: Watch | None = None,
) -> Found:
    """Find the best mapping as :func:`mapper.search` does, or recall it from an earlier search.

    Args:
        dataflow, objective, factors, space, slack, budget: as for ``search``. A proved answer
            serves any budget.
        cache: the folder of earlier answers; True is the user's cache folder, False is none.
        start, floor: as for ``search``; they save time and change no answer.
        watch: as for ``search``.

    Returns:
        The same as a search, except that ``seconds``, ``explored`` and ``pruned`` may be those of
        the earlier one.

    Raises:
        NoMappingError: if no mapping is legal.
    """
    dataflow = accelerator.dataflow(dataflow)
    folder = cache_folder(cache)

    def searched() -> Found:
        # Compiled code: loaded only where there is work to do.
        from picojoule.mapper.solver import search

        return search(
            layer,
            accelerator,
            dataflow,
            objective,
            factors=factors,
            space=space,
            slack=slack,
            budget=budget,
            start=start,
            floor=floor,
            watch=watch,
        )

    if folder is None or fingerprint() is None:
        return searched()
    problem = problem_text(layer, accelerator, dataflow, objective, factors, space, slack)
    path = entry_path(folder, problem)
    recalled = _recall(path, problem, layer, accelerator, objective)
    if recalled is not None:
        return recalled
    result = searched()
    if result.status == "optimal":
        _keep(path, problem, result)
    return result


def cache_folder(cache: Cache) -> Path | None:
    """The folder that *cache* stands for, the user's own for True; None where nothing is kept."""
    if cache is False:
        return None
    return files.cache_folder() if cache is True else Path(cache)


# -- the folder as a whole -----------------------------------------------------------------


class Census(NamedTuple):
    """What a folder holds: entries of this state of the sources, of others, and their bytes."""

    usable: int
    outdated: int
    bytes: int


def census(folder: Path) -> Census:
    """Count the entries of *folder*."""
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for path in _entries(folder):
        if path.suffix != ".json":
            continue
        with suppress(OSError):  # another process may have deleted it
            sizes[path.parts[-3] == fingerprint()].append(path.stat().st_size)
    return Census(len(sizes[True]), len(sizes[False]), sum(sizes[True]) + sum(sizes[False]))


def clear(folder: Path) -> int:
    """Delete the entries of *folder*, and nothing else in it; return how many they were.

    Raises:
        InputError: if one cannot be deleted.
    """
    count = 0
    try:
        for path in _entries(folder):
            path.unlink(missing_ok=True)
            count += path.suffix == ".json"
        for path in sorted((folder / "searches").glob("**/"), reverse=True):
            with suppress(OSError):  # not empty: somebody else's file is in it
                path.rmdir()
    except OSError as error:
        raise InputError(str(folder), [Mistake("--cache", str(error))]) from None
    return count


def _entries(folder: Path) -> list[Path]:
    """The entries of all states of the sources, and what killed processes left half written."""
    name = re.compile(r"[0-9a-f]{64}\.json")
    inside = (folder / "searches").glob("*/??/*")
    return [x for x in inside if name.fullmatch(x.name) or is_leftover(x)]


# -- the key -------------------------------------------------------------------------------


def problem_text(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: Dataflow,
    objective: str,
    factors: str = "all",
    space: str = "even",
    slack: float = 0.0,
) -> str:
    """All that decides a search, as JSON that is equal for equal problems.

    >>> from picojoule.dataflow import DATAFLOWS
    >>> from picojoule.accelerator import Compute, Level, Memory
    >>> from picojoule.workload import OPERANDS, linear
    >>> dram = Memory("dram", keeps=frozenset(OPERANDS), capacity=None,
    ...               read_energy=2, write_energy=2)
    >>> accelerator = Accelerator("a", (Level((dram,)),), compute=Compute(1))
    >>> problem = [problem_text(linear(name, in_features=4, out_features=2), accelerator,
    ...                         DATAFLOWS["rs"], "energy") for name in ("fc1", "fc2")]
    >>> problem[0] == problem[1]
    True
    """
    parts = {
        "layer": layer,
        "accelerator": accelerator,
        "dataflow": dataflow,
        "objective": objective,
        "factors": factors,
        "space": space,
        "slack": slack,
    }
    return _json(_plain(parts))


def _plain(value: Any) -> Any:
    """*value* as JSON can hold it, equal for equal values whatever the order of sets."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Real):  # numpy's numbers are some, too
        number = float(value)
        return int(number) if number.is_integer() else number
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        unseen = _UNSEEN.get(type(value), frozenset())
        return {
            f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in unseen
        }
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    return [_plain(item) for item in value]


@once
def fingerprint() -> str | None:
    """A hash of the sources that decide an answer; None where only compiled files are installed."""
    here = resources.files("picojoule")
    digest = hashlib.sha256()
    try:
        for name in SOURCES:
            digest.update(here.joinpath(*f"{name}.py".split(".", name.count("."))).read_bytes())
    except OSError:
        return None
    return digest.hexdigest()[:16]


def entry_path(folder: Path, problem: str) -> Path:
    """The file of a problem's answer."""
    key = hashlib.sha256(problem.encode()).hexdigest()
    return folder / "searches" / str(fingerprint()) / key[:2] / f"{key}.json"


# -- the entry -----------------------------------------------------------------------------


def _recall(
    path: Path, problem: str, layer: Layer, accelerator: Accelerator, objective: str
) -> Found | None:
    """The answer in *path*, if it is one to *problem* and true."""
    try:
        entry = json.loads(path.read_bytes())
        answer = entry["answer"]
        if entry["problem"] != problem or entry["checksum"] != _checksum(problem, answer):
            raise ValueError("it answers another problem, or is damaged")
        mapping = parse_mapping(answer["mapping"], str(path))
        cost = evaluate(layer, accelerator, mapping)
        result = Found(
            mapping=mapping,
            cost=cost,
            objective=objective,
            value=value_of(cost, objective),
            **{x: answer[x] for x in _PROOF},
        )
        if not _agrees(result, answer["value"]):
            raise ValueError("its parts do not agree")
        return result
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(path, "read", error)
    except (ValueError, KeyError, TypeError, RecursionError, PicojouleError) as error:
        _log.info("%s is ignored and will be replaced: %s", path, error)
    return None


def _agrees(result: Found, value: float) -> bool:
    """Whether what an entry says of its mapping can be: it is proved, and priced as stored."""
    return (
        result.status == "optimal"
        and math.isclose(result.value, value, rel_tol=_ROUNDING)
        and 0 <= result.lower_bound <= result.value * (1 + _ROUNDING)
        and all(type(count) is int and count >= 0 for count in (result.explored, result.pruned))
        and isinstance(result.space, str)
        and result.seconds >= 0
    )


def _keep(path: Path, problem: str, result: Found) -> None:
    answer = {
        "mapping": result.mapping.to_dict(),
        "value": result.value,
        **{x: getattr(result, x) for x in _PROOF},
    }
    entry = {"problem": problem, "answer": answer, "checksum": _checksum(problem, answer)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that a power cut leaves torn fails its checksum: it need not wait for the disk.
        write_atomically(path, _json(entry), durable=False, as_mistake=False)
    except OSError as error:
        _warn(path, "written", error)


def _checksum(problem: str, answer: object) -> str:
    return hashlib.sha256((problem + _json(answer)).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _warn(path: Path, what: str, error: OSError) -> None:
    """Say once for each folder that it is of no use, and go on."""
    folder = str(path.parents[3])
    if folder not in _warned:
        _warned.add(folder)
        _log.warning(
            "earlier searches in %s cannot be %s (%s); going on without them",
            folder,
            what,
            error.strerror or error,
        )
