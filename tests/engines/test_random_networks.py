"""Networks drawn at random hold the contract; what once did not is kept below, by name.

Every run draws the same networks; TCNSTREAM_EXAMPLES=2000 draws as many others, to look further.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here, open_stream, verify_contract, verify_reach
from helpers.draws import drawn
from helpers.netfile import DoesNotFitError
from helpers.networks import Layer, Network, build, layer, signals
from helpers.oracle import reference_kernels
from helpers.random_layers import (
    ANY_LAYER,
    DTYPES,
    KEEPING_FRAMES,
    SETUPS,
    at_window,
    draw_network,
    draw_stateful,
    options,
    streamed,
)
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

import tcnstream
from tcnstream import Model, StreamError
from tcnstream.errors import EngineError
from tcnstream.measure.compare import chunk_sizes
from tcnstream.tflite.graph import Array


def built(layers: Sequence[Layer], window: int, **setup: Any) -> Network:
    try:
        return build(layers, window, **setup)
    except DoesNotFitError:
        assume(False)
        raise


def offline(network: Network, signal: Sequence[Array], model: Model) -> tuple[Array, ...]:
    """The outputs of the file over a signal as long as its window, time first and without batch."""
    axes, graph = model.plan.input_axes, model.graph
    given = {i: at_window(x, a) for i, x, a in zip(model.file_inputs, signal, axes, strict=True)}
    given |= {pair.input: np.zeros(graph.tensors[pair.input].shape, np.float32) for pair in model.states}
    outputs = reference_kernels(network.content, [given[i] for i in graph.inputs])
    answers = [outputs[graph.outputs.index(o)] for o in model.file_outputs]
    made = []
    for y, axis, port in zip(answers, model.plan.output_axes, model.outputs, strict=True):
        frames = y if axis is None else np.moveaxis(y, axis, 0)
        made.append(frames.reshape(-1, *port.shape))
    return tuple(made)


def check(layers: Sequence[Layer], window: int, more: int = 1, engines: Sequence[str] = (), **setup: Any) -> None:
    """The network at its window, and on a signal ``more`` total strides longer (or shorter)."""
    network = build(layers, window, **setup)
    model = tcnstream.load(network.content, time_axis=2 if setup.get("bins") and setup.get("sideways") else 1)
    signal = signals(model.inputs, window, setup.get("seed", 0))
    expected = offline(network, signal, model)
    head = setup.get("head", "")
    engines = engines or engines_here(model)
    for engine in engines:
        whole = streamed(open_stream(model, engine=engine), signal, [window])
        if head == "last":
            assert_frames((*whole[:-1], whole[-1][-1:]), expected, 1e-5, "the last frame")
        verify_contract(model, signal, whole if head == "last" else expected, engine=engine, chunkings=1)
    if head == "flatten":
        return
    frames = window + more * network.strides
    if frames < 1:
        return
    try:
        longer = build(layers, frames, **setup)
    except DoesNotFitError:
        return
    signal = signals(model.inputs, frames, 1)
    expected = offline(longer, signal, model)
    for engine in engines:
        sizes = chunk_sizes(frames, np.random.default_rng(2))
        got = streamed(open_stream(model, engine=engine), signal, sizes)
        if head == "last":
            got = (*got[:-1], got[-1][-1:])
        assert_frames(got, expected, 1e-5, f"{frames} frames")


@drawn(150, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ANY_LAYER, min_size=1, max_size=5), st.integers(12, 70), st.sampled_from([-3, -1, 0, 1, 2, 7, 20]), SETUPS
)
def test_random_networks_stream_exactly(layers: list[Layer], window: int, more: int, setup: dict[str, Any]) -> None:
    built(layers, window, **setup)
    check(layers, window, more, **setup)


def u_nets() -> st.SearchStrategy[Layer]:
    levels = st.integers(1, 3)
    return levels.flatmap(
        lambda n: st.builds(
            lambda inner, ratios, down, up, joins, taps: layer(
                "u_net", inner=inner, ratios=tuple(ratios), down=down, up=up, joins=joins, taps=taps
            ),
            st.lists(KEEPING_FRAMES, min_size=n, max_size=n),
            st.lists(st.sampled_from([2, 2, 3, 4]), min_size=n, max_size=n),
            st.sampled_from(["stride", "causal", "pool"]),
            st.sampled_from(["tile", "resize", "transpose", "unfold"]),
            st.sampled_from(["ADD", "CONCATENATION", "MUL"]),
            st.booleans(),
        )
    )


@drawn(40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(KEEPING_FRAMES, max_size=1),
    u_nets(),
    st.lists(ANY_LAYER, max_size=2),
    st.sampled_from([24, 36, 48]),
    st.sampled_from([-1, 1, 3]),
    SETUPS,
)
def test_u_nets_with_outputs_at_every_rate(
    before: list[Layer], middle: Layer, after: list[Layer], window: int, more: int, setup: dict[str, Any]
) -> None:
    """Joins across rates, strided and dilated layers mixed, and several outputs at rates of their own."""
    layers, setup = [*before, middle, *after], {**setup, "head": ""}
    built(layers, window, **setup)
    check(layers, window, more, **setup)


def invoked(content: bytes, model: Model, signal: Array) -> Array:
    """What a file that feeds states back gives hop by hop, run by LiteRT's reference kernels."""
    graph, (axis,), parts = model.graph, model.plan.input_axes, []
    state = {pair.input: np.zeros(graph.tensors[pair.input].shape, np.float32) for pair in model.states}
    (signal_input,), (output,) = model.file_inputs, model.file_outputs
    shape = graph.tensors[signal_input].shape
    hop = 1 if axis is None else shape[axis]
    for begin in range(0, len(signal), hop):
        given = {**state, signal_input: signal[begin : begin + hop].reshape(shape)}
        outputs = reference_kernels(content, [given[i] for i in graph.inputs])
        state = {pair.input: outputs[graph.outputs.index(pair.output)] for pair in model.states}
        parts.append(outputs[graph.outputs.index(output)].reshape(-1, *model.outputs[0].shape))
    return np.concatenate(parts)


@pytest.mark.parametrize("number", range(25))
def test_networks_that_feed_a_state_back_stream_as_their_files_do(number: int) -> None:
    rng, network = random.Random(f"fed back {number}"), None
    while network is None:
        with suppress(DoesNotFitError):
            network = draw_stateful(rng)
    model = tcnstream.load(network.content)
    assert len(model.states) == 1 and len(model.file_outputs) == 1
    (x,) = signals(model.inputs, 6 * network.window, number)
    expected = (invoked(network.content, model, x),)
    try:
        model.stream("reference")
    except EngineError:  # what has no plan as frames runs in the file's own interpreter
        for sizes in ([len(x)], [1] * len(x)):
            assert_frames(streamed(model.stream(), (x,), sizes), expected, 1e-5, f"{sizes[:1]}")
        return
    for engine in engines_here(model):
        verify_contract(model, (x,), expected, engine=engine, chunkings=1)


LINEAR = st.one_of(
    options(
        "convolution",
        kernel=range(1, 6),
        dilation=(1, 2, 5),
        stride=(1, 2, 3),
        padding=("same", "valid", "causal"),
        kind=("CONV_2D", "DEPTHWISE_CONV_2D"),
    ),
    options("pooling", size=(2, 3), stride=(1, 2, 3), same=(True, False), kind=("AVERAGE_POOL_2D",)),
    options("upsampling", ratio=(2, 3), kind=("tile", "resize", "transpose"), kernel=(3, 5), same=(True, False)),
    options("crop", before=(0, 3), after=(0, 2)),
    options("decimate", first=(0, 1), step=(2,)),
    st.builds(
        lambda b: layer("residual", inner=b),
        st.lists(
            options("convolution", kernel=(3, 5), dilation=(1, 2), padding=("same", "causal")), min_size=1, max_size=2
        ),
    ),
)


@drawn(60, suppress_health_check=list(HealthCheck))
@given(st.lists(LINEAR, min_size=1, max_size=4), st.integers(0, 9))
def test_delay_and_receptive_field_of_random_networks_are_reached(layers: list[Layer], seed: int) -> None:
    model = tcnstream.load(built(layers, 200, seed=seed).content)
    assert model.receptive_field is not None
    signal = signals(model.inputs, min(4 * model.receptive_field + 100, 700), seed)
    verify_reach(open_stream(model, engine="reference"), signal)


def keeps_infinities(model: Model) -> bool:
    """Whether it has a rectified recurrence, whose sums may be infinite, as those of the interpreter's may not."""
    ops = [op for op in model.graph.ops if op.kind == "UNIDIRECTIONAL_SEQUENCE_RNN"]
    return any(op.options["fused_activation_function"] == "RELU" for op in ops)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_what_is_no_number_goes_where_the_reference_kernels_let_it(special: float) -> None:
    """And is forgotten when the receptive field has passed it by."""
    judged, number = 0, 0
    while judged < 8:
        number += 1
        network = draw_network(random.Random(f"{special}/{number}"))
        model = tcnstream.load(network.content)
        if model.inputs[0].dtype != np.float32 or model.plan.steps is not None:
            continue
        judged += 1
        signal = signals(model.inputs, network.window)
        signal[0].reshape(network.window, -1)[network.window // 3, 0] = special
        expected = offline(network, signal, model)
        for engine in engines_here(model):
            if engine == "interpreter" and keeps_infinities(model):
                continue
            got = streamed(open_stream(model, engine=engine), signal, [network.window])
            assert_frames(
                tuple(y[-len(o) :] for y, o in zip(got, expected, strict=True)), expected, 1e-5, f"{engine}, {number}"
            )
    model = tcnstream.load(build([layer("convolution", kernel=5, dilation=2)] * 2, 30).content)
    assert model.receptive_field is not None
    (x,) = signals(model.inputs, 80)
    spoiled = x.copy()
    spoiled[3] = special
    for engine in engines_here(model):
        clean, other = (streamed(model.stream(engine), (y,), [7] * 11 + [3])[0] for y in (x, spoiled))
        assert not np.array_equal(clean, other)
        assert np.array_equal(clean[3 + model.receptive_field :], other[3 + model.receptive_field :])


# --- what once did not hold ---------------------------------------------------------------------


def test_frames_that_may_be_cropped_are_declared_to_come_later() -> None:
    check([layer("crop", before=1, after=4)], 39, channels=1)
    model = tcnstream.load(build([layer("crop", before=1, after=4)], 39).content)
    assert (model.delay, model.receptive_field) == (5, 1)


def test_dense_over_all_frames_of_one_channel() -> None:
    check([layer("tap")], 12, channels=1, head="flatten")


def test_dense_over_all_frames_of_several_channels() -> None:
    check([layer("activation", kind="TANH")], 12, channels=4, head="flatten", dtype="int8")


def test_several_outputs_before_the_last_frame() -> None:
    check([layer("tap"), layer("activation", kind="TANH"), layer("tap")], 44, channels=2, head="last")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_two_stages_of_odd_strides(padding: str) -> None:
    """SAME with stride pads by the length modulo the stride; the file's own window decides."""
    layers = [layer("convolution", kernel=5, stride=3, padding=padding), layer("pooling", size=4, stride=5, same=True)]
    for window in range(60, 75):
        check(layers, window, more=2, engines=["reference"], dtype="int8")


def test_a_decimation_down_to_one_frame_is_not_the_last_frame() -> None:
    layers = [layer("pooling", size=3, stride=6), layer("decimate", first=1, step=2), layer("pooling", size=3)]
    check(layers, 12, 2, bins=3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_decimated_signal_is_padded_with_its_own_frames(dtype: str) -> None:
    check([layer("decimate", step=3, first=1), layer("replicate", kernel=2, before=4, after=0)], 24, 4, dtype=dtype)


@pytest.mark.parametrize("kind", ["tile", "resize", "transpose"])
def test_layers_down_to_one_frame_of_the_window(kind: str) -> None:
    """(1, 1, C) and (1, 1, 1, C) do not say which axis is time; once the batch was taken for it."""
    inner = [layer("convolution", kernel=3), layer("dense", flat=True)]
    check([layer("pooling", size=6, stride=6), layer("hourglass", ratio=2, kind=kind, inner=inner)], 12, more=4)


def test_wide_kernels_on_one_frame_of_the_window() -> None:
    inner = [layer("convolution", kernel=3, sideways=True), layer("convolution", kernel=5, sideways=False)]
    check([layer("pooling", size=12, stride=12), *inner], 12, more=5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "before"), [("REFLECT", 20), ("REFLECT", 10), ("SYMMETRIC", 11)])
def test_mirrored_edges_longer_than_what_the_kernels_read(kind: str, before: int, dtype: str) -> None:
    """Rings were laid out for less than what waits before the mirrored frames are there."""
    check([layer("mirror", kind=kind, before=before, after=3, kernel=5)] * 2, 60, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("kind", ["REFLECT", "SYMMETRIC"])
def test_mirrored_ends_longer_than_anything_else_that_is_remembered(kind: str, kernel: int, dtype: str) -> None:
    """Only frames mirrored at the start were counted, so that rings forgot those that the end shows."""
    for after in (1, 4, 9):
        check([layer("mirror", before=0, after=after, kind=kind, kernel=kernel)], 30, dtype=dtype)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_what_is_remembered_behind_a_mirrored_edge_is_counted(kernel: int) -> None:
    model = tcnstream.load(build([layer("mirror", before=8, kernel=kernel)], 40, channels=1).content)
    stream, most = model.stream("reference"), 0
    for x in signals(model.inputs, 40)[0]:
        stream.push(x[None])
        most = max(most, stream.state_bytes)
    assert most <= model.state_bytes


@pytest.mark.parametrize("edges", [(4, 0, 0, 6), (0, 4, 6, 0), (2, 2, 5, 5), (0, 5, 0, 5)])
def test_signals_as_short_as_their_mirrored_edges_end_alike_in_all_engines(edges: tuple[int, ...]) -> None:
    """The core counted while open where the end decides, and looked at the first edge alone."""
    b1, a1, b2, a2 = edges
    layers = [layer("mirror", before=b1, after=a1, kernel=3), layer("mirror", before=b2, after=a2, kernel=3)]
    model = tcnstream.load(build(layers, 40, channels=1).content)
    for frames in range(20):
        answers = []
        for engine in engines_here(model):
            try:
                answers.append(streamed(open_stream(model, engine=engine), signals(model.inputs, frames), [frames]))
            except StreamError as e:
                answers.append(str(e))
        refused = {isinstance(answer, str) for answer in answers}
        assert len(refused) == 1, f"{frames} frames: {answers}"
        for answer in answers[1:] if refused == {False} else []:
            assert_frames(answer, answers[0], 1e-5, f"{frames} frames")


@pytest.mark.parametrize("kind", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_a_rectifier_makes_of_a_nan_what_the_reference_kernels_make(kind: str, recurrent: bool) -> None:
    """An operation keeps it, which the core did not; within a recurrent layer it becomes the limit."""
    rectifier = layer("rnn", units=2, activation=kind) if recurrent else layer("activation", kind=kind)
    network = build([rectifier], 12)
    model = tcnstream.load(network.content)
    signal = signals(model.inputs, 12)
    signal[0][5, 1] = np.nan
    expected = offline(network, signal, model)
    assert np.isnan(expected[0]).any() != recurrent
    for engine in engines_here(model):
        assert_frames(streamed(open_stream(model, engine=engine), signal, [5, 7]), expected, 1e-5, engine)


@pytest.mark.parametrize(
    "layers",
    [
        [layer("crop", before=0, after=1), layer("replicate", before=1, after=2, kernel=2)],
        [layer("crop", before=5, after=4), layer("replicate", before=4, after=0, kernel=3)],
        [layer("crop", before=2, after=3), layer("mirror", before=3, after=4)],
        [layer("crop", before=1, after=1), layer("upsampling", kind="pieces"), layer("replicate", before=3, after=3)],
        [layer("replicate", before=1, after=2, kernel=1), layer("crop", before=3, after=3)],
        [layer("replicate", before=3, after=3, kernel=1), layer("crop", before=1, after=1), layer("replicate")],
    ],
    ids=lambda layers: "-".join(one.name for one in layers),
)
def test_what_is_cut_is_padded_with_the_frames_that_are_left(layers: list[Layer]) -> None:
    """Picked frames were looked for as a window of all, of which the last is not the one that is held."""
    for window, more in ((24, 1), (25, 4), (30, -3)):
        check(layers, window, more, dtype="int8")


REPEATED = layer("upsampling", kind="pieces", ratio=2)
"""Each frame twice, by SPLIT and CONCATENATION: held back until it is known what is read of it."""


@pytest.mark.parametrize(
    "after",
    [
        [layer("decimate", first=0, step=2)],
        [layer("decimate", first=1, step=3)],
        [layer("decimate", first=2, step=2), layer("decimate", first=1, step=2)],
        [layer("decimate", first=1, step=3), REPEATED],
        [layer("crop", before=5, after=0)],
        [layer("crop", before=5, after=7), layer("decimate", first=0, step=3)],
        [layer("crop", before=1, after=4), REPEATED],
        [REPEATED, layer("crop", before=5, after=1)],
        [layer("replicate", before=4, after=3, kernel=2)],
        [layer("replicate", before=1, after=2, kernel=1), layer("decimate", first=1, step=2)],
        [layer("mirror", before=5, after=2)],
        [layer("pooling", size=3, stride=2, kind="AVERAGE_POOL_2D")],
        [layer("convolution", kernel=3, stride=2, padding="causal"), REPEATED],
        [layer("convolution", kernel=4, stride=3, padding="valid")],
    ],
    ids=lambda layers: "-".join(one.name for one in layers),
)
def test_repeated_frames_go_through_all_that_changes_the_rate(after: list[Layer]) -> None:
    """A repetition and the decimation behind it were one order of frames, which no window says."""
    for window, more in ((12, 1), (13, 4), (24, -3)):
        check([REPEATED, *after], window, more, dtype="int8")
