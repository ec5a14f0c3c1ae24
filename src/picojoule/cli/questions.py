"""What the user asks: options and files, read before any work starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picojoule import units
from picojoule.cli.answers import say
from picojoule.cli.options import SEARCH
from picojoule.completeness import left_out
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean

if TYPE_CHECKING:
    from picojoule.cli.options import QuestionOptions, SearchOptions
    from picojoule.mapping import Mapping as LoopNest
    from picojoule.question import Question


def read_question(
    network: str,
    options: QuestionOptions,
    search: SearchOptions = SEARCH,
    between: str | None = None,
    others: str = "apart",
) -> Question:
    """What the user asks: the network, the accelerator, and how mappings are searched.

    Args:
        between: where tensors between layers lie, if the command asks for that.

    Mistakes in the options are found before any file is read.
    """
    settings: dict[str, Any] = {
        "bits": read_bits(options.bits),
        "density": read_densities(options.density),
        "reading": read_reading(options),
        "slack": read_share("--slack", search.slack),
        "budget": read_seconds(search.budget),
        "cache": read_cache(search.cache, search.no_cache),
    }

    from picojoule.question import ask, without_effect

    asked = ask(
        network,
        options.accelerator,
        node=options.node,
        batch=options.batch,
        profile=options.profile,
        dataflow=search.dataflow,
        objective=search.objective,
        factors=search.factors,
        space=search.space,
        policy=search.mapping,
        between=between,
        others=others,
        **settings,
    )
    idle = without_effect(asked, settings["density"])
    if idle:
        say(
            f"no effect: --density of {' and '.join(idle)}: {asked.accelerator.name} neither skips "
            "nor codes the zeros there"
        )
    return asked


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
    widths = dict.fromkeys(("input", "weight", "output"), width(single[0])) if single else {}
    pairs = _per_operand("--bits", [text for text in texts or () if "=" in text])
    return {**widths, **{name: width(value) for name, value in pairs.items()}}


def read_densities(texts: Sequence[str] | None) -> dict[str, float]:
    """Read ``["weight=0.4"]``.

    >>> read_densities(["weight=0.4", "input=1"])
    {'weight': 0.4, 'input': 1.0}
    """
    densities = {}
    for name, text in _per_operand("--density", texts or ()).items():
        if not re.fullmatch(r"\d*\.?\d+|\d+\.", text, re.ASCII) or not 0 <= float(text) <= 1:
            raise PicojouleError(f"--density: {text!r} is not a number from 0 to 1")
        densities[name] = float(text)
    return densities


def read_reading(options: QuestionOptions) -> dict[str, Any]:
    """How the network is to be read, as :func:`frontends.load` takes it."""
    return {
        "dims": read_dims(options.dims),
        "trips": read_dims(options.trips, "--trips"),
        "shapes": read_shapes(options.shapes),
        "values": not options.no_values,
        "context": options.context,
        "phase": options.phase,
        "kv_bits": options.kv_bits,
    }


def read_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Read ``["features=1x64x56x56"]``.

    >>> read_shapes(["features=1x64x56x56"])
    {'features': (1, 64, 56, 56)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, equals, shape = text.rpartition("=")
        if not equals or not name or not re.fullmatch(r"\d{1,8}(x\d{1,8})*", shape, re.ASCII):
            raise PicojouleError(f"--shape: {text!r} is not TENSOR=SHAPE, as in x=1x64x56x56")
        if name in shapes:
            raise PicojouleError(f"--shape: {name} is given twice")
        shapes[name] = tuple(map(int, shape.split("x")))
    return shapes


def read_dims(texts: Sequence[str] | None, option: str = "--dim") -> dict[str, int]:
    """Read ``["sequence=128"]``; a name may hold any character, an equals sign as well.

    >>> read_dims(["sequence=128", "batch=1"])
    {'sequence': 128, 'batch': 1}
    """
    sizes: dict[str, int] = {}
    for text in texts or ():
        name, equals, size = text.rpartition("=")
        if not equals or not name:
            raise PicojouleError(f"{option}: {text!r} is not NAME=SIZE, as in sequence=128")
        if not re.fullmatch(r"\d{1,8}", size, re.ASCII) or int(size) < 1:
            raise PicojouleError(
                f"{option}: {size!r} is not a size of {name}: a whole number from 1"
            )
        if name in sizes:
            raise PicojouleError(f"{option}: {name} is given twice")
        sizes[name] = int(size)
    return sizes


def _per_operand(option: str, texts: Sequence[str]) -> dict[str, str]:
    operands = ("input", "weight", "output")
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise PicojouleError(f"{option}: {text!r} names no operand; write weight={text}")
        if name not in operands:
            near = did_you_mean(name, operands)
            raise PicojouleError(
                f"{option}: no operand {name!r}{near}; there are {', '.join(operands)}"
            )
        if name in values:
            raise PicojouleError(f"{option}: {name} is given twice")
        values[name] = value
    return values


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


def read_share(option: str, text: str | None) -> float:
    """Read a share: ``"1%"`` or ``"0.01"``; nothing is none.

    >>> read_share("--slack", "1%"), read_share("--slack", "0.01"), read_share("--slack", None)
    (0.01, 0.01, 0.0)
    """
    if text is None:
        return 0.0
    share = units.share(text)
    if share is None:
        raise PicojouleError(f"{option}: {text!r} is not a share such as 1% or 0.01")
    return share


def read_cache(folder: Path | None, no_cache: bool) -> bool | Path:
    """Where searches are kept, as ``estimate(cache=…)`` takes it."""
    if folder is None:
        return not no_cache
    if no_cache:
        raise PicojouleError("--cache and --no-cache: give one of them")
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), [Mistake("--cache", "this is no folder")])
    return folder


def read_mapping(path: Path) -> LoopNest:
    """Read a mapping from YAML or JSON.

    Raises:
        InputError: with all mistakes of the file.
    """
    from picojoule.mapping import parse_mapping

    return parse_mapping(read_yaml(path), str(path))


def read_yaml(path: Path) -> object:
    """The content of a YAML file.

    Raises:
        InputError: it cannot be read.
    """
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
    from picojoule.frontends import FORMATS
    from picojoule.frontends.source_file import check_file

    def network() -> str:
        from picojoule.frontends import load

        loaded = load(file)
        summary = f"{loaded.name}, {len(loaded)} layers, {loaded.macs} MACs"
        return "; ".join(filter(None, [summary, left_out(loaded.unmodelled), *loaded.remarks]))

    def accelerator() -> str:
        from picojoule.specs import load_accelerator

        machine = load_accelerator(file)
        return f"{machine.name}, {machine.elements} processing elements"

    def mapping() -> str:
        return f"{len(read_mapping(path).stages)} stages"

    def saved() -> str:
        from picojoule.estimate_records import load_estimate

        result = load_estimate(path)
        summary = f"{result.network} on {result.accelerator}, {len(result.layers)} layers"
        return "; ".join(filter(None, [summary, left_out(result.unmodelled)]))

    if re.fullmatch(r".+\.py:[^:/\\]+", file):
        return "network", network
    path, suffix = Path(file), Path(file).suffix.lower()
    kinds = (*FORMATS, ".yaml", ".yml", ".json")
    check_file(path)
    if suffix not in kinds:
        raise InputError(file, [Mistake("file", f"unknown ending; known are {', '.join(kinds)}")])
    if suffix in FORMATS:
        return "network", network
    try:
        raw = read_yaml(path) if suffix != ".json" else json.loads(path.read_text("utf-8"))
    except (InputError, ValueError, RecursionError):
        raw = None
    if isinstance(raw, dict) and "stages" in raw:
        return "mapping", mapping
    return ("estimate", saved) if suffix == ".json" else ("accelerator", accelerator)


def need_torch() -> None:
    """Refuse a command that needs torch where it is not installed.

    Raises:
        PicojouleError: with what to install.
    """
    import importlib.util

    missing = [x for x in ("torch", "safetensors", "scipy") if not importlib.util.find_spec(x)]
    if missing:
        raise PicojouleError(
            f"{', '.join(missing)} not installed: pip install 'picojoule[torch]' brings "
            "what pruning needs"
        )
