"""Networks beside a meter, by a clock and a meter of our own; and the rows that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from picojoule.accelerator import Accelerator
from picojoule.calibration.measurements import read_measurements
from picojoule.cli import main
from picojoule.errors import InputError, PicojouleError
from picojoule.frontends import load
from picojoule.pruning.platforms import meters
from picojoule.pruning.platforms.metering import (
    Job,
    idle_power,
    layer_jobs,
    metered,
    network_job,
    table,
)
from tests.calibration.conftest import TABLE, machine

__all__ = ["machine"]


class Bench:
    """Every run of 10 ms takes 30 mJ of the package and 5 mJ of its DRAM, idling 1 W."""

    name = "bench"

    def __init__(self) -> None:
        self.now, self.runs, self.seen, self.told = 0.0, 0, 0, 0.0

    def work(self) -> None:
        self.now += 0.01
        self.runs += 1

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def joules(self) -> dict[str, float]:
        runs, idle = self.runs - self.seen, self.now - self.told
        self.seen, self.told = self.runs, self.now
        return {"package-0": 0.03 * runs + idle, "dram": 0.005 * runs}

    def job(self, batch: int = 1) -> Job:
        return Job(network="net.csv", layer="fc", batch=batch, work=self.work)


def test_energy_and_time_of_one_inference() -> None:
    bench = Bench()
    row = metered(bench.job(batch=2), bench, seconds=2.9, clock=bench.clock)
    assert row.time == pytest.approx(0.005)
    assert row.energy == pytest.approx((0.03 + 0.005 + 0.01) / 2)
    assert row.by_domain == {"package-0": pytest.approx(0.02), "dram": pytest.approx(0.0025)}
    assert row.power == pytest.approx(4.5)
    assert row.runs == 300
    assert row.spread == pytest.approx(0, abs=1e-9)


def test_idle_power() -> None:
    bench = Bench()
    assert idle_power(bench, clock=bench.clock, sleep=bench.sleep) == pytest.approx(1.0)


def test_a_meter_that_stands_still() -> None:
    bench = Bench()

    class Still:
        name = "still"

        def joules(self) -> dict[str, float]:
            return {"package-0": 0.0}

    with pytest.raises(PicojouleError, match="still stood still for"):
        metered(bench.job(), Still(), clock=bench.clock)


def test_calibrate_reads_the_rows(tmp_path: Path, machine: Accelerator) -> None:
    bench = Bench()
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.csv").write_text(TABLE)
    job = Job(network=str(tmp_path / "nets/net.csv"), layer="fc", batch=2, work=bench.work)
    row = metered(job, bench, clock=bench.clock)
    path = tmp_path / "rows.csv"
    path.write_text(table([row], bench, 1.0, tmp_path))
    (read,) = read_measurements(path, machine)
    assert read.label == "net fc"
    assert read.question.network.batch == 2
    assert (read.energy, read.time) == pytest.approx((0.0225, 0.005))
    assert "# idle: 1 W" in path.read_text()


def test_layers_run_alone(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.csv").write_text(TABLE)
    jobs = list(layer_jobs(load(tmp_path / "net.csv"), "net.csv"))
    assert [job.layer for job in jobs] == ["conv1", "fc", "point", "wide"]
    for job in jobs:
        done: Any = job.work()
        (answer,) = done
        assert answer.size


def test_an_onnx_file_runs_whole(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, save

    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 3]),
    ]
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    node = helper.make_node("MatMul", ["x", "y"], ["z"])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=opset, ir_version=8
    )
    source = str(tmp_path / "net.onnx")
    save(model, source)
    job = network_job(source, batch=2, sizes={"n": 2}, gpu=False)
    done: Any = job.work()
    assert done[0].shape == (2, 3)
    with pytest.raises(InputError, match="input x: the size of n is not known: --dim n=1"):
        network_job(source, batch=1, sizes={}, gpu=False)


def test_a_torch_module_runs_whole(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    file = tmp_path / "nets.py"
    file.write_text(
        "import torch\n"
        "def net(): return torch.nn.Linear(4, 3), torch.zeros(2, 4)\n"
        "def bare(): return torch.nn.Linear(4, 3)\n"
    )
    job = network_job(f"{file}:net", batch=2, sizes={}, gpu=False)
    done: Any = job.work()
    assert done.shape == (2, 3)
    with pytest.raises(InputError, match="must return \\(module, inputs\\)"):
        network_job(f"{file}:bare", batch=2, sizes={}, gpu=False)
    if not torch.cuda.is_available():
        with pytest.raises(PicojouleError, match="no CUDA device is present"):
            network_job(f"{file}:net", batch=2, sizes={}, gpu=True)


def test_what_only_lists_layers_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(TABLE)
    with pytest.raises(InputError, match=r"nothing that runs: .* --by-layer"):
        network_job(str(tmp_path / "net.csv"), batch=1, sizes={}, gpu=False)


def test_the_command_refuses_where_there_is_no_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meters.Rapl.__init__, "__defaults__", (tmp_path / "absent",))
    assert main(["measure", "mlperf-tiny-ic", "--by-layer"]) == 2
    assert "no meter: " in capsys.readouterr().err
    assert main(["measure", "mlperf-tiny-ic", "--meter", "rpal"]) == 2
    assert "no 'rpal' (did you mean 'rapl'?)" in capsys.readouterr().err


def test_the_command_writes_what_calibrate_reads(
    tmp_path: Path,
    machine: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("net.csv").write_text(TABLE)
    bench = Bench()
    joules = bench.joules

    def drawn() -> dict[str, float]:
        bench.now += 0.1  # as if it had idled: the meter moves
        return joules()

    bench.joules = drawn  # type: ignore[method-assign]
    monkeypatch.setattr(meters, "Rapl", lambda: bench)
    Path("out").mkdir()
    words = ["measure", "net.csv", "--by-layer", "--seconds", "1ms", "-o", "out/rows.csv"]
    assert main(words) == 0
    assert capsys.readouterr().out == "4 rows, by bench\n"
    rows = read_measurements("out/rows.csv", machine)
    assert [row.label for row in rows] == ["net conv1", "net fc", "net point", "net wide"]
