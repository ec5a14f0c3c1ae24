"""Where candidates are worked on: here, in processes of this computer, or on a Ray cluster.

All three run the same function on the same tasks and give the same results; what differs is what a
crash costs. Values that every task needs (the parent network, the data) are shared once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Protocol

from picojoule.errors import PicojouleError

ATTEMPTS = 2
"""How often a candidate is begun before its crash is taken to be its own fault."""

FAREWELL = 5.0
"""Seconds an idle worker has to end by itself; killed, it leaves semaphores behind."""


@dataclass(frozen=True, slots=True)
class FromFile:
    """A function of the user's own file, found again in every process."""

    path: str
    name: str

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self.function()(*arguments, **settings)

    def function(self) -> Callable[..., Any]:
        place = Path(self.path).resolve()
        module_name = f"_picojoule_recipe_{place.stem}"
        module = sys.modules.get(module_name)
        if module is None or getattr(module, "__file__", None) != str(place):
            spec = importlib.util.spec_from_file_location(module_name, place)
            if spec is None or spec.loader is None or not place.is_file():
                raise PicojouleError(f"{self.path}: no such Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            sys.path.insert(0, str(place.parent))
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[module_name]
                raise
            finally:
                sys.path.remove(str(place.parent))
        function = getattr(module, self.name, None)
        if not callable(function):
            raise PicojouleError(f"{self.path}: no function {self.name!r}")
        return function  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Done:
    """A task's end: its value, or what went wrong ("crashed", "late", "failed": an exception)."""

    number: int
    value: Any
    status: str
    message: str = ""


class Executor(Protocol):
    """Runs ``function(task, *shared)`` for tasks, and yields them as they end."""

    def share(self, value: Any) -> Any:
        """A handle for a value that tasks need; give handles to :meth:`run`."""

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Any],
        shared: Sequence[Any],
        seconds: float | None = None,
    ) -> Iterator[Done]:
        """Work on all tasks; *seconds* is the time that one may take."""

    def close(self) -> None: ...


class Here:
    """One task after the other in this process: nothing to set up; a crash takes all down."""

    def share(self, value: Any) -> Any:
        return value

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Any],
        shared: Sequence[Any],
        seconds: float | None = None,
    ) -> Iterator[Done]:
        del seconds  # nothing in this process could stop it
        for number, task in enumerate(tasks):
            yield _attempt(number, function, task, shared)

    def close(self) -> None:
        pass


def _attempt(number: int, function: Callable[..., Any], task: Any, shared: Sequence[Any]) -> Done:
    try:
        return Done(number, function(task, *shared), "done")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Done(number, None, "failed", f"{type(error).__name__}: {error} ({where})")


@dataclass(frozen=True, slots=True)
class _Shared:
    path: str


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.number = -1
        self.begun = 0.0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """Worker processes that live on from task to task; a crashed or hanging one is replaced.

    Args:
        workers: how many.
        threads: of torch in each.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        if workers < 1:
            raise PicojouleError(f"{workers} workers: at least one is needed")
        self._count, self._threads = workers, threads
        self._workers: list[_Worker] = []
        self._folder = tempfile.TemporaryDirectory(prefix="picojoule-")
        self._values = 0

    def share(self, value: Any) -> _Shared:
        self._values += 1
        path = Path(self._folder.name) / f"{self._values}.pickle"
        try:
            path.write_bytes(pickle.dumps(value, protocol=5))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PicojouleError(
                f"cannot be sent to a worker process: {error}; define functions at the top level "
                "of a module, or work in this process (workers=0)"
            ) from None
        return _Shared(str(path))

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Any],
        shared: Sequence[Any],
        seconds: float | None = None,
    ) -> Iterator[Done]:
        waiting = list(range(len(tasks)))[::-1]
        begun = [0] * len(tasks)
        busy: dict[Any, _Worker] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self._count:
                    worker = self._idle(busy)
                    worker.number, worker.begun = waiting.pop(), time.monotonic()
                    begun[worker.number] += 1
                    # If it died in between, that is seen below as the end of its pipe.
                    with contextlib.suppress(BrokenPipeError, ConnectionError):
                        worker.pipe.send((worker.number, function, tasks[worker.number], shared))
                    busy[worker.pipe] = worker
                ready = connection.wait(list(busy), timeout=1.0)
                for pipe in ready:
                    worker = busy.pop(pipe)
                    try:
                        yield worker.pipe.recv()
                    except (EOFError, ConnectionError):
                        self._replace(worker)
                        if begun[worker.number] < ATTEMPTS:
                            waiting.append(worker.number)
                        else:
                            code = worker.process.exitcode
                            yield Done(worker.number, None, "crashed", f"exit code {code}")
                for worker in list(busy.values()):
                    if seconds is not None and time.monotonic() - worker.begun > seconds:
                        del busy[worker.pipe]
                        self._replace(worker)
                        message = f"stopped after {seconds:g} s"
                        yield Done(worker.number, None, "late", message)
        finally:
            for worker in busy.values():  # the caller has gone; so has the interest in these
                self._replace(worker)

    def _idle(self, busy: dict[Any, _Worker]) -> _Worker:
        for worker in self._workers:
            if worker.pipe not in busy and worker.process.is_alive():
                return worker
        worker = _Worker(self._threads)
        self._workers.append(worker)
        return worker

    def _replace(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)

    def close(self) -> None:
        for worker in self._workers:  # idle ones end when their pipe does, and tidy up
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(FAREWELL)
            worker.stop()
        self._workers.clear()
        self._folder.cleanup()


def _serve(pipe: Any, threads: int) -> None:
    """The life of a worker process."""
    import torch

    torch.set_num_threads(threads)
    values: dict[str, Any] = {}
    while True:
        try:
            number, function, task, shared = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        arguments = []
        for value in shared:
            if isinstance(value, _Shared):
                if value.path not in values:
                    values[value.path] = pickle.loads(Path(value.path).read_bytes())
                value = values[value.path]
            arguments.append(value)
        for path in [path for path in values if not os.path.exists(path)]:  # noqa: PTH110
            del values[path]
        try:
            pipe.send(_attempt(number, function, task, arguments))
        except (BrokenPipeError, KeyboardInterrupt):
            return


class Ray:
    """Tasks on a Ray cluster, or on a Ray of this computer; a lost worker's task is begun again.

    Args:
        address: of a cluster ("auto", "ray://host:10001"); None starts one here, or uses the one
            this process is connected to.
        workers: how many tasks run at once on a Ray started here.
    """

    def __init__(self, address: str | None = None, *, workers: int = 2, threads: int = 1) -> None:
        try:
            import ray
        except ImportError:
            raise PicojouleError("Ray is not installed: pip install 'picojoule[ray]'") from None
        self._ray: Any = ray
        self._threads = threads
        self._started = not ray.is_initialized()
        if self._started:
            settings: dict[str, Any] = {"num_cpus": workers} if address is None else {}
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, **settings)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise PicojouleError(f"no Ray at {address!r}: {error}") from None

    def share(self, value: Any) -> Any:
        return self._ray.put(value)

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Any],
        shared: Sequence[Any],
        seconds: float | None = None,
    ) -> Iterator[Done]:
        ray = self._ray
        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS)(_remote)
        begun = time.monotonic()
        pending = {
            remote.remote(number, function, task, self._threads, *shared): number
            for number, task in enumerate(tasks)
        }
        # Ray queues tasks itself, so the time of one is bounded by that of all before it.
        limit = None if seconds is None else seconds * max(1, len(tasks))
        try:
            while pending:
                ready, _ = ray.wait(list(pending), num_returns=1, timeout=1.0)
                for reference in ready:
                    number = pending.pop(reference)
                    try:
                        yield ray.get(reference)
                    except ray.exceptions.RayError as error:
                        first = str(error).strip().splitlines()[0]
                        yield Done(number, None, "crashed", first)
                if limit is not None and time.monotonic() - begun > limit:
                    for reference, number in pending.items():
                        ray.cancel(reference, force=True)
                        yield Done(number, None, "late", f"stopped after {limit:g} s")
                    pending.clear()
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()


def _remote(
    number: int, function: Callable[..., Any], task: Any, threads: int, *shared: Any
) -> Done:
    import torch

    torch.set_num_threads(threads)
    return _attempt(number, function, task, shared)
