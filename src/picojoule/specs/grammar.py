"""The grammar of an accelerator file, and its violations in the words of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    StringConstraints,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from picojoule import units
from picojoule.accelerator import (
    Charging,
    ComponentSpec,
    Format,
    HopCharge,
    Memory,
    Network,
    Published,
    PublishedChange,
    ZeroSkip,
)
from picojoule.dataflow import DATAFLOWS, MappingRule, Rule
from picojoule.errors import UnitError, did_you_mean
from picojoule.processing_passes import RULES
from picojoule.specs.document import MOST_MISTAKES, Document, child, shortened
from picojoule.workload import OPERANDS, Dim, Operand, PerOperand

# Loops that leave inputs in place, or move their window.
REFETCHABLE = (Dim.M, Dim.P, Dim.Q, Dim.R, Dim.S)
# These stand beside the names of memories and arrays where energies are split by place.
_RESERVED = ("compute", "control", "static", "total")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Quantity(_Part):
    """A number with its unit, where it comes from, and how sure that is.

    Beyond the limits of a kind (``least`` to ``most``) it is a slip of the unit, and sums of
    products might overflow.
    """

    value: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    source: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)] | None
    status: Literal["published", "derived", "assumed", "fitted"] | None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"value": data, "source": None, "status": None}
        return data

    @model_validator(mode="after")
    def _sourced(self) -> Quantity:
        if (self.source is None) != (self.status is None):
            raise ValueError("source and status belong together")
        return self

    @field_validator("value")
    @classmethod
    def _readable(cls, text: str, info: ValidationInfo) -> str:
        try:
            cls.read(text, (info.context or {}).get("energy_unit", ""))
        except UnitError as error:
            raise ValueError(str(error)) from error
        return text

    unit: ClassVar[str]
    least: ClassVar[float] = 0
    most: ClassVar[float]
    whole: ClassVar[bool] = False

    @staticmethod
    def parse(text: str) -> float:
        """The number in base units, whatever its size."""
        raise NotImplementedError

    @classmethod
    def read(cls, text: str, energy_unit: str) -> Any:
        """The number in base units."""
        del energy_unit
        return cls._checked(text, cls.parse(text), cls.unit)

    @classmethod
    def _checked(cls, text: str, number: float, unit: str) -> float:
        if cls.whole and number != int(number):
            raise UnitError(f"{text!r} is not a whole number")
        if not cls.least <= number <= cls.most:
            limits = f"{cls.least:g} to {cls.most:g} {unit}".rstrip()
            raise UnitError(f"{text!r} is not within {limits}")
        return int(number) if cls.whole else number

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        """A text that reads as exactly this number."""
        number = float(amount)
        digits = str(int(number)) if number == int(number) and number < 2**53 else repr(number)
        return f"{digits} {cls.unit or energy_unit}"

    def amount(self, energy_unit: str) -> Any:
        """The number in base units."""
        return self.read(self.value, energy_unit)


class Capacity(Quantity):
    parse, unit = staticmethod(units.bits), "bit"
    least, most = 1, 2.0**60


class Width(Quantity):
    parse, unit, whole = staticmethod(units.bits), "bit", True
    least, most = 1, 64


class Bandwidth(Quantity):
    parse, unit = staticmethod(units.bits_per_cycle), "bit/cycle"
    least, most = 1e-9, 2.0**60


class Cycles(Quantity):
    parse, unit = staticmethod(units.cycles), "cycles"
    most = 1e9


class Frequency(Quantity):
    parse, unit = staticmethod(units.hertz), "Hz"
    least, most = 1, 1e15


class Node(Quantity):
    parse, unit = staticmethod(units.nanometres), "nm"
    least, most = 1, 1000


class Picojoules(Quantity):
    parse, unit = staticmethod(units.picojoules), "pJ"
    least, most = 1e-9, 1e15


class Power(Quantity):
    parse, unit = staticmethod(units.watts), "W"
    most = 1e9


def _digits(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UnitError(f"{text!r} is not a whole number")
    return int(text)


class Count(Quantity):
    parse, unit, whole = staticmethod(_digits), "", True
    least, most = 1, 1 << 16

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        del energy_unit
        return str(amount)


class RowWidth(Width):
    most = 4096


class Length(Quantity):
    parse, unit = staticmethod(units.millimetres), "mm"
    least, most = 1e-6, 1e3


class Energy(Quantity):
    """An energy, or the component that it is the energy of: ``{component: sram, ports: 2}``."""

    value: Annotated[str, StringConstraints(max_length=80)]  # a component's: once it is resolved
    component: str | None = None
    node: Node | None = None
    width: RowWidth | None = None
    ports: Count | None = None
    length: Length | None = None

    unit = ""  # the file's
    most = 1e15

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and "component" in data:
            if data.keys() & {"value", "source", "status"}:
                raise ValueError("a component brings its value, source and status: leave them out")
            return {"value": "", "source": None, "status": None, **data}
        return data

    @model_validator(mode="after")
    def _settled(self) -> Energy:
        for key in ("node", "width", "ports", "length"):
            if self.component is None and getattr(self, key) is not None:
                raise ValueError(f"{key} has no effect without a component")
        if self.component is None and not self.value:
            raise ValueError("an energy needs a number with its unit, or a component")
        return self

    def spec(self) -> ComponentSpec:
        """The component that is named here."""
        said = {
            key: None if quantity is None else quantity.amount("")
            for key in ("node", "width", "ports", "length")
            for quantity in (getattr(self, key),)
        }
        return ComponentSpec(kind=self.component or "", **said)

    @classmethod
    def read(cls, text: str, energy_unit: str) -> Any:
        if not energy_unit or not text:  # the file names no unit, or this is a component's
            return 0.0
        return cls._checked(text, units.energy(text, energy_unit), energy_unit)


def _truth(text: Any) -> Any:
    words = {"true": True, "false": False}
    if not isinstance(text, str) or text not in words:
        raise ValueError("must be true or false")
    return words[text]


def _all_different(items: Any) -> Any:
    if isinstance(items, list):
        for item in items:
            if items.count(item) > 1:
                raise ValueError(f"{_shown(item)} is listed twice")
    return items


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
_Operands: TypeAlias = Annotated[tuple[Operand, ...], BeforeValidator(_all_different)]
_Factors: TypeAlias = Annotated[
    tuple[Literal["input", "weight"], ...], BeforeValidator(_all_different)
]
_Truth: TypeAlias = Annotated[bool, BeforeValidator(_truth)]


class _Formats(_Part):
    input: Format | None = None
    weight: Format | None = None
    output: Format | None = None


class _MemoryPart(_Part):
    name: _PartName
    keeps: _Operands
    may_bypass: _Operands = ()
    capacity: Capacity | None = None
    access_energy: Energy | None = None
    read_energy: Energy | None = None
    write_energy: Energy | None = None
    bandwidth: Bandwidth | None = None
    refetches: Annotated[tuple[Dim, ...], BeforeValidator(_all_different)] = ()
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


class LevelPart(_Part):
    memories: tuple[_MemoryPart, ...]

    @field_validator("memories")
    @classmethod
    def _some(cls, memories: tuple[_MemoryPart, ...]) -> tuple[_MemoryPart, ...]:
        if not memories:
            raise ValueError("a level needs a memory")
        return memories


class _AxisPart(_Part):
    name: _PartName
    size: Count
    loops: Annotated[tuple[Dim, ...], BeforeValidator(_all_different)] | None = None
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


class _Bandwidths(_Part):
    input: Bandwidth | None = None
    weight: Bandwidth | None = None
    output: Bandwidth | None = None


class ArrayPart(_Part):
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


class _ComputePart(_Part):
    mac_energy: Energy
    per_cycle: Count | None = None
    cycles: Count | None = None
    psum_bits: Width | None = None


class _ControlPart(_Part):
    per_cycle: Energy | None = None
    per_element: Energy | None = None
    per_command: Energy | None = None


class _SparsePart(_Part):
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


class _Stated(_Part):
    """What somebody says, and how sure that is."""

    source: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    status: Literal["published", "derived", "assumed", "fitted"]


class RulePart(_Stated):
    rule: Rule
    loops: Annotated[tuple[Dim, ...], BeforeValidator(_all_different)] = ()

    @model_validator(mode="after")
    def _about_loops(self) -> RulePart:
        if (self.rule is Rule.ON_ARRAY) != bool(self.loops):
            needs = "needs loops" if self.rule is Rule.ON_ARRAY else "is about no loops"
            raise ValueError(f"the rule {self.rule.value} {needs}")
        return self


class ChangePart(_Stated):
    to: Any


class _PublishedPart(_Part):
    rules: tuple[RulePart, ...] = ()
    changes: dict[str, ChangePart] = {}

    def published(self) -> Published:
        """How the machine is used under its published mappings."""
        return Published(
            rules=tuple(
                MappingRule(rule=x.rule, loops=frozenset(x.loops), source=x.source, status=x.status)
                for x in self.rules
            ),
            changes=tuple(
                PublishedChange(
                    target=target, to=json.dumps(x.to), source=x.source, status=x.status
                )
                for target, x in self.changes.items()
            ),
        )


_Nest: TypeAlias = Annotated[
    Annotated[LevelPart, Tag("level")] | Annotated[ArrayPart, Tag("array")],
    Discriminator(
        lambda part: (
            "array" if isinstance(part, dict) and part.keys() & {"array", "axes"} else "level"
        )
    ),
]


class MachineFile(_Part):
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
    compiler: str | None = None
    sparse: _SparsePart = _SparsePart()
    compute: _ComputePart
    nest: tuple[_Nest, ...]
    published: _PublishedPart = _PublishedPart()

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


class VariantFile(_Part):
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
    ("published",): _PublishedPart,
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
            return f"{_shown(value)} is not one of {', '.join(choices)}{near}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return f"{_shown(value)} is not a name: letters, digits, - and _, at most 64"
        case "string_type":
            return f"must be a text, not {_shown(value)}"
        case "tuple_type":
            return f"must be a list, not {_shown(value)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be {_wanted(words)}, not {_shown(value)}"
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


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(shortened(value))
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list | tuple) else "a mapping"
