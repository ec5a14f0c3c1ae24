"""TFLite files: recurrence, and operators that run other subgraphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from picojoule.frontends import load
from picojoule.workload import Extents, Workload
from tests.frontends.onnx_graphs import network_of, ones
from tests.frontends.tflite_files import (
    INT32,
    Graph,
    Op,
    Tensor,
    model,
    number,
    one,
    refusal,
    stored,
)

# -- recurrence -----------------------------------------------------------------------------------


def lstm_file(
    both: bool = False,
    projected: bool = False,
    coupled: bool = False,
    peepholes: bool = False,
    beside: str = "",
    rows: int = 1,
    major: bool = False,
) -> bytes:
    """5 steps of 12 features into 8 cells; projected to 6.

    Args:
        beside: a second input: "with weights" of its own, or for the second direction "alone".
    """
    state = 6 if projected else 8

    def sequence(width: int) -> tuple[int, int, int]:
        return (5, rows, width) if major else (rows, 5, width)

    tensors = [Tensor(name="x", shape=sequence(12))]

    def add(*shape: int) -> int:
        tensors.append(stored(f"t{len(tensors)}", *shape))
        return len(tensors) - 1

    def way() -> list[int]:
        inputs = [-1 if coupled and gate == 0 else add(8, 12) for gate in range(4)]
        inputs += [-1 if coupled and gate == 0 else add(8, state) for gate in range(4)]
        inputs += [add(8) if peepholes else -1 for _ in range(3)] + [add(8) for _ in range(4)]
        return [*inputs, add(6, 8) if projected else -1, -1]

    inputs = [0, *way(), *(way() if both else [])]
    states = [
        Tensor(name=f"s{n}", shape=(rows, width), variable=True)
        for n, width in enumerate((state, 8) * (2 if both else 1))
    ]
    inputs += range(len(tensors), len(tensors) + len(states))
    tensors += states
    given = [0]
    if both:
        if beside:
            given.append(len(tensors))
            tensors.append(Tensor(name="x2", shape=sequence(12 if beside == "alone" else 7)))
        inputs.append(given[-1] if beside else -1)
        inputs += [add(8, 7) if beside == "with weights" else -1 for _ in range(8)]
    tensors.append(Tensor(name="y", shape=sequence(state)))
    way_name = "BIDIRECTIONAL" if both else "UNIDIRECTIONAL"
    op = Op(
        name=f"{way_name}_SEQUENCE_LSTM",
        inputs=inputs,
        outputs=[len(tensors) - 1],
        kind=f"{way_name.title()}SequenceLSTMOptions",
        options={"TimeMajor": major},
    )
    return one(op, *tensors, inputs=given)


def test_lstm(read: Any) -> None:
    network = read(lstm_file())
    # The input's product runs over all steps at once, the recurrent one once for each step.
    assert network["y.input"].bounds == Extents(M=4 * 8, C=12, P=5)
    assert network["y.recurrent"].bounds == Extents(M=4 * 8, C=8)
    assert [layer.time_steps for layer in network] == [1, 5]
    assert network.macs == 5 * 4 * 8 * (12 + 8)
    assert read(lstm_file(both=True)).macs == 2 * network.macs
    # A coupled input gate is one of four less; a projection multiplies 8 cells into 6.
    assert read(lstm_file(coupled=True)).macs == 5 * 3 * 8 * (12 + 8)
    assert read(lstm_file(projected=True)).macs == 5 * (4 * 8 * (12 + 6) + 8 * 6)
    assert read(lstm_file(peepholes=True)).macs == network.macs + 5 * 3 * 8


def test_a_second_input_beside_the_first_or_for_the_second_direction(read: Any) -> None:
    first = 2 * 5 * 4 * 8 * (12 + 8)
    network = read(lstm_file(both=True, beside="with weights"))
    assert network.macs == first + 2 * 5 * 4 * 8 * 7
    assert network["y.input"].bounds == Extents(M=2 * 4 * 8, C=12 + 7, P=5)
    network = read(lstm_file(both=True, beside="alone"))
    assert network.macs == first
    # Each direction reads an input of its own, so none is read for both.
    names = ["y.input", "y.recurrent", "y.input_reverse", "y.recurrent_reverse"]
    assert [layer.name for layer in network] == names


@pytest.mark.parametrize("major", [False, True])
def test_sequences_at_once_are_the_batch(read: Any, major: bool) -> None:
    network = read(lstm_file(rows=3, major=major))
    assert (network.batch, network.macs) == (3, 5 * 4 * 8 * (12 + 8))
    assert network["y.recurrent"].bounds == Extents(N=3, M=4 * 8, C=8)
    which = "second" if major else "first"
    assert network.remarks == (f"the {which} dimension of the inputs, 3, is taken for the batch",)


def layers_of(network: Workload) -> list[tuple[str, object]]:
    """What each layer is, and what it is called behind the operator's own name."""
    return [(layer.name.rpartition(".")[2], layer.signature()) for layer in network]


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("peepholes", [False, True], ids=["plain", "peepholes"])
def test_an_lstm_is_as_in_onnx(read: Any, tmp_path: Path, both: bool, peepholes: bool) -> None:
    ways = 2 if both else 1
    weights = [ones("W", ways, 32, 12), ones("R", ways, 32, 8), ones("P", ways, 24)]
    inputs = ["x", "W", "R", "", "", "", "", "P"] if peepholes else ["x", "W", "R"]
    direction = b"bidirectional" if both else b"forward"
    node = helper.make_node("LSTM", inputs, ["y"], hidden_size=8, direction=direction)
    theirs = network_of(tmp_path, [node], {"x": [5, 1, 12]}, *weights)
    ours = read(lstm_file(both=both, peepholes=peepholes))
    assert layers_of(ours) == layers_of(theirs)
    assert len(ours) == (1 + ways) + peepholes * ways


@pytest.mark.parametrize("projected", [False, True])
def test_an_lstm_is_as_in_torch(read: Any, projected: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(12, 8, proj_size=6 if projected else 0, batch_first=True)
    for weight in module.parameters():
        torch.nn.init.ones_(weight)
    theirs = load((module.eval(), (torch.ones(1, 5, 12),)))
    ours = read(lstm_file(projected=projected))
    assert layers_of(ours) == layers_of(theirs)


def test_one_step_of_an_lstm_with_one_matrix(read: Any) -> None:
    tensors = [
        Tensor(name="x", shape=(1, 12)),
        Tensor(name="h", shape=(1, 8), variable=True),
        stored("w", 32, 20),
        stored("b", 32),
        Tensor(name="c", shape=(1, 8), variable=True),
        Tensor(name="y", shape=(1, 8)),
    ]
    op = Op(name="LSTM", inputs=range(5), outputs=[5], kind="LSTMOptions")
    network = read(one(op, *tensors))
    assert [layer.macs for layer in network] == [32 * 12, 32 * 8]
    assert network.weights == 32 * 20


@pytest.mark.parametrize("major", [False, True])
def test_rnn_in_either_order_of_its_input(read: Any, major: bool) -> None:
    tensors = [
        Tensor(name="x", shape=(5, 1, 12) if major else (1, 5, 12)),
        stored("w", 8, 12),
        stored("r", 8, 8),
        stored("b", 8),
        Tensor(name="h", shape=(1, 8), variable=True),
        Tensor(name="y", shape=(5, 1, 8) if major else (1, 5, 8)),
    ]
    op = Op(
        name="UNIDIRECTIONAL_SEQUENCE_RNN",
        inputs=range(5),
        outputs=[5],
        kind="SequenceRNNOptions",
        options={"TimeMajor": major},
    )
    network = read(one(op, *tensors))
    assert (network.batch, network.macs) == (1, 5 * 8 * (12 + 8))
    assert [(layer.name, layer.time_steps) for layer in network] == [
        ("y.input", 1),
        ("y.recurrent", 5),
    ]


def test_bidirectional_rnn_and_a_single_step(read: Any) -> None:
    weights = [stored("w", 8, 12), stored("r", 8, 8), stored("b", 8)]
    state = Tensor(name="h", shape=(1, 8), variable=True)
    tensors = [Tensor(name="x", shape=(1, 5, 12)), *weights, state, *weights, state]
    op = Op(
        name="BIDIRECTIONAL_SEQUENCE_RNN",
        inputs=[*range(9), -1, -1, -1],
        outputs=[9, 10],
        kind="BidirectionalSequenceRNNOptions",
    )
    outputs = [Tensor(name=name, shape=(1, 5, 8)) for name in ("forward", "backward")]
    assert read(one(op, *tensors, *outputs)).macs == 2 * 5 * 8 * (12 + 8)
    op = Op(name="RNN", inputs=range(5), outputs=[5], kind="RNNOptions")
    single = [Tensor(name="x", shape=(1, 12)), *weights, state, Tensor(name="y", shape=(1, 8))]
    assert read(one(op, *single)).macs == 8 * (12 + 8)


def test_svdf(read: Any) -> None:
    op = Op(
        name="SVDF",
        inputs=[0, 1, 2, -1, 3],
        outputs=[4],
        kind="SVDFOptions",
        options={"Rank": 2},
    )
    network = read(
        one(
            op,
            Tensor(name="x", shape=(1, 12)),
            stored("feature", 16, 12),
            stored("time", 16, 10),
            Tensor(name="state", shape=(1, 160), variable=True),
            Tensor(name="y", shape=(1, 8)),
        )
    )
    assert network["y.feature"].macs == 16 * 12
    assert network["y.time"].macs == 16 * 10  # each filter has its own 10 taps in time
    assert network["y.time"].bounds.G == 16


# -- other subgraphs ------------------------------------------------------------------------------


def branch(columns: int) -> Graph:
    return Graph(
        tensors=[
            Tensor(name="a", shape=(1, 32)),
            stored("w", columns, 32),
            Tensor(name=f"fc{columns}", shape=(1, columns)),
        ],
        inputs=[0],
        outputs=[2],
        ops=[
            Op(
                name="FULLY_CONNECTED",
                inputs=[0, 1, -1],
                outputs=[2],
                kind="FullyConnectedOptions",
            )
        ],
    )


def test_the_dearer_branch_of_an_if_is_counted_and_said(read: Any) -> None:
    main = Graph(
        tensors=[
            Tensor(name="c", shape=(), kind=6),
            Tensor(name="x", shape=(1, 32)),
            Tensor(name="y", shape=(1, 10)),
        ],
        inputs=[0, 1],
        outputs=[2],
        ops=[
            Op(
                name="IF",
                inputs=[0, 1],
                outputs=[2],
                kind="IfOptions",
                options={"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2},
            )
        ],
    )
    network = read(model(main, branch(10), branch(20)))
    assert [layer.name for layer in network] == ["fc20"]
    assert "IF the branch of more MACs is counted (640; the other has 320)" in network.remarks[0]


def loop(limit: int | None, first: int = 0, columns: int = 32, squared: bool = False) -> bytes:
    """Count from *first* to *limit*, one fully connected layer of 32 x *columns* a trip.

    Args:
        squared: a trip multiplies a stored matrix with itself instead, and so on.
    """
    limited = Tensor(name="n", shape=(), kind=INT32, data=None if limit is None else number(limit))
    counter = Tensor(name="i", shape=(), kind=INT32)
    rows = 32 if squared else 1
    row = Tensor(name="h", shape=(rows, 32))
    cond = Graph(
        tensors=[counter, row, limited, Tensor(name="go", shape=(), kind=6)],
        inputs=[0, 1] if limit is not None else [0, 1, 2],
        outputs=[3],
        ops=[Op(name="LESS", inputs=[0, 2], outputs=[3], kind="LessOptions")],
    )
    tensors = [counter, row, Tensor(name="one", shape=(), kind=INT32, data=number(1))]
    tensors += [stored("w", columns, 32), Tensor(name="i2", shape=(), kind=INT32)]
    tensors += [Tensor(name="h2", shape=(rows, columns)), limited]
    connected = Op(
        name="FULLY_CONNECTED", inputs=[1, 3, -1], outputs=[5], kind="FullyConnectedOptions"
    )
    product = Op(name="BATCH_MATMUL", inputs=[1, 1], outputs=[5], kind="BatchMatMulOptions")
    body = Graph(
        tensors=tensors,
        inputs=[0, 1] if limit is not None else [0, 1, 6],
        outputs=[4, 5] if limit is not None else [4, 5, 6],
        ops=[
            Op(name="ADD", inputs=[0, 2], outputs=[4], kind="AddOptions"),
            product if squared else connected,
        ],
    )
    start = Tensor(name="start", shape=(), kind=INT32, data=number(first))
    state = stored("x", 32, 32) if squared else Tensor(name="x", shape=(1, 32))
    outer = [start, state, counter, Tensor(name="y", shape=(rows, columns))]
    main = Graph(
        tensors=[*outer, Tensor(name="length", shape=(), kind=INT32)],
        inputs=[*([] if squared else [1]), *([] if limit is not None else [4])],
        outputs=[3],
        ops=[
            Op(
                name="WHILE",
                inputs=[0, 1] if limit is not None else [0, 1, 4],
                outputs=[2, 3] if limit is not None else [2, 3, 4],
                kind="WhileOptions",
                options={"CondSubgraphIndex": 1, "BodySubgraphIndex": 2},
            )
        ],
    )
    return model(main, cond, body)


def test_a_loop_whose_counter_is_known_runs_trip_after_trip(read: Any) -> None:
    network = read(loop(7, first=2))
    assert network.macs == 5 * 32 * 32
    (layer,) = network
    assert (layer.bounds, layer.time_steps) == (Extents(M=32, C=32), 5)
    assert dict(network.not_counted) == {"ADD": 5, "LESS": 6}  # the last look ends it
    assert network.complete
    assert not read(loop(2, first=2)).layers


def test_what_a_trip_makes_is_no_weight_though_the_first_is_stored(read: Any) -> None:
    (layer,) = read(loop(7, squared=True))
    assert layer.weight_is_activation
    assert layer.bounds == Extents(G=7, M=32, C=32, P=32)


def test_a_loop_that_hands_on_more_than_it_got_is_unmodelled(read: Any) -> None:
    assert dict(read(loop(7, columns=64)).unmodelled) == {"WHILE of changing sizes": 1}


def test_a_loop_of_unknown_length_is_unmodelled_until_its_trips_are_given(read: Any) -> None:
    network = read(loop(None))
    assert dict(network.unmodelled) == {"WHILE of unknown trips": 1}
    assert network.macs == 32 * 32  # of one trip
    assert "loop 'i' runs is not known" in network.remarks[0]
    network = read(loop(None), trips={"i": 9})
    assert (network.macs, network.complete) == (9 * 32 * 32, True)
    assert "1073741824 steps" in refusal(read, loop(None), trips={"i": 1 << 30})
    assert "did you mean 'i'" in refusal(read, loop(None), trips={"i": 9, "ii": 9})


def test_a_called_subgraph_and_one_that_only_sets_up(read: Any) -> None:
    main = Graph(
        tensors=[Tensor(name="x", shape=(1, 32)), Tensor(name="y", shape=(1, 10))],
        inputs=[0],
        outputs=[1],
        ops=[
            Op(
                name="CALL_ONCE",
                inputs=[],
                outputs=[],
                kind="CallOnceOptions",
                options={"InitSubgraphIndex": 2},
            ),
            Op(name="CALL", inputs=[0], outputs=[1], kind="CallOptions", options={"Subgraph": 1}),
        ],
    )
    assert read(model(main, branch(10), branch(20))).macs == 320
    itself = Graph(
        tensors=main.tensors,
        inputs=[0],
        outputs=[1],
        ops=[Op(name="CALL", inputs=[0], outputs=[1], kind="CallOptions", options={"Subgraph": 0})],
    )
    assert "runs itself" in refusal(read, model(itself))


def test_a_composite_of_attention_is_its_two_products(read: Any) -> None:
    options = {"Name": "odml.scaled_dot_product_attention", "DecompositionSubgraphIndex": 1}
    op = Op(
        name="STABLEHLO_COMPOSITE",
        inputs=[0, 1, 2],
        outputs=[3],
        kind="StableHLOCompositeOptions",
        options=options,
    )
    q = Tensor(name="q", shape=(1, 16, 8, 64))
    k, v = (Tensor(name=name, shape=(1, 32, 2, 64)) for name in "kv")
    y = Tensor(name="y", shape=(1, 16, 8, 64))
    main = Graph(tensors=[q, k, v, y], inputs=[0, 1, 2], outputs=[3], ops=[op])
    network = read(model(main, branch(10)))
    # 8 heads of queries share 2 heads of keys: each is read once for its 4.
    assert [layer.macs for layer in network] == [16 * 8 * 64 * 32] * 2
    assert {layer.bounds.G for layer in network} == {2}
    # Any other composite is what its decomposition says.
    other = Graph(
        tensors=[Tensor(name="x", shape=(1, 32)), Tensor(name="y", shape=(1, 10))],
        inputs=[0],
        outputs=[1],
        ops=[
            Op(
                name="STABLEHLO_COMPOSITE",
                inputs=[0],
                outputs=[1],
                kind="StableHLOCompositeOptions",
                options={**options, "Name": "odml.mine"},
            )
        ],
    )
    assert read(model(other, branch(10))).macs == 320


def test_signatures(read: Any) -> None:
    content = model(
        branch(10), branch(20), signatures={"decode": 0, "prefill_128": 1, "prefill_256": 1}
    )
    assert read(content, phase="prefill").macs == 640
    assert read(content, phase="decode").macs == 320
    assert "signatures decode, prefill_128, prefill_256" in read(content).remarks[0]
    assert "did you mean 'decode'" in refusal(read, content, phase="decod")
