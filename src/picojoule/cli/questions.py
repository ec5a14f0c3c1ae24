"""What the user asks: options and files, read before any work starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean

if TYPE_CHECKING:
    from picojoule.accelerator import Accelerator
    from picojoule.mapping import Mapping as LoopNest
    from picojoule.workload import Workload


def question(
    network: str,
    accelerator: str,
    batch: int | None,
    bits: Sequence[str] | None,
    density: Sequence[str] | None,
) -> tuple[Workload, Accelerator]:
    widths, densities = read_bits(bits), read_densities(density)

    from picojoule.specs import load_accelerator

    machine = load_accelerator(accelerator)

    from picojoule.estimation import prepared
    from picojoule.frontends import load

    workload = prepared(load(network), batch=batch, density=densities)
    if widths:
        layers = tuple(replace(x, bits=x.bits._replace(**widths)) for x in workload)
        workload = replace(workload, layers=layers)
    return workload, machine


def check_search(dataflow: str | None, objective: str) -> None:
    known = ("energy", "latency", "edp")
    if objective not in known:
        near = did_you_mean(objective, known)
        raise PicojouleError(f"no objective {objective!r}{near}; there are {', '.join(known)}")
    if dataflow is not None:
        from picojoule.dataflow import dataflow as named

        named(dataflow)


def read_bits(texts: Sequence[str] | None) -> dict[str, int]:
    """Read ``["8", "weight=4"]``: a width for all operands, then for one.

    >>> read_bits(["8", "weight=4"])
    {'input': 8, 'weight': 4, 'output': 8}
    """

    def width(text: str) -> int:
        if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= 64:
            raise PicojouleError(f"--bits: {text!r} is not a width of 1 to 64 bits")
        return int(text)

    single = [text for text in texts or () if "=" not in text]
    if len(single) > 1:
        raise PicojouleError(f"--bits: two widths for all operands, {' and '.join(single)}")
    found = dict.fromkeys(("input", "weight", "output"), width(single[0])) if single else {}
    pairs = _per_operand("--bits", [text for text in texts or () if "=" in text])
    return {**found, **{name: width(value) for name, value in pairs.items()}}


def read_densities(texts: Sequence[str] | None) -> dict[str, float]:
    """Read ``["weight=0.4"]``.

    >>> read_densities(["weight=0.4", "input=1"])
    {'weight': 0.4, 'input': 1.0}
    """
    found = {}
    for name, text in _per_operand("--density", texts or ()).items():
        if not re.fullmatch(r"\d*\.?\d+|\d+\.", text, re.ASCII) or not 0 <= float(text) <= 1:
            raise PicojouleError(f"--density: {text!r} is not a number from 0 to 1")
        found[name] = float(text)
    return found


def _per_operand(option: str, texts: Sequence[str]) -> dict[str, str]:
    known = ("input", "weight", "output")
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise PicojouleError(f"{option}: {text!r} names no operand; write weight={text}")
        if name not in known:
            near = did_you_mean(name, known)
            raise PicojouleError(
                f"{option}: no operand {name!r}{near}; there are {', '.join(known)}"
            )
        if name in found:
            raise PicojouleError(f"{option}: {name} is given twice")
        found[name] = value
    return found


def read_seconds(text: str | None) -> float | None:
    """Read a time: ``"0.5s"``, ``"200 ms"``, ``"2min"``; a bare number is seconds.

    >>> read_seconds("200ms"), read_seconds("2min"), read_seconds("3")
    (0.2, 120.0, 3.0)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d*)?|\.\d+)\s*(ms|s|min)?", text.strip(), re.ASCII)
    if match is None or float(match[1]) <= 0:
        raise PicojouleError(f"--budget: {text!r} is not a time such as 0.5s, 200ms or 2min")
    return float(match[1]) * {"ms": 1e-3, "min": 60.0}.get(match[2], 1.0)


def read_mapping(path: Path) -> LoopNest:
    """Read a mapping from YAML or JSON.

    Raises:
        InputError: with all mistakes of the file.
    """
    from picojoule.mapping import parse_mapping

    return parse_mapping(_read_yaml(path), str(path))


def _read_yaml(path: Path) -> object:
    import yaml

    from picojoule.frontends.source_file import read_text

    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        what = " ".join(str(error).split())
    except RecursionError:
        what = "nested too deeply"
    raise InputError(str(path), [Mistake("$", f"cannot be read as YAML: {what}")])


def reader(file: str) -> tuple[str, Callable[[], str]]:
    """What kind of file it is, and how to read it into a one-line summary."""
    from picojoule.frontends.source_file import check_file

    def network() -> str:
        from picojoule.frontends import load

        found = load(file)
        return f"{found.name}, {len(found)} layers, {found.macs} MACs"

    def accelerator() -> str:
        from picojoule.specs import load_accelerator

        machine = load_accelerator(file)
        return f"{machine.name}, {machine.elements} processing elements"

    def mapping() -> str:
        return f"{len(read_mapping(path).stages)} stages"

    def saved() -> str:
        from picojoule.estimation import load_estimate

        found = load_estimate(path)
        return f"{found.network} on {found.accelerator}, {len(found.layers)} layers"

    if re.fullmatch(r".+\.py:[^:/\\]+", file):
        return "network", network
    path, suffix = Path(file), Path(file).suffix.lower()
    kinds = (".onnx", ".csv", ".txt", ".yaml", ".yml", ".json")
    check_file(path)
    if suffix not in kinds:
        raise InputError(file, [Mistake("file", f"unknown ending; known are {', '.join(kinds)}")])
    if suffix in kinds[:3]:
        return "network", network
    try:
        raw = _read_yaml(path) if suffix != ".json" else json.loads(path.read_text("utf-8"))
    except (InputError, ValueError, RecursionError):
        raw = None
    if isinstance(raw, dict) and "stages" in raw:
        return "mapping", mapping
    return ("estimate", saved) if suffix == ".json" else ("accelerator", accelerator)
