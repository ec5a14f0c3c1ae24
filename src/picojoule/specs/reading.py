"""From a file to the machine: by name or path, complete with what it is based on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from picojoule.accelerator import (
    Accelerator,
    Array,
    Axis,
    Compute,
    Constant,
    Format,
    Level,
    SparseSupport,
)
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean
from picojoule.workload import DIMS, Operand




def shipped_accelerators() -> tuple[str, ...]:
    """Names of the machines that come with the package."""
    return tuple(sorted(p.name.removesuffix(".yaml") for p in _shipped() if _is_yaml(p.name)))


def _shipped() -> Iterator[Any]:
    return (resources.files("picojoule") / "data" / "accelerators").iterdir()


def _is_yaml(name: str) -> bool:
    return name.lower().endswith((".yaml", ".yml"))


def load_accelerator(source: str | PathLike[str] | Accelerator) -> Accelerator:
    """Return the machine of a YAML file or of a shipped name; an Accelerator is returned as it is.

    >>> load_accelerator("eyeriss").elements
    168

    Raises:
        InputError: there is no such file or name, or the file has mistakes; all are listed.
    """
    if isinstance(source, Accelerator):
        return source
    return parse_accelerator(_read(source), fspath(source))


def _read(source: str | PathLike[str]) -> str:
    name = fspath(source)
    if isinstance(source, str) and not _is_yaml(name):
        known = shipped_accelerators()
        if name not in known:
            near = did_you_mean(name, known)
            message = (
                f"no such accelerator{near}; there are {', '.join(known)}, or give a .yaml file"
            )
            raise InputError(name, [Mistake("accelerator", message)])
        file = resources.files("picojoule") / "data" / "accelerators" / f"{name}.yaml"
        return file.read_text("utf-8")
    path = Path(name)
    try:
        if not path.is_file():
            what = "this is a folder" if path.is_dir() else "no such file"
            raise InputError(name, [Mistake("file", what)])
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise InputError(name, [Mistake("file", f"cannot be read: {error}")]) from error
    if len(content) > LARGEST_FILE:
        message = f"more than {LARGEST_FILE // 1024} KiB: not an accelerator"
        raise InputError(name, [Mistake("file", message)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8 text"
        raise InputError(name, [Mistake("file", message)]) from error


def parse_accelerator(text: str, source: str) -> Accelerator:
    """Return the machine that a YAML *text* describes; *source* names it in errors.

    Raises:
        InputError: with every mistake of the text.
    """
    return _accelerator(_complete(text, source, ()), source)


def _accelerator(document: Document, source: str) -> Accelerator:
    unit = document.root.get("energy_unit") if isinstance(document.root, dict) else None
    try:
        context = {"energy_unit": unit if unit in ("MAC", "pJ") else "MAC"}
        file = MachineFile.model_validate(document.root, context=context)
    except ValidationError as error:
        raise _error(source, mistakes_of(error, document, MachineFile)) from None
    accelerator = _build(file)
    problems = [*accelerator.problems(), *_unused(file)]
    raise_if_any(source, [placed(document, path, message) for path, message in problems])
    return accelerator


def _error(source: str, mistakes: Sequence[Mistake]) -> InputError:
    try:
        raise_if_any(source, mistakes)
    except InputError as error:
        return error
    raise AssertionError("a ValidationError without a finding")


def _unused(file: MachineFile) -> Iterator[tuple[str, str]]:
    """Entries without an effect: whoever wrote them expects one."""
    if file.static_power and (file.energy_unit != "pJ" or not file.clock):
        yield "$.static_power", "has no effect without energies in pJ and a clock"
    used = {
        coding
        for part in file.nest
        if isinstance(part, LevelPart)
        for memory in part.memories
        for coding in (memory.formats.input, memory.formats.weight, memory.formats.output)
    }
    if file.sparse.run_bits and Format.RUN_LENGTH not in used:
        yield "$.sparse.run_bits", "has no effect: no memory codes in run-length"
    if file.sparse.count_bits and Format.CSC not in used:
        yield "$.sparse.count_bits", "has no effect: no memory codes in csc"


def _build(file: MachineFile) -> Accelerator:
    unit = file.energy_unit

    def number(quantity: Quantity | None, default: Any) -> Any:
        return default if quantity is None else quantity.amount(unit)

    nest: list[Level | Array] = []
    for part in file.nest:
        if isinstance(part, LevelPart):
            nest.append(Level(tuple(memory.memory(unit) for memory in part.memories)))
            continue
        axes = tuple(
            Axis(a.name, number(a.size, 1), frozenset(DIMS if a.loops is None else a.loops))
            for a in part.axes
        )
        hop, bandwidth = number(part.hop_energy, 0.0), number(part.bandwidth, None)
        nest.append(Array(part.array, axes, hop, part.hop_charge, bandwidth))
    sparse = file.sparse
    return Accelerator(
        file.name,
        tuple(nest),
        Compute(
            number(file.compute.mac_energy, 0.0),
            number(file.compute.per_cycle, 1),
            number(file.compute.psum_bits, None),
        ),
        unit,
        number(file.word_bits, 16),
        file.charging,
        file.charge_padding,
        SparseSupport(
            sparse.zeros,
            frozenset(Operand(name) for name in sparse.of),
            number(sparse.run_bits, SparseSupport().run_bits),
            number(sparse.count_bits, SparseSupport().count_bits),
            frozenset(Operand(name) for name in sparse.charge_register_reads_of),
        ),
        number(file.static_power, 0.0),
        number(file.clock, None),
        file.default_dataflow,
        file.description,
        tuple(_constants(file, "$")),
    )


def _constants(part: Any, path: str) -> Iterator[Constant]:
    if isinstance(part, Quantity):
        yield Constant(path, part.value, part.source or "", part.status or UNSTATED)
    elif isinstance(part, BaseModel):
        for key in type(part).model_fields:
            yield from _constants(getattr(part, key), child(path, key))
    elif isinstance(part, tuple):
        for index, item in enumerate(part):
            yield from _constants(item, child(path, index))




def _complete(text: str, source: str, chain: tuple[str, ...]) -> Document:
    """The document of *text*; of a variant, the machine it is based on with its changes made."""
    document = read_document(text, source)
    if not isinstance(document.root, dict) or "based_on" not in document.root:
        return document
    try:
        variant = VariantFile.model_validate(document.root)
    except ValidationError as error:
        raise _error(source, mistakes_of(error, document, VariantFile)) from None
    try:
        base, name = _base(variant.based_on, source, chain)
    except InputError as error:
        raise InputError(source, [placed(document, "$.based_on", str(error))]) from error
    assert isinstance(base.root, dict)  # _base has seen to it
    base.lines, base.moved = document.lines, {"$.name": "$.name", "$.description": "$.description"}
    base.root |= {"name": variant.name, "description": variant.description}
    mistakes = []
    for target, value in variant.changes.items():
        try:
            changed = _change(base.root, target, copy.deepcopy(value))
        except PicojouleError as error:
            mistakes.append(placed(document, child("$.changes", target), f"{error} in {name}"))
        else:
            base.moved[changed] = child("$.changes", target)
    raise_if_any(source, mistakes)
    return base


def _base(named: str, source: str, chain: tuple[str, ...]) -> tuple[Document, str]:
    """The document that a variant of *source* is based on, without mistakes of its own."""
    where: str | Path = Path(source).parent / named if _is_yaml(named) else named
    seen = (*chain, source)
    if fspath(where) in seen or len(seen) > LONGEST_CHAIN:
        message = f"{' -> '.join((*seen, fspath(where)))} has no end"
        raise InputError(named, [Mistake("$.based_on", message)])
    document = _complete(_read(where), fspath(where), seen)
    _accelerator(document, fspath(where))
    return document, named


def _change(root: dict[str, Any], target: str, value: Any) -> str:
    """Put *value* where *target* points; return the path of the place."""
    *parts, last = target.split(".")
    place: dict[str, Any] = root
    path = "$"
    for depth, word in enumerate(parts):
        choices = _named(place, path) if depth else {**_named(root, path), **_inner(root, path)}
        if depth:
            choices = {**choices, **_inner(place, path)}
        if word not in choices:
            near = did_you_mean(word, tuple(choices))
            known = f"; there are {', '.join(choices)}" if choices else ""
            raise PicojouleError(f"there is no {shown_short(word)}{near}{known}")
        place, path = choices[word]
    if last in ("memories", "axes", "nest", "based_on") or (
        not parts and last in _named(root, "$")
    ):
        raise PicojouleError(f"{shown_short(target)} is not a number or an option")
    place[last] = value
    return child(path, last)


def _inner(place: dict[str, Any], path: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Mappings directly within *place* that are parts (not numbers with a source)."""
    return {
        key: (place[key], child(path, key))
        for key in ("compute", "sparse", "formats")
        if isinstance(place.get(key), dict)
    }


def _named(place: dict[str, Any], path: str) -> dict[str, tuple[dict[str, Any], str]]:
    """What *place* contains under a name: the machine's memories and arrays, an array's axes."""
    found = {}
    for i, part in enumerate(place.get("nest", ())):
        inner = child(child(path, "nest"), i)
        if "array" in part:
            found[part["array"]] = (part, inner)
        for j, memory in enumerate(part.get("memories", ())):
            found[memory["name"]] = (memory, child(child(inner, "memories"), j))
    for i, axis in enumerate(place.get("axes", ())):
        found[axis["name"]] = (axis, child(child(path, "axes"), i))
    return found
