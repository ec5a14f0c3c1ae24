"""How long a layer or a whole network takes on the device at hand, measured.

A stopwatch prepares a piece of work (a layer, a network), warms it up, runs it many times and
gives the median and the spread. The layers are those of :class:`picojoule.Layer`, on random values.
"""

from __future__ import annotations

import datetime
import math
import platform as machine
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from picojoule.errors import PicojouleError
from picojoule.pruning.platforms.meters import Nvml
from picojoule.pruning.platforms.tables import Entry
from picojoule.workload import Layer

Work = Callable[[], object]

CLOCKS: dict[str, Callable[[], int]] = {
    # Time on the wall, what a user waits for; and time on the processor by the calling thread
    # alone, which other processes do not lengthen.
    "wall": time.perf_counter_ns,
    "cpu": time.thread_time_ns,
}


class Stopwatch(Protocol):
    """Measures on one device."""

    name: str
    metric: str
    unit: str

    def layer(self, layer: Layer) -> Entry: ...

    def network(self, network: Any, inputs: Sequence[Any]) -> Entry: ...

    def provenance(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How often a piece of work is run.

    Args:
        warm_up: seconds of runs before any is counted.
        least, most: counted runs.
        seconds: after *least* runs, stop when this much time has passed.
        blocks: how often all this is done. Other work on the computer only ever lengthens a run,
            so the block with the least median stands.
    """

    warm_up: float = 0.005
    least: int = 10
    most: int = 100
    seconds: float = 0.02
    blocks: int = 3


def timed(work: Work, clock: Callable[[], int], effort: Effort) -> Entry:
    """Median and spread (between the quartiles) of the runs of *work*, in seconds."""
    return min((_block(work, clock, effort) for _ in range(effort.blocks)), key=_value)


def _value(entry: Entry) -> float:
    return entry.value


def _block(work: Work, clock: Callable[[], int], effort: Effort) -> Entry:
    begun = time.perf_counter()
    while True:
        work()
        if time.perf_counter() - begun >= effort.warm_up:
            break
    runs: list[float] = []
    begun = time.perf_counter()
    while len(runs) < effort.most:
        before = clock()
        work()
        runs.append((clock() - before) * 1e-9)
        if len(runs) >= effort.least and time.perf_counter() - begun >= effort.seconds:
            break
    lower, _, upper = statistics.quantiles(runs, n=4)
    return Entry(statistics.median(runs), upper - lower, len(runs))


class OnnxRuntime:
    """Latency on this computer's CPU by onnxruntime, single-threaded unless told otherwise.

    A layer is measured with the ReLU that onnxruntime fuses into it; the time of an empty call is
    taken off, since a network pays it once, not once per layer.

    Args:
        clock: "wall", or "cpu": time of the calling thread on the processor, for computers that
            are busy with other work (only sensible with one thread).
    """

    metric, unit = "latency", "s"

    def __init__(
        self, *, threads: int = 1, clock: str = "wall", effort: Effort | None = None
    ) -> None:
        if clock not in CLOCKS:
            raise PicojouleError(f"no clock {clock!r}; there are {', '.join(CLOCKS)}")
        if clock == "cpu" and threads != 1:
            raise PicojouleError("the clock 'cpu' sees one thread only; measure with threads=1")
        self.name = f"cpu ({threads} thread{'s' if threads > 1 else ''}, {clock} clock)"
        self._threads, self._clock = threads, clock
        self._effort = effort or Effort()
        self._runtime = import_onnxruntime()
        self._empty: float | None = None

    def provenance(self) -> dict[str, Any]:
        return {
            "device": processor(),
            "tool": f"onnxruntime {self._runtime.__version__}",
            "threads": self._threads,
            "clock": self._clock,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "warm_up_s": self._effort.warm_up,
            "least_runs": self._effort.least,
            "value": f"least median of {self._effort.blocks} blocks",
            "spread": "between the quartiles",
        }

    def layer(self, layer: Layer) -> Entry:
        model, feeds = layer_model(layer)
        entry = self._timed(model, feeds)
        return Entry(max(entry.value - self._empty_call(), 1e-9), entry.spread, entry.runs)

    def network(self, network: Any, inputs: Sequence[Any]) -> Entry:
        import tempfile
        from pathlib import Path

        from picojoule.pruning.graph.surgery import export_onnx

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(network, inputs, path)
            model = path.read_bytes()
        session = self._session(model)
        names = [argument.name for argument in session.get_inputs()]
        feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        more = self._effort
        effort = Effort(
            warm_up=more.warm_up * 4,
            least=more.least * 2,
            most=more.most * 3,
            seconds=more.seconds * 4,
            blocks=more.blocks * 4,
        )
        return timed(lambda: session.run(None, feeds), CLOCKS[self._clock], effort)

    def _timed(self, model: bytes, feeds: dict[str, npt.NDArray[Any]]) -> Entry:
        session = self._session(model)
        return timed(lambda: session.run(None, feeds), CLOCKS[self._clock], self._effort)

    def _session(self, model: bytes) -> Any:
        return session_of(self._runtime, model, self._threads)

    def _empty_call(self) -> float:
        if self._empty is None:
            from onnx import TensorProto, helper

            one = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
            graph = helper.make_graph(
                [helper.make_node("Relu", ["x"], ["y"])], "e", one[:1], one[1:]
            )
            model = _serialized(graph)
            self._empty = self._timed(model, {"x": np.zeros(1, np.float32)}).value
        return self._empty


def import_onnxruntime() -> Any:
    """onnxruntime.

    Raises:
        PicojouleError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise PicojouleError(
            "measuring on this computer needs onnxruntime: pip install 'picojoule[latency]'"
        ) from None
    return onnxruntime


def session_of(runtime: Any, model: bytes, threads: int) -> Any:
    """A session of onnxruntime on this computer's CPU; 0 threads: as many as it has cores."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def layer_model(layer: Layer) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """A layer as an ONNX model of one operator and its ReLU, with random inputs."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    b = layer.bounds

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    if layer.weight_is_activation:  # [G, P, C] x [G, C, M]
        feeds = {"x": random(b.N * b.G, b.P, b.C), "w": random(b.N * b.G, b.C, b.M)}
        gives = [b.N * b.G, b.P, b.M]
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        stored = []
    elif b.R == b.S == b.P == b.Q == 1 and layer.input_size == (1, 1) and b.G == 1:
        feeds = {"x": random(b.N, b.C)}
        gives = [b.N, b.M]
        stored = [("w", random(b.M, b.C)), ("b", random(b.M))]
        nodes = [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["y"]),
        ]
    else:
        feeds = {"x": random(b.N, b.G * b.C, *layer.input_size)}
        gives = [b.N, b.G * b.M, b.P, b.Q]
        stored = [("w", random(b.G * b.M, b.C, b.R, b.S)), ("b", random(b.G * b.M))]
        top, bottom, left, right = layer.padding
        nodes = [
            helper.make_node(
                "Conv",
                ["x", "w", "b"],
                ["z"],
                group=b.G,
                strides=list(layer.stride),
                dilations=list(layer.dilation),
                pads=[top, left, bottom, right],
            ),
            helper.make_node("Relu", ["z"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(value, name) for name, value in stored],
    )
    return _serialized(graph), dict(feeds)


def _serialized(graph: Any) -> bytes:
    from onnx import helper

    # An intermediate version of the format: every onnxruntime of the last years reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return machine.processor() or machine.machine()


# -- GPUs ------------------------------------------------------------------------------------------


class Gpu(Protocol):
    """What is asked of a GPU; :class:`Cuda` is the real one, tests bring their own."""

    name: str

    def put(self, value: Any) -> Any:
        """A tensor or module on the device."""

    def seconds(self, work: Work, runs: int) -> list[float]:
        """The time of each of some runs, by the device's own events."""

    def joules(self, work: Work, runs: int) -> float:
        """The energy of one run, from the device's counter over all of them."""

    def provenance(self) -> dict[str, Any]: ...


class Cuda:
    """A CUDA device: time from its events, energy from NVML's counter (nvidia-ml-py)."""

    def __init__(self, index: int = 0) -> None:
        import torch

        if not torch.cuda.is_available():
            raise PicojouleError(
                "no CUDA device is present; measure on this computer's CPU with the platform 'cpu'"
            )
        self._torch = torch
        self._device = torch.device("cuda", index)
        self._index = index
        self.name = torch.cuda.get_device_name(index)

    def put(self, value: Any) -> Any:
        return value.to(self._device)

    def seconds(self, work: Work, runs: int) -> list[float]:
        cuda = self._torch.cuda
        events = [
            (cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)) for _ in range(runs)
        ]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        cuda.synchronize(self._device)
        return [begin.elapsed_time(end) * 1e-3 for begin, end in events]

    def joules(self, work: Work, runs: int) -> float:
        meter = Nvml(self._index)
        try:
            self._torch.cuda.synchronize(self._device)
            meter.joules()
            for _ in range(runs):
                work()
            self._torch.cuda.synchronize(self._device)
            return math.fsum(meter.joules().values()) / runs
        finally:
            meter.close()

    def provenance(self) -> dict[str, Any]:
        return {"device": self.name, "tool": f"torch {self._torch.__version__}, CUDA events, NVML"}


class GpuStopwatch:
    """Latency or energy of layers and networks on a GPU.

    Args:
        metric: "latency" (seconds) or "energy" (joules).
        gpu: by default the first CUDA device.
        runs: counted runs; for energy the counter is read around ten times as many, since it
            advances in steps of some milliseconds.
    """

    def __init__(self, metric: str = "latency", *, gpu: Gpu | None = None, runs: int = 50) -> None:
        if metric not in ("latency", "energy"):
            raise PicojouleError(f"no metric {metric!r} of a GPU; there are latency, energy")
        self._gpu: Gpu = gpu or Cuda()
        self._runs = runs
        self.metric, self.unit = metric, {"latency": "s", "energy": "J"}[metric]
        self.name = f"{self._gpu.name} {metric}"

    def provenance(self) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return {**self._gpu.provenance(), "metric": self.metric, "runs": self._runs, "date": now}

    def layer(self, layer: Layer) -> Entry:
        module, inputs = _torch_layer(layer)
        return self.network(module, inputs)

    def network(self, network: Any, inputs: Sequence[Any]) -> Entry:
        import torch

        training = network.training
        placed = self._gpu.put(network.eval())
        arguments = [self._gpu.put(x) for x in inputs]

        def work() -> object:
            with torch.no_grad():
                return placed(*arguments)

        try:
            self._gpu.seconds(work, 10)  # warm-up
            if self.metric == "energy":
                runs = self._runs * 10
                return Entry(self._gpu.joules(work, runs), 0.0, runs)
            times = self._gpu.seconds(work, self._runs)
        finally:
            network.train(training)
        lower, _, upper = statistics.quantiles(times, n=4)
        return Entry(statistics.median(times), upper - lower, len(times))


def _torch_layer(layer: Layer) -> tuple[Any, list[Any]]:
    import torch
    from torch import nn

    b = layer.bounds
    if layer.weight_is_activation:

        class Product(nn.Module):
            def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
                return left @ right

        heads = b.N * b.G
        return Product(), [torch.randn(heads, b.P, b.C), torch.randn(heads, b.C, b.M)]
    top, bottom, left, right = layer.padding
    conv = nn.Conv2d(
        b.G * b.C,
        b.G * b.M,
        (b.R, b.S),
        layer.stride,
        dilation=layer.dilation,
        groups=b.G,
    )
    module = nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv, nn.ReLU())
    return module, [torch.randn(b.N, b.G * b.C, *layer.input_size)]
