"""Meters of energy that a computer has: RAPL's counters of its processor, NVML's of its GPU.

A meter says what each of its domains has drawn since it was asked last. It sees everything that the
processor or the GPU does meanwhile, idling included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from picojoule.errors import PicojouleError

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows RAPL's counters, on processors of Intel and AMD alike."""


class Meter(Protocol):
    """What is asked of a meter; tests bring their own."""

    name: str

    def joules(self) -> Mapping[str, float]:
        """What each domain has drawn since the last call, or since the meter was made."""


@dataclass(slots=True)
class _Counter:
    """A counter in microjoules that begins anew past *span*."""

    place: Path
    domain: str
    span: int
    last: int

    def joules(self) -> float:
        """Since the last call, if it began anew once at most."""
        now = _number(self.place / "energy_uj")
        drawn = now - self.last
        self.last = now
        return (drawn if drawn >= 0 else drawn + self.span) * 1e-6


class Rapl:
    """The processor's own counters (RAPL through powercap): packages, and DRAM where it is counted.

    ``core`` and ``uncore`` are parts of their package, ``psys`` is more than it: they are left out.
    A counter of 262 kJ begins anew after 44 minutes at 100 W: ask more often.

    Raises:
        PicojouleError: there is no counter, or it may not be read.
    """

    name = "RAPL"

    def __init__(self, root: Path = POWERCAP) -> None:
        self._counters = list(_counters(root))
        if not self._counters:
            raise PicojouleError(
                f"no meter: {root} shows no counter of RAPL (intel-rapl:0). Virtual machines and "
                "containers hide it, and processors other than Intel's and AMD's have none: "
                "measure on the machine itself, under Linux, after modprobe intel_rapl_msr, or a "
                "GPU with --meter nvml"
            )

    def joules(self) -> dict[str, float]:
        return {counter.domain: counter.joules() for counter in self._counters}


def _counters(root: Path) -> Iterator[_Counter]:
    """Packages, and DRAM beneath them; what intel-rapl-mmio shows is the same once more."""
    for place in sorted(root.glob("intel-rapl:*")):
        name = _text(place / "name")
        if name.startswith("package"):
            domain = name
        elif name == "dram":
            package = _text(place.parent / place.name.rpartition(":")[0] / "name")
            domain = f"dram of {package}"
        else:
            continue
        span = _number(place / "max_energy_range_uj")
        yield _Counter(place, domain, span, _number(place / "energy_uj"))


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except PermissionError:
        raise PicojouleError(
            f"{path} may not be read: since 2020 Linux lets root alone read RAPL's counters, from "
            "which others' secrets can be told; run this as root, or let all read them until the "
            "next start: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
        ) from None
    except (OSError, ValueError) as error:
        raise PicojouleError(f"{path} cannot be read as RAPL's: {error}") from None


def _number(path: Path) -> int:
    text = _text(path)
    if not re.fullmatch(r"\d{1,20}", text, re.ASCII):
        raise PicojouleError(f"{path} cannot be read as RAPL's: {text[:40]!r} is no count")
    return int(text)


class Nvml:
    """A GPU's own counter, in steps of a millijoule (NVML; Volta and later).

    Args:
        index: of the GPU.
        library: what answers as pynvml does; by default that of nvidia-ml-py.

    Raises:
        PicojouleError: there is no NVML, no such GPU, or it has no counter.
    """

    def __init__(self, index: int = 0, library: Any = None) -> None:
        self._nvml = library or _import_nvml()
        try:
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            name = self._nvml.nvmlDeviceGetName(self._handle)
            self.name = f"NVML, {name.decode() if isinstance(name, bytes) else name}"
            self._last = self._counter()
        except self._nvml.NVMLError as error:
            raise PicojouleError(
                f"no meter: NVML says of GPU {index}: {error}. It needs NVIDIA's driver and a GPU "
                "of 2017 (Volta) or later; measure the processor with --meter rapl"
            ) from None

    def joules(self) -> dict[str, float]:
        now = self._counter()
        drawn, self._last = now - self._last, now
        return {"gpu": drawn * 1e-3}

    def close(self) -> None:
        """Let NVML go."""
        self._nvml.nvmlShutdown()

    def _counter(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


def _import_nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        raise PicojouleError("GPU energy needs NVML: pip install nvidia-ml-py") from None
    return pynvml
