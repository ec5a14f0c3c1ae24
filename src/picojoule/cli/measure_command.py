"""``picojoule measure``: energy and time of a network where it runs, where a meter exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from picojoule.cli.answers import (
    YES,
    as_json_text,
    check_output,
    give_answer,
    json_head,
    plain_text,
)
from picojoule.cli.options import ANSWER, AnswerOptions, Batch, Dims, Network
from picojoule.cli.progress import progress_bar
from picojoule.cli.questions import read_dims, read_seconds
from picojoule.errors import PicojouleError, did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType

    from picojoule.pruning.platforms.metering import Job, Metered
    from picojoule.pruning.platforms.meters import Meter
    from picojoule.workload import Workload

METERS = ("rapl", "nvml")


def measure(
    network: Network,
    /,
    *,
    meter: Annotated[
        str,
        Parameter(help="rapl: this computer's processor; nvml: its first GPU (nvidia-ml-py)."),
    ] = "rapl",
    by_layer: Annotated[
        bool,
        Parameter(
            name="--by-layer",
            negative="",
            help="Run each layer alone, which any network can that is read here.",
        ),
    ] = False,
    seconds: Annotated[
        str, Parameter(help="How long each is run beside the meter: 3s, 500ms.")
    ] = "3s",
    batch: Batch = None,
    dims: Dims = None,
    answer: AnswerOptions = ANSWER,
) -> int:
    """Measure energy and time of a network on this computer, as `calibrate` reads them.

    An ONNX file runs in onnxruntime, the module of file.py:function in torch. OUTPUT ends in .csv
    (the rows for calibrate), .json or .txt.
    """
    check_output(answer.output, (".csv", ".json", ".txt"))
    if meter not in METERS:
        raise PicojouleError(
            f"--meter: no {meter!r}{did_you_mean(meter, METERS)}; there are {', '.join(METERS)}"
        )
    if by_layer and meter == "nvml":
        raise PicojouleError("--by-layer runs on the processor: no --meter nvml then")
    lasting, sizes = read_seconds(seconds), read_dims(dims)
    assert lasting is not None  # it has a default
    with _opened(meter) as opened:
        from picojoule.pruning.platforms.metering import idle_power

        idle = idle_power(opened, seconds=min(lasting, 2.0))
        jobs = _jobs(network, by_layer, meter == "nvml", batch, sizes)
        return _answer(opened, jobs, lasting, idle, answer)


@contextmanager
def _opened(name: str) -> Iterator[Meter]:
    from picojoule.pruning.platforms.meters import Nvml, Rapl

    if name == "rapl":
        yield Rapl()
        return
    meter = Nvml()
    try:
        yield meter
    finally:
        meter.close()


def _answer(
    meter: Meter, jobs: list[Job], lasting: float, idle: float, answer: AnswerOptions
) -> int:
    from picojoule.pruning.platforms.metering import metered, table

    rows: list[Metered] = []
    with progress_bar(watched=False) as told:
        for done, job in enumerate(jobs):
            if told:
                told["progress"](done, len(jobs), job.layer or job.network)
            rows.append(metered(job, meter, seconds=lasting))
    folder = Path() if answer.output is None else answer.output.parent
    record = {
        **json_head(),
        "meter": meter.name,
        "idle_power": idle,
        "rows": [_record(row) for row in rows],
    }

    def text() -> RenderableType:
        from picojoule.reports.calibration_text import measurement_report

        return measurement_report(rows, meter.name, idle)

    writers: dict[str, Callable[[], str]] = {
        ".csv": lambda: table(rows, meter, idle, folder),
        ".json": lambda: as_json_text(record),
        ".txt": lambda: plain_text(text()),
    }
    give_answer(lambda: record, text, answer, writers, lambda: f"{len(rows)} rows, by {meter.name}")
    return YES


def _jobs(
    source: str, by_layer: bool, gpu: bool, batch: int | None, sizes: dict[str, int]
) -> list[Job]:
    from picojoule.pruning.platforms.metering import layer_jobs, network_job

    if by_layer:
        return list(layer_jobs(_loaded(source, batch, sizes), source))
    if Path(source).suffix.lower() == ".onnx" and batch is None:
        batch = _loaded(source, None, sizes).batch
    return [network_job(source, batch=batch or 1, sizes=sizes, gpu=gpu)]


def _loaded(source: str, batch: int | None, sizes: dict[str, int]) -> Workload:
    from picojoule.frontends import load

    network = load(source, dims=sizes)
    return network if batch is None else network.with_batch(batch)


def _record(row: Metered) -> dict[str, Any]:
    return {
        "network": row.job.network,
        "layer": row.job.layer or None,
        "batch": row.job.batch,
        "energy": row.energy,
        "by_domain": dict(row.by_domain),
        "spread": row.spread,
        "time": row.time,
        "power": row.power,
        "runs": row.runs,
    }
