"""The options that commands share, each written once.

A command takes a group whole, as one argument; its fields become options of the command::

    def estimate(network: Network, /, *, question: QuestionOptions, ...) -> int
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from picojoule.cli.completion import (
    complete_between,
    complete_chips,
    complete_dataflows,
    complete_layers,
    complete_networks,
    complete_objectives,
    complete_policies,
)

Network = Annotated[
    str,
    Parameter(
        completer=complete_networks,
        help="A file (.onnx, .tflite, .pt2, .gguf, .csv, .txt), a Hugging Face folder, the folder "
        "of a run, file.py:function, or a shipped name.",
    ),
]
LayerName = Annotated[
    str, Parameter(completer=complete_layers, help="A layer of the network, by name.")
]
Chip = Annotated[
    str,
    Parameter(
        name=["--accelerator", "-a"],
        completer=complete_chips,
        help="A .yaml file or a shipped name.",
    ),
]
Node = Annotated[
    str | None,
    Parameter(
        help="Make the accelerator at this node of technology (22nm): its energies scaled, in J."
    ),
]
Batch = Annotated[int | None, Parameter(help="Inferences at once; energies stay per inference.")]
Dims = Annotated[
    list[str] | None,
    Parameter(
        name="--dim",
        negative="",
        help="Size of a dimension of an ONNX input, by its name in the file (sequence=128) or its "
        "place (data_0[2]=227); repeatable.",
    ),
]
Trips = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        help="How often a loop of an ONNX or TFLite file runs that does not say so (decoder=20); "
        "repeatable.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    Parameter(
        name="--shape",
        negative="",
        help="Shape of a tensor of an ONNX file that no rule tells (features=1x64x56x56); "
        "repeatable.",
    ),
]
NoValues = Annotated[
    bool,
    Parameter(name="--no-values", negative="", help="Leave stored values alone: all are dense."),
]
Context = Annotated[
    int | None,
    Parameter(help="Tokens that a transformer of a Hugging Face folder or of GGUF attends to."),
]
Phase = Annotated[
    str | None,
    Parameter(help="Of such a transformer: decode (one token) or prefill (the whole context)."),
]
CacheBits = Annotated[
    int | None, Parameter(name="--kv-bits", help="Width of its cache of keys and values.")
]
Flow = Annotated[
    str | None,
    Parameter(completer=complete_dataflows, help="rs, ws, osa, osb, osc, is, nlr or flexible."),
]
Objective = Annotated[
    str,
    Parameter(
        completer=complete_objectives, help="What the search minimises: energy, latency or edp."
    ),
]
Policy = Annotated[
    str,
    Parameter(
        name="--mapping",
        completer=complete_policies,
        help="best: a bound for the machine; or published: what a chip does whose mappings keep to "
        "the published rules of its dataflow and machine.",
    ),
]
Between = Annotated[
    str | None,
    Parameter(
        completer=complete_between,
        help="Where tensors between layers lie: dram, the outermost memory; or keep: on the chip "
        "where that is best. By default what the machine's file says, else dram.",
    ),
]
TileSizes = Annotated[
    str,
    Parameter(
        name="--factors",
        help="Tile sizes: all, or perfect (only those that divide the tile outside them).",
    ),
]
Mappings = Annotated[
    str,
    Parameter(
        name="--space",
        help="Mappings: even (the operands of a memory share their tiles), or uneven as well (each "
        "may have its own).",
    ),
]
Others = Annotated[
    Literal["apart", "count"],
    Parameter(
        help="What operators without products (pooling, additions, softmax) move between memories: "
        "apart from the totals, or count it in them."
    ),
]
Bits = Annotated[
    list[str] | None,
    Parameter(negative="", help="Width of all operands (8) or of one (weight=8); repeatable."),
]
Density = Annotated[
    list[str] | None,
    Parameter(negative="", help="Share of non-zero values (weight=0.4); repeatable."),
]
Profile = Annotated[
    str | None,
    Parameter(
        help="Densities and widths of every layer: the .csv of picojoule profile, a run's folder, "
        "or a released model."
    ),
]
Slack = Annotated[
    str | None,
    Parameter(
        help="Take the fastest of the mappings that cost at most this share more energy than the "
        "best: 1%."
    ),
]
Budget = Annotated[
    str | None, Parameter(help="Time to search each distinct layer: 0.5s, 200ms, 2min.")
]
CacheFolder = Annotated[
    Path | None,
    Parameter(name="--cache", help="Folder of earlier searches; by default the user's cache."),
]
NoCache = Annotated[
    bool, Parameter(name="--no-cache", negative="", help="Recall and keep no searches.")
]
Accesses = Annotated[
    Literal["charged", "physical"] | None,
    Parameter(
        help="Accesses to show: charged words, as the machine's convention pays them, or the bytes "
        "that physically enter and leave each place, as a chip's counters see them."
    ),
]
AllowIncomplete = Annotated[
    bool,
    Parameter(
        name="--allow-incomplete",
        negative="",
        help="Go on, with exit code 0, where operators that multiply, or may, are left out.",
    ),
]
Wide = Annotated[
    bool,
    Parameter(
        negative="", help="Tables as wide as they need to be, whatever the terminal's width."
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer with JSON.")]
Output = Annotated[
    Path | None, Parameter(name=["--output", "-o"], help="Write here; the ending says the format.")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """What is asked of a network: on which machine, and with which batch, widths and densities."""

    accelerator: Chip
    node: Node = None
    batch: Batch = None
    bits: Bits = None
    density: Density = None
    profile: Profile = None
    dims: Dims = None
    trips: Trips = None
    shapes: Shapes = None
    no_values: NoValues = False
    context: Context = None
    phase: Phase = None
    kv_bits: CacheBits = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How the best mappings are searched."""

    dataflow: Flow = None
    objective: Objective = "energy"
    factors: TileSizes = "all"
    space: Mappings = "even"
    mapping: Policy = "best"
    slack: Slack = None
    budget: Budget = None
    cache: CacheFolder = None
    no_cache: NoCache = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How the answer leaves."""

    as_json: Json = False
    output: Output = None
    wide: Wide = False


# What a command without any of these options gets.
SEARCH = SearchOptions()
ANSWER = AnswerOptions()
