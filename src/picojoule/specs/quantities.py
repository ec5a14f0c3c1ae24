"""The numbers of a machine file: texts with units, where they come from, and their limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from picojoule import units
from picojoule.accelerator import ComponentSpec
from picojoule.errors import UnitError
from picojoule.specs.parts import Part


class Quantity(Part):
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
