"""Platforms, tables and stopwatches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import pyarrow  # noqa: E402
from pyarrow import parquet  # noqa: E402

from picojoule import conv, depthwise, estimate, linear, matmul  # noqa: E402
from picojoule.errors import InputError, PicojouleError  # noqa: E402
from picojoule.pruning.platforms.platforms import accelerator, measured, platform  # noqa: E402
from picojoule.pruning.platforms.stopwatches import (  # noqa: E402
    Effort,
    GpuStopwatch,
    OnnxRuntime,
    _torch_layer,
)
from picojoule.pruning.platforms.tables import Entry, Table, TableError, load_table  # noqa: E402
from picojoule.workload import Layer, Workload  # noqa: E402

QUICK = Effort(warm_up=0.0, least=3, most=3, seconds=0.0, blocks=1)


def dense(ins: int, outs: int) -> Layer:
    return conv(
        f"{ins}x{outs}",
        input_size=(8, 8),
        in_channels=ins,
        out_channels=outs,
        kernel=(3, 3),
        stride=(2, 2),
        padding=(1, 0, 1, 0),
    )


def deep(channels: int) -> Layer:
    return depthwise(f"dw{channels}", channels=channels, input_size=(8, 8), kernel=(3, 3))


def filled() -> Table:
    table = Table("latency", "s", {"device": "a test"})
    for ins in (8, 16):
        for outs in (4, 8, 16):
            table.add(dense(ins, outs), Entry(ins * outs * 1.0, 0.5, 7))
    for channels in (8, 16):
        table.add(deep(channels), Entry(channels / 2))
    return table


def test_between_widths_is_a_line() -> None:
    table = filled()
    assert table.cost(dense(16, 8)) == 128
    assert table.cost(dense(12, 6)) == pytest.approx(72)  # bilinear: exact for a product
    assert table.cost(dense(8, 6)) == pytest.approx(48)
    assert table.cost(deep(12)) == pytest.approx(6)
    assert len(table) == 8
    assert dense(16, 8) in table


@pytest.mark.parametrize(
    "layer", [dense(4, 8), dense(16, 32), deep(20), linear("f", in_features=8, out_features=8)]
)
def test_outside_nothing_is_guessed(layer: Layer) -> None:
    with pytest.raises(TableError, match=layer.name):
        filled().cost(layer)


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_files_round_trip(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"table.{ending}"
    filled().save(path)
    found = load_table(path)
    assert found.rows() == filled().rows()
    assert found.head() == filled().head()
    assert platform(f"table:{path}").cost(dense(12, 6)) == pytest.approx(72)


def test_all_mistakes_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    filled().save(path)
    raw = json.loads(path.read_text())
    raw["colour"] = "red"
    raw["entries"][0]["value"] = -1
    raw["entries"][1]["stride"] = [1]
    raw["entries"][2]["M"] = 0
    raw["entries"][3] = raw["entries"][4]
    raw["entries"][5]["K"] = 3
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError) as caught:
        load_table(path)
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "$.colour",
        "$.entries[0].value",
        "$.entries[1].stride",
        "$.entries[2].M",
        "$.entries[4]",
        "$.entries[5].K",
    ]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema_version": 9}', "\0", '{"schema_version": 1}']
)
def test_rubbish_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(InputError):
        load_table(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more PAR1", b"{}"])
def test_rubbish_is_no_parquet(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        load_table(path)


def test_parquet_of_somebody_else(tmp_path: Path) -> None:
    """Columns that some rows leave empty hold nulls; a head must be there."""
    path = tmp_path / "table.parquet"
    rows = [{**row, "spread": None} for row in filled().rows()]
    rows[0].pop("dilation")
    rows[1].pop("runs")
    made = pyarrow.Table.from_pylist(rows[::-1])
    for head in ({}, {"picojoule": "[]"}):
        parquet.write_table(made.replace_schema_metadata(head), path)
        with pytest.raises(InputError, match="no head"):
            load_table(path)
    head = {"picojoule": json.dumps(filled().head())}
    parquet.write_table(made.replace_schema_metadata(head), path)
    assert [row["value"] for row in load_table(path).rows()] == [
        row["value"] for row in filled().rows()
    ]


def test_what_waits_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    filled().save(path)
    raw = json.loads(path.read_text())
    for row in raw["entries"][2:]:
        row["value"] = None
    raw["entries"][0]["spread"] = "wide"
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError) as caught:
        load_table(path)
    said = [str(mistake) for mistake in caught.value.mistakes]
    assert said == [
        "$.entries[2].value: null: this layer waits to be measured (6 of 8 do)",
        "$.entries[0].spread: 'wide' is not a number of at least 0",
    ]


def test_points_on_a_line_make_a_line() -> None:
    """A layer whose two sides are one group is only ever as wide as deep."""
    table = Table("latency", "s")
    for channels in (4, 16, 8):
        table.add(dense(channels, channels), Entry(channels * 1.0))
    assert table.cost(dense(12, 12)) == pytest.approx(12)
    assert table.cost(dense(5, 5)) == pytest.approx(5)
    for away in (dense(12, 10), dense(2, 2), dense(4, 16)):
        with pytest.raises(TableError):
            table.cost(away)


def test_depthwise_layers_keep_their_multiplier() -> None:
    table = Table("macs", "MAC")

    def doubled(channels: int, times: int = 2) -> Layer:
        made = deep(channels)
        return replace(made, bounds=made.bounds._replace(M=times))

    for channels in (4, 8):
        table.add(doubled(channels), Entry(channels * 1.0))
    assert table.cost(doubled(6)) == pytest.approx(6)
    with pytest.raises(TableError, match="'G': 6"):
        table.cost(doubled(6, 3))


def test_counting_platforms() -> None:
    assert platform("macs").cost(dense(8, 4)) == dense(8, 4).macs
    assert platform("weights").cost(dense(8, 4)) == 8 * 4 * 9
    assert platform(lambda layer: layer.bounds.M).cost(dense(8, 4)) == 4
    assert platform("macs").measure(None, ()) is None


def test_an_accelerator_is_asked_through_estimate(tmp_path: Path) -> None:
    layer = deep(4)
    path = tmp_path / "eyeriss.json"
    for metric in ("energy", "latency"):
        where = accelerator("eyeriss", metric, path=path.with_name(f"{metric}.json"))
        found = estimate(Workload("one", (layer,)), "eyeriss", objective=metric)
        assert where.cost(layer) == (found.energy if metric == "energy" else found.cycles)
        where.save()
    again = accelerator("eyeriss", "energy", path=tmp_path / "energy.json")
    assert layer in again.table  # nothing is searched again
    with pytest.raises(PicojouleError, match="a table of"):
        accelerator("eyeriss", "latency", path=tmp_path / "energy.json")


def test_a_chip_at_another_node() -> None:
    small = platform("energy:eyeriss@22nm")
    assert small.name == "energy on eyeriss-22nm"
    with pytest.raises(PicojouleError, match="did you mean 'eyeriss'"):
        platform("energy:eyerisss@22nm")
    with pytest.raises(PicojouleError, match="a node needs"):
        platform("energy:eyeriss@22kB")


@pytest.mark.parametrize("name", ["mac", "energy:", "energy:eyerisss", "cpu:atomic", "gpu:x", 7])
def test_unknown_platforms_are_refused(name: Any) -> None:
    with pytest.raises(PicojouleError):
        platform(name)


LAYERS = (
    dense(8, 4),
    deep(6),
    linear("fc", in_features=32, out_features=8),
    linear("tokens", in_features=8, out_features=4, rows=5),
    matmul("scores", rows=4, inner=3, columns=5, heads=2),
)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layers_are_measured_on_this_computer(layer: Layer) -> None:
    pytest.importorskip("onnxruntime")
    found = OnnxRuntime(effort=QUICK).layer(layer)
    assert found.value > 0
    assert found.runs == 3


def test_more_work_takes_longer() -> None:
    pytest.importorskip("onnxruntime")
    watch = OnnxRuntime(
        clock="cpu", effort=Effort(warm_up=0.0, least=5, most=5, seconds=0.0, blocks=3)
    )
    small, large = (
        conv("c", input_size=(32, 32), in_channels=n, out_channels=n, kernel=(3, 3))
        for n in (8, 128)
    )
    assert watch.layer(large).value > 4 * watch.layer(small).value


def test_provenance_is_kept_with_the_table(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "cpu.json"
    where = measured(OnnxRuntime(effort=QUICK), path=path)
    value = where.cost(dense(8, 4))
    where.save()
    found = load_table(path)
    assert {"device", "tool", "threads", "clock", "date"} <= set(found.provenance)
    assert measured(OnnxRuntime(effort=QUICK), path=path).cost(dense(8, 4)) == value
    with pytest.raises(PicojouleError, match="clock"):
        measured(OnnxRuntime(clock="cpu", effort=QUICK), path=path)
    with pytest.raises(PicojouleError, match="clock"):
        OnnxRuntime(clock="sun")
    with pytest.raises(PicojouleError, match="one thread"):
        OnnxRuntime(clock="cpu", threads=2)


class FakeGpu:
    """A device whose time and energy are the MACs of what runs; no GPU is needed."""

    name = "fake"

    def __init__(self) -> None:
        self.put_there: list[Any] = []

    def put(self, value: Any) -> Any:
        self.put_there.append(value)
        return value

    def _work(self, work: Any) -> float:
        return float(work().numel())

    def seconds(self, work: Any, runs: int) -> list[float]:
        return [self._work(work) * (1 + n % 3) for n in range(runs)]

    def joules(self, work: Any, runs: int) -> float:
        return self._work(work) * runs / runs / 10

    def provenance(self) -> dict[str, Any]:
        return {"device": self.name}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_gpu_is_measured(layer: Layer) -> None:
    outputs = layer.bounds.N * layer.bounds.G * layer.bounds.M * layer.bounds.P * layer.bounds.Q
    gpu = FakeGpu()
    latency = measured(GpuStopwatch("latency", gpu=gpu))
    assert latency.cost(layer) == 2 * outputs  # the median of once, twice, thrice
    energy = measured(GpuStopwatch("energy", gpu=gpu))
    assert energy.cost(layer) == pytest.approx(outputs / 10)
    assert (latency.unit, energy.unit) == ("s", "J")
    assert energy.provenance()["device"] == "fake"
    module, inputs = _torch_layer(layer)
    assert latency.measure(module, inputs).value == 2 * outputs
    assert len(gpu.put_there) > 4


def test_no_gpu_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(PicojouleError, match="no CUDA device"):
        platform("gpu:latency")
