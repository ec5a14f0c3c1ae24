"""From a file to the machine: by name or path, complete with what it is based on."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from picojoule import units
from picojoule.accelerator import (
    UNSTATED,
    Accelerator,
    Array,
    Axis,
    Compute,
    Control,
    Format,
    Level,
    Provenance,
    Published,
    SparseSupport,
)
from picojoule.components import checked_node
from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean
from picojoule.processing_passes import compiler_problems
from picojoule.specs.components import with_components
from picojoule.specs.document import LARGEST_FILE, Document, child, read_document, shortened
from picojoule.specs.grammar import LevelPart, MachineFile, VariantFile, refuse_invalid
from picojoule.specs.machines import is_yaml, shipped_accelerators
from picojoule.specs.quantities import Energy, Quantity
from picojoule.specs.writing import dump_accelerator
from picojoule.technology import at_node
from picojoule.workload import DIMS, OPERANDS, Operand, PerOperand

_ENDS = ("read_energy", "write_energy")
LONGEST_CHAIN = 8  # files, each based on the next

# Groups of keys, and the keys that a variant cannot change: they make the machine's structure.
_GROUPS = ("compute", "control", "sparse", "formats", "bandwidths")
_OWN_GROUPS = {"compute", "control", "sparse"}  # of the machine itself
_FIXED = ("name", "description", "nest", "memories", "array", "axes")
_F = TypeVar("_F", MachineFile, VariantFile)


def read_accelerator(source: str | PathLike[str] | Accelerator, node: str | None) -> Accelerator:
    """What :func:`machines.load_accelerator` returns, with the grammar."""
    nanometres = None if node is None else checked_node(units.nanometres(node))
    if not isinstance(source, Accelerator):
        source = parse_accelerator(_read(source), fspath(source))
    return source if nanometres is None else _made_at(source, nanometres)


def _read(source: str | PathLike[str]) -> str:
    name = fspath(source)
    if isinstance(source, str) and not is_yaml(name):
        shipped = shipped_accelerators()
        if name not in shipped:
            near = did_you_mean(name, shipped)
            message = (
                f"no such accelerator{near}; there are {', '.join(shipped)}, or give a .yaml file"
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
    """What :func:`machines.parse_accelerator` returns."""
    return _accelerator(_complete(text, source, ()))


def _accelerator(document: Document) -> Accelerator:
    unit = document.root.get("energy_unit", "MAC") if isinstance(document.root, dict) else "MAC"
    written = _validated(MachineFile, document, energy_unit=unit if unit in ("MAC", "pJ") else "")
    file, mistakes = with_components(written)
    accelerator = _build(file)
    document.refuse(
        [
            *mistakes,
            *accelerator.problems(),
            *compiler_problems(accelerator),
            *_unused(file),
        ]
    )
    if accelerator.published.changes:
        _accelerator(_in_use(document, accelerator.published))
    return accelerator


def as_published(accelerator: Accelerator) -> Accelerator:
    """What :func:`machines.in_use` returns where published mappings change a machine."""
    document = read_document(dump_accelerator(accelerator), accelerator.name)
    document.lines.clear()  # nobody has seen that text
    return _accelerator(_in_use(document, accelerator.published))


def _made_at(accelerator: Accelerator, node: float) -> Accelerator:
    """*accelerator* at another node, and so are the energies that its published mappings change."""
    scaled, published = at_node(accelerator, node), accelerator.published
    touched = [x for x in published.changes if x.target == "nest" or x.target.endswith("_energy")]
    if not touched:
        return scaled
    used = read_document(
        dump_accelerator(at_node(as_published(accelerator), node)), scaled.name
    ).root
    assert isinstance(used, dict)
    nest = replace(touched[0], target="nest", to=json.dumps(used["nest"]))
    others = [x for x in published.changes if x not in touched]
    for change in touched:
        if change.target == "compute.mac_energy":  # beside the nest
            others.append(replace(change, to=json.dumps(used["compute"]["mac_energy"])))
    return replace(scaled, published=replace(published, changes=(nest, *others)))


def _in_use(document: Document, published: Published) -> Document:
    """The machine of *document* with the changes made that its published mappings make to it."""
    root, moved, wrong = copy.deepcopy(document.root), dict[str, str](), list[Mistake]()
    assert isinstance(root, dict)
    del root["published"]
    for change in published.changes:
        place = child("$.published.changes", change.target)
        value = json.loads(change.to)
        if change.target == "nest":  # another arrangement of the same storage
            root["nest"], moved["$.nest"] = value, place
            continue
        try:
            if isinstance(_present(root, change.target), dict) and not isinstance(value, dict):
                value = {"value": value, "source": change.source, "status": change.status}
            moved[_change(root, change.target, value)] = place
        except PicojouleError as error:
            wrong.append(document.mistake(place, str(error)))
    return Document(
        source=document.source,
        root=root,
        lines=document.lines,
        moved={**(document.moved or {}), **moved},
        mistakes=tuple(wrong),
    )


def _validated(whole: type[_F], document: Document, **context: str) -> _F:
    try:
        return whole.model_validate(document.root, context=context)
    except ValidationError as error:
        refuse_invalid(error, document, whole)
        raise


def _unused(file: MachineFile) -> Iterator[tuple[str, str]]:
    """Entries without an effect: whoever wrote them expects one."""
    if file.static_power and (file.energy_unit != "pJ" or not file.clock):
        yield "$.static_power", "has no effect without energies in pJ and a clock"
    if file.unit_energy and file.energy_unit == "pJ":
        yield "$.unit_energy", "has no effect: energies are in pJ, not in multiples of a MAC"
    outermost = [x for part in file.nest[:1] if isinstance(part, LevelPart) for x in part.memories]
    if any(memory.refetches for memory in outermost):
        yield "$.nest[0]", "refetches has no effect in the outermost memory: it holds everything"
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
            Axis(
                a.name,
                number(a.size, 1),
                frozenset(DIMS if a.loops is None else a.loops),
                frozenset(a.forwards),
            )
            for a in part.axes
        )
        hop, bandwidth = number(part.hop_energy, 0.0), number(part.bandwidth, None)
        own = PerOperand(*(number(getattr(part.bandwidths, o.value), None) for o in OPERANDS))
        nest.append(
            Array(
                part.array,
                axes,
                hop_energy=hop,
                hop_charge=part.hop_charge,
                bandwidth=bandwidth,
                network=part.network,
                bandwidths=own,
            )
        )
    sparse = file.sparse
    return Accelerator(
        file.name,
        tuple(nest),
        compute=Compute(
            number(file.compute.mac_energy, 0.0),
            number(file.compute.per_cycle, 1),
            number(file.compute.psum_bits, None),
            number(file.compute.cycles, 1),
        ),
        energy_unit=unit,
        unit_energy=number(file.unit_energy, None),
        node=number(file.node, None),
        word_bits=number(file.word_bits, 16),
        charging=file.charging,
        charge_padding=file.charge_padding,
        fold_strides=file.fold_strides,
        winograd=file.winograd,
        resident_images=file.resident_images,
        sparse=SparseSupport(
            zeros=sparse.zeros,
            of=frozenset(Operand(name) for name in sparse.of),
            run_bits=number(sparse.run_bits, SparseSupport().run_bits),
            count_bits=number(sparse.count_bits, SparseSupport().count_bits),
            charge_register_reads_of=frozenset(
                Operand(name) for name in sparse.charge_register_reads_of
            ),
        ),
        control=Control(
            per_cycle=number(file.control.per_cycle, 0.0),
            per_element=number(file.control.per_element, 0.0),
            per_command=number(file.control.per_command, 0.0),
        ),
        static_power=number(file.static_power, 0.0),
        clock=number(file.clock, None),
        default_dataflow=file.default_dataflow,
        default_between=file.default_between,
        compiler=file.compiler,
        description=file.description,
        published=file.published.published(),
        sources=tuple(_constants(file, "$")),
    )


def _constants(part: Any, path: str) -> Iterator[Provenance]:
    if isinstance(part, Energy) and part.component:
        yield Provenance(path, part.value, part.source or "", part.status or UNSTATED, part.spec())
    elif isinstance(part, Quantity):
        yield Provenance(path, part.value, part.source or "", part.status or UNSTATED)
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
    variant = _validated(VariantFile, document)
    try:
        root = _base(variant.based_on, source, chain)
    except InputError as error:
        document.refuse([("$.based_on", str(error))])
        raise
    root |= {"name": variant.name, "description": variant.description}
    moved = {"$.name": "$.name", "$.description": "$.description"}
    wrong = []
    for target, value in variant.changes.items():
        place = child("$.changes", target)
        try:
            moved[_change(root, target, value)] = place
        except PicojouleError as error:
            wrong.append(document.mistake(place, str(error)))
    if "energy_unit" in variant.changes and "unit_energy" not in variant.changes:
        root.pop("unit_energy", None)  # it says what the other unit was worth
    return Document(
        source=source, root=root, lines=document.lines, moved=moved, mistakes=tuple(wrong)
    )


def _base(named: str, source: str, chain: tuple[str, ...]) -> dict[str, Any]:
    """What a variant of *source* is based on, without mistakes of its own."""
    where: str | Path = Path(source).parent / named if is_yaml(named) else named
    seen = (*chain, source)
    if fspath(where) in seen or len(seen) > LONGEST_CHAIN:
        message = f"{' -> '.join((*seen, fspath(where)))} has no end"
        raise InputError(named, [Mistake("$.based_on", message)])
    document = _complete(_read(where), fspath(where), seen)
    _accelerator(document)
    assert isinstance(document.root, dict)  # else _accelerator had refused it
    return document.root


def _place(root: dict[str, Any], target: str) -> tuple[dict[str, Any], str]:
    """The part of the machine that *target* names a key of, and its path."""
    place, path = root, "$"
    for word in target.split(".")[:-1]:
        if word in _absent_groups(place, path):
            place[word] = {}
        places = _parts(place, path)
        if word not in places:
            near = did_you_mean(word, tuple(places))
            there = f"; there are {', '.join(places)}" if places else ""
            raise PicojouleError(f"there is no {shortened(word)!r}{near}{there}")
        place, path = places[word]
    return place, path


def _change(root: dict[str, Any], target: str, value: Any) -> str:
    """Put *value* where *target* points; return the path of the place."""
    place, path = _place(root, target)
    last = target.rpartition(".")[2]
    if last in _FIXED or last in _parts(place, path).keys() - _GROUPS:
        raise PicojouleError(f"{shortened(target)!r} is no number or option that can be changed")
    if last in _ENDS and "access_energy" in place:
        both = place.pop("access_energy")
        place.update(dict.fromkeys(_ENDS, both))
    elif last == "access_energy":
        for end in _ENDS:
            place.pop(end, None)
    place[last] = value
    return child(path, last)


def _present(root: dict[str, Any], target: str) -> Any:
    """What stands where *target* points, if anything does."""
    place, last = _place(root, target)[0], target.rpartition(".")[2]
    return place.get(last)


def _absent_groups(place: dict[str, Any], path: str) -> Iterator[str]:
    """Groups of keys that *place* may have and has not."""
    if path == "$":
        own = _OWN_GROUPS
    elif "array" in place:
        own = {"bandwidths"}
    else:
        own = {"formats"} if "keeps" in place else set()
    return (group for group in _GROUPS if group in own and group not in place)


def _parts(place: dict[str, Any], path: str) -> dict[str, tuple[dict[str, Any], str]]:
    """What *place* contains under a name: memories and arrays, axes of an array, groups of keys."""
    places = {
        key: (place[key], child(path, key)) for key in _GROUPS if isinstance(place.get(key), dict)
    }
    for i, part in enumerate(place.get("nest", ())):
        inner = child(child(path, "nest"), i)
        if "array" in part:
            places[part["array"]] = (part, inner)
        for j, memory in enumerate(part.get("memories", ())):
            places[memory["name"]] = (memory, child(child(inner, "memories"), j))
    for i, axis in enumerate(place.get("axes", ())):
        places[axis["name"]] = (axis, child(child(path, "axes"), i))
    return places
