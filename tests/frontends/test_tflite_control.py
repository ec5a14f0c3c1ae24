"""TFLite files: recurrence, and operators that run other subgraphs."""

from __future__ import annotations

from typing import Any

import pytest

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


def lstm_file(both: bool = False, projected: bool = False, coupled: bool = False) -> bytes:
    """5 steps of 12 features into 8 cells; projected to 6."""
    state = 6 if projected else 8
    tensors = [Tensor(name="x", shape=(1, 5, 12))]

    def add(*shape: int) -> int:
        tensors.append(stored(f"t{len(tensors)}", *shape))
        return len(tensors) - 1

    def way() -> list[int]:
        inputs = [-1 if coupled and gate == 0 else add(8, 12) for gate in range(4)]
        inputs += [-1 if coupled and gate == 0 else add(8, state) for gate in range(4)]
        inputs += [-1] * 3 + [add(8) for _ in range(4)]
        return [*inputs, add(6, 8) if projected else -1, -1]

    inputs = [0, *way(), *(way() if both else [])]
    states = [
        Tensor(name=f"s{n}", shape=(1, width), variable=True)
        for n, width in enumerate((state, 8) * (2 if both else 1))
    ]
    inputs += range(len(tensors), len(tensors) + len(states))
    tensors += states
    if both:
        inputs += [-1] * 9
    tensors.append(Tensor(name="y", shape=(1, 5, state)))
    way_name = "BIDIRECTIONAL" if both else "UNIDIRECTIONAL"
    op = Op(
        name=f"{way_name}_SEQUENCE_LSTM",
        inputs=inputs,
        outputs=[len(tensors) - 1],
        kind=f"{way_name.title()}SequenceLSTMOptions",
        options={"TimeMajor": False},
    )
    return one(op, *tensors)


def test_lstm(read: Any) -> None:
    network = read(lstm_file())
    # The input's product runs over all steps at once, the recurrent one step after step.
    assert network["y.input"].macs == 5 * 4 * 8 * 12
    assert [network[f"y.recurrent[{step}]"].macs for step in range(5)] == [4 * 8 * 8] * 5
    assert network.macs == 5 * 4 * 8 * (12 + 8)
    assert read(lstm_file(both=True)).macs == 2 * network.macs
    # A coupled input gate is one of four less; a projection multiplies 8 cells into 6.
    assert read(lstm_file(coupled=True)).macs == 5 * 3 * 8 * (12 + 8)
    assert read(lstm_file(projected=True)).macs == 5 * (4 * 8 * (12 + 6) + 8 * 6)


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
    assert read(one(op, *tensors)).macs == 32 * 20


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
    assert len(network) == 6


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


def loop(limit: int | None, first: int = 0) -> bytes:
    """Count from *first* to *limit*, one fully connected layer of 32 x 32 a trip."""
    limited = Tensor(name="n", shape=(), kind=INT32, data=None if limit is None else number(limit))
    counter = Tensor(name="i", shape=(), kind=INT32)
    row = Tensor(name="h", shape=(1, 32))
    cond = Graph(
        tensors=[counter, row, limited, Tensor(name="go", shape=(), kind=6)],
        inputs=[0, 1] if limit is not None else [0, 1, 2],
        outputs=[3],
        ops=[Op(name="LESS", inputs=[0, 2], outputs=[3], kind="LessOptions")],
    )
    tensors = [counter, row, Tensor(name="one", shape=(), kind=INT32, data=number(1))]
    tensors += [stored("w", 32, 32), Tensor(name="i2", shape=(), kind=INT32)]
    tensors += [Tensor(name="h2", shape=(1, 32)), limited]
    body = Graph(
        tensors=tensors,
        inputs=[0, 1] if limit is not None else [0, 1, 6],
        outputs=[4, 5] if limit is not None else [4, 5, 6],
        ops=[
            Op(name="ADD", inputs=[0, 2], outputs=[4], kind="AddOptions"),
            Op(
                name="FULLY_CONNECTED",
                inputs=[1, 3, -1],
                outputs=[5],
                kind="FullyConnectedOptions",
            ),
        ],
    )
    start = Tensor(name="start", shape=(), kind=INT32, data=number(first))
    outer = [start, Tensor(name="x", shape=(1, 32)), counter, Tensor(name="y", shape=(1, 32))]
    main = Graph(
        tensors=[*outer, Tensor(name="length", shape=(), kind=INT32)],
        inputs=[1] if limit is not None else [1, 4],
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


def test_a_loop_whose_counter_is_known_is_written_out(read: Any) -> None:
    network = read(loop(7, first=2))
    assert network.macs == 5 * 32 * 32
    assert len(network) == 5
    assert network.not_counted["ADD"] == 5
    assert network.complete


def test_a_loop_of_unknown_length_is_unmodelled_until_its_trips_are_given(read: Any) -> None:
    network = read(loop(None))
    assert dict(network.unmodelled) == {"WHILE": 1}
    assert not network.complete
    assert "loop 'i' runs is not known" in network.remarks[0]
    assert read(loop(None), trips={"i": 9}).macs == 9 * 32 * 32
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
