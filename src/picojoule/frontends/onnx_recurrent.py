"""LSTM, GRU and RNN of ONNX and onnxruntime as the products with their weights."""

from __future__ import annotations

from collections.abc import Mapping

from picojoule.frontends.onnx_calls import Call, Converter
from picojoule.frontends.products import (
    BOTH_WAYS,
    NotABatchError,
    ProblemError,
    recurrent,
)
from picojoule.workload import Layer, PerOperand


def _recurrence(call: Call, gates: int, *, dynamic: bool = False) -> list[Layer]:
    """One operator: all of its steps, in one or two directions.

    Args:
        dynamic: weights are stored transposed in 8 bits, and inputs become 8 bits.
    """
    data, inward, state = call.shape(0, 3), call.shape(1, 3), call.shape(2, 3)
    steps, sequences = data[:2]
    if call.attributes.whole("layout", 0):
        steps, sequences = sequences, steps
    if dynamic:
        inward, state = (inward[0], *inward[:0:-1]), (state[0], *state[:0:-1])
    directions, rows, inputs = inward
    hidden = state[2]
    if inputs != data[2] or rows != gates * hidden or state != (directions, rows, hidden):
        raise ProblemError(
            f"inputs of {data[2]} features with weights of {list(inward)} and {list(state)}"
        )
    if sequences % call.batch:
        raise NotABatchError
    batch = sequences
    lengths = call.traced.values.get(call.node.input[4]) if call.has(4) else None
    if lengths is not None and lengths.size == sequences and lengths.dtype.kind in "iu":
        # Sequences of different lengths: as many steps as all have, shared evenly.
        batch, total = call.batch, int(lengths.clip(0, steps).sum())
        if total % batch:
            raise NotABatchError
        steps = total // batch
    elif call.has(4):
        call.traced.remark(f"{call.label}: every sequence is taken to have all of its steps")
    peepholes = 3 * hidden if gates == 4 and call.has(7) else 0
    bits = call.bits()
    return recurrent(
        call.name,
        steps=steps,
        batch=batch,
        input_size=inputs,
        hidden_size=hidden,
        gates=gates,
        ways=BOTH_WAYS[:directions],
        peepholes=peepholes,
        bits=PerOperand(8, bits.weight, bits.output) if dynamic else bits,
        densities=(
            call.density(call.weight(1)).weight,
            call.density(call.weight(2)).weight,
            1.0,
        ),
        stored=call.is_stored(1) and call.is_stored(2),
    )


CONVERTERS: Mapping[str, Converter] = {
    "GRU": lambda call: _recurrence(call, 3),
    "LSTM": lambda call: _recurrence(call, 4),
    "RNN": lambda call: _recurrence(call, 1),
    "com.microsoft.DynamicQuantizeLSTM": lambda call: _recurrence(call, 4, dynamic=True),
}
