"""Searches on disk: they save time and never change a result."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import pytest

from picojoule.accelerator import Accelerator, Array, Axis, Compute, Level, Memory
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.errors import NoMappingError
from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.mapper import cache, solver
from picojoule.mapper.cache import (
    cache_folder,
    census,
    clear,
    entry_path,
    find,
    fingerprint,
    problem_text,
)
from picojoule.mapper.found import Found
from picojoule.mapping import Mapping, Stage
from picojoule.workload import OPERANDS, Dim, Extents, Layer, PerOperand, Workload, conv, linear

ALL = frozenset(OPERANDS)
MACHINE = Accelerator(
    "tiny",
    (
        Level((Memory("dram", keeps=ALL, capacity=None, read_energy=200.0, write_energy=200.0),)),
        Level(
            (
                Memory(
                    "buffer",
                    keeps=ALL,
                    capacity=4096.0,
                    read_energy=6.0,
                    write_energy=6.0,
                    may_bypass=frozenset({OPERANDS[1]}),
                ),
            )
        ),
        Array("pes", (Axis("x", 4),), hop_energy=2.0),
        Level((Memory("spad", keeps=ALL, capacity=256.0, read_energy=1.0, write_energy=1.0),)),
    ),
    compute=Compute(1.0),
)
CONV = conv("conv", input_size=(4, 4), in_channels=2, out_channels=3, kernel=(3, 3))
LINEAR = linear("fc", in_features=12, out_features=5)
NETWORK = Workload("net", (CONV, LINEAR, replace(CONV, name="again")))
FLEXIBLE = DATAFLOWS["flexible"]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the layers that were really searched, as it grows."""
    solver._load_compiled()  # by a search, the first time that a process has a budget to keep
    real, names = solver.search, []

    def counting(layer: Layer, *rest: Any, **named: Any) -> Found:
        names.append(layer.name)
        return real(layer, *rest, **named)

    monkeypatch.setattr(solver, "search", counting)
    return names


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def without_seconds(made: Estimate) -> dict[str, Any]:
    record = made.to_dict()
    for layer in record["layers"]:
        del layer["search"]["seconds"]
    return record


def entry_of(layer: Layer, folder: Path, machine: Accelerator = MACHINE) -> Path:
    return entry_path(folder, problem_text(layer, machine, FLEXIBLE, "energy"))


# -- equal problems are searched once ------------------------------------------------------


def test_equal_results_with_the_cache_on_and_off(tmp_path: Path, searched: list[str]) -> None:
    off = estimate(NETWORK, MACHINE, cache=False)
    assert searched == ["conv", "fc"]
    assert not list(tmp_path.iterdir())
    cold = estimate(NETWORK, MACHINE, cache=tmp_path)
    assert searched == ["conv", "fc"] * 2
    warm = estimate(NETWORK, MACHINE, cache=tmp_path)
    assert searched == ["conv", "fc"] * 2
    assert without_seconds(off) == without_seconds(cold)
    assert warm == cold


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_what_is_recalled_is_what_was_found(
    objective: str, tmp_path: Path, searched: list[str]
) -> None:
    cold = find(CONV, MACHINE, objective=objective, cache=tmp_path)
    warm = find(CONV, MACHINE, objective=objective, cache=tmp_path)
    assert warm == cold
    assert warm.status == "optimal"
    assert searched == ["conv"]


def test_other_networks_and_machines_of_the_same_numbers(
    tmp_path: Path, searched: list[str]
) -> None:
    estimate(NETWORK, MACHINE, cache=tmp_path)
    other = Workload("other", (replace(CONV, name="first"),))
    twin = replace(MACHINE, name="twin", description="the same", default_dataflow="rs")
    estimate(other, twin, dataflow="flexible", cache=tmp_path)
    assert searched == ["conv", "fc"]


def test_the_users_cache_is_the_default(cache_home: Path, searched: list[str]) -> None:
    estimate(NETWORK, MACHINE)
    estimate(NETWORK, MACHINE)
    assert searched == ["conv", "fc"]
    if sys.platform.startswith("linux"):
        assert cache_folder(True) == cache_home / "picojoule"
    assert cache_folder(False) is None
    assert cache_folder("here") == Path("here")


def test_a_cache_home_that_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    folder = cache_folder(True)
    assert folder is None or folder.is_absolute()


def test_without_sources_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "fingerprint", lambda: None)
    assert find(CONV, MACHINE, cache=tmp_path).status == "optimal"
    assert not list(tmp_path.iterdir())


# -- what decides a problem ----------------------------------------------------------------


def text(
    layer: Layer = CONV,
    machine: Accelerator = MACHINE,
    flow: Dataflow = FLEXIBLE,
    objective: str = "energy",
) -> str:
    return problem_text(layer, machine, flow, objective)


OTHER_LAYERS: dict[str, Any] = {
    "bounds": CONV.bounds._replace(M=4),
    "stride": (2, 2),
    "dilation": (2, 2),
    "padding": (1, 1, 1, 1),
    "input_size": (5, 4),
    "bits": PerOperand(8, 16, 16),
    "density": PerOperand(1.0, 0.5, 1.0),
    "scale_bits": PerOperand(0.0, 0.5, 0.0),
    "time_steps": 2,
}


def test_every_field_of_a_layer_counts() -> None:
    texts = [text()]
    for name, value in OTHER_LAYERS.items():
        other = replace(CONV, input_size=(4, 4))
        object.__setattr__(other, name, value)  # the layer need not be possible
        texts.append(text(other))
    assert len(set(texts)) == len(texts)
    assert text(replace(CONV, name="x", weight_is_activation=True)) == text()
    unseen = {"name", "weight_is_activation"}
    assert {f.name for f in fields(Layer)} == set(OTHER_LAYERS) | unseen


def test_every_number_of_a_machine_counts() -> None:
    changes: list[Callable[[Accelerator], Accelerator]] = [
        lambda m: replace(m, compute=Compute(2.0)),
        lambda m: replace(m, compute=Compute(1.0, 2)),
        lambda m: replace(m, compute=Compute(1.0, 1, 32)),
        lambda m: replace(m, word_bits=8),
        lambda m: replace(m, charge_padding=True),
        lambda m: replace(m, resident_images=True),
        lambda m: replace(m, static_power=1.0),
        lambda m: replace(m, clock=1e9),
        lambda m: replace(m, nest=m.nest[:2]),
    ]
    buffer = MACHINE.memories["buffer"]
    buffers = [
        replace(buffer, capacity=8.0),
        replace(buffer, read_energy=7.0),
        replace(buffer, may_bypass=frozenset()),
    ]
    first, _, *rest = MACHINE.nest
    machines = [
        *(change(MACHINE) for change in changes),
        *(replace(MACHINE, nest=(first, Level((other,)), *rest)) for other in buffers),
    ]
    texts = [text(machine=machine) for machine in machines]
    assert len({text(), *texts}) == len(machines) + 1


def test_dataflows_and_objectives_count() -> None:
    texts = {text(flow=flow) for flow in DATAFLOWS.values()}
    assert len(texts) == len(DATAFLOWS)
    assert len({text(objective=o) for o in solver.OBJECTIVES}) == len(solver.OBJECTIVES)
    ours = replace(FLEXIBLE, unrolled=frozenset({Dim.R}))  # the user's own, under a known name
    assert text(flow=ours) != text()
    assert text(flow=replace(FLEXIBLE, title="t", source="s")) == text()


def test_whole_numbers_are_equal_as_floats() -> None:
    machine = replace(MACHINE, compute=Compute(1), clock=1_000_000_000)
    assert text(machine=machine) == text(machine=replace(MACHINE, clock=1e9))


def test_numbers_of_numpy_are_numbers(tmp_path: Path, searched: list[str]) -> None:
    sizes: Any = [numpy.int64(size) for size in CONV.bounds]  # no int, but taken for one
    counted = Extents(*sizes)
    density = PerOperand[float](*(numpy.float64(x) for x in CONV.density))
    layer = replace(CONV, bounds=counted, density=density)
    assert text(layer) == text()
    assert find(layer, MACHINE, cache=tmp_path) == find(CONV, MACHINE, cache=tmp_path)
    assert searched == ["conv"]


def test_the_text_does_not_depend_on_the_order_of_sets() -> None:
    code = (
        "from picojoule.mapper.cache import problem_text, entry_path; from pathlib import Path;"
        "from picojoule.dataflow import DATAFLOWS; from picojoule.specs import load_accelerator;"
        "from picojoule.workload import linear;"
        "m, l = load_accelerator('eyeriss'), linear('l', in_features=4, out_features=4);"
        "print([entry_path(Path(), problem_text(l, m, f, 'energy')) for f in DATAFLOWS.values()])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_fingerprint_covers_every_module_that_a_search_runs() -> None:
    code = (
        "import sys, picojoule.mapper.cache, picojoule.mapper.solver;"
        # The first makes the code that is run, the others give searches their floor.
        "import picojoule.compiled.building;"
        "import picojoule.mapper.compulsory, picojoule.eyexam.parallelism;"
        "print(*(n for n in sys.modules if n.startswith('picojoule.')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("picojoule.") for name in said.stdout.split()}
    # These decide no answer. Any other module belongs into SOURCES, or a change in it would leave
    # answers of the old code in use.
    harmless = {
        "compiled",
        "display",
        "errors",
        "eyexam",
        "files",
        "mapper",
        "transposed",
        "version",
    }
    assert loaded - harmless == set(cache.SOURCES)
    assert list(cache.SOURCES) == sorted(cache.SOURCES)


def test_another_state_of_the_sources_does_not_see_the_entries(
    tmp_path: Path, searched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(CONV, MACHINE, cache=tmp_path)
    monkeypatch.setattr(cache, "fingerprint", lambda: "0" * len(str(fingerprint())))
    find(CONV, MACHINE, cache=tmp_path)
    assert searched == ["conv", "conv"]
    assert len(entries(tmp_path)) == 2


# -- entries that cannot be trusted --------------------------------------------------------


def garble(change: Callable[[dict[str, Any]], None], *, signed: bool) -> Callable[[str], str]:
    """A change of a good entry, with or without a checksum to match."""

    def apply(good: str) -> str:
        entry = json.loads(good)
        change(entry)
        if signed:
            entry["checksum"] = cache._checksum(entry["problem"], entry["answer"])
        return json.dumps(entry)

    return apply


def foreign_mapping(entry: dict[str, Any]) -> None:
    """A legal mapping, of another layer."""
    whole = Stage(LINEAR.bounds)
    entry["answer"]["mapping"] = Mapping((whole, Stage(Extents()), Stage(Extents()))).to_dict()


def dearer_mapping(entry: dict[str, Any]) -> None:
    """A legal mapping of the right layer that is not the one whose value is stored."""
    entry["answer"]["mapping"]["stages"][1]["tile"] = dict.fromkeys("NGMCPQRS", 1)
    entry["answer"]["mapping"]["stages"][2]["tile"] = dict.fromkeys("NGMCPQRS", 1)


def setting(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry["answer"].update({key: value})


CORRUPT: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "truncated": lambda good: good[: len(good) // 2],
    "cut by one": lambda good: good[:-1],
    "garbage": lambda _: "\x00\x01 no json \ufffd",
    "not UTF-8": lambda _: "\udcff\udcfe",
    "nested": lambda _: "[" * 100_000,
    "foreign list": lambda _: "[1, 2, 3]",
    "foreign table": lambda _: '{"name": "x", "version": 3}',
    "null": lambda _: "null",
    "no answer": lambda good: json.dumps({**json.loads(good), "answer": None}),
    "an answer in a list": lambda good: json.dumps({**json.loads(good), "answer": []}),
    "another problem": garble(lambda entry: entry.update(problem=text(LINEAR)), signed=True),
    "a flipped digit": garble(setting("explored", 123456789), signed=False),
    "another layer's mapping": garble(foreign_mapping, signed=True),
    "a dearer mapping": garble(dearer_mapping, signed=True),
    "a mapping of rubbish": garble(setting("mapping", {"stages": [3]}), signed=True),
    "no stages": garble(setting("mapping", {"stages": []}), signed=True),
    "another value": garble(setting("value", 1.0), signed=True),
    "a value in words": garble(setting("value", "cheap"), signed=True),
    "not a number": garble(setting("value", float("nan")), signed=True),
    "not proved": garble(setting("status", "feasible"), signed=True),
    "a bound above the value": garble(setting("lower_bound", 1e30), signed=True),
    "a bound in words": garble(setting("lower_bound", None), signed=True),
    "a count in words": garble(setting("explored", "many"), signed=True),
    "seconds in words": garble(setting("seconds", []), signed=True),
    "space of the wrong kind": garble(setting("space", 3), signed=True),
}


@pytest.fixture(scope="module")
def good() -> tuple[str, Found]:
    """An entry's text, and the answer it holds."""
    folder = cache_folder(True)
    assert folder is not None
    found = find(CONV, MACHINE)
    return entry_of(CONV, folder).read_text("utf-8"), found


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_entry_is_ignored_and_rewritten(
    kind: str, good: tuple[str, Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, right = good
    searched = []

    def search(layer: Layer, *_: object, **__: object) -> Found:
        searched.append(layer.name)
        return right

    monkeypatch.setattr(solver, "search", search)
    path = entry_of(CONV, tmp_path)
    path.parent.mkdir(parents=True)
    bad = CORRUPT[kind](whole)
    path.write_text(bad, encoding="utf-8", errors="surrogateescape")
    found = find(CONV, MACHINE, cache=tmp_path)
    assert searched == ["conv"]
    assert found == right
    again = find(CONV, MACHINE, cache=tmp_path)
    assert searched == ["conv"]
    assert again == found
    assert entries(tmp_path) == [path]


def test_a_good_entry_is_used(good: tuple[str, Found], tmp_path: Path, searched: list[str]) -> None:
    """The ground for the test above: what it garbles would have been used as it was."""
    whole, right = good
    path = entry_of(CONV, tmp_path)
    path.parent.mkdir(parents=True)
    for text in (whole, garble(lambda _: None, signed=True)(whole)):
        path.write_text(text, "utf-8")
        assert find(CONV, MACHINE, cache=tmp_path) == right
    assert searched == []


def test_what_is_not_proved_is_not_kept(
    tmp_path: Path, searched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = solver.search
    monkeypatch.setattr(
        solver, "search", lambda *a, **k: replace(real(*a, **k), status="feasible", lower_bound=1.0)
    )
    assert find(CONV, MACHINE, budget=1.0, cache=tmp_path).status == "feasible"
    assert entries(tmp_path) == []
    monkeypatch.setattr(solver, "search", real)
    assert find(CONV, MACHINE, cache=tmp_path).status == "optimal"
    # A proved answer serves whoever would have taken less.
    assert find(CONV, MACHINE, budget=1e-9, cache=tmp_path).status == "optimal"
    assert searched == ["conv", "conv"]


def test_no_mapping_is_no_entry(tmp_path: Path) -> None:
    small = replace(
        MACHINE,
        nest=(
            *MACHINE.nest[:3],
            Level((Memory("spad", keeps=ALL, capacity=8.0, read_energy=1, write_energy=1),)),
        ),
    )
    for _ in range(2):
        with pytest.raises(NoMappingError):
            find(CONV, small, cache=tmp_path)
    assert entries(tmp_path) == []


# -- folders, processes, signals -----------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    made = estimate(NETWORK, MACHINE, cache=tmp_path / "file")
    assert without_seconds(made) == without_seconds(estimate(NETWORK, MACHINE, cache=False))
    said = warnings(caplog)
    assert len(said) == 1
    assert str(tmp_path / "file") in said[0]


def test_a_read_only_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    estimate(NETWORK, MACHINE, cache=tmp_path)
    assert len(warnings(caplog)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["stat", "replace", "mkdir"])
def test_a_full_disk_warns_once(
    step: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, step, full)
    made = estimate(NETWORK, MACHINE, cache=tmp_path)
    monkeypatch.undo()
    assert [layer.search.status for layer in made.layers] == ["optimal"] * 3
    assert [x for x in tmp_path.rglob("*") if x.is_file()] == []
    assert len(warnings(caplog)) == 1
    assert "No space left" in warnings(caplog)[0]


def test_an_entry_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, searched: list[str]
) -> None:
    entry_of(CONV, tmp_path).mkdir(parents=True)
    assert find(CONV, MACHINE, cache=tmp_path).status == "optimal"
    assert searched == ["conv"]
    assert len(warnings(caplog)) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_interrupt_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("replace", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                estimate(NETWORK, MACHINE, cache=tmp_path)
    assert [x for x in tmp_path.rglob("*") if x.is_file()] == []
    real = solver.search

    def interrupted(layer: Layer, *rest: Any, **named: Any) -> Found:
        if layer.name == "fc":
            raise KeyboardInterrupt
        return real(layer, *rest, **named)

    monkeypatch.setattr(solver, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimate(NETWORK, MACHINE, cache=tmp_path)
    assert entries(tmp_path) == [entry_of(CONV, tmp_path)]  # what was done is kept


def _price(folder: str, start: Any, results: Any) -> None:
    start.wait()
    for _ in range(5):
        made = estimate(NETWORK, MACHINE, cache=folder)
        results.put(without_seconds(made))
        for path in entries(Path(folder)):
            path.unlink(missing_ok=True)  # make them all write again and again


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_price, args=(str(tmp_path), start, results)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    made = [results.get(timeout=60) for _ in range(10)]
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    expected = without_seconds(estimate(NETWORK, MACHINE, cache=False))
    assert all(x == expected for x in made)
    assert not list(tmp_path.rglob("*.tmp"))


def test_mappings_of_views_are_plain() -> None:
    """Dataflows hold read-only views; a user's own may hold a dictionary."""
    plain = replace(DATAFLOWS["rs"], element_tile=dict(DATAFLOWS["rs"].element_tile))
    assert isinstance(DATAFLOWS["rs"].element_tile, MappingProxyType)
    assert text(flow=plain) == text(flow=DATAFLOWS["rs"])


# -- the folder as a whole -----------------------------------------------------------------


def test_counting_and_clearing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert census(tmp_path / "none") == (0, 0, 0)
    assert clear(tmp_path / "none") == 0
    estimate(NETWORK, MACHINE, cache=tmp_path)
    kept = entries(tmp_path)
    assert census(tmp_path) == (2, 0, sum(x.stat().st_size for x in kept))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "fingerprint", lambda: "0" * 16)
        assert census(tmp_path)[:2] == (0, 2)
    left = kept[0].with_name(f".picojoule-{'1' * 16}.tmp")  # of a process that was killed
    theirs = [tmp_path / "notes.json", kept[0].parent / "notes.json"]
    for path in (left, *theirs):
        path.write_text("{}")
    assert census(tmp_path)[:2] == (2, 0)
    assert clear(tmp_path) == 2
    assert sorted(x for x in tmp_path.rglob("*") if x.is_file()) == sorted(theirs)
    theirs[1].unlink()
    assert clear(tmp_path) == 0
    assert not (tmp_path / "searches").exists()
