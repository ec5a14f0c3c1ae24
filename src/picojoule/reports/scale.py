"""One unit and one number of decimals for a whole table or axis."""

from __future__ import annotations

from picojoule.units import E_MAC

_SCALES = {
    "MAC": ((1e9, f"G {E_MAC}"), (1e6, f"M {E_MAC}"), (1e3, f"k {E_MAC}"), (1.0, E_MAC)),
    "pJ": ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ")),
}


class Scale:
    """Energies up to *largest*, in one unit.

    >>> scale = Scale(3.97e9, "MAC")
    >>> scale.name, scale(7.56e8), scale(1.0), scale(0.0)
    ('M x E_MAC', '756.0', '<0.1', '0')
    """

    def __init__(self, largest: float, unit: str) -> None:
        scales = _SCALES[unit]
        # The largest value has two to four digits before the point.
        self.factor, self.name = next((s for s in scales if largest >= 10 * s[0]), scales[-1])
        self.decimals = 2 if largest < 100 * self.factor else 1

    def __call__(self, value: float) -> str:
        least = 10.0**-self.decimals
        if 0 < value < least / 2 * self.factor:
            return f"<{least:g}"
        return f"{value / self.factor:.{self.decimals}f}" if value else "0"


def percent(part: float, whole: float) -> str:
    """A share in percent.

    >>> percent(1, 8)
    '12.5 %'
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"
