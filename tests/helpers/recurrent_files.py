"""Files of one recurrent layer, and what LiteRT's reference kernels answer over a whole signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, OptionValue, Quantization, Tensor
from tcnstream.tflite.writer import write_model


class LayerFile:
    """Tensors of a graph with one operation, by the order in which they are added."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []

    def add(self, shape: Sequence[int], dtype: str = "float32", data: Array | None = None, **facts: object) -> int:
        name = f"tensor{len(self.tensors)}"
        self.tensors.append(Tensor(name, tuple(shape), np.dtype(dtype), data=data, **facts))  # type: ignore[arg-type]
        return len(self.tensors) - 1

    def weights(self, *shape: int, scale: float = 0.5) -> int:
        return self.add(shape, data=(self.rng.standard_normal(shape) * scale).astype(np.float32))

    def integers(self, shape: Sequence[int], dtype: str, scale: float, most: int) -> int:
        values = self.rng.integers(-most, most + 1, shape).astype(dtype)
        return self.add(shape, dtype, values, quantization=quantization(scale))

    def some_scale(self, least: float, most: float) -> Quantization:
        return quantization(self.rng.uniform(least, most), int(self.rng.integers(-30, 30)))

    def content(
        self, kind: str, inputs: Sequence[int], output: int, options: dict[str, OptionValue], inner: Sequence[int] = ()
    ) -> bytes:
        op = Op(kind, tuple(inputs), (output,), options, 0, tuple(inner))
        return write_model([Graph(tuple(self.tensors), (op,), (inputs[0],), (output,))])


def quantization(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


def lstm(
    frames: int,
    depth: int,
    cells: int,
    *,
    units: int | None = None,
    coupled: bool = False,
    peephole: bool = False,
    norm: bool = False,
    time_major: bool = False,
    activation: str = "TANH",
    cell_clip: float = 0.0,
    proj_clip: float = 0.0,
    seed: int = 0,
) -> bytes:
    """An UNIDIRECTIONAL_SEQUENCE_LSTM of float32; with ``units`` it projects its cells to as many."""
    file, out = LayerFile(seed), units or cells
    shape = [frames, 1, depth] if time_major else [1, frames, depth]
    x = file.add(shape)
    gates = range(1 if coupled else 0, 4)
    from_input = [file.weights(cells, depth) if g in gates else ABSENT for g in range(4)]
    from_state = [file.weights(cells, out) if g in gates else ABSENT for g in range(4)]
    looks = [file.weights(cells) if peephole and (k or not coupled) else ABSENT for k in range(3)]
    biases = [file.weights(cells) if g in gates else ABSENT for g in range(4)]
    projection = [file.weights(out, cells), file.weights(out)] if units else [ABSENT, ABSENT]
    states = [file.add((1, n), is_variable=True) for n in (out, cells)]
    norms = [file.weights(cells) if norm and g in gates else ABSENT for g in range(4)]
    y = file.add([*shape[:-1], out])
    options: dict[str, OptionValue] = {
        "fused_activation_function": activation,
        "cell_clip": cell_clip,
        "proj_clip": proj_clip,
        "time_major": time_major,
    }
    inputs = [x, *from_input, *from_state, *looks, *biases, *projection, *states, *norms]
    return file.content("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y, options)


def rnn(
    frames: int, depth: int, units: int, *, time_major: bool = False, activation: str = "TANH", seed: int = 0
) -> bytes:
    """An UNIDIRECTIONAL_SEQUENCE_RNN of float32."""
    file = LayerFile(seed)
    shape = [frames, 1, depth] if time_major else [1, frames, depth]
    x = file.add(shape)
    inputs = [x, file.weights(units, depth), file.weights(units, units), file.weights(units)]
    inputs.append(file.add((1, units), is_variable=True))
    y = file.add([*shape[:-1], units])
    options: dict[str, OptionValue] = {"fused_activation_function": activation, "time_major": time_major}
    return file.content("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, y, options)


def svdf(depth: int, units: int, rank: int, memory: int, *, activation: str = "NONE", seed: int = 0) -> bytes:
    """An SVDF of float32: one frame for each invocation."""
    file, filters = LayerFile(seed), units * rank
    inputs = [file.add((1, depth)), file.weights(filters, depth), file.weights(filters, memory), file.weights(units)]
    inputs.append(file.add((1, filters * memory), is_variable=True))
    options: dict[str, OptionValue] = {"rank": rank, "fused_activation_function": activation}
    return file.content("SVDF", inputs, file.add((1, units)), options)


def lstm_int8(
    frames: int,
    depth: int,
    cells: int,
    *,
    coupled: bool = False,
    cell_clip: float = 0.0,
    cell_exponent: int = -12,
    seed: int = 0,
) -> bytes:
    """An UNIDIRECTIONAL_SEQUENCE_LSTM of int8 with random scales, as a converter calibrates them."""
    file = LayerFile(seed)
    rng = file.rng
    x = file.add(
        (1, frames, depth), "int8", quantization=quantization(rng.uniform(0.01, 0.05), int(rng.integers(-30, 30)))
    )
    gates = range(1 if coupled else 0, 4)

    def part(shape: tuple[int, ...], dtype: str, most: int, scale: float) -> list[int]:
        made = [file.integers(shape, dtype, scale * rng.uniform(0.5, 1.5), most) for _ in gates]
        return [ABSENT, *made] if coupled else made

    from_input, from_state = part((cells, depth), "int8", 127, 0.01), part((cells, cells), "int8", 127, 0.008)
    biases = part((cells,), "int32", 3000, 0.0003)
    output = file.some_scale(0.005, 0.009)
    states = [
        file.add((1, cells), "int8", is_variable=True, quantization=output),
        file.add((1, cells), "int16", is_variable=True, quantization=quantization(2.0**cell_exponent)),
    ]
    empty = np.zeros(0, np.float32)
    inner = [file.add((0,), data=empty) for _ in range(4)] + [
        file.add((0,), "int8", empty.astype(np.int8), quantization=output)
    ]
    y = file.add((1, frames, cells), "int8", quantization=output)
    options: dict[str, OptionValue] = {"fused_activation_function": "TANH", "cell_clip": cell_clip}
    inputs = [x, *from_input, *from_state, *[ABSENT] * 3, *biases, ABSENT, ABSENT, *states, *[ABSENT] * 4]
    return file.content("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y, options, inner)


def svdf_int8(depth: int, units: int, rank: int, memory: int, *, seed: int = 0) -> bytes:
    """An SVDF of int8, with int16 weights over time."""
    file, filters = LayerFile(seed), units * rank
    rng = file.rng
    x = file.add((1, depth), "int8", quantization=quantization(rng.uniform(0.01, 0.05), int(rng.integers(-30, 30))))
    inputs = [
        x,
        file.integers((filters, depth), "int8", 0.01, 127),
        file.integers((filters, memory), "int16", 0.0001, 9000),
    ]
    inputs.append(file.integers((units,), "int32", 1e-7, 90000))
    inputs.append(file.add((1, filters * memory), "int16", is_variable=True, quantization=quantization(0.001)))
    y = file.add((1, units), "int8", quantization=file.some_scale(0.02, 0.2))
    return file.content("SVDF", inputs, y, {"rank": rank, "fused_activation_function": "RELU"})


def whole_answer(content: bytes, signal: Array, time_axis: int) -> Array:
    """LiteRT's answer to ``signal``, (frames, depth), window after window: its kernels remember between them."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    resolver = litert.OpResolverType.BUILTIN_REF
    interpreter = litert.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    window, parts = int(given["shape"][time_axis]), []
    for begin in range(0, len(signal), window):
        interpreter.set_tensor(given["index"], signal[begin : begin + window].reshape(given["shape"]))
        interpreter.invoke()
        parts.append(np.array(interpreter.get_tensor(made["index"])).reshape(window, -1))
    return np.concatenate(parts)
