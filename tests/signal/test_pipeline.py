"""Pipeline: from samples to segments, the same however the signal comes in and wherever it goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.networks import build, layer
from helpers.paths import AUDIO, ECG

import tcnstream
from tcnstream import Pipeline, PipelinePool, Segment, SignalError, StreamError, StreamOptions
from tcnstream.signal.card import find_model
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.base import Gap

pytestmark = pytest.mark.filterwarnings("ignore:the samples are taken for")

RATE_HZ = 360.0


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """Ten seconds of the demo's recording, (3600,) mV at 360 Hz."""
    return np.concatenate(list(open_recording(ECG).chunks))[:3600, 0]


def whole(pipeline: Pipeline, x: np.ndarray, cuts: list[int]) -> tuple[list[Segment], np.ndarray]:
    segments, frames = [], []
    for chunk in np.split(x, cuts):
        segments += pipeline.push(chunk)
        frames.append(pipeline.frames)
    segments += pipeline.flush()
    return segments, np.concatenate([*frames, pipeline.frames])


CUTS = [[], list(range(1, 3600)), [1, 1, 8, 400, 3599], list(range(7, 3600, 97))]


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("model", ["ecg", "ecg.f32"])
def test_any_cut_gives_the_same_segments_and_frames_bit_for_bit(ecg: np.ndarray, model: str, low_latency: bool) -> None:
    pipeline = Pipeline(model, rate_hz=RATE_HZ, keep_frames=True, low_latency=low_latency)
    expected = None
    for cuts in CUTS:
        pipeline.reset()
        segments, frames = whole(pipeline, ecg, cuts)
        expected = expected or (segments, frames)
        assert segments == expected[0] and len(segments) > 10
        np.testing.assert_array_equal(frames, expected[1])
    assert len(expected[1]) == 2500


def test_audio_at_another_rate_and_unit(ecg: np.ndarray) -> None:
    x = np.concatenate(list(open_recording(AUDIO).chunks))[: 6 * 16000, 0]
    one = Pipeline("speech", rate_hz=48000)
    three = np.repeat(x, 3)
    found = one.push(three) + one.flush()
    assert [s.label for s in found] == ["speech"]
    in_uv = Pipeline("ecg", rate_hz=RATE_HZ, units="uV", keep_frames=True)
    in_mv = Pipeline("ecg", rate_hz=RATE_HZ, gain=1e-3, keep_frames=True)
    for pipeline in (in_uv, in_mv):
        pipeline.push(ecg * 1000)
    np.testing.assert_array_equal(in_uv.frames, in_mv.frames)
    with pytest.raises(SignalError, match=r"is in bar and the model takes mV: .* or give units='mV' if"):
        Pipeline("ecg", units="bar")


def test_the_shipped_models_are_loaded_by_name() -> None:
    model = tcnstream.load("ecg")
    path, card = find_model("ecg")
    assert model.file.sha256 == tcnstream.load(path.with_name("ecg.toml")).file.sha256
    by_card = Pipeline(path.with_name("ecg.toml"))
    assert by_card.card == card == Pipeline(model, card=path.with_name("ecg.toml")).card
    assert by_card.rate_hz == 250 and by_card.labels == ("none", "p", "qrs", "t")
    assert Pipeline(model, rate_hz=250).labels == ("0", "1", "2", "3")
    with pytest.raises(SignalError, match="no card, so that seconds are unknown: give rate_hz"):
        Pipeline(model)
    bare = Pipeline(model, segments=False, keep_frames=True)
    assert bare.push(np.zeros(300)) == [] and bare.frames.shape[1:] == model.outputs[0].shape


@pytest.mark.parametrize("at", [0, 1, 1999, 3600])
@pytest.mark.parametrize("model", ["ecg", "ecg.f32"])
def test_a_snapshot_goes_on_in_another_process_bit_for_bit(
    ecg: np.ndarray, tmp_path: Path, model: str, at: int
) -> None:
    pipeline = Pipeline(model, rate_hz=RATE_HZ, start_s=1e9, keep_frames=True)
    pipeline.push(ecg[:700])
    pipeline.mark_gap(100)
    pipeline.push(ecg[:at])
    (tmp_path / "blob").write_bytes(pipeline.snapshot())
    np.save(tmp_path / "rest.npy", ecg[at:])
    segments = pipeline.push(ecg[at:])
    frames = [pipeline.frames]
    segments += pipeline.flush()
    frames.append(pipeline.frames)
    program = f"""
import hashlib, numpy as np
from tcnstream import Pipeline
pipeline = Pipeline({model!r}, rate_hz={RATE_HZ}, keep_frames=True)
pipeline.restore(open("blob", "rb").read())
segments = pipeline.push(np.load("rest.npy"))
frames = [pipeline.frames]
segments += pipeline.flush()
frames.append(pipeline.frames)
print(segments, hashlib.sha256(np.concatenate(frames).tobytes()).hexdigest())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(tcnstream.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(np.concatenate(frames).tobytes()).hexdigest()
    assert said.strip() == f"{segments} {digest}"
    assert all(s.start_s >= 1e9 + 800 / RATE_HZ for s in segments)


def test_a_snapshot_after_the_end_is_over_too(ecg: np.ndarray) -> None:
    first, second = Pipeline("ecg"), Pipeline("ecg")
    first.push(ecg)
    first.flush()
    second.restore(first.snapshot())
    with pytest.raises(StreamError, match="push after flush"):
        second.push(ecg)


def test_a_foreign_or_damaged_snapshot_changes_nothing(ecg: np.ndarray) -> None:
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    pipeline.push(ecg[:1000])
    blob = pipeline.snapshot()
    others = [
        Pipeline("ecg_fast", rate_hz=RATE_HZ),
        Pipeline("ecg", rate_hz=500),
        Pipeline("ecg", rate_hz=RATE_HZ, units="V"),
        Pipeline("ecg", rate_hz=RATE_HZ, low_latency=True),
        Pipeline("ecg", rate_hz=RATE_HZ, segments=False),
        Pipeline("speech"),
    ]
    bad = [other.snapshot() for other in others]
    bad += [b"", b"x" * 500, blob[:-1], blob + b"x", tcnstream.load("ecg").stream().snapshot()]
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(blob), 40).tolist():
        bad.append(blob[:at] + bytes([blob[at] ^ 1 << int(rng.integers(8))]) + blob[at + 1 :])
    for other in bad:
        with pytest.raises(StreamError):
            pipeline.restore(other)
        assert pipeline.snapshot() == blob
    with pytest.raises(StreamError, match="a snapshot is bytes"):
        pipeline.restore("blob")  # type: ignore[arg-type]


def test_a_gap_ends_the_signal_and_another_one_begins_behind_it(ecg: np.ndarray) -> None:
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ, start_s=100.0, keep_frames=True)
    found = pipeline.push(ecg[:1500])
    frames = [pipeline.frames]
    assert pipeline.position_s == pytest.approx(100 + 1500 / RATE_HZ)
    found += pipeline.mark_gap(720)
    frames.append(pipeline.frames)
    assert pipeline.position_s == pytest.approx(100 + 2220 / RATE_HZ)
    found += pipeline.push(ecg[1500:])
    frames.append(pipeline.frames)
    found += pipeline.flush()
    frames.append(pipeline.frames)
    before = Pipeline("ecg", rate_hz=RATE_HZ, start_s=100.0, keep_frames=True)
    after = Pipeline("ecg", rate_hz=RATE_HZ, start_s=100.0 + 2220 / RATE_HZ, keep_frames=True)
    parts = [whole(before, ecg[:1500], []), whole(after, ecg[1500:], [])]
    gap = Segment(100.0 + 1500 / RATE_HZ, 100.0 + 2220 / RATE_HZ, "gap", 1.0)
    assert found == [*parts[0][0], gap, *parts[1][0]]
    np.testing.assert_array_equal(np.concatenate(frames), np.concatenate([part[1] for part in parts]))


def test_gaps_anywhere(ecg: np.ndarray) -> None:
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    assert pipeline.mark_gap(36) == [Segment(0.0, 0.1, "gap", 1.0)]
    assert pipeline.mark_gap(0) == []
    assert [s.label for s in pipeline.mark_gap(36)] == ["gap"]
    pipeline.push(ecg[:1])
    assert [s.label for s in pipeline.mark_gap(1)] == ["gap"]
    for wrong in (-1, 1.5, None, "2"):
        with pytest.raises(StreamError, match="how many samples are missing"):
            pipeline.mark_gap(wrong)  # type: ignore[arg-type]
    pipeline.flush()
    with pytest.raises(StreamError, match="mark_gap after flush"):
        pipeline.mark_gap(1)
    pipeline.reset()
    assert pipeline.position_s == 0


def test_what_is_wrong_is_refused_and_changes_nothing(ecg: np.ndarray) -> None:
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    pipeline.push(ecg[:500])
    before = pipeline.snapshot()
    for wrong in (np.zeros((3, 2)), np.zeros((3, 1, 1)), np.array(["a"]), np.zeros(3, complex), [1.0, np.nan], [1e300]):
        with pytest.raises(StreamError):
            pipeline.push(wrong)
    assert pipeline.snapshot() == before
    assert pipeline.push([]) == [] and pipeline.push(np.zeros((0, 1))) == []
    with pytest.raises(StreamError, match="keeps no frames"):
        _ = pipeline.frames
    with pytest.raises(SignalError, match="takes 1 channel"):
        Pipeline("ecg", channels=[0, 1])
    with pytest.raises(SignalError, match="has no output 'x'"):
        Pipeline("ecg", output="x")
    with pytest.raises(SignalError, match="cannot have -1 samples a second"):
        Pipeline("ecg", rate_hz=-1)


def test_channels_are_columns(ecg: np.ndarray) -> None:
    both = np.stack([np.zeros_like(ecg), ecg], axis=1)
    one, two = Pipeline("ecg", rate_hz=RATE_HZ), Pipeline("ecg", rate_hz=RATE_HZ, channels=[1])
    assert one.push(ecg) == two.push(both)
    with pytest.raises(StreamError, match="more than 1 channels"):
        two.push(ecg)


def test_an_output_of_its_own_rate_is_chosen(tmp_path: Path) -> None:
    layers = [layer("convolution", kernel=3, channels=2), layer("tap"), layer("pooling", size=4, stride=4)]
    (tmp_path / "slow.tflite").write_bytes(build(layers, 64, channels=1).content)
    x = np.random.default_rng(3).normal(0, 3, 64)
    pipeline = Pipeline(tmp_path / "slow.tflite", rate_hz=8, output=1, keep_frames=True, start_s=50)
    segments, frames = whole(pipeline, x, [3, 40])
    stream = tcnstream.load(tmp_path / "slow.tflite").stream()
    chunk = x[:, None].astype(np.float32)
    np.testing.assert_array_equal(frames, np.concatenate([stream.push(chunk)[1], stream.flush()[1]]))
    assert segments[0].start_s == 50.0 and segments[-1].end_s == 58.0


def test_options_reach_the_stream() -> None:
    assert Pipeline("ecg", options=StreamOptions(engine="reference")).engine == "reference"


def test_lanes_of_a_pool_are_pipelines(ecg: np.ndarray) -> None:
    pool = PipelinePool("ecg", 3, rate_hz=RATE_HZ, keep_frames=True)
    alone = [Pipeline("ecg", rate_hz=RATE_HZ, keep_frames=True) for _ in range(3)]
    signals = [ecg, -ecg, np.roll(ecg, 700)]
    rng = np.random.default_rng(0)
    at, found, expected = [0, 0, 0], [[], [], []], [[], [], []]
    while min(at) < 3600:
        sizes = rng.choice([0, 1, 25, 25, 25, 300], 3)
        chunks = [s[a : a + n] if n else None for s, a, n in zip(signals, at, sizes, strict=True)]
        for k, segments in enumerate(pool.push(chunks)):
            found[k] += segments
            expected[k] += alone[k].push([] if chunks[k] is None else chunks[k])
            np.testing.assert_array_equal(pool[k].frames, alone[k].frames)
        at = [min(3600, a + int(n)) for a, n in zip(at, sizes, strict=True)]
        if rng.random() < 0.1:
            found[1] += pool[1].mark_gap(9)
            expected[1] += alone[1].mark_gap(9)
            assert pool[2].snapshot() == alone[2].snapshot()
    for k, segments in enumerate(pool.flush()):
        assert found[k] + segments == expected[k] + alone[k].flush()
    assert len(found[0]) > 10


def test_a_bad_lane_never_reaches_another(ecg: np.ndarray) -> None:
    pool = PipelinePool("ecg", 2, rate_hz=RATE_HZ)
    pool.push([ecg[:400], ecg[:400]])
    before = [lane.snapshot() for lane in pool]
    with pytest.raises(StreamError, match="lane 1: there is no value at sample 2"):
        pool.push([ecg[:5], [1, 2, np.inf]])
    with pytest.raises(StreamError, match="2 lanes are to be pushed and got 1"):
        pool.push([ecg])
    assert [lane.snapshot() for lane in pool] == before


def test_lanes_come_and_go(ecg: np.ndarray) -> None:
    pool = PipelinePool("ecg", 2, rate_hz=RATE_HZ)
    pool.push([ecg[:999], ecg[:100]])
    pool.leave(0)
    assert pool.lanes == (1,) and len(pool) == 1
    with pytest.raises(StreamError, match="no lane 0"):
        pool[0]
    assert pool.join(start_s=7.0) == 0 and pool[0].position_s == 7.0
    assert pool.join() == 2
    alone = Pipeline("ecg", rate_hz=RATE_HZ, start_s=7.0)
    assert pool.push([ecg, None, None])[0] == alone.push(ecg)
    pool.reset()
    assert [lane.position_s for lane in pool] == [7.0, 0.0, 0.0]


def test_a_stretch_too_short_for_mirrored_edges_gives_way_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "mirrored.tflite"
    path.write_bytes(build([layer("mirror", before=20, after=20, kernel=3, channels=2)], 64, channels=1).content)
    x = np.random.default_rng(0).normal(size=200)
    pipeline, alone = (Pipeline(path, rate_hz=100, keep_frames=True) for _ in range(2))
    pipeline.push(x[:5])
    assert pipeline.mark_gap(15) == [Segment(0.05, 0.2, "gap", 1.0)] and len(pipeline.frames) == 0
    found, frames = whole(pipeline, x, [50])
    expected, alike = whole(alone, x, [50])
    np.testing.assert_array_equal(frames, alike)
    assert [s.label for s in found] == [s.label for s in expected]
    assert [s.start_s for s in found] == pytest.approx([s.start_s + 0.2 for s in expected])
    short = Pipeline(path, rate_hz=100)
    short.push(x[:5])
    with pytest.raises(StreamError):
        short.flush()
    short.reset()
    assert short.push(x) + short.flush() == expected


def test_columns_in_any_order_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(build([layer("convolution", kernel=3, channels=3)], 64, channels=2).content)
    x = np.random.default_rng(0).normal(size=(200, 3))
    plain = Pipeline(path, rate_hz=100, keep_frames=True)
    expected = whole(plain, np.ascontiguousarray(x[:, [2, 0]]), [])[1]
    for columns in (x, np.asfortranarray(x), x.astype(">f8")):
        picking = Pipeline(path, rate_hz=100, channels=[2, 0], keep_frames=True)
        np.testing.assert_array_equal(whole(picking, columns, [7, 60])[1], expected)


def test_equal_numbers_of_other_types_are_the_same_pipeline(ecg: np.ndarray) -> None:
    one = Pipeline("ecg", rate_hz=360, start_s=5, gain=1)
    one.push(ecg[:99])
    other = Pipeline("ecg", rate_hz=np.float32(360), start_s=np.float64(5), gain=np.float32(1))
    other.restore(one.snapshot())
    assert one.push(ecg) == other.push(ecg) and one.snapshot() == other.snapshot()


def test_a_lane_that_failed_midway_stays_so_while_others_go_on(
    ecg: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = PipelinePool("ecg", 2, rate_hz=RATE_HZ)
    pool.push([ecg[:400], ecg[:400]])
    safe = pool[0].snapshot()

    def fails(frames: object) -> list[Segment]:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pool[0]._lane.segmenter, "push", fails)
        with pytest.raises(MemoryError):
            pool.push([ecg[400:500], None])
    assert pool.push([None, ecg[400:]])[1]
    with pytest.raises(StreamError, match="lane 0: an earlier call failed midway"):
        pool.push([ecg[400:500], None])
    pool[0].restore(safe)
    alone = Pipeline("ecg", rate_hz=RATE_HZ)
    alone.push(ecg[:400])
    assert pool.push([ecg[400:], None])[0] == alone.push(ecg[400:])


def test_a_lane_that_has_left_reaches_no_other(ecg: np.ndarray) -> None:
    pool = PipelinePool("ecg", 2, rate_hz=RATE_HZ)
    old = pool[1]
    blob = old.snapshot()
    pool.leave(1)
    assert pool.join() == 1 and pool[1] is not old
    for use in (lambda: old.push(ecg[:10]), old.flush, old.reset, old.snapshot, lambda: old.restore(blob)):
        with pytest.raises(StreamError, match="this lane has left its pool"):
            use()
    assert pool[1].position_s == 0


@pytest.mark.parametrize("start_s", [float("nan"), float("inf"), "x", True])
def test_a_lane_that_cannot_join_leaves_the_pool_as_it_was(start_s: object) -> None:
    pool = PipelinePool("ecg", 1, rate_hz=RATE_HZ)
    with pytest.raises(SignalError, match="start_s="):
        pool.join(start_s)  # type: ignore[arg-type]
    assert pool.join() == 1 and pool.lanes == (0, 1)


def test_what_is_assumed_of_samples_is_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"taken for 250 Hz and mV, as ecg asks for: give rate_hz=250 and units='mV'"):
        Pipeline("ecg")
    with pytest.warns(UserWarning, match="taken for mV, as ecg asks for: give units='mV', or what they are") as caught:
        Pipeline("ecg", rate_hz=360)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="taken for 16000 Hz, as speech asks for"):
        PipelinePool("speech", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline("ecg", rate_hz=360, units="")
        Pipeline("speech", rate_hz=16000)
        Pipeline("ecg.f32", rate_hz=500, units="uV")


def test_numbers_of_another_scale_are_no_sound() -> None:
    """Speech of 16 bits, as it is, was called music."""
    x = np.concatenate(list(open_recording(AUDIO).chunks))[: 6 * 16000, 0]
    steps = np.round(x * 32768).clip(-32768, 32767).astype(np.int16)
    expected = Pipeline("speech", rate_hz=16000, gain=2.0**-15)
    scaled = Pipeline("speech", rate_hz=16000, units="int16")
    wanted = expected.push(steps) + expected.flush()
    assert scaled.push(steps) + scaled.flush() == wanted and [s.label for s in wanted] == ["speech"]
    bare = Pipeline("speech", rate_hz=16000)
    before = bare.snapshot()
    with pytest.raises(StreamError, match=r"is [\d,]+ times full scale: say what its numbers are \(units int16"):
        bare.push(steps)
    assert bare.snapshot() == before and bare.push(x[:100] * 10) == []
    with pytest.raises(SignalError, match="is in mV and the model takes full scale"):
        Pipeline("speech", rate_hz=16000, units="mV")


def test_a_gap_is_pushed_as_it_comes(ecg: np.ndarray) -> None:
    one, other = (Pipeline("ecg", rate_hz=RATE_HZ, units="mV") for _ in range(2))
    pool = PipelinePool("ecg", 2, rate_hz=RATE_HZ, units="mV")
    expected = one.push(ecg) + one.mark_gap(100) + one.push(ecg)
    assert other.push(ecg) + other.push(Gap(100)) + other.push(ecg) == expected
    pooled = [pool.push(samples)[1] for samples in ([ecg, ecg], [ecg, Gap(100)], [None, ecg])]
    assert [segment for segments in pooled for segment in segments] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_hz": "360"},
        {"gain": "x"},
        {"channels": ["a"]},
        {"channels": 0},
        {"start_s": None},
        {"card": 3},
        {"units": 3},
        {"options": None},
    ],
)
def test_arguments_of_another_kind_are_named(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(SignalError, match=f"{name}="):
        Pipeline("ecg", **({"rate_hz": RATE_HZ} | wrong))  # type: ignore[arg-type]


def test_rows_of_different_lengths_and_gaps_beyond_all_time_are_refused() -> None:
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    with pytest.raises(StreamError, match="rows of the chunk have different lengths"):
        pipeline.push([[1.0], [1.0, 2.0]])
    for frames in (10**30, 10**400):
        with pytest.raises(StreamError, match="from 0 to 2"):
            pipeline.mark_gap(frames)
    assert pipeline.push(np.zeros(10)) == []


@pytest.mark.parametrize("rate_hz", [250.0, RATE_HZ])
@pytest.mark.parametrize("model", ["ecg", "ecg.f32"])
def test_a_tail_goes_on_in_another_pipeline_bit_for_bit(ecg: np.ndarray, model: str, rate_hz: float) -> None:
    options = StreamOptions(keep_tail=True)
    one = Pipeline(model, rate_hz=rate_hz, keep_frames=True, options=options)
    other = Pipeline(model, rate_hz=rate_hz, keep_frames=True, options=options)
    for begin, end in ((0, 3), (3, 700), (700, 3100), (3100, 3111)):
        one.push(ecg[begin:end])
        other.restore(one.tail())
        assert other.position_s == one.position_s
        assert other.tail() == one.tail()
    assert whole(other, ecg[3111:], [50, 51])[0] == (expected := whole(one, ecg[3111:], []))[0]
    one.reset()
    assert np.array_equal(whole(one, ecg, [])[1][-len(expected[1]) :], expected[1])


def test_the_tail_of_the_shipped_model_is_small(ecg: np.ndarray) -> None:
    pipeline = Pipeline("ecg", options=StreamOptions(keep_tail=True))
    pipeline.push(ecg)
    assert len(pipeline.tail()) < 1500 < 60_000 < len(pipeline.snapshot())


def test_a_tail_of_another_model_is_refused_with_both_names(ecg: np.ndarray) -> None:
    options = StreamOptions(keep_tail=True)
    one, other = Pipeline("ecg", options=options), Pipeline("ecg_fast", options=options)
    one.push(ecg)
    other.push(ecg[:900])
    before = other.tail()
    with pytest.raises(StreamError, match=r"another model or policy \([0-9a-f]{16}\).*\([0-9a-f]{16}\)"):
        other.restore(one.tail())
    assert other.tail() == before
