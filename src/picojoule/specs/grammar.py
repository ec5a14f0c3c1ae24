"""The grammar of an accelerator file, and its violations in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

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
from picojoule.accelerator import Charging, Format, HopCharge, Memory, ZeroSkip
from picojoule.dataflow import DATAFLOWS
from picojoule.errors import Mistake, UnitError, did_you_mean
from picojoule.specs.document import Document, child, placed, shown_short
from picojoule.workload import OPERANDS, Dim, Operand, PerOperand




class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Quantity(_Part):
    """A number with its unit, where it comes from, and how sure that is."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    source: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)] | None
    status: Literal["published", "derived", "assumed"] | None

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
            cls.read(text, (info.context or {}).get("energy_unit", "MAC"))
        except UnitError as error:
            raise ValueError(str(error)) from error
        return text

    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        """The number in base units."""
        raise NotImplementedError

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        """A text that reads as exactly this number."""
        raise NotImplementedError

    def amount(self, energy_unit: str) -> float:
        """The number in base units."""
        return self.read(self.value, energy_unit)


def _within(text: str, value: float, least: float, most: float, unit: str) -> float:
    if not least <= value <= most:
        raise UnitError(f"{text!r} is not within {least:g} to {most:g} {unit}".rstrip())
    return value


def _whole(text: str, value: float, most: int) -> int:
    if value != int(value) or not 1 <= value <= most:
        raise UnitError(f"{text!r} is not a whole number from 1 to {most}")
    return int(value)


class Capacity(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        return _within(text, units.bits(text), 1, _LARGEST_CAPACITY, "bit")

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount!r} bit"


class Width(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> int:
        return _whole(text, units.bits(text), 64)

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount} bit"


class Energy(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        return _within(text, units.energy(text, energy_unit), 0, _LARGEST_ENERGY, energy_unit)

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount!r} {energy_unit}"


class Bandwidth(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        return _within(text, units.bits_per_cycle(text), 1e-9, _LARGEST_CAPACITY, "bit/cycle")

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount!r} bit/cycle"


class Frequency(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        return _within(text, units.hertz(text), 1, 1e15, "Hz")

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount!r} Hz"


class Power(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> float:
        return _within(text, units.watts(text), 0, 1e9, "W")

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return f"{amount!r} W"


class Count(Quantity):
    @classmethod
    def read(cls, text: str, energy_unit: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise UnitError(f"{text!r} is not a whole number")
        return _whole(text, int(text), _LARGEST_COUNT)

    @classmethod
    def write(cls, amount: float, energy_unit: str) -> str:
        return str(amount)


def _truth(text: Any) -> Any:
    words = {"true": True, "false": False}
    if not isinstance(text, str) or text not in words:
        raise ValueError("must be true or false")
    return words[text]


def _all_different(found: Any) -> Any:
    if isinstance(found, list):
        for item in found:
            if found.count(item) > 1:
                raise ValueError(f"{shown_short(item)} is listed twice")
    return found


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
    formats: _Formats = _Formats()

    @model_validator(mode="after")
    def _consistent(self) -> _MemoryPart:
        given = [self.access_energy, self.read_energy, self.write_energy]
        if [energy is not None for energy in given] not in (
            [True, False, False],
            [False, True, True],
        ):
            raise ValueError("needs access_energy, or both read_energy and write_energy")
        if not self.keeps:
            raise ValueError("keeps nothing: a memory of no use")
        for operand in self.may_bypass:
            if operand not in self.keeps:
                raise ValueError(f"may_bypass lists {operand.value}, which it does not keep")
        for operand in OPERANDS:
            if getattr(self.formats, operand.value) and operand not in self.keeps:
                raise ValueError(f"formats names {operand.value}, which it does not keep")
        return self

    def memory(self, unit: str) -> Memory:
        """The memory, with numbers in base units."""
        read = self.access_energy or self.read_energy
        write = self.access_energy or self.write_energy
        assert read is not None and write is not None  # _consistent has seen to it
        return Memory(
            self.name,
            frozenset(self.keeps),
            self.capacity.amount(unit) if self.capacity else None,
            read.amount(unit),
            write.amount(unit),
            self.bandwidth.amount(unit) if self.bandwidth else None,
            frozenset(self.may_bypass),
            PerOperand(*(getattr(self.formats, o.value) or Format.DENSE for o in OPERANDS)),
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


class ArrayPart(_Part):
    array: _PartName
    axes: tuple[_AxisPart, ...]
    hop_energy: Energy | None = None
    hop_charge: HopCharge = HopCharge.SHARED
    bandwidth: Bandwidth | None = None

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
    psum_bits: Width | None = None


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


_Nest: TypeAlias = Annotated[
    Annotated[LevelPart, Tag("level")] | Annotated[ArrayPart, Tag("array")],
    Discriminator(lambda part: "array" if isinstance(part, dict) and "array" in part else "level"),
]


class MachineFile(_Part):
    name: _Name
    description: str = ""
    energy_unit: Literal["MAC", "pJ"] = "MAC"
    word_bits: Width | None = None
    charging: Charging = Charging.DEARER_END
    charge_padding: _Truth = False
    clock: Frequency | None = None
    static_power: Power | None = None
    default_dataflow: str = "flexible"
    sparse: _SparsePart = _SparsePart()
    compute: _ComputePart
    nest: tuple[_Nest, ...]

    @field_validator("default_dataflow")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATAFLOWS:
            near = did_you_mean(name, tuple(DATAFLOWS))
            raise ValueError(f"no dataflow {name!r}{near}; there are {', '.join(DATAFLOWS)}")
        return name


class VariantFile(_Part):
    name: _Name
    based_on: str
    description: str = ""
    changes: dict[str, Any]


_KEYS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): MachineFile,
    ("nest", "level"): LevelPart,
    ("nest", "level", "memories"): _MemoryPart,
    ("nest", "level", "memories", "formats"): _Formats,
    ("nest", "array"): ArrayPart,
    ("nest", "array", "axes"): _AxisPart,
    ("compute",): _ComputePart,
    ("sparse",): _SparsePart,
}


def mistakes_of(error: ValidationError, document: Document, top: type[BaseModel]) -> list[Mistake]:
    """pydantic's findings in the words and places of the file."""
    found: dict[tuple[str, str], Mistake] = {}
    for detail in error.errors(include_url=False):
        loc = list(detail["loc"])
        words = tuple(part for part in loc if isinstance(part, str))
        path = "$"
        for index, part in enumerate(loc):
            if not (part in ("level", "array") and index == 2 and loc[0] == "nest"):
                longer = child(path, part)
                if longer in document.lines or detail["type"] in ("missing", "extra_forbidden"):
                    path = longer
        known = top if not words[:-1] else _KEYS.get(words[:-1], Quantity)
        mistake = placed(document, path, _message(detail, words, known))
        found.setdefault((mistake.path, mistake.message), mistake)
    return list(found.values())


def _message(detail: Any, words: tuple[str, ...], known: type[BaseModel]) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(words[-1], tuple(known.model_fields))}"
    if kind in ("enum", "literal_error"):
        choices = re.findall(r"'([^']*)'", context["expected"])
        near = did_you_mean(given, choices) if isinstance(given, str) else ""
        return f"{shown_short(given)} is not one of {', '.join(choices)}{near}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"{shown_short(given)} is not a name: letters, digits, - and _, at most 64"
    if kind == "string_type":
        return f"must be a text, not {_kind(given)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        wanted = "a number with its unit, or a mapping of keys"
        wanted = "a mapping of keys" if known is not Quantity else wanted
        return f"must be {wanted}, not {_kind(given)}"
    if kind == "tuple_type":
        return f"must be a list, not {_kind(given)}"
    return str(detail["msg"])


def placed(document: Document, path: str, message: str) -> Mistake:
    """The mistake at its place in the file, with its line where there is one."""
    shown = path
    if document.moved:
        into = [
            new for new in document.moved if path == new or path.startswith((new + ".", new + "["))
        ]
        if into:
            nearest = max(into, key=len)
            shown = document.moved[nearest] + path[len(nearest) :]
        else:
            shown, message = "$.changes", f"{path}: {message}"
    place = shown
    while place not in document.lines and place != "$":
        place = re.sub(r'(\.[\w-]+|\["[^\]]*"\]|\[\d+\])$', "", place) if "." in place else "$"
    line = document.lines.get(place)
    return Mistake(shown, message + (f" (line {line})" if line else ""))


def _kind(given: Any) -> str:
    if given is None:
        return "nothing"
    return {"dict": "a mapping", "list": "a list"}.get(type(given).__name__, shown_short(given))


def shown_short(given: Any) -> str:
    text = given if isinstance(given, str) else str(given)
    return repr(text if len(text) <= 40 else text[:39] + "…")
