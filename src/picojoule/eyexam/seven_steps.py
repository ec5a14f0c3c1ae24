"""The seven steps of one layer: its bounds, what binds at each, and what would lift it.

:mod:`eyexam` says what the steps are. A statement of what would lift a bound is computed with the
changed accelerator, never guessed: the least number of elements, the best shape of the array, the
smallest memory, the bandwidth at which something else binds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from picojoule.accelerator import Accelerator, Array, Level
from picojoule.cost import Channel, Ledger, evaluate
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.errors import NoMappingError
from picojoule.estimate_records import SearchRecord
from picojoule.eyexam.parallelism import Limit, Parallelism, Spread
from picojoule.mapper.cache import Cache, find
from picojoule.mapper.compulsory import compulsory
from picojoule.mapping import Mapping as LoopNest
from picojoule.simulation.simulator import Simulation, simulate
from picojoule.traffic import flows
from picojoule.units import show_capacity, show_count
from picojoule.workload import DIMS, Layer, Operand

TITLES = (
    "layer shape",
    "dataflow",
    "number of PEs",
    "array dimensions",
    "storage",
    "bandwidth",
    "access patterns",
)
LEAST_GAIN = 1e-3  # relative: what lifts a bound by less is not worth saying
NOT_GIVEN = "not known: the accelerator's file gives no bandwidth"


@dataclass(frozen=True, slots=True)
class BoundStep:
    """One of the seven bounds.

    Args:
        step: 1 to 7.
        bound: MAC/cycle; None where the accelerator does not say what it takes to know.
        limited_by: what binds here, or that nothing new does.
        lift: what would raise this bound, and to how much; empty if this step takes nothing away.
    """

    step: int
    bound: float | None
    limited_by: str
    lift: str

    @property
    def title(self) -> str:
        """The step's name."""
        return TITLES[self.step - 1]

    def to_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "title": self.title,
            "bound": finite(self.bound),
            "limited_by": self.limited_by,
            "lift": self.lift,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """The slanted part of one operand's roofline, under the mapping of step 6.

    Args:
        operand: "input", "weight" or "output".
        channel: the memory or network that carries it.
        intensity: MACs per bit of the operand that passes.
        bandwidth: bits per cycle to the elements in use (not to all there are).
        shared: whether other operands pass as well, so that less is left for this one.
    """

    operand: str
    channel: str
    intensity: float
    bandwidth: float
    shared: bool

    @property
    def bound(self) -> float:
        """MAC/cycle if nothing else limited and the operand had the channel for itself."""
        return self.intensity * self.bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerExamination:
    """The seven steps of one layer.

    Args:
        macs: per inference.
        peak: MAC/cycle if every element worked all the time.
        steps: seven, in order.
        roofs: per operand and limited channel; empty without bandwidths.
        mapping, search, simulation: behind steps 6 and 7; None without bandwidths.
        cheapest: whether the mapping is proved to take least energy among the fastest.
    """

    name: str
    macs: float
    peak: float
    steps: tuple[BoundStep, ...]
    roofs: tuple[Roof, ...] = ()
    mapping: LoopNest | None = None
    search: SearchRecord | None = None
    cheapest: bool = False
    simulation: Simulation | None = None

    def bound(self, step: int) -> float | None:
        """The bound of a step (1 to 7), in MAC/cycle."""
        return self.steps[step - 1].bound

    @property
    def last(self) -> float:
        """The tightest bound that is known."""
        return [step.bound for step in self.steps if step.bound is not None][-1]

    @property
    def worst(self) -> BoundStep:
        """The step that takes most of what the elements could do."""
        lost, left = -1.0, self.peak
        worst = self.steps[0]
        for step in self.steps:
            if step.bound is None:
                continue
            now = min(left, step.bound)
            if left - now > lost:
                lost, worst = left - now, step
            left = now
        return worst

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "name": self.name,
            "macs": self.macs,
            "peak": finite(self.peak),
            "steps": [step.to_dict() for step in self.steps],
            "worst_step": self.worst.step,
            "roofs": [
                {
                    "operand": roof.operand,
                    "channel": roof.channel,
                    "macs_per_bit": finite(roof.intensity),
                    "bits_per_cycle": roof.bandwidth,
                    "bound": finite(roof.bound),
                    "shared": roof.shared,
                }
                for roof in self.roofs
            ],
        }
        if self.mapping is not None and self.search is not None:
            record["mapping"] = self.mapping.to_dict()
            record["search"] = {
                "status": self.search.status,
                "lower_bound": self.search.lower_bound,
                "seconds": self.search.seconds,
                "cheapest": self.cheapest,
            }
        if self.simulation is not None:
            record["simulation"] = {
                "cycles": self.simulation.cycles,
                "computing": self.simulation.computing,
                "ramp_up": self.simulation.ramp_up,
                "drain": self.simulation.drain,
                "stalls": dict(self.simulation.stalls),
            }
        return record


class Examiner:
    """One layer on one accelerator."""

    def __init__(
        self, layer: Layer, accelerator: Accelerator, dataflow: Dataflow, images: int
    ) -> None:
        self.layer, self.images = layer, images
        self.accelerator, self.dataflow = accelerator, dataflow
        cycles = Ledger(layer, accelerator, one=1.0).cycles_per_step
        self.rate = 1 / cycles if cycles else math.inf  # all of its MACs are skipped
        self.space = Parallelism(layer, accelerator, dataflow)
        self.least = compulsory(layer, accelerator)

    def examine(self, budget: float | None, cache: Cache) -> LayerExamination:
        spreads = {limit: self.space.widest(limit) for limit in Limit}
        bounds = {limit: self._bound(spread) for limit, spread in spreads.items()}
        steps = [
            BoundStep(
                1,
                bounds[Limit.LAYER],
                f"the layer's {show_count(self.layer.macs)} MACs",
                self._larger(),
            ),
            self._dataflow(spreads, bounds),
            self._elements(spreads, bounds),
            self._axes(spreads, bounds),
            self._storage(spreads, bounds),
        ]
        shown = LayerExamination(
            name=self.layer.name,
            macs=self.layer.macs / self.images,
            peak=self.accelerator.elements * self.rate,
            steps=tuple(steps),
        )
        if not self.accelerator.bandwidths_known:
            unknown = (BoundStep(6, None, NOT_GIVEN, ""), BoundStep(7, None, NOT_GIVEN, ""))
            return replace(shown, steps=(*steps, *unknown))
        return self._in_time(shown, spreads[Limit.STORAGE], budget, cache)

    def _bound(self, spread: Spread, layer: Layer | None = None) -> float:
        return (layer or self.layer).macs / spread.steps * self.rate

    def _nothing(self, what: str) -> str:
        return f"nothing new: {what}"

    # -- steps 1 to 5 --------------------------------------------------------------------------

    def _larger(self) -> str:
        double = self.layer.with_batch(2)
        return f"two such layers at once (batch): {_rate(double.macs * self.rate)}"

    def _dataflow(self, spreads: dict[Limit, Spread], bounds: dict[Limit, float]) -> BoundStep:
        bound = bounds[Limit.DATAFLOW]
        if bound == bounds[Limit.LAYER]:
            return BoundStep(
                2, bound, self._nothing(f"{self.dataflow.name} can unroll every loop"), ""
            )
        nest = spreads[Limit.DATAFLOW].mapping.stages
        fans = [math.prod(stage.fanout[n] for stage in nest) for n in range(8)]
        serial = [d.value for n, d in enumerate(DIMS) if fans[n] < self.layer.bounds[n]]
        name, place = self.dataflow.name, self.accelerator.name
        text = f"{name} on {place} runs {', '.join(serial)} one after another"
        better = (bound, "")
        for name, other in DATAFLOWS.items():
            try:
                space = Parallelism(self.layer, self.accelerator, other)
            except NoMappingError:
                continue
            reached = self._bound(space.widest(Limit.DATAFLOW))
            if reached > better[0]:
                better = (reached, name)
        lift = f"the dataflow {better[1]}: {_rate(better[0])}" if better[1] else ""
        return BoundStep(
            2, bound, text, lift or "no dataflow that the accelerator can run does better"
        )

    def _elements(self, spreads: dict[Limit, Spread], bounds: dict[Limit, float]) -> BoundStep:
        bound, count = bounds[Limit.ELEMENTS], self.accelerator.elements
        if bound == bounds[Limit.DATAFLOW]:
            return BoundStep(3, bound, self._nothing(f"it fits {count} elements whole"), "")
        text = f"{count} elements"
        if bound < count * self.rate * (1 - 1e-12):
            spread = _spread_text(spreads[Limit.ELEMENTS])
            text += f", {bound / self.rate:.4g} at work on average ({spread})"
        fewest = self._fewest_elements(spreads[Limit.ELEMENTS].steps)
        more = self._bound(self.space.widest(Limit.ELEMENTS, elements=fewest))
        return BoundStep(3, bound, text, f"{fewest} elements instead of {count}: {_rate(more)}")

    def _fewest_elements(self, steps: int) -> int:
        """The least number of elements with which a layer takes fewer steps."""
        low, step = self.accelerator.elements, 1

        def better(count: int) -> bool:
            return self.space.widest(Limit.ELEMENTS, elements=count).steps < steps

        while not better(low + step):
            low, step = low + step, 2 * step
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if better(middle) else (middle, high)
        return high

    def _axes(self, spreads: dict[Limit, Spread], bounds: dict[Limit, float]) -> BoundStep:
        bound = bounds[Limit.AXES]
        sizes = " and ".join(_shape(array) for array in self.accelerator.arrays if array) or "1"
        if bound == bounds[Limit.ELEMENTS]:
            return BoundStep(4, bound, self._nothing(f"arrays of {sizes} hold as much"), "")
        text = f"arrays of {sizes}: {_spread_text(spreads[Limit.AXES])}"
        return BoundStep(4, bound, text, self._reshaped(spreads[Limit.AXES].steps))

    def _reshaped(self, steps: int) -> str:
        """The best shape of the innermost array with as many elements; else one longer axis."""
        gap = self.space.gap
        array = self.accelerator.arrays[gap] if gap is not None else None
        assert array is not None  # without one there are no axes to bind
        tried: list[tuple[int, int, Array]] = []
        if len(array.axes) == 2:
            for rows in (n for n in range(1, array.size + 1) if array.size % n == 0):
                sizes = (rows, array.size // rows)
                tried += self._try_axes(array, sizes, abs(rows - array.axes[0].size))
        best = min(tried, key=lambda t: t[:2], default=None)
        if best is not None and best[0] < steps:
            reached = self.layer.macs / best[0] * self.rate
            return f"the same {array.size} elements as {_shape(best[2])}: {_rate(reached)}"
        tried = []
        for n, axis in enumerate(array.axes):
            for size in range(axis.size + 1, 2 * axis.size + 1):
                sizes_of = [a.size for a in array.axes]
                sizes_of[n] = size
                grown = self._try_axes(array, tuple(sizes_of), math.prod(sizes_of))
                if grown and grown[0][0] < steps:
                    tried += grown
                    break
        if not tried:
            return "no other shape, and no axis up to twice as long, does better"
        least = min(tried, key=lambda t: t[1])
        reached = self.layer.macs / least[0] * self.rate
        return f"{_shape(least[2])} instead of {_shape(array)}: {_rate(reached)}"

    def _try_axes(
        self, array: Array, sizes: tuple[int, ...], merit: int
    ) -> list[tuple[int, int, Array]]:
        axes = tuple(replace(a, size=n) for a, n in zip(array.axes, sizes, strict=True))
        other = replace(array, axes=axes)
        space = Parallelism(
            self.layer, _with(self.accelerator, array.name, axes=axes), self.dataflow
        )
        return [(space.widest(Limit.AXES).steps, merit, other)]

    def _storage(self, spreads: dict[Limit, Spread], bounds: dict[Limit, float]) -> BoundStep:
        bound, spread = bounds[Limit.STORAGE], spreads[Limit.STORAGE]
        if bound == bounds[Limit.AXES]:
            return BoundStep(5, bound, self._nothing("the tiles of so many elements fit"), "")
        needed = self.space.overfull(spreads[Limit.AXES].mapping)
        memories = self.accelerator.memories
        text = "; ".join(
            f"{name} of {show_capacity(memories[name].capacity or 0)}" for name in needed
        )
        options = []
        for name, most in needed.items():
            least = self._least_capacity(name, most, spread.steps)
            if least is not None:
                options.append((least[0] / (memories[name].capacity or 1), name, *least))
        if options:
            _, name, capacity, steps = min(options)
            now = show_capacity(memories[name].capacity or 0)
            lift = f"{name} of {show_capacity(capacity)} instead of {now}: "
            return BoundStep(5, bound, text, lift + _rate(self.layer.macs / steps * self.rate))
        every = " and ".join(f"{name} of {show_capacity(most)}" for name, most in needed.items())
        return BoundStep(5, bound, text, f"{every}: {_rate(bounds[Limit.AXES])}")

    def _least_capacity(self, name: str, most: float, steps: int) -> tuple[float, int] | None:
        """The smallest capacity of one memory alone that saves steps, and the steps then."""

        def taken(capacity: float) -> int:
            accelerator = _with(self.accelerator, name, capacity=capacity)
            return Parallelism(self.layer, accelerator, self.dataflow).widest(Limit.STORAGE).steps

        if taken(most) >= steps:
            return None
        low, high = self.accelerator.memories[name].capacity or 0.0, most
        while high - low > 1:
            middle = float((low + high) // 2)
            low, high = (low, middle) if taken(middle) < steps else (middle, high)
        return high, taken(high)

    # -- steps 6 and 7 -------------------------------------------------------------------------

    def _in_time(
        self, shown: LayerExamination, spread: Spread, budget: float | None, cache: Cache
    ) -> LayerExamination:
        mapping, record, cheapest = self._fastest(spread, budget, cache)
        cost = evaluate(self.layer, self.accelerator, mapping)
        simulation = simulate(self.layer, self.accelerator, mapping)
        # Arrays are followed in their first element, which at the edge of an image may have less
        # to fetch than the average that step 6 counts.
        cycles = max(simulation.cycles, cost.cycles)
        sixth = self._bandwidth(mapping, spread)
        seventh = BoundStep(
            7,
            self._per_cycle(cycles),
            self._waits(simulation),
            self._smoother(mapping, simulation, cycles),
        )
        return replace(
            shown,
            steps=(*shown.steps, sixth, seventh),
            roofs=tuple(self._roofs(mapping)),
            mapping=mapping,
            search=record,
            cheapest=cheapest,
            simulation=simulation,
        )

    def _fastest(
        self, spread: Spread, budget: float | None, cache: Cache
    ) -> tuple[LoopNest, SearchRecord, bool]:
        """The mapping with the fewest cycles, what is proved of it, and if none as fast is cheaper.

        The widest spread is legal, so there is an answer whenever the search has none yet; but it
        knows nothing of the rules of published mappings.
        """
        fastest = find(
            self.layer,
            self.accelerator,
            self.dataflow,
            "latency",
            budget=budget,
            cache=cache,
            start=None if self.dataflow.ruled else spread.mapping,
            floor=max(spread.steps / self.rate, self.least.cycles),
        )
        # Out of time, the cycles may be proved and only the choice among the fastest not.
        proved = fastest.lower_bound >= fastest.value * (1 - 1e-12)
        record = SearchRecord(
            status="optimal" if proved else "feasible",
            lower_bound=fastest.lower_bound / self.images,
            explored=fastest.explored,
            pruned=fastest.pruned,
            seconds=fastest.seconds,
            space=fastest.space,
        )
        return fastest.mapping, record, fastest.status == "optimal"

    def _per_cycle(self, cycles: float) -> float:
        return self.layer.macs / cycles if cycles else math.inf

    def _channels(self, mapping: LoopNest) -> dict[str, tuple[Channel[float], int]]:
        """Every limited channel with what passes, and how many of it work side by side."""
        ledger = Ledger(self.layer, self.accelerator, one=1.0)
        ledger.book(flows(self.layer, mapping, self.accelerator.input_reuse))
        used = [mapping.used(level) for level in range(mapping.depth)]
        return {c.name: (c, math.prod(used[: c.level])) for c in ledger.channels()}

    def _times(self, mapping: LoopNest) -> dict[str, float]:
        """Cycles that each limited channel needs for the whole layer."""
        return {
            name: channel.bits / (channel.bandwidth * side_by_side)
            for name, (channel, side_by_side) in self._channels(mapping).items()
        }

    def _bandwidth(self, mapping: LoopNest, widest: Spread) -> BoundStep:
        cost = evaluate(self.layer, self.accelerator, mapping)
        bound = self._per_cycle(cost.cycles)
        least = widest.steps / self.rate
        if cost.cycles <= least:
            return BoundStep(6, bound, self._nothing("no memory or network is slower"), "")
        if cost.limited_by == "compute":
            # Mappings that are spread wider need more than some channel gives.
            times = self._times(widest.mapping)
            worst = max(times, key=lambda name: times[name])
            rate = self._channels(mapping)[worst][0].bandwidth
            text = f"{worst}: a wider spread moves more than {rate:.4g} bit/cycle allow"
            need = rate * times[worst] / least
            lift = f"{worst} of {need:.4g} bit/cycle instead of {rate:.4g}, for a wider spread"
            return BoundStep(6, bound, text, lift)
        times = self._times(mapping)
        slow = [name for name, time in times.items() if time >= cost.cycles * (1 - LEAST_GAIN)]
        others = {k: v for k, v in times.items() if k not in slow}
        others["compute"] = cost.compute_cycles
        following = max(others, key=lambda other: others[other])
        channels = self._channels(mapping)
        rates = {name: channels[name][0].bandwidth for name in slow}
        text = " and ".join(f"{name} at {rate:.4g} bit/cycle" for name, rate in rates.items())
        if others[following] >= cost.cycles * (1 - LEAST_GAIN):
            return BoundStep(6, bound, text, f"{following} takes as long")
        lift = " and ".join(
            f"{name} of {rate * times[name] / others[following]:.4g} bit/cycle "
            f"instead of {rate:.4g}"
            for name, rate in rates.items()
        )
        reached = _rate(self._per_cycle(others[following]))
        then = f"by the same mapping, then limited by {following}"
        return BoundStep(6, bound, text, f"{lift}: {reached} {then}")

    def _waits(self, simulation: Simulation) -> str:
        cycles = simulation.cycles
        parts = {f"waits for {name}": time for name, time in simulation.stalls.items()}
        parts |= {"ramp-up": simulation.ramp_up, "drain": simulation.drain}
        parts = {name: time for name, time in parts.items() if time > 0 and cycles}
        if not parts:
            return self._nothing("work never waits")
        ranked = sorted(parts, key=lambda name: -parts[name])
        return ", ".join(f"{name} {100 * parts[name] / cycles:.2g} %" for name in ranked[:3])

    def _smoother(self, mapping: LoopNest, simulation: Simulation, cycles: float) -> str:
        """Of a few changes of the accelerator, the one with which the same mapping ends soonest."""
        if not simulation.stalls:
            return ""
        worst = max(simulation.stalls, key=lambda name: simulation.stalls[name])
        operand, _, way = worst.partition(": ")
        ends = way.split(" > ")
        best = (cycles * (1 - LEAST_GAIN), "")
        memories = self.accelerator.memories
        options: list[tuple[str, Accelerator]] = []
        for name in reversed(ends):
            held = memories.get(name)
            if held is None or held.double_buffered or held in self.accelerator.levels[0].memories:
                continue
            changed = _with(self.accelerator, name, double_buffered=True)
            options.append((f"{name} double-buffered", changed))
        channels = self._channels(mapping)
        busiest = max(simulation.channels, key=lambda name: simulation.channels[name])
        for name, (channel, _) in channels.items():
            carries = name in ends or name.endswith(f".{operand}")
            if name == busiest or (carries and channel.bits > 0):
                rate = channel.bandwidth
                faster = _faster(self.accelerator, name, 2 * rate)
                text = f"{name} of {2 * rate:.4g} bit/cycle instead of {rate:.4g}"
                options.append((text, faster))
        for text, accelerator in options:
            taken = simulate(self.layer, accelerator, mapping).cycles
            taken = max(taken, evaluate(self.layer, accelerator, mapping).cycles)
            if taken < best[0]:
                best = (taken, text)
        if not best[1]:
            return "neither double buffering nor twice the bandwidth of any one channel helps"
        return f"{best[1]}: {_rate(self._per_cycle(best[0]))} by the same mapping"

    def _roofs(self, mapping: LoopNest) -> Iterator[Roof]:
        for channel, side_by_side in self._channels(mapping).values():
            passing = {o: bits for o, bits in channel.by_operand.items() if bits > 0}
            for operand, bits in passing.items():
                yield Roof(
                    operand=operand.value,
                    channel=channel.name,
                    intensity=self.layer.macs / bits,
                    bandwidth=channel.bandwidth * side_by_side,
                    shared=len(passing) > 1,
                )


def _with(accelerator: Accelerator, name: str, **changes: Any) -> Accelerator:
    """The accelerator with one memory or array changed."""
    nest: list[Level | Array] = []
    for part in accelerator.nest:
        if isinstance(part, Array):
            nest.append(replace(part, **changes) if part.name == name else part)
        else:
            memories = tuple(
                replace(memory, **changes) if memory.name == name else memory
                for memory in part.memories
            )
            nest.append(Level(memories))
    return replace(accelerator, nest=tuple(nest))


def _faster(accelerator: Accelerator, channel: str, bandwidth: float) -> Accelerator:
    """The accelerator with another bandwidth of one channel."""
    name, _, operand = channel.partition(".")
    if not operand:
        return _with(accelerator, name, bandwidth=bandwidth)
    array = next(a for a in accelerator.arrays if a is not None and a.name == name)
    own = array.bandwidths._replace(**{Operand(operand).value: bandwidth})
    return _with(accelerator, name, bandwidths=own)


def _shape(array: Array) -> str:
    return " x ".join(str(axis.size) for axis in array.axes)


def _spread_text(spread: Spread) -> str:
    """How a mapping spreads over the arrays: ``R11 M2 along rows``."""
    unrolled = [str(axis) for stage in spread.mapping.stages for axis in stage.spatial]
    return " by ".join(unrolled)


def _rate(bound: float) -> str:
    return f"{show_count(bound) if 1e5 <= bound < math.inf else f'{bound:.4g}'} MAC/cycle"


def finite(value: float | None) -> float | None:
    """The value if JSON can write it."""
    return value if value is not None and math.isfinite(value) else None
