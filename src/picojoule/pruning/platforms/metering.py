"""Energy and time of a network on the computer at hand: run many times beside a meter.

An ONNX file runs whole in onnxruntime, a torch module in torch; of any network, each layer can run
alone, as :mod:`stopwatches` runs it. Values are random: neither meter nor time depends on them
where zeros are not skipped.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from picojoule.errors import InputError, Mistake, PicojouleError
from picojoule.frontends import call_function, function_of
from picojoule.pruning.platforms.meters import Meter
from picojoule.pruning.platforms.stopwatches import (
    import_onnxruntime,
    layer_model,
    processor,
    session_of,
)
from picojoule.workload import Workload

_BLOCK = 0.25  # seconds between two looks at the meter, whose counters move every millisecond
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to run: a network, or one layer of it, *batch* inferences at once.

    Args:
        work: runs it once; on a GPU it may return earlier.
        finish: waits for all that was begun.
    """

    network: str
    layer: str
    batch: int
    work: Callable[[], object]
    finish: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What one inference of a job took.

    Args:
        energy: joules.
        by_domain: the same by domain of the meter.
        spread: of the energy, between the quartiles of the blocks of runs.
        time: seconds.
        runs: counted, of the whole batch.
    """

    job: Job
    energy: float
    by_domain: Mapping[str, float]
    spread: float
    time: float
    runs: int

    @property
    def power(self) -> float:
        """Watts."""
        return self.energy / self.time


def metered(
    job: Job,
    meter: Meter,
    *,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Metered:
    """Run *job* for some *seconds* beside *meter*.

    Raises:
        PicojouleError: the meter stands still.
    """
    job.work()
    job.finish()
    begun = clock()
    job.work()
    job.finish()
    block = max(1, round(_BLOCK / max(clock() - begun, 1e-9)))
    energies: list[float] = []
    times: list[float] = []
    domains: dict[str, float] = {}
    meter.joules()
    while math.fsum(times) < seconds or len(energies) < 2:
        begun = clock()
        for _ in range(block):
            job.work()
        job.finish()
        times.append(clock() - begun)
        drawn = meter.joules()
        energies.append(math.fsum(drawn.values()))
        for domain, joules in drawn.items():
            domains[domain] = domains.get(domain, 0.0) + joules
    inferences = len(times) * block * job.batch
    energy = math.fsum(energies) / inferences
    if energy <= 0:
        raise PicojouleError(
            f"{meter.name} stood still for {math.fsum(times):.1f} s while {job.network} ran: its "
            "counter is not kept up here (as in some virtual machines)"
        )
    lower, _, upper = statistics.quantiles([x / block / job.batch for x in energies], n=4)
    return Metered(
        job=job,
        energy=energy,
        by_domain={domain: joules / inferences for domain, joules in domains.items()},
        spread=upper - lower,
        time=math.fsum(times) / inferences,
        runs=len(times) * block,
    )


def idle_power(
    meter: Meter,
    *,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> float:
    """Watts that the meter sees while nothing of ours runs."""
    meter.joules()
    begun = clock()
    sleep(seconds)
    return math.fsum(meter.joules().values()) / (clock() - begun)


def layer_jobs(network: Workload, source: str, *, threads: int = 1) -> Iterator[Job]:
    """Each layer alone, by onnxruntime on this computer's CPU; *source* names the network."""
    runtime = import_onnxruntime()
    for layer in network:
        model, feeds = layer_model(layer)
        session = session_of(runtime, model, threads)
        yield Job(
            network=source,
            layer=layer.name,
            batch=network.batch,
            work=lambda session=session, feeds=feeds: session.run(None, feeds),  # type: ignore[misc]
        )


def network_job(source: str, *, batch: int, sizes: Mapping[str, int], gpu: bool) -> Job:
    """The whole network of an ONNX file, or of a function that returns a torch module.

    Args:
        source: ``network.onnx``, or ``file.py:function`` that returns ``(module, inputs)``.
        batch: inferences that one run makes.
        sizes: of dimensions that an ONNX file only names.
        gpu: it runs on the first CUDA device.

    Raises:
        InputError: it is neither, or its inputs cannot be made.
    """
    function = function_of(source)
    if function is not None:
        return _torch_job(source, function, batch, gpu)
    if Path(source).suffix.lower() != ".onnx":
        message = (
            "this says which layers there are, and nothing that runs: give an .onnx file or "
            "file.py:function, or measure its layers one by one with --by-layer"
        )
        raise InputError(source, [Mistake("network", message)])
    if gpu:
        message = "a GPU is measured with torch: give file.py:function, which returns a module"
        raise InputError(source, [Mistake("network", message)])
    runtime = import_onnxruntime()
    try:
        session = session_of(runtime, Path(source).read_bytes(), 0)
    except Exception as error:  # whatever onnxruntime throws: it has classes of its own in C++
        reason = " ".join(str(error).split())[:200]
        message = f"onnxruntime does not run it: {reason}"
        raise InputError(source, [Mistake("network", message)]) from None
    feeds = _feeds(source, session, sizes)
    return Job(network=source, layer="", batch=batch, work=lambda: session.run(None, feeds))


def _feeds(source: str, session: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Random inputs of a session."""
    draw = np.random.default_rng(0)
    mistakes: list[Mistake] = []
    feeds: dict[str, Any] = {}
    for argument in session.get_inputs():
        shape = [sizes.get(size, size) for size in argument.shape]
        kind = _TYPES.get(argument.type)
        unknown = [str(size) for size in shape if not isinstance(size, int)]
        if unknown:
            message = f"the size of {', '.join(unknown)} is not known: --dim {unknown[0]}=1"
            mistakes.append(Mistake(f"input {argument.name}", message))
        elif kind is None:
            message = f"values of {argument.type} cannot be made up"
            mistakes.append(Mistake(f"input {argument.name}", message))
        elif np.issubdtype(kind, np.floating):
            feeds[argument.name] = draw.standard_normal(shape).astype(kind)
        else:  # an index must be in some table, a mask may be anything
            feeds[argument.name] = np.ones(shape, kind)
    if mistakes:
        raise InputError(source, mistakes)
    return feeds


def _torch_job(source: str, function: tuple[Path, str], batch: int, gpu: bool) -> Job:
    made: Any = call_function(source, *function)
    import torch

    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module) or inputs is None:
        message = "its function must return (module, inputs): what runs, and on what"
        raise InputError(source, [Mistake("network", message)])
    if gpu and not torch.cuda.is_available():
        raise PicojouleError("no CUDA device is present; measure the processor with --meter rapl")
    device = torch.device("cuda" if gpu else "cpu")
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    arguments = [value.to(device) for value in inputs]
    module = module.to(device).eval()

    def work() -> object:
        with torch.no_grad():
            return module(*arguments)

    finish = torch.cuda.synchronize if gpu else (lambda: None)
    return Job(network=source, layer="", batch=batch, work=work, finish=finish)


def table(rows: Sequence[Metered], meter: Meter, idle: float, folder: Path) -> str:
    """The rows as a file of measurements, which ``calibrate`` reads; networks beside *folder*."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = io.StringIO()
    text.write(f"# measured: {now}, {processor()}, {meter.name}\n")
    text.write(f"# idle: {idle:.4g} W, which the energies below contain\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", "layer", "batch", "energy (J)", "time (s)", "source"))
    for row in rows:
        place = row.job.network
        if Path(place.partition(".py:")[0]).exists():
            place = os.path.relpath(place, folder)
        said = f"{row.runs} runs, {row.power:.4g} W"
        writer.writerow(
            (place, row.job.layer, row.job.batch, f"{row.energy:.6g}", f"{row.time:.6g}", said)
        )
    return text.getvalue()
