"""verify() says yes to what is right and finds what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.netfile import Net, Value
from helpers.paths import DATA, MODELS, STATEFUL

import tcnstream
from tcnstream.measure.verify import verify

pytest.importorskip("ai_edge_litert", reason="verify compares with the TFLite interpreter: pip install ai-edge-litert")


@pytest.mark.parametrize("name", ["nse_lg.i8", "strided.f32", "ktcn_last.f32", "sig_reflect.f32", "spectro.i8"])
def test_right_models_pass_every_check(name: str) -> None:
    report = verify(tcnstream.load(MODELS / f"{name}.tflite"), engine="reference")
    assert report.passed
    assert {check.name.split(",")[0].split(" ")[0] for check in report.checks} == {"file", "chunking"}
    assert all(check.frames > 0 for check in report.checks)


@pytest.mark.parametrize("frames", [0, 2, 3, 8])
def test_a_model_with_its_own_state_is_verified_on_any_number_of_frames(frames: int) -> None:
    model = tcnstream.load(STATEFUL / "hey_mycroft.tflite")
    signal = np.random.default_rng(4).normal(0, 1, (frames, *model.inputs[0].shape)).astype(np.float32)
    report = verify(model, signal, chunkings=2)
    assert report.passed and [check.frames for check in report.checks] == [frames // 3] * 2


def test_output_frames_survive_the_next_block_of_the_same_push() -> None:
    """Found by verify: frames of the first block were views of a queue that the second one rewound."""
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    signal = np.random.default_rng(3).integers(-128, 128, (2400, 1)).astype(np.int8)
    whole, piecewise = model.stream("reference"), model.stream("reference")
    at_once = whole.push(signal)
    one_by_one = np.concatenate([piecewise.push(signal[i : i + 1]) for i in range(len(signal))])
    np.testing.assert_array_equal(at_once, one_by_one)


def test_a_policy_is_reported_as_a_distance() -> None:
    model = tcnstream.load(MODELS / "nse_mb_se.f32.tflite")
    report = verify(model, engine="reference", time_pooling="trailing", chunkings=1)
    distances = [check for check in report.checks if check.name.startswith("file")]
    assert report.passed
    assert all(check.distance > 0 and "time_pooling" in check.note for check in distances)


def test_a_wrong_weight_is_found_with_frame_and_tensor() -> None:
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    node = model.plan.nodes[4]
    weights = model.plan.tensors[node.inputs[1]]
    assert weights.data is not None
    damaged = weights.data.copy()
    damaged.flat[0] ^= 0x40
    tensors = list(model.plan.tensors)
    tensors[node.inputs[1]] = replace(weights, data=damaged)
    model.plan = replace(model.plan, tensors=tuple(tensors))
    report = verify(model, engine="reference", chunkings=1)
    difference = report.first_difference
    assert not report.passed
    assert difference is not None
    assert difference.operation == f"CONV_2D (op {node.index})"
    assert difference.tensor == model.plan.tensors[node.outputs[0]].name
    assert difference.expected != difference.got


def test_a_batch_is_compared_with_the_first_of_its_entries() -> None:
    assert verify(tcnstream.load(DATA / "converted" / "k3b_b4.tflite")).passed


@pytest.mark.parametrize("name", ["k3_dyn_unet", "k3_dyn_causal", "dyn_s2_same", "dyn_tr"])
def test_a_file_of_open_length_is_run_where_strides_leave_nothing_of_a_single_frame(name: str) -> None:
    report = verify(tcnstream.load(DATA / "converted" / f"{name}.tflite"), chunkings=1)
    asked = [check for check in report.checks if check.name.startswith("file")]
    assert report.passed and len(asked) == 3 and all(check.frames > 0 and not check.note for check in asked)


def test_a_batch_that_ends_behind_time_is_compared_with_the_first_of_its_entries() -> None:
    net = Net()
    x = net.input((3, 40, 4))
    net.output(net.transpose(x, (1, 0, 2)))
    assert verify(tcnstream.load(net.content())).passed


def of_spectra(kind: str) -> tcnstream.Model:
    """Spectra of frames of 256 samples: their magnitudes, a real or imaginary part, or a matrix product of them."""
    net = Net()
    x = net.input((1, 24, 1, 256))
    bins = (1, 24, 1, 129)
    transformed = net.value(bins, 1, 1.0)
    net.tensors[transformed.index] = replace(net.tensors[transformed.index], dtype=np.dtype(np.complex64))
    net.op("RFFT2D", [x.index, net.constant([1, 256], np.int32)], [transformed])
    made = net.value(bins, 1, 1.0)
    net.op("COMPLEX_ABS" if kind == "bands" else kind, [transformed.index], [made])
    made = net.reshape(made, (1, 24, 129), 1)
    net.output(bands(net, made) if kind == "bands" else made)
    return tcnstream.load(net.content())


def bands(net: Net, x: Value) -> Value:
    """The sum of all bins, and each of them."""
    weights = np.concatenate([np.ones((1, 129), np.float32), np.eye(129, dtype=np.float32)])
    y = net.value((1, x.frames, 130), 1, 1.0)
    net.op("FULLY_CONNECTED", [x.index, net.constant(weights), -1], [y], keep_num_dims=True)
    return y


@pytest.mark.parametrize("kind", ["COMPLEX_ABS", "REAL", "IMAG", "bands"])
def test_a_value_of_a_spectrum_is_as_exact_as_its_frame_is_large(kind: str) -> None:
    model = of_spectra(kind)
    signal = np.random.default_rng(0).normal(0, 10, (60, *model.inputs[0].shape)).astype(np.float32)
    for engine in ("native", "reference"):
        report = verify(model, signal, engine=engine, chunkings=2)
        assert report.passed and report.by_frame, report.first_difference
        assert max(check.distance for check in report.checks) > 1e-5


def test_a_wrong_spectrum_is_found_with_frame_and_tensor() -> None:
    model = of_spectra("COMPLEX_ABS")
    cosines = model.plan.nodes[0].inputs[1]
    damaged = replace(model.plan.tensors[cosines], data=model.plan.tensors[cosines].data * np.float32(1.0001))
    tensors = (*model.plan.tensors[:cosines], damaged, *model.plan.tensors[cosines + 1 :])
    model.plan = replace(model.plan, tensors=tensors)
    report = verify(model, engine="reference", chunkings=1)
    difference = report.first_difference
    assert not report.passed and difference is not None
    assert difference.operation == "SQRT (op 1)"
