"""The simple recurrent layer: a dense layer of what comes and of what it gave before."""

from __future__ import annotations

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.plan import UNBOUNDED
from tcnstream.compiler.sequences import (
    SEQUENCE_OPTIONS,
    activation_of,
    begin_layer,
    end_layer,
    sequence_shape,
    start_of_state,
)
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import Operands, Rule, Shapes, require


def _rnn_shapes(o: Operands) -> Shapes:
    units, depth = o.shape(1, rank=2)
    require(units > 0 and depth == o.shape(0)[-1], f"weights {o.shape(1)} over {o.shape(0)}")
    require(o.shape(2) == (units, units) and o.shape(3) == (units,), f"weights and a bias for {units} units")
    return (sequence_shape(o, units),)


def _rnn(lw: Lowering, op: Op) -> None:
    """Source: ``RnnBatchStep`` in ``kernel_utils.cc``."""
    steps, x, stream = begin_layer(lw, op)
    recurrent = lw.constant(op, 2)
    hidden = steps.fed_back(*start_of_state(lw, op, 4, len(recurrent)), x)
    from_input = steps.dense(x, lw.constant(op, 1), lw.constant(op, 3), UNBOUNDED)
    summed = steps.sum(from_input, steps.dense(hidden, recurrent, None, UNBOUNDED), UNBOUNDED)
    made = steps.activation(activation_of(lw, op), summed)
    steps.keep(hidden, made)
    end_layer(lw, op, made, stream)


OPERATIONS = (
    Operation(
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        Rule(operands=(5, 5), shapes=_rnn_shapes, options=SEQUENCE_OPTIONS, weights=1, more_weights=(2,), bias=3),
        lower=_rnn,
        batch=batch_rules.sequences,
    ),
)
