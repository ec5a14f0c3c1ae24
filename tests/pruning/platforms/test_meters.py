"""Meters: RAPL on recorded trees of sysfs, NVML on a library of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from picojoule.errors import PicojouleError
from picojoule.pruning.platforms.meters import Nvml, Rapl

# As /sys/class/powercap of a server with two packages shows it (Linux 6.1), and what else is there.
RECORDED = {
    "intel-rapl:0": ("package-0", 262143328850, 41_000_000_000),
    "intel-rapl:0:0": ("dram", 65712999613, 5_000_000_000),
    "intel-rapl:1": ("package-1", 262143328850, 262_143_000_000),
    "intel-rapl:1:0": ("dram", 65712999613, 6_000_000_000),
    "intel-rapl:1:1": ("core", 262143328850, 7_000_000_000),
    "intel-rapl:2": ("psys", 262143328850, 8_000_000_000),
    "intel-rapl-mmio:0": ("package-0", 262143328850, 41_000_000_000),
}


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    (tmp_path / "intel-rapl").mkdir()
    for place, (name, span, energy) in RECORDED.items():
        folder = tmp_path / place
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{span}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
    return tmp_path


def draw(sysfs: Path, **microjoules: int) -> None:
    """Let counters run on, and begin anew past their span."""
    for place, more in microjoules.items():
        name = place.replace("_", ":")
        file = sysfs / f"intel-rapl:{name}" / "energy_uj"
        span = RECORDED[f"intel-rapl:{name}"][1]
        file.write_text(f"{(int(file.read_text()) + more) % span}\n")


def test_packages_and_their_dram(sysfs: Path) -> None:
    meter = Rapl(sysfs)
    draw(sysfs, **{"0": 2_000_000, "0_0": 500_000, "1": 300_000, "1_1": 250_000, "2": 9_000_000})
    assert meter.joules() == {
        "package-0": pytest.approx(2),
        "dram of package-0": pytest.approx(0.5),
        "package-1": pytest.approx(0.3),
        "dram of package-1": 0,
    }
    assert sum(meter.joules().values()) == 0


def test_a_counter_that_begins_anew(sysfs: Path) -> None:
    meter = Rapl(sysfs)
    draw(sysfs, **{"1": 1_000_000})  # 671 150 of it up to the span
    assert int((sysfs / "intel-rapl:1/energy_uj").read_text()) < 1_000_000
    assert meter.joules()["package-1"] == pytest.approx(1.0)
    draw(sysfs, **{"1": 250_000})
    assert meter.joules()["package-1"] == pytest.approx(0.25)


def test_no_counter(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(PicojouleError, match=r"no meter: .* shows no counter of RAPL"):
            Rapl(root)


def test_a_counter_that_may_not_be_read(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refused(path: Path, *arguments: Any, **more: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(PicojouleError, match=r"energy_uj may not be read: .* sudo chmod a\+r"):
        Rapl(sysfs)


@pytest.mark.parametrize("text", ["", "many\n", "-3\n"])
def test_a_counter_that_is_none(sysfs: Path, text: str) -> None:
    (sysfs / "intel-rapl:0/energy_uj").write_text(text)
    with pytest.raises(PicojouleError, match="cannot be read as RAPL's"):
        Rapl(sysfs)


class NVMLError(Exception):
    """As pynvml's."""


class Library:
    """What pynvml answers of one GPU, whose counter stands in millijoules."""

    NVMLError = NVMLError

    def __init__(self, refuses: str = "") -> None:
        self.counter, self.open, self.refuses = 1_000_000, False, refuses

    def nvmlInit(self) -> None:  # noqa: N802
        if self.refuses == "init":
            raise NVMLError("Driver Not Loaded")
        self.open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open = False

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index:
            raise NVMLError("Invalid Argument")
        return 7

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return f"GPU {handle}".encode()

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if self.refuses == "counter":
            raise NVMLError("Not Supported")
        assert handle == 7
        return self.counter


def test_a_gpu() -> None:
    library = Library()
    meter = Nvml(library=library)
    assert meter.name == "NVML, GPU 7"
    library.counter += 2500
    assert meter.joules() == {"gpu": pytest.approx(2.5)}
    assert meter.joules() == {"gpu": 0}
    meter.close()
    assert not library.open


@pytest.mark.parametrize(
    ("library", "index", "reason"),
    [
        (Library("init"), 0, "Driver Not Loaded"),
        (Library("counter"), 0, "Not Supported"),
        (Library(), 3, "Invalid Argument"),
    ],
)
def test_no_gpu(library: Library, index: int, reason: str) -> None:
    with pytest.raises(PicojouleError, match=f"no meter: NVML says of GPU {index}: {reason}"):
        Nvml(index, library)
