"""A compression run is a folder, and a run that was stopped ends as if it had not been.

::

    run.json            what was asked, and with which versions; written once
    history.jsonl       one line per finished step, in order; only ever grows
    timings.jsonl       seconds per step, for people; decides nothing
    checkpoints/        NUMBER.safetensors, the tensors of a step
    result/             what the run was for; appears whole when the run ends

An algorithm is written as a fixed sequence of named steps. :meth:`Run.step` computes a step once:
its tensors are put in place first, then its line ends the history, and that line is what makes the
step done. On the next start the algorithm runs from its beginning and every done step answers from
the folder instead of computing. A step sees only what earlier steps answered and the seed it is
given, so whatever moment the process dies at, the bytes at the end are the same (on the same
machine, with the same number of threads, which the folder remembers).

Tensors are read only when they are used; a chain of a hundred done steps costs one read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from picojoule.errors import InputError, Mistake, PicojouleError
from picojoule.files import is_leftover, write_atomically
from picojoule.version import __version__

try:
    import fcntl
except ImportError:  # not on Windows: two processes on one folder are then the user's care
    fcntl = None  # type: ignore[assignment]

SCHEMA_VERSION = 1
Tensors = Mapping[str, torch.Tensor]


class RunError(PicojouleError):
    """A run that cannot go on; its folder is intact, and the same command takes it up again."""


@dataclass(frozen=True, eq=False)
class RunStep:
    """A finished step: what it found, and its tensors, read on demand.

    Args:
        name: unique in its run.
        record: plain data, as JSON gives it back.
    """

    name: str
    record: Mapping[str, Any]
    _file: Path | None = field(repr=False)
    _digest: str | None = field(repr=False)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors of the step; empty if it has none.

        Raises:
            RunError: they are gone (given up by :meth:`Run.forget`) or damaged.
        """
        if self._file is None:
            return {}
        try:
            raw = self._file.read_bytes()
        except OSError as error:
            raise RunError(f"{self._file}: the tensors of step {self.name!r}: {error}") from None
        if hashlib.sha256(raw).hexdigest() != self._digest:
            raise RunError(
                f"{self._file}: damaged (it is not what step {self.name!r} wrote); "
                "start the run again in an empty folder"
            )
        return load_tensors(raw)


class Run:
    """A run's folder, open for one process at a time. Use :func:`open_run`."""

    def __init__(self, folder: Path, seed: int, steps: dict[str, RunStep]) -> None:
        self.folder = folder
        self.seed = seed
        self._steps = steps
        self._asked: list[str] = []
        self._old = tuple(steps)

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """All finished steps, oldest first."""
        return tuple(self._steps.values())

    def done(self, name: str) -> bool:
        """Whether a step is finished, so that :meth:`step` would answer at once."""
        return name in self._steps

    def seed_of(self, name: str) -> int:
        """The seed of a step: of the run's seed and the step's name only."""
        fingerprint = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(fingerprint[:7], "big")

    def step(
        self,
        name: str,
        compute: Callable[[], tuple[Mapping[str, Any], Tensors]],
    ) -> RunStep:
        """The finished step *name*; computed, with torch and numpy seeded for it, if it is not.

        *compute* returns plain data (what JSON can hold, finite numbers) and tensors.

        Raises:
            RunError: the disk is full, a number is not finite, or the folder belongs to other code
                (a step of the history is not the one asked for now).
        """
        self._in_order(name)
        if name in self._steps:
            return self._steps[name]
        seed = self.seed_of(name)
        torch.manual_seed(seed)
        np.random.seed(seed % (1 << 32))
        started = time.monotonic()
        record, tensors = compute()
        return self._commit(name, record, tensors, time.monotonic() - started)

    def _in_order(self, name: str) -> None:
        if name in self._asked:
            raise ValueError(f"step {name!r} is asked for twice")
        place = len(self._asked)
        if place < len(self._old) and self._old[place] != name:
            raise RunError(
                f"{self.folder / 'history.jsonl'}: step {place + 1} was {self._old[place]!r}, now "
                f"{name!r} comes there; the run was made by another version or with other data"
            )
        self._asked.append(name)

    def _commit(
        self, name: str, record: Mapping[str, Any], tensors: Tensors, seconds: float
    ) -> RunStep:
        file = digest = None
        line: dict[str, Any] = {"step": name, "record": record}
        with _disk(self.folder):
            if tensors:
                file = self.folder / "checkpoints" / f"{len(self._steps):05d}.safetensors"
                raw = save_tensors({key: tensors[key].contiguous() for key in sorted(tensors)})
                digest = hashlib.sha256(raw).hexdigest()
                write_atomically(file, raw, as_mistake=False)
                line |= {"checkpoint": file.name, "sha256": digest}
            try:
                text = json.dumps(line, allow_nan=False)
            except ValueError as error:
                raise RunError(f"step {name!r}: {error}; nothing of it was kept") from None
            _append_line(self.folder / "history.jsonl", text)
        self._steps[name] = RunStep(name, json.loads(text)["record"], file, digest)
        with suppress(OSError):  # timings decide nothing
            _append_line(
                self.folder / "timings.jsonl", json.dumps({"step": name, "seconds": seconds})
            )
        return self._steps[name]

    def forget(self, step: RunStep) -> None:
        """Give up the tensors of a step that no later step will read; its record stays."""
        if step._file is not None:
            step._file.unlink(missing_ok=True)

    def forget_within(self, name: str) -> None:
        """Give up the tensors of all steps ``name/…``, once the step *name* holds their outcome."""
        for step in self._steps.values():
            if step.name.startswith(f"{name}/"):
                self.forget(step)

    def seconds(self) -> dict[str, float]:
        """How long each finished step took, as far as it was noted."""
        durations = {}
        for line in _lines(self.folder / "timings.jsonl"):
            try:
                item = json.loads(line)
                durations[str(item["step"])] = float(item["seconds"])
            except (ValueError, KeyError, TypeError):
                continue
        return durations

    @property
    def result(self) -> Path:
        """The folder with the result; there only once the run has ended."""
        return self.folder / "result"

    def finish(self, files: Mapping[str, bytes | str]) -> Path:
        """Put the result in place, whole; a result that is there already is replaced."""
        with _disk(self.folder):
            fresh = Path(tempfile.mkdtemp(prefix=".result.", dir=self.folder))
            try:
                fresh.chmod(0o755)
                for name, content in files.items():
                    (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(fresh / name, content, as_mistake=False)
                if self.result.exists():
                    self.result.replace(fresh / ".old")
                fresh.replace(self.result)
                shutil.rmtree(self.result / ".old", ignore_errors=True)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return self.result


@contextmanager
def open_run(
    folder: str | os.PathLike[str] | None,
    kind: str,
    recipe: Mapping[str, Any],
    *,
    seed: int = 0,
    inputs: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Create a run in *folder*, or take up the one that is there.

    Args:
        folder: new, empty, or of the same run; None: one that is gone afterwards.
        kind: "prune", "adapt".
        recipe: everything that was asked and that decides the outcome, as plain data.
        seed: of all draws.
        inputs: what the outcome depends on and the recipe cannot hold, by name: a
            :func:`digest` of the network, of the data.

    Raises:
        RunError: another process is at work in it.
        InputError: the folder holds something else, or a run of another recipe; every difference
            is named.
    """
    if folder is None:
        with (
            tempfile.TemporaryDirectory(prefix="picojoule-") as passing,
            open_run(passing, kind, recipe, seed=seed, inputs=inputs) as run,
        ):
            yield run
        return
    place = Path(folder)
    asked = json.loads(
        json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "kind": kind,
                "recipe": recipe,
                "seed": seed,
                "inputs": inputs or {},
            }
        )
    )
    with _disk(place):
        place.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        head = _read_head(place)
        if head is None:
            strangers = [path.name for path in place.iterdir() if path.name != ".lock"]
            if [name for name in strangers if not name.startswith(".")]:
                raise InputError(
                    str(place), [Mistake("folder", "holds other files, and no run; name a new one")]
                )
            head = asked | {"versions": _versions(), "threads": torch.get_num_threads()}
            with _disk(place):
                (place / "checkpoints").mkdir(exist_ok=True)
                write_atomically(
                    place / "run.json", json.dumps(head, indent=1) + "\n", as_mistake=False
                )
        else:
            differences = [
                *_differences(head, asked, ("schema_version", "kind", "seed")),
                *_differences(head.get("recipe", {}), asked["recipe"], None, "recipe."),
                *_differences(head.get("inputs", {}), asked["inputs"], None, "inputs."),
            ]
            if differences:
                raise InputError(f"{place / 'run.json'} is of another run", differences)
        threads = torch.get_num_threads()
        torch.set_num_threads(head["threads"])  # the order of sums depends on it
        try:
            yield Run(place, seed, _read_history(place))
        finally:
            torch.set_num_threads(threads)


def digest(*parts: Any) -> str:
    """A short fingerprint of modules' state, tensors and plain data."""
    sha256 = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.nn.Module):
            part = part.state_dict()
        items = part.items() if isinstance(part, Mapping) else [("", part)]
        for name, value in items:
            sha256.update(f"{name}/".encode())
            if isinstance(value, torch.Tensor):
                whole = value.detach().cpu().contiguous()
                sha256.update(f"{whole.dtype}{tuple(whole.shape)}".encode())
                sha256.update(whole.reshape(-1).view(torch.uint8).numpy().tobytes())
            else:
                sha256.update(repr(value).encode())
    return sha256.hexdigest()[:16]


def _append_line(path: Path, text: str) -> None:
    """Append a line, whole or not at all."""
    with path.open("ab") as file:
        length = file.tell()
        try:
            file.write(text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, length)
            raise


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; a line cut off by a crash is none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    return raw[: raw.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines()


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}); what was finished is "
            "intact: make room or permit writing, and give the same command again"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with _disk(folder):
        handle = (folder / ".lock").open("w")
    with handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"{folder}: another process is at work on this run") from None
        yield


def _read_head(folder: Path) -> dict[str, Any] | None:
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        head = json.loads(path.read_text("utf-8"))
        valid = isinstance(head["threads"], int) and isinstance(head["recipe"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), [Mistake("$", f"no run of ours: {error!r}")]) from None
    if not valid or head.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            str(path),
            [Mistake("$.schema_version", f"this picojoule takes up runs of {SCHEMA_VERSION}")],
        )
    return head  # type: ignore[no-any-return]


def _read_history(folder: Path) -> dict[str, RunStep]:
    path = folder / "history.jsonl"
    lines = _lines(path)
    if path.exists():
        os.truncate(path, sum(len(line.encode()) + 1 for line in lines))
    steps: dict[str, RunStep] = {}
    for number, line in enumerate(lines, 1):
        try:
            item = json.loads(line)
            file = item.get("checkpoint")
            steps[item["step"]] = RunStep(
                item["step"],
                item["record"],
                folder / "checkpoints" / file if file else None,
                item.get("sha256"),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(str(path), [Mistake(f"line {number}", "not a step")]) from None
    kept = {step._file for step in steps.values()}
    for orphan in (folder / "checkpoints").glob("*"):
        if orphan not in kept:  # written by a step that did not live to be noted
            orphan.unlink()
    for orphan in filter(is_leftover, folder.iterdir()):
        orphan.unlink()
    for orphan in folder.glob(".result.*"):
        shutil.rmtree(orphan, ignore_errors=True)
    return steps


def _differences(
    record: Mapping[str, Any],
    asked: Mapping[str, Any],
    names: tuple[str, ...] | None,
    path: str = "",
) -> list[Mistake]:
    return [
        Mistake(f"$.{path}{name}", f"{record.get(name)!r} there, {asked.get(name)!r} asked for now")
        for name in names or tuple(dict.fromkeys((*record, *asked)))
        if record.get(name) != asked.get(name)
    ]


def _versions() -> dict[str, str]:
    return {
        "picojoule": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
