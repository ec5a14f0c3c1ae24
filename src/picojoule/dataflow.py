"""Dataflows: constraints on mappings, as data.

A dataflow says what each processing element stores, which loops run across the array, which loop
runs directly above the elements, and what must be whole in the level above the array. It refers
to the *innermost* array of an accelerator (the PE array); outer arrays are left free.

Definitions follow ISCA'16 §IV-V (taxonomy WS, OS-A/B/C, NLR, RS).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from picojoule.errors import PicojouleError, did_you_mean
from picojoule.workload import DIMS, OPERANDS, Dim, Operand


class Size(Enum):
    """How large a tile or an unrolling may be in one dimension."""

    ONE = "one"
    FULL = "full"


class RuleKind(Enum):
    """What a published mapping keeps to beyond the constraints of its dataflow.

    EVEN_STRIPS: a set that the array has no room for is cut into the fewest strips, as even as can
    be: 55 rows where 16 fit side by side become four strips of 14.
    ON_ARRAY: of these loops, the levels between the outermost memory and the array hold no more
    than is on the array.
    SUMS_STAY: partial sums never leave for the outermost memory, only finished outputs do.
    """

    EVEN_STRIPS = "even-strips"
    ON_ARRAY = "on-array-only"
    SUMS_STAY = "sums-stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRule:
    """A rule of a published mapping, and where it comes from.

    Args:
        loops: those that it is about; only ``RuleKind.ON_ARRAY`` is about some.
        status: "published" or "derived", as of the numbers of an accelerator.
    """

    rule: RuleKind
    loops: frozenset[Dim] = frozenset()
    source: str
    status: str

    def __str__(self) -> str:
        """The rule as machine files name it.

        >>> some = {"loops": frozenset({Dim.M}), "source": "", "status": ""}
        >>> print(MappingRule(rule=RuleKind.ON_ARRAY, **some))
        on-array-only M
        """
        return " ".join([self.rule.value, *(d.value for d in DIMS if d in self.loops)])


@dataclass(frozen=True, slots=True)
class Dataflow:
    """Constraints on a mapping.

    Args:
        spatial: dimensions that may be unrolled over the array.
        unrolled: of those, the ones unrolled whole (if they fit the array at all).
        spanned: of those, the ones that make up a set with the unrolled: whole if the array has
            room for it, else cut into strips of which each is unrolled whole (ISCA'16 §V-B).
        element_keeps: what the elements store; None leaves it to the accelerator.
        element_tile: sizes forced on the tile of an element, where an element can hold them.
        buffer_tile: sizes forced on the tile of the level above the array.
        stationary: this operand enters (or leaves) each element once and stays until done with.
        inner_loop: if this loop runs above the array, it is the innermost there.
        even_strips, on_array, sums_stay: the rules of :class:`RuleKind` that every mapping keeps
            to, and for which loops.
        published: the rules of its published mappings, which :meth:`as_published` puts in force.
    """

    name: str
    _: KW_ONLY
    title: str
    source: str
    spatial: frozenset[Dim] = frozenset(DIMS)
    unrolled: frozenset[Dim] = frozenset()
    spanned: frozenset[Dim] = frozenset()
    element_keeps: frozenset[Operand] | None = None
    element_tile: Mapping[Dim, Size] = field(default_factory=lambda: MappingProxyType({}))
    buffer_tile: Mapping[Dim, Size] = field(default_factory=lambda: MappingProxyType({}))
    stationary: Operand | None = None
    inner_loop: Dim | None = None
    even_strips: bool = False
    on_array: frozenset[Dim] = frozenset()
    sums_stay: bool = False
    published: tuple[MappingRule, ...] = ()

    @property
    def ruled(self) -> bool:
        """Whether rules of published mappings are in force."""
        return self.even_strips or bool(self.on_array) or self.sums_stay

    def as_published(self, further: Iterable[MappingRule] = ()) -> Dataflow:
        """The dataflow with its published rules in force, and *further* ones of a machine."""
        rules = (*self.published, *further)
        kinds = {x.rule for x in rules}
        return replace(
            self,
            even_strips=self.even_strips or RuleKind.EVEN_STRIPS in kinds,
            on_array=self.on_array.union(*(x.loops for x in rules if x.rule is RuleKind.ON_ARRAY)),
            sums_stay=self.sums_stay or RuleKind.SUMS_STAY in kinds,
            published=rules,
        )


N, G, M, C, P, Q, R, S = DIMS
INPUT, WEIGHT, OUTPUT = OPERANDS
_ISCA = "Chen, Emer, Sze: Eyeriss, ISCA 2016"
_SUMS_STAY = MappingRule(
    rule=RuleKind.SUMS_STAY,
    source=f"{_ISCA}, experiments: partial sums stay on the chip, finished outputs alone leave",
    status="published",
)


def _sizes(**sizes: Size) -> Mapping[Dim, Size]:
    return MappingProxyType({Dim[name]: size for name, size in sizes.items()})


DATAFLOWS: Mapping[str, Dataflow] = MappingProxyType(
    {
        dataflow.name: dataflow
        for dataflow in (
            Dataflow(
                "rs",
                title="row-stationary",
                source=f"{_ISCA} §V: each element convolves one filter row with one input row; a "
                "set of all filter rows by a strip of output rows is mapped as a whole, and sets "
                "are replicated over images, filters and channels",
                spatial=frozenset({G, N, M, C, P, R}),
                unrolled=frozenset({R}),
                spanned=frozenset({P}),
                element_keeps=frozenset(OPERANDS),
                element_tile=_sizes(P=Size.ONE, Q=Size.ONE, R=Size.ONE, S=Size.FULL),
                inner_loop=Q,
                published=(
                    _SUMS_STAY,
                    MappingRule(
                        rule=RuleKind.EVEN_STRIPS,
                        source=f"{_ISCA} §V-B: a set too wide for the array is cut into strips; "
                        "that they are the fewest follows from Fig. 10 (register file of CONV1)",
                        status="derived",
                    ),
                ),
            ),
            Dataflow(
                "ws",
                title="weight-stationary",
                source=f"{_ISCA} §IV-A: each weight stays in an element until it is never used "
                "again",
                spatial=frozenset({G, M, C, R, S}),
                unrolled=frozenset({R, S}),
                element_keeps=frozenset({WEIGHT}),
                stationary=WEIGHT,
                published=(_SUMS_STAY,),
            ),
            Dataflow(
                "osa",
                title="output-stationary, one output channel, many pixels (SOC-MOP)",
                source=f"{_ISCA} §IV-B",
                spatial=frozenset({P, Q}),
                element_keeps=frozenset({OUTPUT}),
                stationary=OUTPUT,
                published=(_SUMS_STAY,),
            ),
            Dataflow(
                "osb",
                title="output-stationary, many output channels and pixels (MOC-MOP)",
                source=f"{_ISCA} §IV-B",
                spatial=frozenset({G, M, P, Q}),
                element_keeps=frozenset({OUTPUT}),
                stationary=OUTPUT,
                published=(_SUMS_STAY,),
            ),
            Dataflow(
                "osc",
                title="output-stationary, many output channels, one pixel of each image (MOC-SOP)",
                source=f"{_ISCA} §IV-B",
                spatial=frozenset({G, M, N}),
                element_keeps=frozenset({OUTPUT}),
                stationary=OUTPUT,
                published=(_SUMS_STAY,),
            ),
            Dataflow(
                "is",
                title="input-stationary",
                source="Parashar et al.: SCNN, ISCA 2017: each input stays in an element until "
                "done with",
                spatial=frozenset({N, G, C, P, Q}),
                element_keeps=frozenset({INPUT}),
                stationary=INPUT,
            ),
            Dataflow(
                "nlr",
                title="no local reuse",
                source=f"{_ISCA} §IV-C: elements store nothing; inputs are shared over output "
                "channels, partial sums are added over input channels",
                spatial=frozenset({G, M, C}),
                element_keeps=frozenset(),
                published=(_SUMS_STAY,),
            ),
            Dataflow(
                "lockstep",
                title="one product at a time in each element, all loops above the array",
                source="Chen, Emer, Sze: Eyeriss, ISCA 2016 §III-B: spatial architectures whose "
                "elements have no control of their own; so are the engines of NVDLA, Arm's "
                "Ethos-U55 (Vela) and NE16 (pulp-platform)",
                element_tile=_sizes(**{dim.value: Size.ONE for dim in DIMS}),
            ),
            Dataflow(
                "whole-lines",
                title="lockstep, and sums are finished from whole lines of all input channels",
                source="NVIDIA's model of NVDLA (github.com/nvdla/hw, perf): the least that the "
                "buffer must hold is as many whole lines of all channels as the filter is high, "
                "and whole filters; sums do not leave before they are finished",
                element_tile=_sizes(**{dim.value: Size.ONE for dim in DIMS}),
                buffer_tile=_sizes(C=Size.FULL, Q=Size.FULL, R=Size.FULL, S=Size.FULL),
            ),
            Dataflow(
                "flexible", title="any mapping the accelerator allows", source="no constraint"
            ),
        )
    }
)


def dataflow(name: str) -> Dataflow:
    """Return the dataflow called *name*.

    Raises:
        PicojouleError: if there is none.
    """
    if name not in DATAFLOWS:
        near = did_you_mean(name, tuple(DATAFLOWS))
        raise PicojouleError(f"no dataflow {name!r}{near}; there are {', '.join(DATAFLOWS)}")
    return DATAFLOWS[name]
