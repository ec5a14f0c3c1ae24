"""What is asked of a network on an accelerator: read and checked once, then answered.

:func:`ask` turns what people write (names, files, a width for all operands) into one
:class:`Question`. ``estimate``, ``examine`` and ``alternatives``, the command line and the server
hand it on whole::

    ask(source, accelerator, batch=4, bits=8) -> Question -> price, find_bounds, weigh
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from picojoule.accelerator import Accelerator, Provenance, Published
from picojoule.completeness import NOTHING, listed
from picojoule.cost import evaluate
from picojoule.dataflow import DATAFLOWS, Dataflow
from picojoule.equivalents import as_run
from picojoule.errors import PicojouleError, WorkloadError, did_you_mean
from picojoule.frontends import load
from picojoule.graph import Graph
from picojoule.mapper.cache import Cache, find
from picojoule.mapper.found import FACTORS, SPACES, value_of
from picojoule.processing_passes import chip_mapping
from picojoule.specs import in_use, load_accelerator
from picojoule.workload import NO_SCALES, OPERANDS, Layer, Operand, PerOperand, Workload

if TYPE_CHECKING:
    from picojoule.cost import Cost
    from picojoule.mapper.found import Found, Watch
    from picojoule.mapping import Mapping as LoopNest

UNMEASURED = (
    "densities of inputs and outputs are taken as 1; picojoule profile measures them on data, and "
    "--profile (profile= in Python) takes what it measured"
)
OBJECTIVES = ("energy", "latency", "edp")
POLICIES = ("best", "published")
BETWEEN = ("dram", "keep")
OTHERS = ("apart", "count")
COMPILERS = "what was inferred of the chip's own compiler: picojoule.processing_passes"
ROUNDING = 1e-9  # relative: sums in another order differ by less

Progress = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and the name of what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A network on an accelerator, and how its mappings are searched; made by :func:`ask`.

    Args:
        network: with the batch, widths and densities that were asked for.
        dataflow: constraints on every mapping.
        objective: "energy", "latency" or "edp".
        factors: "all" tile sizes, or "perfect": only those that divide the tile outside them.
        space: "even" mappings, whose operands share the tiles of a memory, or also "uneven" ones.
        slack: the fastest of the mappings that cost at most this share more than the best.
        budget: seconds of search per distinct layer; None: until proved optimal.
        cache: where searches are kept (see :mod:`picojoule.mapper.cache`).
        policy: "best": the answer is a bound for the machine; "published": it is what a chip does
            whose mappings keep to the published rules, which dataflow and accelerator have in them.
        rules: these rules, and where each comes from.
        between: what lies between the layers goes to the outermost memory and back ("dram"), or
            stays on the chip where that is best ("keep", see :mod:`picojoule.plan.residency`).
        graph: what lies between the layers, as the network says it; a machine that runs other
            layers in their place starts from and ends in the same tensors.
        others: whether totals "count" what operators without products move, or it stands "apart".
    """

    network: Workload
    accelerator: Accelerator
    dataflow: Dataflow
    objective: str = "energy"
    factors: str = "all"
    space: str = "even"
    slack: float = 0.0
    budget: float | None = None
    cache: Cache = True
    policy: str = "best"
    rules: tuple[Provenance, ...] = ()
    between: str = "dram"
    graph: Graph | None = None
    others: str = "apart"

    def of_layer(self, name: str) -> Question:
        """The same of one layer alone, of which no operator is left out and which nothing is near.

        Raises:
            WorkloadError: the network has no such layer.
        """
        alone = replace(self.network, layers=(self.network[name],), unmodelled=NOTHING)
        return replace(self, network=alone, between="dram", graph=None)

    def shares(self) -> Iterator[Share]:
        """What is on the chip at once of each layer, in the order of the network."""
        for layer in self.network:
            images = images_at_once(layer, self.accelerator, self.network.batch)
            part = layer.with_batch_share(images, self.network.batch)
            yield Share(layer=layer, part=part, images=images)

    def compiled(self, layer: Layer) -> LoopNest | None:
        """What the machine's own compiler does with *layer*, if published mappings are asked for.

        None where there is no such rule, or it has none for this layer: then the best of the
        mappings that keep to the published rules stands for it.
        """
        compiles = any(rule.path == "compiler" for rule in self.rules)
        return chip_mapping(self.accelerator, layer) if compiles else None

    def price(self, layer: Layer, mapping: LoopNest) -> Cost:
        """The price of *mapping*, at the time that it takes where time costs energy.

        Raises:
            MappingError: if the mapping is not legal.
        """
        if not self.accelerator.priced_in_time:
            return evaluate(layer, self.accelerator, mapping)
        # Compiled code: loaded only where there is work to do.
        from picojoule.simulation.simulator import price_in_time

        return price_in_time(layer, self.accelerator, mapping)

    def find(self, layer: Layer, *, watch: Watch | None = None) -> Found:
        """The best mapping of *layer*, searched or recalled; whoever watches may end the search.

        Where time costs energy the search counts the time of the busiest part, below which no
        mapping is done; the price is at the time that the best one takes, played through.

        Raises:
            NoMappingError: if no mapping is legal.
        """
        best = find(
            layer,
            self.accelerator,
            self.dataflow,
            self.objective,
            factors=self.factors,
            space=self.space,
            slack=self.slack,
            budget=self.budget,
            cache=self.cache,
            watch=watch,
        )
        if not self.accelerator.priced_in_time:
            return best
        cost = self.price(layer, best.mapping)
        value = value_of(cost, self.objective)
        proved = best.status == "optimal" and value <= best.lower_bound * (1 + ROUNDING)
        return replace(best, cost=cost, value=value, status="optimal" if proved else "feasible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A layer of the whole batch, and its part that is on the chip at once: *images* of them."""

    layer: Layer
    part: Layer
    images: int


def ask(
    source: object,
    accelerator: str | os.PathLike[str] | Accelerator,
    *,
    node: str | None = None,
    batch: int | None = None,
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
    profile: object = None,
    reading: Mapping[str, Any] | None = None,
    dataflow: str | Dataflow | None = None,
    objective: str = "energy",
    factors: str = "all",
    space: str = "even",
    slack: float = 0.0,
    budget: float | None = None,
    cache: Cache = True,
    policy: str = "best",
    between: str | None = None,
    others: str = "apart",
) -> Question:
    """Read the network and the accelerator, and put what is asked for in place of their own.

    Mistakes in words are found before any file is read. The arguments are those of
    :func:`estimation.estimate`; *reading* are keywords of :func:`frontends.load`.

    >>> question = ask("bvlc-alexnet", "eyeriss", batch=4, bits={"weight": 8})
    >>> question.network.batch, question.network["conv1"].bits, question.dataflow.name
    (4, PerOperand(input=16, weight=8, output=16), 'rs')

    Raises:
        InputError: if the network or the accelerator cannot be read.
        WorkloadError: the network has no layer.
        PicojouleError: a word that is none of those known.
    """
    _check_word("objective", objective, OBJECTIVES)
    if slack and objective != "energy":
        raise PicojouleError(f"slack, of the energy, has no effect on the objective {objective!r}")
    if not 0 <= slack <= 1:
        raise PicojouleError(f"a slack of {slack:g} is not within 0 to 1 (100 %)")
    _check_word("factors", factors, FACTORS)
    _check_word("space", space, SPACES)
    _check_word("policy", policy, POLICIES)
    if between is not None:
        _check_word("between", between, BETWEEN)
    _check_word("others", others, OTHERS)
    if isinstance(dataflow, str):
        _check_word("dataflow", dataflow, tuple(DATAFLOWS))
    accelerator = load_accelerator(accelerator, node=node)
    network = load(source, **(reading or {}))
    _check_layers(network)
    if not bits:
        network = narrowed(network, accelerator)
    if profile is not None:
        network = as_measured(network, load(getattr(profile, "workload", profile)))
    elif not density and _is_unmeasured(network) and any(map(accelerator.sees_zeros, OPERANDS)):
        network = replace(network, remarks=(*network.remarks, UNMEASURED))
    network = prepared(network, batch=batch, bits=bits, density=density)
    if others == "count" and network.graph is None:
        from picojoule.plan.bounds import no_graph

        raise WorkloadError(f"network {network.name!r}: {no_graph(network)}")
    question = Question(
        network=as_run(network, accelerator),
        accelerator=accelerator,
        dataflow=accelerator.dataflow(dataflow),
        objective=objective,
        factors=factors,
        space=space,
        slack=slack,
        budget=budget,
        cache=cache,
        between=between or accelerator.default_between,
        graph=network.graph,
        others=others,
    )
    return as_published(question) if policy == "published" else question


def as_published(question: Question) -> Question:
    """The same of the mappings that were published for the question's dataflow and accelerator.

    Raises:
        PicojouleError: nobody says what those do.
    """
    accelerator, dataflow = question.accelerator, question.dataflow
    # What a machine file says is about the dataflow that the machine was built for.
    published = accelerator.published
    if dataflow.name != accelerator.default_dataflow:
        published = Published()
    compiler = accelerator.compiler if published is accelerator.published else None
    rules = (
        *([Provenance("compiler", compiler, COMPILERS, "derived")] if compiler else []),
        *(
            Provenance("rule", str(rule), rule.source, rule.status)
            for rule in (*dataflow.published, *published.rules)
        ),
        *(
            Provenance(change.target, change.to, change.source, change.status)
            for change in published.changes
        ),
    )
    if not rules:
        raise PicojouleError(
            f"no mapping policy was published for {accelerator.name!r} with the dataflow "
            f"{dataflow.name!r}; ask for the best mappings, or say under `published` in the "
            "machine's file what its mappings keep to"
        )
    return replace(
        question,
        accelerator=in_use(accelerator) if published.changes else accelerator,
        dataflow=dataflow.as_published(published.rules),
        policy="published",
        rules=rules,
    )


def narrowed(network: Workload, accelerator: Accelerator) -> Workload:
    """*network* at the width of the accelerator's words, where its own is wider; it says so."""
    word = accelerator.word_bits
    wide = max((max(layer.bits) for layer in network), default=0)
    if wide <= word:
        return network
    remark = (
        f"priced at {word} bit, the width of {accelerator.name}'s words; its own are up to {wide} "
        "bit; give bits to price another width"
    )
    layers = (
        replace(x, bits=PerOperand(*(min(n, word) for n in x.bits)), scale_bits=NO_SCALES)
        for x in network
    )
    return replace(network, layers=tuple(layers), remarks=(*network.remarks, remark))


def without_effect(question: Question, density: Mapping[str, float]) -> tuple[str, ...]:
    """The operands whose *density* changes nothing on the question's accelerator.

    >>> question = ask("bvlc-alexnet", "eyeriss-isca16")
    >>> without_effect(question, {"weight": 0.5})
    ('weight',)
    """
    return tuple(name for name in density if not question.accelerator.sees_zeros(Operand(name)))


def images_at_once(layer: Layer, accelerator: Accelerator, batch: int) -> int:
    """How many of the batch's inferences share what is on the chip.

    The whole batch, unless the accelerator runs sets of images whose output maps are all resident
    in the level below the outermost: then the largest divisor of the batch that fits, at least one.
    """
    if not accelerator.resident_images:
        return batch
    memory = accelerator.levels[1].holder(Operand.OUTPUT)
    if memory is None or memory.capacity is None:
        return batch
    per_image = layer.size(Operand.OUTPUT) / batch * accelerator.psum_bits(layer.bits.output)
    room = int(memory.capacity // per_image)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(1, room))


def as_measured(network: Workload, profile: Workload) -> Workload:
    """The network with the densities and widths of *profile*, another reading of the same network.

    Layers are matched by name where all are found. Exporters rename layers and put side branches in
    another order: then each gets the next of its shape.

    Raises:
        WorkloadError: the profile is not of this network.
    """
    measured = profile.with_batch(network.batch)
    named = {layer.name: layer for layer in measured}
    by_name = all(layer.name in named for layer in network)
    left = list(measured)
    layers = []
    for layer in network:
        alike = [
            other
            for other in ([named[layer.name]] if by_name else left)
            if other.bounds == layer.bounds
            and other.weight_is_activation == layer.weight_is_activation
        ]
        if not alike:
            raise WorkloadError(
                f"the profile, of {profile.name!r}, is not of network {network.name!r}: it has no "
                f"layer {layer.name!r} of {layer.bounds}; profile the "
                "network that is priced"
            )
        other = alike[0]
        left.remove(other)
        layers.append(
            replace(layer, density=other.density, bits=other.bits, scale_bits=other.scale_bits)
        )
    if left:
        raise WorkloadError(
            f"the profile, of {profile.name!r}, has layers that network {network.name!r} has not: "
            f"{', '.join(layer.name for layer in left[:8])}; profile the network that is priced"
        )
    return replace(network, layers=tuple(layers))


def _is_unmeasured(network: Workload) -> bool:
    """Whether nothing is known of the activations of a network that has weights to look at."""
    dense = all(layer.density.input == layer.density.output == 1 for layer in network)
    pruned = any(layer.density.weight < 1 for layer in network)
    return dense and (pruned or network.source.startswith("torch:"))


def prepared(
    network: Workload,
    *,
    batch: int | None = None,
    bits: int | PerOperand[int] | Mapping[str, int] | None = None,
    density: Mapping[str, float] | None = None,
) -> Workload:
    """The network with the caller's batch, widths and densities in place of its own."""
    if batch is not None:
        network = network.with_batch(batch)
    if isinstance(bits, int):
        network = network.with_layers(bits=PerOperand(bits, bits, bits), scale_bits=NO_SCALES)
    elif isinstance(bits, PerOperand):
        network = network.with_layers(bits=bits, scale_bits=NO_SCALES)
    elif bits:
        _check_operands("bits", bits)
        network = replace(network, layers=tuple(x.with_widths(**bits) for x in network))
    if density:
        _check_operands("density", density)
        layers = (replace(x, density=x.density._replace(**density)) for x in network)
        network = replace(network, layers=tuple(layers))
    return network


def _check_layers(network: Workload) -> None:
    if network.layers:
        return
    if network.unmodelled:
        why = f"what multiplies in it, or may, is not modelled: {listed(network.unmodelled)}"
        do = (
            "please report these operators; a table (.csv) of the layers they stand for can be "
            "priced meanwhile"
        )
    else:
        why = "nothing in it multiplies and accumulates"
        if network.not_counted:
            why += f"; it holds {listed(network.not_counted)}"
        do = "give a network with convolutions, linear layers or matrix products"
    raise WorkloadError(f"network {network.name!r} has no layer to price: {why}; {do}")


def _check_operands(what: str, values: Mapping[str, Any]) -> None:
    operands = [operand.value for operand in OPERANDS]
    for name in values:
        if name not in operands:
            near = did_you_mean(name, operands)
            raise PicojouleError(
                f"{what} of {name!r}{near}; the operands are {', '.join(operands)}"
            )


def _check_word(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        near = did_you_mean(word, words)
        raise PicojouleError(f"no {what} {word!r}{near}; there are {', '.join(words)}")
