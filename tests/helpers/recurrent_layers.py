"""Layers that remember: LSTM and RNN, fused or unrolled, and a convolution over a state that is fed back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.layers import arithmetic, convolution, require_frames
from helpers.netfile import DoesNotFitError, Net, Shape, Value, quantization
from tcnstream.tflite.graph import ABSENT, Array, OptionValue


def lstm(net: Net, x: Value, cells: int = 3, coupled: bool = False, clip: float = 0.0) -> Value:
    """A fused LSTM, as Keras's converter leaves it, in float32 and int8."""
    require_frames(x)
    depth, gates = x.shape[2], range(1 if coupled else 0, 4)
    whole = net.dtype == np.int8
    if not whole and net.dtype != np.float32:
        raise DoesNotFitError("LSTMs are of float32 or int8")
    output = quantization(1 / 128, int(net.rng.integers(-30, 30))) if whole else None

    def of_gates(*shape: int, wide: bool = False) -> list[int]:
        made = [ABSENT] * coupled
        for _ in gates:
            if wide:
                real = net.rng.normal(0, 0.3, shape)
                made.append(_quantized(net, real, np.int32, 2.0**-17) if whole else net.constant(real, np.float32))
            else:
                made.append(net.weights(shape, 0, shape[-1])[0] if not whole else _per_tensor(net, shape))
        return made

    inputs = [x.index, *of_gates(cells, depth), *of_gates(cells, cells), *[ABSENT] * 3]
    inputs += [*of_gates(cells, wide=True), ABSENT, ABSENT, net.variable((1, cells), net.dtype, output)]
    inputs += [net.variable((1, cells), *((np.int16, quantization(2.0**-12, 0)) if whole else ())), *[ABSENT] * 4]
    y = net.value((1, x.frames, cells), 1, 0.4, output)
    options: dict[str, OptionValue] = {"fused_activation_function": "TANH", "cell_clip": clip}
    net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [y], **options)
    if whole:
        empty = [net.constant(np.zeros(0), np.float32) for _ in range(4)]
        empty.append(net.constant(np.zeros(0), np.int8, output))
        net.ops[-1] = replace(net.ops[-1], intermediates=tuple(empty))
    return y


def rnn(net: Net, x: Value, units: int = 3, activation: str = "TANH") -> Value:
    """A fused simple RNN of float32."""
    require_frames(x)
    if net.dtype != np.float32:
        raise DoesNotFitError("fused simple RNNs are of float32")
    depth = x.shape[2]
    weights = [net.weights((units, n), 0, 2 * n)[0] for n in (depth, units)]
    inputs = [x.index, *weights, net.constant(net.rng.normal(0, 0.3, units), np.float32), net.variable((1, units))]
    y = net.value((1, x.frames, units), 1, 0.5)
    net.op("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [y], fused_activation_function=activation)
    return y


def unrolled(net: Net, x: Value, units: int = 2) -> Value:
    """A simple RNN with ``unroll=True``: a copy of its cell for every frame of the window."""
    require_frames(x)
    if not 4 <= x.frames <= 40 or net.dtype != np.float32:
        raise DoesNotFitError("a short window of float32 is unrolled")
    depth = x.shape[2]
    frames = [net.value((1, depth), 1, x.spread) for _ in range(x.frames)]
    net.op("UNPACK", [x.index], frames, num=x.frames, axis=1)
    inward, around = (net.weights((units, n), 0, 2 * n)[0] for n in (depth, units))
    biases = [net.constant(net.rng.normal(0, 0.3, units), np.float32) for _ in range(2)]
    h = Value(net.constant(np.zeros((1, units)), np.float32), (1, units), 1, 0.5, None)
    made = []
    for frame in frames:
        parts = []
        for value, weights, bias in zip((frame, h), (inward, around), biases, strict=True):
            parts.append(net.value((1, units), 1, 0.7))
            net.op("FULLY_CONNECTED", [value.index, weights, bias], [parts[-1]], fused_activation_function="NONE")
        total, h = net.value((1, units), 1, 1.0), net.value((1, units), 1, 0.5)
        net.op("ADD", [part.index for part in parts], [total], **arithmetic("ADD"))
        net.op("TANH", [total.index], [h])
        made.append(h)
    y = net.value((1, x.frames, units), 1, 0.5)
    net.op("PACK", [h.index for h in made], [y], values_count=x.frames, axis=1)
    return y


def _quantized(net: Net, real: Array, dtype: Any, scale: float) -> int:
    return net.constant(np.round(real / scale), dtype, quantization(scale, 0))


def _per_tensor(net: Net, shape: Shape) -> int:
    real = net.rng.normal(0, 1 / math.sqrt(shape[-1]), shape)
    return _quantized(net, real, np.int8, float(np.abs(real).max()) / 127)


def cached(net: Net, x: Value, kernel: int = 3, name: str = "cache") -> Value:
    """A convolution over a state of the frames before it, fed back from an output, as streaming exports have it."""
    require_frames(x)
    past = kernel - 1
    if net.is_quantized or x.frames < past or past < 1:
        raise DoesNotFitError("a state of float32, no longer than the window")
    state = net.input((1, past, x.shape[2]), 1, f"{name}_in")
    whole = net.value((1, past + x.frames, x.shape[2]), 1, x.spread)
    net.op("CONCATENATION", [state.index, x.index], [whole], axis=1)
    kept = net.cut(whole, 1, x.frames, x.frames + past)
    net.name(kept, f"{name}_out")
    net.output(kept)
    return convolution(net, whole, kernel=kernel, padding="valid")
