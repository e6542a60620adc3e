"""The streaming .tflite for firmware, in TFLite Micro and in the host's interpreter, hop by hop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pytest
from helpers.networks import build, layer, signals
from helpers.paths import MODELS

import tcnstream
from tcnstream import Model
from tcnstream.compiler.policies import apply_policy, parse_policy
from tcnstream.engines.interpreter import runtime
from tcnstream.engines.interpreter.beginning import Beginning
from tcnstream.engines.interpreter.export import (
    StreamingExport,
    export_streaming,
    finite_in_silence,
    streaming_tflite,
)
from tcnstream.engines.interpreter.step import StepGraph
from tcnstream.engines.reference.calibration import measure
from tcnstream.errors import EngineError
from tcnstream.stream import Stream
from tcnstream.tflite.graph import Array, Graph, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

# fmt: off
EXPORTABLE = (
    "causal.f32", "causal.i8", "causal.i16", "ktcn_seq.i8", "nse_lg.f32", "nse_lg.i8", "nse_mb_d2b2.i8", "nse_sm.i8",
    "sig_decim2.f32", "sig_valid.f32", "spectro.i8", "strided.f32", "strided.i8", "unet_max.f32", "wavenet.i8",
)
# fmt: on

Step: TypeAlias = Callable[[Array], Array]


@cache
def model(name: str) -> Model:
    return tcnstream.load(MODELS / f"{name}.tflite")


@cache
def signal(name: str, frames: int = 160) -> Array:
    with np.load(MODELS / f"{name}.npz") as arrays:
        x: Array = arrays["x"][0][:frames]
    return x


def host_step(content: bytes) -> Step:
    interpreter = runtime.open_interpreter(content, exact=True)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()

    def step(x: Array) -> Array:
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(sink["index"]))

    return step


def micro_step(content: bytes) -> Step:
    micro: Any = pytest.importorskip("tflite_micro", reason="TFLite Micro comes from the package tflite-micro")
    interpreter = micro.runtime.Interpreter.from_bytes(content)

    def step(x: Array) -> Array:
        interpreter.set_input(x, 0)
        interpreter.invoke()
        return np.array(interpreter.get_output(0))

    return step


def outside_step(export: StreamingExport) -> Step:
    """The host's interpreter on a file whose state comes in and goes out."""
    interpreter = runtime.open_interpreter(export.content, exact=True)
    (source, *states), (sink, *following) = interpreter.get_input_details(), interpreter.get_output_details()
    assert [tuple(state["shape"]) for state in states] == [start.shape for start in export.starts]
    assert [tuple(state["shape"]) for state in following] == [start.shape for start in export.starts]
    kept = list(export.starts)

    def step(x: Array) -> Array:
        interpreter.set_tensor(source["index"], x)
        for state, value in zip(states, kept, strict=True):
            interpreter.set_tensor(state["index"], value)
        interpreter.invoke()
        kept[:] = [np.array(interpreter.get_tensor(state["index"])) for state in following]
        return np.array(interpreter.get_tensor(sink["index"]))

    return step


def stepped(export: StreamingExport, step: Step, x: Array) -> Array:
    """All frames of the signal that whole hops give, the lag dropped."""
    hop = export.hop_frames
    hops = [step(np.ascontiguousarray(x[None, k : k + hop]))[0] for k in range(0, len(x) - hop + 1, hop)]
    assert all(len(y) == export.frames_per_hop[0] for y in hops)
    frames: Array = np.concatenate(hops)[export.lag_frames[0] :]
    return frames


def pushed(stream: Stream, x: Array) -> Array:
    y = stream.push(x)
    assert isinstance(y, np.ndarray)
    return y


def assert_close(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    if got.dtype.kind == "f":
        assert np.all(np.abs(got - expected) <= 1e-5 * np.maximum(1, np.abs(expected)))
    else:
        assert np.array_equal(got, expected)


def skip_where_dense_layers_are_wrong(name: str) -> None:
    if runtime.find_runtime().wrong_dense_reference and runtime.dense_is_wrong(model(name).graph):
        pytest.skip("tflite-runtime's reference kernels are wrong for this model")


@pytest.mark.parametrize("name", EXPORTABLE)
def test_the_host_runs_the_export_exactly_from_the_first_frame(name: str) -> None:
    skip_where_dense_layers_are_wrong(name)
    export = export_streaming(model(name))
    x = signal(name)
    whole = len(x) // export.hop_frames * export.hop_frames
    expected = pushed(model(name).stream("reference"), x[:whole])
    assert_close(stepped(export, host_step(export.content), x), expected)


@pytest.mark.parametrize("name", EXPORTABLE)
def test_tflite_micro_runs_the_export_exactly_from_the_first_frame(name: str) -> None:
    export = export_streaming(model(name))
    x = signal(name)
    got = stepped(export, micro_step(export.content), x)
    whole = len(x) // export.hop_frames * export.hop_frames
    expected = pushed(model(name).stream("reference"), x[:whole])
    if "FULLY_CONNECTED" in export.operations and expected.dtype.kind != "f":
        # TFLite Micro rounds twice in FULLY_CONNECTED, LiteRT once.
        assert got.shape == expected.shape
        assert np.abs(got.astype(np.int64) - expected).max() <= 1
    else:
        assert_close(got, expected)


FLOATS = (
    "causal.f32",
    "nse_lg.f32",
    "nse_mb.f32",
    "nse_sm.f32",
    "sig_decim2.f32",
    "spectro.f32",
    "strided.f32",
    "unet_max.f32",
)


@pytest.mark.parametrize("name", FLOATS)
def test_a_nan_of_the_signal_goes_as_far_as_in_the_engines(name: str) -> None:
    export, outside = export_streaming(model(name)), export_streaming(model(name), state="inputs")
    x = signal(name).copy()
    x = x[: len(x) // export.hop_frames * export.hop_frames]
    x[len(x) // 2] = np.nan
    expected = np.isnan(pushed(model(name).stream("reference"), x))
    assert expected.any()
    steps = [
        (export, host_step(export.content)),
        (outside, outside_step(outside)),
        (export, micro_step(export.content)),
    ]
    for each, step in steps:
        assert np.array_equal(np.isnan(stepped(each, step, x)), expected)


@pytest.mark.parametrize("name", ["nse_lg.i8", "strided.i8", "unet_max.f32", "wavenet.i8"])
def test_longer_hops_give_the_same_frames(name: str) -> None:
    fewest = export_streaming(model(name)).hop_frames
    export = export_streaming(model(name), 3 * fewest)
    x = signal(name)[: len(signal(name)) // export.hop_frames * export.hop_frames]
    assert_close(stepped(export, host_step(export.content), x), pushed(model(name).stream("reference"), x))


def test_the_lag_is_the_delay_and_no_more() -> None:
    for name in ("causal.f32", "nse_lg.i8", "nse_mb_d2b2.i8", "wavenet.i8"):
        export = export_streaming(model(name))
        assert export.hop_frames == 1
        assert export.lag_frames == (model(name).delay,)


def test_it_says_what_firmware_must_provide() -> None:
    export = export_streaming(model("nse_lg.i8"))
    main, start = read_model(export.content).graphs
    assert export.operations == tuple(sorted({op.kind for graph in (main, start) for op in graph.ops}))
    handles = [op for op in main.ops if op.kind == "VAR_HANDLE"]
    assert export.variables == len(handles) == len({op.options["shared_name"] for op in handles})
    counter_bytes = 1
    assert export.state_bytes <= model("nse_lg.i8").state_bytes + counter_bytes
    assert main.tensors[main.inputs[0]].shape == (1, 1, 1)
    assert main.tensors[main.outputs[0]].shape == (1, 1, 5)
    assert streaming_tflite(model("nse_lg.i8")) == export.content


def test_integer_state_starts_as_the_zero_point() -> None:
    start = read_model(streaming_tflite(model("causal.i8"))).graphs[1]
    values = {int(v) for t in start.tensors if t.data is not None for v in np.unique(t.data)}
    assert values != {0}


def test_frozen_statistics_are_constants_of_the_export() -> None:
    x = signal("nse_lg_se.i8")
    plan = model("nse_lg_se.i8").plan
    plan = apply_policy(plan, parse_policy("frozen"), measure(plan, [x]))
    export = export_streaming(plan)
    stream = model("nse_lg_se.i8").stream("reference", "frozen", x)
    assert_close(stepped(export, host_step(export.content), x), pushed(stream, x))


def test_a_hop_that_splits_a_frame_is_refused() -> None:
    with pytest.raises(EngineError, match="use a multiple of 16"):
        export_streaming(model("strided.i8"), 8)
    with pytest.raises(EngineError, match="use a multiple of 1"):
        export_streaming(model("causal.i8"), 0)


def test_what_has_no_fixed_shape_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match=r"`TIME_PAD` .*mirrors the signal"):
        export_streaming(model("sig_reflect.f32"))
    with pytest.raises(EngineError, match=r"`TIME_REDUCE` .*statistic over time"):
        export_streaming(model("nse_lg_se.f32"))


NO_COMPILER_TAKES = {"SELECT_V2", "GREATER_EQUAL", "GREATER"}
"""What some compiler ahead of time refuses beside frames of integers or floats; and it counts nothing in int32."""


def assert_that_compilers_take(export: StreamingExport) -> None:
    assert not NO_COMPILER_TAKES & set(export.operations)
    main = read_model(export.content).main
    made = {o for op in main.ops for o in op.outputs if op.kind != "VAR_HANDLE"}
    assert not any(main.tensors[i].dtype in (np.int32, np.int64, np.bool_) for i in (*main.inputs, *made))


@pytest.mark.parametrize("name", EXPORTABLE)
def test_variables_hold_frames_and_no_counter_of_int32(name: str) -> None:
    assert_that_compilers_take(export_streaming(model(name)))


@pytest.mark.parametrize("name", EXPORTABLE)
@pytest.mark.parametrize("times", [1, 3])
def test_state_as_inputs_and_outputs_is_the_same_stream(name: str, times: int) -> None:
    """For compilers ahead of time that know no variables."""
    skip_where_dense_layers_are_wrong(name)
    hop = times * export_streaming(model(name)).hop_frames
    export = export_streaming(model(name), hop, state="inputs")
    assert_that_compilers_take(export)
    refused = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}
    assert not refused & set(export.operations) and len(read_model(export.content).graphs) == 1
    assert export.state_bytes == sum(start.nbytes for start in export.starts)
    expected = pushed(model(name).stream(engine="reference"), signal(name))
    got = stepped(export, outside_step(export), signal(name))
    assert len(got) > 0
    if expected.dtype.kind == "i":
        np.testing.assert_array_equal(got, expected[: len(got)])
    else:
        np.testing.assert_allclose(got, expected[: len(got)], rtol=1e-5, atol=1e-5)


LONG = layer("convolution", kernel=3, dilation=300, padding="same")
LATE = {
    "more hops than an int8 counts": ([LONG, layer("convolution", kernel=5)], 650),
    "padding that is not the zero point": (
        [layer("convolution", kernel=5), layer("pooling", size=4), layer("convolution", kernel=3, activation="RELU")],
        40,
    ),
    "places of a second axis": ([layer("convolution", kernel=5, kernel_f=3), layer("convolution", kernel=4)], 40),
    "several frames a hop": (
        [layer("convolution", kernel=5), layer("convolution", kernel=2, stride=2), layer("convolution", kernel=9)],
        60,
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16"])
@pytest.mark.parametrize("name", LATE)
def test_the_left_edge_of_every_layer_is_padding(name: str, dtype: str) -> None:
    layers, frames = LATE[name]
    axes = {"bins": 4} if "axis" in name else {}
    late = tcnstream.load(build(layers, frames, dtype=dtype, seed=3, **axes).content)
    x = signals(late.inputs, frames, seed=2)[0]
    expected = pushed(late.stream(engine="native" if frames > 600 and dtype != "uint8" else "reference"), x)
    for times in (1, 3):
        hop = times * export_streaming(late).hop_frames
        inside, outside = (export_streaming(late, hop, state=state) for state in ("variables", "inputs"))
        assert inside.state_bytes == outside.state_bytes
        steps = [(inside, host_step(inside.content)), (outside, outside_step(outside))]
        if dtype != "uint8":  # TFLite Micro joins no frames of uint8
            steps.append((inside, micro_step(inside.content)))
        for export, step in steps:
            assert_that_compilers_take(export)
            got = stepped(export, step, x)
            assert len(got) > 20
            assert_close(got, expected[: len(got)])


def test_plain_integers_are_chosen_where_they_are_padded() -> None:
    graph = StepGraph(model("causal.i8").plan, [])
    beginning = Beginning(graph, 3, lambda like, start: graph.constant(start, like.quantization))
    like = Tensor("count", (), np.dtype(np.int64))
    made = beginning.pad(graph.constant(np.array([[[5], [6]]])), like, 7, (4, 3))
    content = write_model([Graph(tuple(graph.tensors), tuple(graph.ops), (), (made,))])
    interpreter = runtime.open_interpreter(content, exact=True)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(got, [[[7], [6]]])


@pytest.mark.parametrize(("passes_nan", "expected"), [(True, np.nan), (False, np.finfo(np.float32).max)])
def test_what_silence_makes_of_a_nan_is_padding_before_the_signal(passes_nan: bool, expected: float) -> None:
    graph = StepGraph(model("causal.f32").plan, [])
    beginning = Beginning(graph, 3, lambda like, start: graph.constant(start))
    like = Tensor("x", (), np.dtype(np.float32))
    values = graph.constant(np.array([[[np.inf], [np.nan]]], np.float32))
    made = beginning.pad(values, like, 7.0, (4, 3), passes_nan=passes_nan)
    content = write_model([Graph(tuple(graph.tensors), tuple(graph.ops), (), (made,))])
    interpreter = runtime.open_interpreter(content, exact=True)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(got, [[[7], [expected]]])


def test_a_quotient_is_no_number_of_silence_for_sure() -> None:
    layers = [layer("convolution"), layer("whole_steps"), layer("convolution", kernel=5)]
    plan = tcnstream.load(build(layers, 40, dtype="float32", seed=1).content).plan
    first, quotient = plan.nodes[0], next(node for node in plan.nodes if node.kind == "FLOOR_DIV")
    finite = finite_in_silence(plan)
    assert finite.issuperset(first.outputs) and not finite & {*quotient.outputs, *plan.outputs}
