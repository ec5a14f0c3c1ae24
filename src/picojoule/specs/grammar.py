"""The grammar of an accelerator file, and its violations in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from picojoule.accelerator import (
    Charging,
    Format,
    HopCharge,
    Memory,
    Network,
    ZeroSkip,
)
from picojoule.dataflow import DATAFLOWS
from picojoule.errors import did_you_mean
from picojoule.processing_passes import RULES
from picojoule.specs.document import MOST_MISTAKES, Document, child
from picojoule.specs.parts import Part, all_different, shown
from picojoule.specs.policies import ChangePart, PublishedPart, RulePart
from picojoule.specs.quantities import (
    Bandwidth,
    Capacity,
    Count,
    Cycles,
    Energy,
    Frequency,
    Node,
    Picojoules,
    Power,
    Quantity,
    Width,
)
from picojoule.workload import OPERANDS, Dim, Operand, PerOperand

# Loops that leave inputs in place, or move their window.
REFETCHABLE = (Dim.M, Dim.P, Dim.Q, Dim.R, Dim.S)
# These stand beside the names of memories and arrays where energies are split by place.
_RESERVED = ("compute", "control", "static", "total")


def _truth(text: Any) -> Any:
    words = {"true": True, "false": False}
    if not isinstance(text, str) or text not in words:
        raise ValueError("must be true or false")
    return words[text]


def _free_name(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"{name!r} is a word of the results; choose another name")
    return name


_Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,63}$")]
_PartName: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"),
    BeforeValidator(lambda name: _free_name(name) if isinstance(name, str) else name),
]
_Operands: TypeAlias = Annotated[tuple[Operand, ...], BeforeValidator(all_different)]
_Factors: TypeAlias = Annotated[
    tuple[Literal["input", "weight"], ...], BeforeValidator(all_different)
]
_Truth: TypeAlias = Annotated[bool, BeforeValidator(_truth)]


class _Formats(Part):
    input: Format | None = None
    weight: Format | None = None
    output: Format | None = None


class _MemoryPart(Part):
    name: _PartName
    keeps: _Operands
    may_bypass: _Operands = ()
    capacity: Capacity | None = None
    access_energy: Energy | None = None
    read_energy: Energy | None = None
    write_energy: Energy | None = None
    bandwidth: Bandwidth | None = None
    refetches: Annotated[tuple[Dim, ...], BeforeValidator(all_different)] = ()
    charge_drains: _Truth = True
    double_buffered: _Truth = False
    prefetched: _Truth = False
    latency: Cycles | None = None
    formats: _Formats = _Formats()

    @model_validator(mode="after")
    def _consistent(self) -> _MemoryPart:
        energies = [self.access_energy, self.read_energy, self.write_energy]
        if [energy is not None for energy in energies] not in (
            [True, False, False],
            [False, True, True],
        ):
            raise ValueError("needs access_energy, or both read_energy and write_energy")
        if not self.keeps:
            raise ValueError("keeps nothing: a memory of no use")
        for operand in self.may_bypass:
            if operand not in self.keeps:
                raise ValueError(f"may_bypass lists {operand.value}, which it does not keep")
        if self.refetches and Operand.INPUT not in self.keeps:
            raise ValueError("refetches is about inputs, which it does not keep")
        for dim in self.refetches:
            if dim not in REFETCHABLE:
                names = ", ".join(d.value for d in REFETCHABLE)
                raise ValueError(f"refetches lists {dim.value}; it may list {names}")
        for operand in OPERANDS:
            if getattr(self.formats, operand.value) and operand not in self.keeps:
                raise ValueError(f"formats names {operand.value}, which it does not keep")
        return self

    def memory(self, unit: str) -> Memory:
        """The memory, with numbers in base units."""
        read = self.access_energy or self.read_energy
        write = self.access_energy or self.write_energy
        assert read is not None  # _consistent has seen to it
        assert write is not None
        return Memory(
            self.name,
            keeps=frozenset(self.keeps),
            capacity=self.capacity.amount(unit) if self.capacity else None,
            read_energy=read.amount(unit),
            write_energy=write.amount(unit),
            bandwidth=self.bandwidth.amount(unit) if self.bandwidth else None,
            may_bypass=frozenset(self.may_bypass),
            formats=PerOperand(*(getattr(self.formats, o.value) or Format.DENSE for o in OPERANDS)),
            refetches=frozenset(self.refetches),
            charge_drains=self.charge_drains,
            double_buffered=self.double_buffered,
            prefetched=self.prefetched,
            latency=self.latency.amount(unit) if self.latency else 0.0,
        )


class LevelPart(Part):
    memories: tuple[_MemoryPart, ...]

    @field_validator("memories")
    @classmethod
    def _some(cls, memories: tuple[_MemoryPart, ...]) -> tuple[_MemoryPart, ...]:
        if not memories:
            raise ValueError("a level needs a memory")
        return memories


class _AxisPart(Part):
    name: _PartName
    size: Count
    loops: Annotated[tuple[Dim, ...], BeforeValidator(all_different)] | None = None
    forwards: _Operands = ()

    @field_validator("forwards")
    @classmethod
    def _inputs(cls, forwards: tuple[Operand, ...]) -> tuple[Operand, ...]:
        if any(operand is not Operand.INPUT for operand in forwards):
            raise ValueError(
                "only the input is handed from neighbour to neighbour: weights are multicast, and "
                "partial sums are added up on their way out"
            )
        return forwards


class _Bandwidths(Part):
    input: Bandwidth | None = None
    weight: Bandwidth | None = None
    output: Bandwidth | None = None


class ArrayPart(Part):
    array: _PartName
    axes: tuple[_AxisPart, ...]
    hop_energy: Energy | None = None
    hop_charge: HopCharge = HopCharge.SHARED
    network: Network = Network.MULTICAST
    bandwidth: Bandwidth | None = None
    bandwidths: _Bandwidths = _Bandwidths()

    @field_validator("axes")
    @classmethod
    def _distinct(cls, axes: tuple[_AxisPart, ...]) -> tuple[_AxisPart, ...]:
        names = [axis.name for axis in axes]
        if not names:
            raise ValueError("an array needs an axis")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two axes are named {name!r}")
        return axes


class _ComputePart(Part):
    mac_energy: Energy
    per_cycle: Count | None = None
    cycles: Count | None = None
    psum_bits: Width | None = None


class _ControlPart(Part):
    per_cycle: Energy | None = None
    per_element: Energy | None = None
    per_command: Energy | None = None


class _SparsePart(Part):
    zeros: ZeroSkip = ZeroSkip.NONE
    of: _Factors = ()
    run_bits: Width | None = None
    count_bits: Width | None = None
    charge_register_reads_of: _Factors = ()

    @model_validator(mode="after")
    def _consistent(self) -> _SparsePart:
        if (self.zeros is ZeroSkip.NONE) != (not self.of):
            raise ValueError("zeros and of belong together: what is done, and for whose zeros")
        for width in (self.run_bits, self.count_bits):
            if width is not None and width.amount("") > 24:
                raise ValueError("run_bits and count_bits are at most 24 bit")
        for operand in self.charge_register_reads_of:
            if operand not in self.of:
                raise ValueError(f"charge_register_reads_of lists {operand}, which is not in of")
        return self


_Nest: TypeAlias = Annotated[
    Annotated[LevelPart, Tag("level")] | Annotated[ArrayPart, Tag("array")],
    Discriminator(
        lambda part: (
            "array" if isinstance(part, dict) and part.keys() & {"array", "axes"} else "level"
        )
    ),
]


class MachineFile(Part):
    name: _Name
    description: str = ""
    energy_unit: Literal["MAC", "pJ"] = "MAC"
    unit_energy: Picojoules | None = None
    node: Node | None = None
    word_bits: Width | None = None
    charging: Charging = Charging.DEARER_END
    charge_padding: _Truth = False
    fold_strides: _Truth = False
    winograd: _Truth = False
    resident_images: _Truth = False
    clock: Frequency | None = None
    static_power: Power | None = None
    control: _ControlPart = _ControlPart()
    default_dataflow: str = "flexible"
    default_between: Literal["dram", "keep"] = "dram"
    compiler: str | None = None
    sparse: _SparsePart = _SparsePart()
    compute: _ComputePart
    nest: tuple[_Nest, ...]
    published: PublishedPart = PublishedPart()

    @field_validator("default_dataflow")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATAFLOWS:
            near = did_you_mean(name, tuple(DATAFLOWS))
            raise ValueError(f"no dataflow {name!r}{near}; there are {', '.join(DATAFLOWS)}")
        return name

    @field_validator("compiler")
    @classmethod
    def _known_compiler(cls, name: str | None) -> str | None:
        if name is not None and name not in RULES:
            near = did_you_mean(name, tuple(RULES))
            raise ValueError(f"no compiler {name!r}{near}; there are {', '.join(RULES)}")
        return name


class VariantFile(Part):
    name: _Name
    based_on: str
    description: str = ""
    changes: dict[str, Any]


_KEYS: Mapping[tuple[str, ...], type[BaseModel]] = {
    ("nest", "level"): LevelPart,
    ("nest", "level", "memories"): _MemoryPart,
    ("nest", "level", "memories", "formats"): _Formats,
    ("nest", "array"): ArrayPart,
    ("nest", "array", "axes"): _AxisPart,
    ("nest", "array", "bandwidths"): _Bandwidths,
    ("compute",): _ComputePart,
    ("control",): _ControlPart,
    ("sparse",): _SparsePart,
    ("published",): PublishedPart,
    ("published", "rules"): RulePart,
    ("published", "changes"): ChangePart,
}


def refuse_invalid(error: ValidationError, document: Document, whole: type[BaseModel]) -> None:
    """Raise what pydantic found against *whole* in the words and places of the file."""
    details = error.errors(include_url=False)
    mistakes_by_place: dict[tuple[str, str], None] = {}
    for detail in details[:MOST_MISTAKES]:
        words = tuple(part for part in detail["loc"] if isinstance(part, str))
        path, node = "$", document.root
        for index, part in enumerate(detail["loc"]):
            if index == 2 and detail["loc"][0] == "nest":
                continue  # says which kind of part was tried
            try:
                node = node[part]  # type: ignore[index]
            except (LookupError, TypeError):
                if detail["type"] not in ("missing", "extra_forbidden"):
                    break  # within a number that is written short
            path = child(path, part)
        inner = Energy if len(words) > 1 and words[-2].endswith("_energy") else Quantity
        place = words[:2] if words[:2] == ("published", "changes") else words[:-1]
        model = _KEYS.get(place, inner) if words[:-1] else whole
        mistakes_by_place[path, _message(detail, words, model)] = None
    document.refuse(mistakes_by_place, more=max(0, len(details) - MOST_MISTAKES))


def _message(detail: Any, words: tuple[str, ...], model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            keys = tuple(model.model_fields)
            near = did_you_mean(words[-1], keys)
            return f"unknown key{near or '; there are ' + ', '.join(keys)}"
        case "enum" | "literal_error":
            choices = re.findall(r"'([^']*)'", context["expected"])
            near = did_you_mean(value, choices) if isinstance(value, str) else ""
            return f"{shown(value)} is not one of {', '.join(choices)}{near}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return f"{shown(value)} is not a name: letters, digits, - and _, at most 64"
        case "string_type":
            return f"must be a text, not {shown(value)}"
        case "tuple_type":
            return f"must be a list, not {shown(value)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be {_wanted(words)}, not {shown(value)}"
    return str(detail["msg"])


def _wanted(words: tuple[str, ...]) -> str:
    parts = {
        "nest",
        "level",
        "array",
        "memories",
        "axes",
        "compute",
        "control",
        "sparse",
        "formats",
        "bandwidths",
        "changes",
        "published",
        "rules",
    }
    if not words or words[-1] in parts or words[-2:-1] == ("changes",):
        return "a mapping of keys"
    return "a number with its unit, or value, source and status"
