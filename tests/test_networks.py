"""The shipped networks and published figures against what others count and print.

Totals come from ``data/published/network_totals.csv``; where onnx ships the same network, its
graph is compared layer by layer without picojoule's own ONNX frontend.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from picojoule.frontends import load
from picojoule.frontends.energy_site import read_energy_site
from picojoule.frontends.table import read_table
from picojoule.workload import Layer, Workload
from tools import make_networks

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src" / "picojoule" / "data"
NETWORKS = sorted(path.stem for path in (DATA / "networks").glob("*.csv"))
PUBLISHED = sorted(path.stem for path in (DATA / "published").glob("*.csv"))
ALEXNET = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")

Row = dict[str, str]


def network(name: str) -> Workload:
    return read_table(DATA / "networks" / f"{name}.csv")


def rows(file: str, **wanted: str) -> list[Row]:
    """The rows of a published file whose columns have the *wanted* values."""
    with (DATA / "published" / f"{file}.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    return [row for row in found if all(row[k] == v for k, v in wanted.items())]


def value(file: str, **wanted: str) -> float:
    """The value of the one row that has the *wanted* values."""
    (row,) = rows(file, **wanted)
    return float(row["value"])


def rounding(text: str) -> float:
    """Half a unit of the last printed digit: 0.05e9 for ``3.7e9``."""
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent


# --- the generator -----------------------------------------------------------------------------


def test_the_tool_regenerates_the_shipped_files_byte_for_byte() -> None:
    expected = {name: text.encode() for name, text in make_networks.files().items()}
    shipped = {path.name: path.read_bytes() for path in (DATA / "networks").iterdir()}
    assert sorted(shipped) == sorted(expected)
    for name, content in expected.items():
        assert shipped[name] == content, f"{name}: run python -m tools.make_networks"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shipped_network_reads_back_as_it_was_defined(name: str) -> None:
    loaded, defined = network(name), make_networks.NETWORKS[name]()
    assert loaded == defined
    assert loaded.name == name
    assert loaded.not_counted
    assert loaded.source


def test_design_names_are_shipped() -> None:
    promised = (
        "bvlc-alexnet googlenet squeezenet1.0 squeezenet1.1 vgg16 resnet18 resnet50 mobilenetv1 "
        "mobilenetv2 vit-b16 bert-base gpt2 gpt2-decode"
    )
    assert set(promised.split()) <= set(NETWORKS)


def test_the_website_file_is_the_asilomar_network() -> None:
    path = DATA / "networks" / "NetworkConf_AlexNet_Asilomar.txt"
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [len(line) for line in lines] == [25] * 8
    assert [int(line[0]) for line in lines] == list(range(1, 9))
    # conv2 by hand: 27 x 27 x 96 unpadded, two groups of 5 x 5 x 48 filters, 67 % non-zero input
    zeros = round(27 * 27 * 96 * 0.33)
    assert [int(x) for x in lines[1][1:12]] == [27, 27, 96, 1, zeros, 16, 5, 5, 48, 256, 0]
    assert [int(x) for x in lines[1][19:]] == [1, 1, 2, 2, 2, 2]
    for ours, theirs in zip(network("bvlc-alexnet-asilomar"), read_energy_site(path), strict=True):
        assert theirs.bounds == ours.bounds
        assert theirs.padding == ours.padding
        assert theirs.density == pytest.approx(ours.density, abs=2e-4)  # fc7, fc8: 4096 values


# --- totals ------------------------------------------------------------------------------------

TOTALS = rows("network_totals")
COUNTS = ("macs", "macs.counted", "operations")


def outputs(layer: Layer) -> int:
    """Output channels over all groups: as many as biases."""
    return layer.bounds.G * layer.bounds.M


def not_weights(name: str, net: Workload) -> int:
    """Biases, normalisation and embeddings: parameters that are no layer's weights."""
    stored = [layer for layer in net if not layer.weight_is_activation]
    biases = sum(outputs(layer) for layer in stored)
    width = 768
    if name.startswith(("resnet", "mobilenet")):  # scale and shift per channel; one biased layer
        return 2 * (biases - 1000) + 1000
    if name == "vit-b16":  # 25 layer norms, class token, position embedding
        return biases + 25 * 2 * width + width + 197 * width
    if name == "bert-base":  # word, position and segment embeddings, 25 layer norms
        return biases + (30522 + 512 + 2) * width + 25 * 2 * width
    if name == "gpt2":  # the output layer has no bias and is the token embedding
        return biases - 50257 + 1024 * width + 25 * 2 * width
    return biases


@pytest.mark.parametrize(
    "row", [r for r in TOTALS if r["quantity"] == "parameters"], ids=lambda r: str(r["network"])
)
def test_weights_are_the_published_parameters_less_biases(row: Row) -> None:
    net = network(row["network"])
    assert net.weights + not_weights(row["network"], net) == int(row["value"])


@pytest.mark.parametrize(
    "row",
    [r for r in TOTALS if r["quantity"] in ("macs", "macs.counted", "weights")],
    ids=lambda r: f"{r['network']}-{r['quantity']}",
)
def test_totals_round_to_the_published_ones(row: Row) -> None:
    ours = getattr(network(row["network"]), row["quantity"].partition(".")[0])
    assert ours == pytest.approx(float(row["value"]), abs=rounding(row["value"]))


def test_every_network_has_a_published_total() -> None:
    checked = {row["network"] for row in TOTALS if row["quantity"] in COUNTS}
    variants = {name for name in NETWORKS if name.startswith("bvlc-alexnet-")}
    # squeezenet1.0 and googlenet: variants and operations, see below
    assert set(NETWORKS) == variants | checked


def test_alexnet_layer_by_layer() -> None:
    # papers.md §3: dense MACs and weights that the digitised bars of CVPR'17 were checked with.
    net = network("bvlc-alexnet")
    millions = [105.415, 223.949, 149.520, 112.140, 74.760, 37.749, 16.777, 4.096]
    assert [round(layer.macs / 1e6, 3) for layer in net] == millions
    assert (net.macs, net.weights) == (724_406_816, 60_954_656)
    # Table III of JSSC'17: shapes as the chip saw them, the input padded, channels per group.
    for layer in list(net)[:5]:
        shape = [layer.input_size[0] + layer.padding[0] + layer.padding[1], layer.bounds.R]
        shape += [layer.bounds.P, layer.bounds.C, outputs(layer), layer.stride[0]]
        for letter, ours in zip("HRECMU", shape, strict=True):
            assert ours == value("jssc17_table3", layer=layer.name, quantity=f"shape.{letter}")


def test_variants_of_which_totals_are_published() -> None:
    def total(name: str, quantity: str) -> float:
        return value("network_totals", network=name, quantity=quantity)

    small = sum(layer.macs for layer in make_networks.googlenet(five=3).layers)
    assert small == pytest.approx(total("googlenet", "macs.3x3_for_5x5"), abs=0.5e6)
    squeeze = make_networks.squeezenet(stem=(96, 7), size=224, pools=(5, 9))
    macs = sum(layer.macs for layer in squeeze.layers)
    assert macs == pytest.approx(total("squeezenet1.0", "macs.224"), abs=0.5e6)
    *base, classifier = network("mobilenetv1")
    assert sum(x.macs for x in base) == total("mobilenetv1", "macs.no_classifier")
    assert sum(x.weights for x in base) == total("mobilenetv1", "weights.no_classifier")
    assert classifier.weights == 1024 * 1000
    assert 2 * network("gpt2").macs == total("gpt2", "operations")
    # These two count pooling, normalisation and biases too: up to 4 % more than 2 per MAC.
    for name in ("googlenet", "squeezenet1.0"):
        assert 1 < total(name, "operations") / (2 * network(name).macs) < 1.04


def test_transformers_by_hand() -> None:
    # Per token and block 4 x 768^2 for the projections and 8 x 768^2 for the MLP; attention
    # takes tokens x attended x 768 twice.
    width, blocks = 768, 12
    block = 12 * width**2
    bert = blocks * (128 * block + 2 * 128 * 128 * width) + width**2
    assert network("bert-base").macs == bert == 11_174_215_680
    decode = blocks * (block + 2 * 1024 * width) + width * 50257
    assert network("gpt2-decode").macs == decode == 142_406_400
    assert network("gpt2-decode").weights == network("gpt2").weights
    for name, heads in (("vit-b16", 12), ("bert-base", 12), ("gpt2", 12), ("gpt2-decode", 12)):
        products = [layer for layer in network(name) if layer.weight_is_activation]
        assert len(products) == 2 * blocks
        assert {layer.bounds.G for layer in products} == {heads}


# --- onnx --------------------------------------------------------------------------------------

SAME_SIZES = {"squeezenet": "squeezenet1.1", "resnet50": "resnet50"}
OTHER_SIZES = {"bvlc_alexnet": "bvlc-alexnet", "inception_v1": "googlenet"}
"""onnx runs these two at sizes that differ from Caffe's (224 x 224 input; pooling rounds down)."""


def onnx_graph(name: str) -> tuple[Any, dict[str, list[int]]]:
    """A network that onnx carries for its tests, and the shapes of its tensors."""
    onnx = pytest.importorskip("onnx")
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.shape_inference.infer_shapes(onnx.load(path / f"light_{name}.onnx"))
    graph = model.graph
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.input, *graph.output)
    }
    return graph, shapes


def attribute(node: Any, name: str, default: list[int]) -> list[int]:
    for found in node.attribute:
        if found.name == name:
            return list(found.ints) or [found.i]
    return default


def onnx_signature(node: Any, shapes: dict[str, list[int]], sizes: bool) -> tuple[Any, ...]:
    """Filters, groups, strides, padding (top, bottom, left, right) and, if wanted, MACs."""
    out, per_group, *kernel = shapes[node.input[1]]
    if node.op_type == "Gemm":  # the weights are stored transposed, as [out, in]
        return (1, out, per_group, (1, 1), (0, 0, 0, 0), out * per_group if sizes else None)
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    area = shapes[node.output[0]][2] * shapes[node.output[0]][3]
    taps = per_group * kernel[0] * kernel[1]
    return (
        attribute(node, "group", [1])[0],
        out,
        taps,
        tuple(attribute(node, "strides", [1, 1])),
        (top, bottom, left, right),
        out * taps * area if sizes else None,
    )


def our_signature(layer: Layer, sizes: bool) -> tuple[Any, ...]:
    b = layer.bounds
    taps = b.C * b.R * b.S
    macs = layer.macs if sizes else None
    return (b.G, outputs(layer), taps, layer.stride, layer.padding, macs)


@pytest.mark.parametrize(("theirs", "ours"), [*SAME_SIZES.items(), *OTHER_SIZES.items()])
def test_layers_and_operators_are_those_of_the_onnx_graph(theirs: str, ours: str) -> None:
    graph, shapes = onnx_graph(theirs)
    net, sizes = network(ours), theirs in SAME_SIZES
    nodes = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert Counter(our_signature(layer, sizes) for layer in net) == Counter(
        onnx_signature(node, shapes, sizes) for node in nodes
    )
    operators = Counter(node.op_type for node in graph.node)
    silent = ("Conv", "Gemm", "ConstantOfShape", "Reshape", "Dropout", "Unsqueeze")
    for operator in silent:
        operators.pop(operator, None)
    if ours == "resnet50":  # onnx: Sum for Add, a 7 x 7 AveragePool, and a Softmax at the end
        operators = Counter(operators)
        operators["Add"] = operators.pop("Sum")
        operators["GlobalAveragePool"] = operators.pop("AveragePool")
        del operators["Softmax"]
    assert dict(net.not_counted) == operators


# --- densities ---------------------------------------------------------------------------------


def effectual(net: Workload) -> float:
    return sum(layer.effectual_macs for layer in net)


def nonzero(net: Workload) -> float:
    return sum(layer.weights * layer.density.weight for layer in net)


def test_densities_give_the_published_effectual_macs_and_weights() -> None:
    table = {"cvpr17": 0.005, "dc": 0.01, "eap": 0.01}
    for suffix, tolerance in table.items():
        name = f"bvlc-alexnet-{suffix}"
        macs = value("cvpr17_table1", network=name, quantity="effectual_macs")
        weights = value("cvpr17_table1", network=name, quantity="nonzero_weights")
        assert effectual(network(name)) == pytest.approx(macs, rel=tolerance)
        assert nonzero(network(name)) == pytest.approx(weights, rel=0.01)
    computation = value(
        "asilomar_fig6", network="bvlc-alexnet-asilomar", layer="", quantity="energy.compute"
    )
    assert effectual(network("bvlc-alexnet-asilomar")) == pytest.approx(computation, rel=0.005)


@pytest.mark.parametrize("suffix", ["100", "10r", "10d"])
def test_borrowed_activation_densities_come_near_figure_5(suffix: str) -> None:
    # Their own are not published; the source line of each file says how far off the sum is.
    name = f"bvlc-alexnet-eap-{suffix}"
    net = network(name)
    figure = value("cvpr17_fig5_6", network=name, quantity="effectual_macs")
    assert effectual(net) == pytest.approx(figure, rel=0.08)
    said = f"come to {effectual(net) / 1e7:.2f}e7 where Fig. 5 has {figure / 1e7:.2f}e7"
    assert said in net.source
    weights = value("cvpr17_fig5_6", network=name, quantity="nonzero_weights")
    assert nonzero(net) == pytest.approx(weights, rel=0.03)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("bvlc-alexnet-")])
def test_maps_are_as_dense_where_they_are_read_as_where_they_are_written(name: str) -> None:
    net = network(name)
    for writer, reader in (("conv3", "conv4"), ("conv4", "conv5"), ("fc6", "fc7"), ("fc7", "fc8")):
        assert net[writer].density.output == net[reader].density.input
    for pooled in ("conv1", "conv2", "conv5"):
        zeros = value("alexnet_densities", layer=pooled, quantity="output_zeros")
        assert net[pooled].density.output == pytest.approx(1 - zeros)


# --- published figures -------------------------------------------------------------------------

HEADER = [
    *("figure", "network", "layer", "accelerator", "dataflow", "batch"),
    *("quantity", "value", "unit", "certainty", "source"),
]
NOT_SHIPPED = {
    *("googlenet-eap", "squeezenet1.0-dc", "squeezenet1.0-eap", "bwn", ""),
    *("mobilenetv1-0.5", "mobilenetv1-0.75", "mobilenetv1-adc", "mobilenetv1-netadapt"),
}
# What is only recalled may be drawn, and is then labelled so; nothing is ever validated against it.
CERTAINTIES = ("exact", "digitised", "derived", "recalled", "measured")
OTHER_COLUMNS = {"hwcomponents", "nvdla_areas"}  # of components, not of networks


@pytest.mark.parametrize("file", [x for x in PUBLISHED if x not in OTHER_COLUMNS])
def test_published_file_is_tidy(file: str) -> None:
    found = rows(file)
    assert found
    keys = Counter(tuple(row[c] for c in HEADER if c not in ("value", "source")) for row in found)
    assert [key for key, count in keys.items() if count > 1] == []
    for row in found:
        assert list(row) == HEADER
        assert float(row["value"]) >= 0
        assert row["certainty"] in CERTAINTIES
        assert row["network"] in NOT_SHIPPED.union(NETWORKS)
        assert all(row[column] for column in ("figure", "quantity", "unit", "source"))
        layers = {x.name for x in load(row["network"]).layers} if row["network"] in NETWORKS else ()
        assert row["layer"] in {
            *ALEXNET,
            *layers,
            "depthwise_13",
            "",
            "CONV",
            "FC",
            "input",
            "psum",
        }


@pytest.mark.parametrize(
    ("file", "unit", "layer_tolerance", "total_tolerance"),
    [
        ("cvpr17_fig4", 1e8, 0.02, 0.03),
        ("asilomar_fig6", 1e8, 0.02, 0.03),
        ("isca16_fig10", 1e9, 0.03, 0.05),  # five parts, each rounded to 0.01
    ],
)
def test_parts_of_a_figure_sum_to_its_totals(
    file: str, unit: float, layer_tolerance: float, total_tolerance: float
) -> None:
    figure = rows(file)[0]["figure"]
    parts: dict[str, float] = defaultdict(float)
    totals: dict[str, float] = {}
    by_type: dict[str, float] = defaultdict(float)
    for row in rows(file, figure=figure):
        number = float(row["value"]) / unit
        if row["quantity"] == "energy":
            totals[row["layer"]] = number
        elif row["quantity"].startswith("energy."):
            parts[row["layer"]] += number
            by_type[row["quantity"]] += number if row["layer"] else 0.0
    assert set(totals) == {*ALEXNET, ""}
    for layer, part in parts.items():
        tolerance = layer_tolerance if layer else total_tolerance
        assert part == pytest.approx(totals[layer], abs=tolerance)
    assert sum(totals[layer] for layer in ALEXNET) == pytest.approx(totals[""], abs=total_tolerance)
    for row in rows(file, figure=figure, layer=""):
        if row["quantity"] in by_type:
            ours = by_type[row["quantity"]]
            assert ours == pytest.approx(float(row["value"]) / unit, abs=total_tolerance)
    convs = 100 * sum(totals[layer] for layer in ALEXNET[:5]) / totals[""]
    share = value(file, layer="CONV", quantity="energy_share", certainty="derived")
    assert convs == pytest.approx(share, abs=0.15)


def test_implied_densities_are_computation_over_dense_macs() -> None:
    net = network("bvlc-alexnet")
    for file, name in (
        ("cvpr17_fig4", "bvlc-alexnet-cvpr17"),
        ("asilomar_fig6", "bvlc-alexnet-asilomar"),
    ):
        for row in rows("alexnet_densities", network=name, quantity="input_density"):
            (bar,) = rows(file, layer=row["layer"], quantity="energy.compute", network=name)
            slack = rounding(bar["value"]) / net[row["layer"]].macs + 0.002
            computed = float(bar["value"]) / net[row["layer"]].macs
            assert computed == pytest.approx(float(row["value"]), abs=slack)


def test_dataflow_comparison_adds_up() -> None:
    wanted = {"batch": "16", "unit": "energy/MAC of RS at N=1"}
    for dataflow in ("rs", "ws", "osa", "osb", "osc", "nlr"):
        found = rows("isca16_fig12", dataflow=dataflow, **wanted)
        (total,) = [float(r["value"]) for r in found if r["quantity"] == "energy_per_mac"]
        parts = [float(r["value"]) for r in found if r["quantity"] != "energy_per_mac"]
        assert len(parts) == 5
        assert sum(parts) == pytest.approx(total, abs=0.003)


def test_worked_examples_follow_from_the_equations() -> None:
    cost = {"dram": 200, "buffer": 6, "array": 2, "rf": 1}  # ISCA'16 Table IV

    def splits(name: str) -> list[float]:
        return [
            value("isca16_worked_examples", layer=name, quantity=f"reuse.{level}") for level in cost
        ]

    a, b, c, d = splits("input")
    by_hand = {"dram": a, "buffer": a * b, "array": a * b * c, "rf": a * b * c * d}
    a, b, c, d = splits("psum")
    accumulated = {
        "dram": 2 * a - 1,
        "buffer": 2 * a * (b - 1),
        "array": a * b * (c - 1),
        "rf": 2 * a * b * c * (d - 1),
    }
    for name, counts, total in (("input", by_hand, 248), ("psum", accumulated, 708)):
        energies = {level: counts[level] * cost[level] for level in cost}
        for level, energy in energies.items():
            quantity = f"energy.{level}"
            assert energy == value("isca16_worked_examples", layer=name, quantity=quantity)
        assert sum(energies.values()) == total
        assert total == value("isca16_worked_examples", layer=name, quantity="energy")


def test_chip_mapping_fills_the_printed_buffers() -> None:
    # Psums 2 m n e F bytes; inputs 2 n (q r) rows W bytes with rows = (e - 1) U + R, at most H.
    for layer in ALEXNET[:5]:
        found = {row["quantity"]: float(row["value"]) for row in rows("jssc17_table3", layer=layer)}
        h, r, f, u = (found[f"shape.{letter}"] for letter in "HREU")
        m, n, e, q, groups = (found[f"mapping.{letter}"] for letter in "mneqr")
        kibi = 1024
        assert 2 * m * n * e * f / kibi == pytest.approx(found["buffer.psum"], abs=0.05)
        held = min((e - 1) * u + r, h)
        assert 2 * n * q * groups * held * h / kibi == pytest.approx(
            found["buffer.input"], abs=0.05
        )
        active = r * e * groups * found["mapping.t"]
        pes = value("jssc17_table5", layer=layer, quantity="active_pes")
        # 12 x 14 PEs; wide sets (CONV2: 5 x 27) are folded onto them
        assert active == pes <= 168


@pytest.mark.parametrize(
    ("quantity", "tolerance"),
    [
        ("latency", 0.05),
        ("processing_latency", 0.05),
        ("macs", 0.015),  # five roundings to 0.01
        ("buffer_accesses", 0.15),
        ("dram_accesses", 0.05),
    ],
)
def test_chip_measurements_sum_to_the_printed_totals(quantity: str, tolerance: float) -> None:
    layers = [value("jssc17_table5", layer=layer, quantity=quantity) for layer in ALEXNET[:5]]
    total = value("jssc17_table5", layer="", quantity=quantity)
    assert sum(layers) == pytest.approx(total, abs=tolerance)


def test_cvpr17_figures_agree_with_its_tables() -> None:
    for row in rows("cvpr17_table1", quantity="energy"):
        figure = value("cvpr17_fig3", network=row["network"], quantity="energy")
        assert figure == pytest.approx(float(row["value"]), abs=0.01e9 + rounding(row["value"]))
    for name in ("bvlc-alexnet-dc", "bvlc-alexnet-eap"):
        bars = [value("cvpr17_macs_pruned", network=name, layer=layer) for layer in ALEXNET]
        total = value("cvpr17_macs_pruned", network=name, layer="")
        assert sum(bars) == pytest.approx(total, abs=0.006e8)
    net = network("bvlc-alexnet")
    for row in rows("cvpr17_fig5_6", quantity="nonzero_weights"):
        classes = {"100": 100, "10r": 10, "10d": 10}.get(row["network"].rpartition("-")[2], 1000)
        left = 0.0
        for layer in net:
            kept = 1 - value("cvpr17_table2", network=row["network"], layer=layer.name) / 100
            share = classes / 1000 if layer.name == "fc8" else 1.0
            left += kept * share * layer.weights
        # Whole percents: FC1 alone is uncertain by 0.19 M weights.
        assert left == pytest.approx(float(row["value"]), abs=0.06e6)
