"""verify() says yes to what is right and finds what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.netfile import Net
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


def test_a_batch_that_ends_behind_time_is_compared_with_the_first_of_its_entries() -> None:
    net = Net()
    x = net.input((3, 40, 4))
    net.output(net.transpose(x, (1, 0, 2)))
    assert verify(tcnstream.load(net.content())).passed
