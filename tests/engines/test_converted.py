"""Files as people convert them, the ways that tutorials teach, stream without a hint.

``tests/data/converted`` has a file per way (k2, k3: Keras 2 and 3; lt: litert-torch; o2t: onnx2tf; m2, dyn:
tf.function) and, where LiteRT's reference kernels run it, its inputs ``x0 ..`` and their answers ``y0 ..``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here, open_stream
from helpers.netfile import Net
from helpers.paths import DATA

import tcnstream
from tcnstream import ModelError, NotStreamableError, StreamError
from tcnstream.compiler.policies import apply_policy, parse_policy
from tcnstream.measure.compare import FLOAT_TOLERANCE, chunk_sizes, chunks
from tcnstream.tflite.graph import Array
from tcnstream.tflite.reader import read_model

CONVERTED = DATA / "converted"
REFUSED = {
    "k3_batchNone": "is read before anything was assigned to it; the converter left the weights out as variables",
    "lt_lstm_bi": "begins a recurrent layer that steps backwards",
    "lt_circular": "differs from frame to frame of the window, as circular padding",
    "o2t_n_ln": "is `FlexErf`, a kernel of TensorFlow itself",
    "o2t_reflect": "mirrored in",
}
SPECTRA = ("m2_rfft_frames",)
NEEDS_POLICY = ("lt_n_gn", "lt_se")
ANSWERED = sorted({path.stem for path in CONVERTED.glob("*.npz")} - set(REFUSED) - set(NEEDS_POLICY))


@cache
def model(name: str) -> tcnstream.Model:
    return tcnstream.load(CONVERTED / f"{name}.tflite")


def arrays(name: str, letter: str) -> list[Array]:
    with np.load(CONVERTED / f"{name}.npz") as archive:
        return [archive[key] for key in sorted(archive.files) if key.startswith(letter)]


def as_frames(file_array: Array, axis: int | None, frame: tuple[int, ...]) -> Array:
    """An array of the file's shape, time first and without batch: of a larger one the first entry is the stream."""
    file_array = file_array[:1] if axis and file_array.ndim > 2 else file_array
    moved = file_array if axis is None else np.moveaxis(file_array, axis, 0)
    return np.ascontiguousarray(moved).reshape(-1, *frame)


@pytest.mark.parametrize("name", ANSWERED)
def test_the_stream_is_the_answer_in_every_engine(name: str) -> None:
    opened = model(name)
    plan = opened.plan
    given = dict(zip(opened.graph.inputs, arrays(name, "x"), strict=True))
    static = {spec.name: given[i] for i, spec in zip(opened.file_static, opened.static_inputs, strict=True)}
    signal = [
        as_frames(given[i], axis, spec.shape)
        for i, axis, spec in zip(opened.file_inputs, plan.input_axes, opened.inputs, strict=True)
    ]
    steps = len(signal[0]) // opened.input_steps[0]
    expected = tuple(
        as_frames(y, axis, spec.shape)
        for y, axis, spec in zip(arrays(name, "y"), plan.output_axes, opened.outputs, strict=True)
    )
    for engine in engines_here(opened, static=static):
        for sizes in ([steps], chunk_sizes(steps, np.random.default_rng(0))):
            stream, parts = open_stream(opened, engine=engine, static=static), []
            for chunk in chunks(signal, sizes, opened.input_steps):
                parts.append(_each(stream.push(*chunk)))
            parts.append(_each(stream.flush()))
            got = tuple(np.concatenate(frames) for frames in zip(*parts, strict=True))
            # Where a file keeps the last frame alone, a stream has one at every frame.
            got = tuple(
                y[-len(e) :] if axis is None else y for y, e, axis in zip(got, expected, plan.output_axes, strict=True)
            )
            assert_frames(got, expected, FLOAT_TOLERANCE, f"{engine}, chunks {sizes[:9]}", name in SPECTRA)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_has_no_streaming_form_yet_is_refused_in_words(name: str) -> None:
    with pytest.raises((ModelError, NotStreamableError), match=REFUSED[name]):
        model(name)


@pytest.mark.parametrize("name", NEEDS_POLICY)
def test_norms_over_time_stream_under_a_policy(name: str) -> None:
    with pytest.raises(NotStreamableError, match="averages all 200 frames of the window"):
        model(name).stream()
    assert len(_each(model(name).stream(time_pooling="trailing").push(np.zeros((9, 1), np.float32)))[0]) > 0


@pytest.mark.parametrize("name", sorted({path.stem for path in CONVERTED.glob("*.tflite")} - set(REFUSED)))
def test_the_core_has_all_of_it(name: str) -> None:
    """Frames that are one number, as norms over channels leave them, crashed the packer."""
    assert model(name).native_lacks() == []


@pytest.mark.parametrize(
    ("name", "axis", "others"),
    [
        ("lt_tcn", 2, ()),
        ("lt_spec2d", 3, ()),
        ("k3_eegnet.i8", 2, ((1,),)),
        ("k3_tf_raw1d", 0, ()),
        ("k3_tcn.i8", 1, ()),
        ("k3_tconv2d.i8", 1, ((2,), (3,))),
    ],
)
def test_time_is_found(name: str, axis: int, others: tuple[tuple[int, ...], ...]) -> None:
    plan = model(name).plan
    assert plan.input_axes == (axis,)
    assert set(plan.other_axes) == set(others)


def test_a_refusal_names_the_axis_that_it_assumed() -> None:
    net = Net()
    x = net.input((1, 8, 6))
    net.output(net.same(x, "REVERSE_V2", x.shape, 1, net.constant([1, 2], np.int32)))
    with pytest.raises(NotStreamableError, match=r"Time is taken to be axis 1 of the input \(1, 8, 6\)"):
        tcnstream.load(net.content())


def test_a_refusal_names_the_only_axis_and_the_axis_that_would_do() -> None:
    alone = Net()
    x = alone.input((1, 1, 6))
    alone.output(alone.same(x, "REVERSE_V2", x.shape, 1, alone.constant([2], np.int32)))
    with pytest.raises(NotStreamableError, match=r"Time is taken to be axis 2 of the input \(1, 1, 6\)\.\)"):
        tcnstream.load(alone.content())

    other = Net()
    x = other.input((1, 8, 6))
    other.output(other.same(x, "REVERSE_V2", x.shape, 1, other.constant([1], np.int32)))
    with pytest.raises(NotStreamableError, match="if axis 2 is time it streams: time_axis=2"):
        tcnstream.load(other.content())
    assert tcnstream.load(other.content(), time_axis=2).plan.input_axes == (2,)


def test_a_named_axis_is_taken_as_it_is() -> None:
    assert tcnstream.load(CONVERTED / "k3_eegnet.i8.tflite", time_axis=1).plan.input_axes == (1,)


def test_seeds_of_dropout_are_no_state_of_a_stream() -> None:
    """Keras 3 counts them on in variables that no output depends on."""
    opened = model("k3_lstm_dropout")
    assert not opened.is_stateful
    assert opened.native_lacks() == []


def test_a_policy_needs_a_window_that_the_file_leaves_open() -> None:
    opened = model("lt_se")
    plan = replace(opened.plan, window_is_open=True)
    with pytest.raises(StreamError, match="leaves open; say over how many frames, as 'trailing:400'"):
        apply_policy(plan, parse_policy("trailing"))
    apply_policy(plan, parse_policy("trailing:400"))


def test_statistics_over_an_open_window_are_refused_without_a_number_of_frames() -> None:
    net = Net()
    x = net.input((1, 40, 3))
    net.output(net.same(x, "MEAN", (1, 3), None, net.constant([1], np.int32)))
    file = read_model(net.content())
    tensors = list(file.main.tensors)
    tensors[x.index] = replace(tensors[x.index], open_axes=(1,))
    opened = tcnstream.Model(replace(file, graphs=(replace(file.main, tensors=tuple(tensors)),)))
    assert opened.native_lacks() == []
    with pytest.raises(NotStreamableError, match="averages all frames of the window"):
        opened.stream()


def _each(frames: Any) -> tuple[Array, ...]:
    return frames if isinstance(frames, tuple) else (frames,)
