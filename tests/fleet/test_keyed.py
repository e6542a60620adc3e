"""Keyed: the same rows whatever the batches, the workers and the cache; duplicates dropped, gaps marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.paths import DATA, ECG

import tcnstream
from tcnstream import Pipeline, SignalError, StreamError, StreamOptions
from tcnstream.fleet import FramesRow, Keyed, Row, SegmentRow
from tcnstream.signal.card import load_card, shipped_models
from tcnstream.signal.sources import open_recording

RATE_HZ = 360.0
Samples = npt.NDArray[np.float32]
Message = tuple[int, Samples]


@pytest.fixture(scope="module")
def ecg() -> Samples:
    """Twenty seconds of the demo's recording, (7200,) mV at 360 Hz."""
    return np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])[:7200, 0]


def messages(x: Samples, frames: int) -> list[Message]:
    return [(k, x[k * frames : (k + 1) * frames]) for k in range(len(x) // frames)]


def run(
    keyed: Sequence[Keyed], batches: Sequence[Sequence[Message]], key: str = "bed"
) -> tuple[bytes | None, list[Row]]:
    """The batches through workers in turn, which share nothing but the state."""
    state, rows = None, []
    for k, batch in enumerate(batches):
        state, more = keyed[k % len(keyed)].step(key, state, batch)
        rows += more
    return state, rows


def joined(rows: Sequence[Row]) -> dict[int, bytes]:
    epochs: dict[int, list[Samples]] = {}
    for row in rows:
        assert isinstance(row, FramesRow)
        parts = epochs.setdefault(row.epoch, [])
        assert row.first_frame == sum(map(len, parts))
        parts.append(row.frames)
    return {epoch: np.concatenate(parts).tobytes() for epoch, parts in epochs.items()}


@pytest.mark.parametrize("emit", ["segments", "frames"])
@pytest.mark.parametrize("model", ["ecg", "ecg.f32"])
def test_rows_are_those_of_an_uninterrupted_pipeline(ecg: Samples, model: str, emit: Any) -> None:
    pipeline = Pipeline(model, rate_hz=RATE_HZ, keep_frames=True)
    segments, frames = pipeline.push(ecg), pipeline.frames
    many = messages(ecg, 25)
    workers = [Keyed(model, emit=emit, rate_hz=RATE_HZ, cached=c) for c in (0, 1, 5)]
    for batches in ([many], [many[k : k + 7] for k in range(0, len(many), 7)], [[one] for one in many]):
        _, rows = run(workers, batches)
        if emit == "segments":
            assert [(r.start_s, r.end_s, r.label, r.probability) for r in rows if isinstance(r, SegmentRow)] == [
                (s.start_s, s.end_s, s.label, s.probability) for s in segments
            ]
            assert [r.number for r in rows if isinstance(r, SegmentRow)] == list(range(len(segments)))
        else:
            assert joined(rows) == {0: frames.tobytes()}


def test_the_same_state_and_messages_give_the_same_bytes_from_the_cache_and_without_it(ecg: Samples) -> None:
    many = messages(ecg, 25)
    warm, cold = Keyed("ecg", rate_hz=RATE_HZ), Keyed("ecg", rate_hz=RATE_HZ, cached=0)
    state: bytes | None = None
    for k in range(0, len(many), 9):
        after, rows = warm.step("bed", state, many[k : k + 9])
        again, same_rows = cold.step("bed", state, many[k : k + 9])
        assert (after, rows) == (again, same_rows)
        state = after
    old, _ = warm.step("bed", None, many[:50])
    assert warm.step("bed", old, many[50:]) == cold.step("bed", old, many[50:]), "rolled back, the cache is behind"


def test_messages_that_come_twice_or_late_are_dropped(ecg: Samples) -> None:
    many = messages(ecg, 25)
    twice = [*many[:40], *many[20:40], *many[39:200], many[7], *many[200:]]
    assert run([Keyed("ecg", rate_hz=RATE_HZ)], [twice]) == run([Keyed("ecg", rate_hz=RATE_HZ)], [many])


def test_sequence_numbers_of_samples_may_overlap(ecg: Samples) -> None:
    keyed = Keyed("ecg", rate_hz=RATE_HZ, seq_counts="frames")
    overlapping = [(k, ecg[k : k + 100]) for k in range(0, 7200, 60)]
    whole = [(0, ecg)]
    assert run([keyed], [overlapping])[1] == run([keyed], [whole])[1]


@pytest.mark.parametrize("counted", ["chunks", "frames"])
def test_a_gap_ends_the_epoch_and_its_length_is_known(ecg: Samples, counted: Any) -> None:
    per = 1 if counted == "chunks" else 25
    many = [(k * per, x) for k, x in messages(ecg, 25)]
    keyed = Keyed("ecg", rate_hz=RATE_HZ, seq_counts=counted)
    _, rows = run([keyed, Keyed("ecg", rate_hz=RATE_HZ, seq_counts=counted)], [many[:100], many[104:150], many[150:]])
    segments = [row for row in rows if isinstance(row, SegmentRow)]
    (gap,) = (row for row in segments if row.label == "gap")
    assert (gap.start_s, gap.end_s) == pytest.approx((2500 / RATE_HZ, 2600 / RATE_HZ))
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    expected = pipeline.push(ecg[:2500]) + pipeline.mark_gap(100) + pipeline.push(ecg[2600:])
    assert [(r.start_s, r.label) for r in segments] == [(s.start_s, s.label) for s in expected]
    assert {r.epoch for r in segments if r.start_s < gap.start_s} == {0}
    assert {r.epoch for r in segments if r.start_s > gap.end_s} == {1}


def test_short_gaps_are_filled_and_said(ecg: Samples) -> None:
    many = messages(ecg, 10)
    kept = [*many[:300], *many[301:]]
    keyed = Keyed("ecg", rate_hz=RATE_HZ, on_gap="hold", limit_s=0.04)
    other = Keyed("ecg", rate_hz=RATE_HZ, on_gap="hold", limit_s=0.04, cached=0)
    _, rows = run([keyed, other], [kept[:300], kept[300:303], kept[303:]])
    held = np.concatenate([ecg[:3000], np.repeat(ecg[2999], 10), ecg[3010:]])
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    expected = pipeline.push(held)
    segments = [row for row in rows if isinstance(row, SegmentRow)]
    assert [(r.start_s, r.end_s, r.label) for r in segments] == [(s.start_s, s.end_s, s.label) for s in expected]
    touched = [r for r in segments if r.filled_s]
    assert all(r.start_s < 3010 / RATE_HZ and r.end_s > 3000 / RATE_HZ for r in touched)
    assert sum(r.filled_s for r in touched) <= 10 / RATE_HZ + 1e-9
    _, beyond = run([keyed], [[*many[:300], *many[302:]]])
    assert any(isinstance(row, SegmentRow) and row.label == "gap" for row in beyond), "20 frames are beyond 40 ms"


def test_what_was_filled_is_forgotten_when_no_segment_can_touch_it(ecg: Samples) -> None:
    """A signal without a segment, too, and rows of frames, which do not say it."""
    flat = [(k, np.zeros(10, np.float32)) for k in range(0, 2000, 2)]
    for emit in ("segments", "frames"):
        keyed, state, sizes = Keyed("ecg", rate_hz=RATE_HZ, on_gap="hold", emit=emit), None, []
        for message in flat:
            state, _ = keyed.step("bed", state, [message])
            sizes.append(len(state))
        assert keyed.counts.gaps == 999 and max(sizes[-100:]) < sizes[300] + 500


def test_marks_of_a_model_are_in_the_rows(ecg: Samples) -> None:
    _, rows = run([Keyed("ecg_beats", rate_hz=RATE_HZ, units="mV")], [messages(ecg, 25)])
    pipeline = Pipeline("ecg_beats", rate_hz=RATE_HZ, units="mV")
    marks = [(segment.ventricular, segment.noise) for segment in pipeline.push(ecg)]
    assert [(row.ventricular, row.noise) for row in rows if isinstance(row, SegmentRow)] == marks
    assert any(ventricular is not None for ventricular, _ in marks)


def test_an_idle_key_is_ended_and_goes_on_in_a_new_epoch(ecg: Samples) -> None:
    many = messages(ecg, 25)
    keyed, cold = Keyed("ecg", rate_hz=RATE_HZ), Keyed("ecg", rate_hz=RATE_HZ, cached=0)
    state, rows = keyed.step("bed", None, many[:144])
    state, tail = cold.end("bed", state)
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    expected = pipeline.push(ecg[:3600]) + pipeline.flush()
    both = [row for row in (*rows, *tail) if isinstance(row, SegmentRow)]
    assert [(r.start_s, r.end_s) for r in both] == [(s.start_s, s.end_s) for s in expected]
    _, later = keyed.step("bed", state, many[144:])
    assert {row.epoch for row in later} == {1}
    assert [r.number for r in (*both, *later) if isinstance(r, SegmentRow)] == list(range(len(both) + len(later)))


def test_a_model_whose_snapshot_is_smaller_keeps_that() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.1, 16_000).astype(np.float32)
    warm, cold = Keyed("speech", emit="frames"), Keyed("speech", emit="frames", cached=0)
    state, rows = run([warm, cold], [[message] for message in messages(x, 800)])
    assert state is not None and len(state) < 40_000
    pipeline = Pipeline("speech", keep_frames=True)
    pipeline.push(x)
    assert joined(rows) == {0: pipeline.frames.tobytes()}


@pytest.mark.parametrize("model", sorted(shipped_models()))
def test_a_state_is_little_larger_than_the_newest_frames_or_the_snapshot(ecg: Samples, model: str) -> None:
    """At the model's own rate, over a recording and noise, in which segments are short and many."""
    card = load_card(shipped_models()[model])
    noise = np.random.default_rng(0).normal(0, 0.3, 2500).astype(np.float32)
    keyed, state = Keyed(model, rate_hz=card.rate_hz, units=card.units), None
    stream = tcnstream.load(model).stream()
    tail = stream.tail_frames(10**6) * stream.inputs[0].dtype.itemsize
    signal = (np.concatenate([ecg[2000:6000], noise]) / max(1, np.abs(ecg).max())).astype(np.float32)
    for seq, chunk in messages(signal, 25):
        state, _ = keyed.step("bed", state, [(seq, chunk)])
        stream.push(chunk.reshape(-1, *stream.inputs[0].shape))
        if seq > 100:
            assert len(state) <= 1.1 * min(tail, len(stream.snapshot()))


def test_the_state_says_what_its_numbers_count(ecg: Samples) -> None:
    state, _ = Keyed("ecg", rate_hz=RATE_HZ).step("bed", None, messages(ecg, 100)[:3])
    with pytest.raises(StreamError, match="sequence numbers count chunks, and seq_counts='frames'"):
        Keyed("ecg", rate_hz=RATE_HZ, seq_counts="frames").step("bed", state, [(300, ecg[300:400])])


def test_what_cannot_be_taken_is_refused_and_the_state_stands(ecg: Samples) -> None:
    keyed = Keyed("ecg", rate_hz=RATE_HZ)
    state, _ = keyed.step("bed", None, messages(ecg, 25)[:100])
    following = messages(ecg, 25)[100:]
    expected = Keyed("ecg", rate_hz=RATE_HZ).step("bed", state, following)
    bad: list[Any] = [(100, ["x"]), (100, np.full(25, np.nan)), ("100", ecg[:25]), (100, np.zeros((2, 2, 2)))]
    for message in bad:
        with pytest.raises(StreamError):
            keyed.step("bed", state, [following[0], message, following[1]] if message[0] != 100 else [message])
    assert keyed.step("bed", state, following) == expected


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda blob: b"", "no state of a key"),
        (lambda blob: blob[:-1], "damaged"),
        (lambda blob: blob[:40] + b"\xff" + blob[41:], "damaged"),
    ],
)
def test_a_damaged_state_is_refused(ecg: Samples, spoil: Any, says: str) -> None:
    keyed = Keyed("ecg", rate_hz=RATE_HZ)
    state, _ = keyed.step("bed", None, messages(ecg, 25)[:10])
    with pytest.raises(StreamError, match=says):
        keyed.step("bed", spoil(state), [])


def test_the_state_of_another_model_is_refused_with_both_hashes(ecg: Samples) -> None:
    state, _ = Keyed("ecg", rate_hz=RATE_HZ).step("bed", None, messages(ecg, 25)[:10])
    with pytest.raises(StreamError, match=r"is of the model [0-9a-f]{16}, this one is [0-9a-f]{16}"):
        Keyed("ecg_fast", rate_hz=RATE_HZ).step("bed", state, [])


def test_a_new_model_takes_over_the_states_of_an_old_one(ecg: Samples) -> None:
    """From there on it says what it would have said had it had the signal from the start."""
    many, cut, card = messages(ecg, 25), 160, load_card(shipped_models()["ecg_fast"])
    state, _ = Keyed("ecg_beats", rate_hz=RATE_HZ, emit="frames", card=card).step("bed", None, many[:cut])
    new = Keyed("ecg_fast", rate_hz=RATE_HZ, emit="frames", card=card, takes_over="ecg_beats")
    state, made = new.step("bed", state, many[cut : cut + 5])
    _, more = Keyed("ecg_fast", rate_hz=RATE_HZ, emit="frames", card=card).step("bed", state, many[cut + 5 :])
    rows = [row for row in (*made, *more) if isinstance(row, FramesRow)]
    always = Pipeline("ecg_fast", rate_hz=RATE_HZ, segments=False, keep_frames=True)
    always.push(ecg)
    assert rows[0].first_frame > 1500 and {row.epoch for row in rows} == {0}
    assert np.array_equal(np.concatenate([row.frames for row in rows]), always.frames[rows[0].first_frame :])


def test_what_waited_in_the_old_model_comes_out_and_segments_begin_anew(ecg: Samples, tmp_path: Path) -> None:
    """A file with a byte more is another model, with the same network."""
    card = shipped_models()["ecg_fast"]
    older = tmp_path / load_card(card).file
    older.write_bytes((card.parent / older.name).read_bytes() + b"\0")
    (tmp_path / card.name).write_bytes(card.read_bytes())
    many, cut = messages(ecg, 25), 160
    state, before = Keyed(older, rate_hz=RATE_HZ).step("bed", None, many[:cut])
    new = Keyed("ecg_fast", rate_hz=RATE_HZ, takes_over=older)
    after_state, after = new.step("bed", state, many[cut:])
    assert new.step("bed", state, many[cut:]) == (after_state, after), "the state and messages alone say it"
    both = [row for row in (*before, *after) if isinstance(row, SegmentRow)]
    assert [row.number for row in both] == list(range(len(both)))
    pipeline = Pipeline("ecg_fast", rate_hz=RATE_HZ)
    always = {(s.start_s, s.end_s, s.label) for s in pipeline.push(ecg)}
    later = {(r.start_s, r.end_s, r.label) for r in both if r.start_s > (cut + 15) * 25 / RATE_HZ}
    assert len(later) > 10 and later <= always


def test_a_model_of_another_input_takes_nothing_over(ecg: Samples) -> None:
    state, _ = Keyed("ecg_fast.f32", rate_hz=RATE_HZ).step("bed", None, messages(ecg, 25)[:100])
    with pytest.raises(StreamError, match=r"goes on in a model that takes the same input"):
        Keyed("ecg_fast", rate_hz=RATE_HZ, takes_over="ecg_fast.f32").step("bed", state, [])
    with pytest.raises(StreamError, match="name the old model in takes_over"):
        Keyed("ecg_fast", rate_hz=RATE_HZ, takes_over="ecg").step("bed", state, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"emit": "rows"},
        {"on_gap": "rest"},
        {"seq_counts": "s"},
        {"cached": -1},
        {"cached": None},
        {"joined_frames": "all"},
        {"limit_s": float("nan")},
        {"limit_s": float("inf")},
        {"limit_s": -1},
    ],
)
def test_unknown_words_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StreamError, match=next(iter(wrong))):
        Keyed("ecg", **wrong)


def test_options_of_a_pipeline_reach_it(ecg: Samples) -> None:
    keyed = Keyed("ecg", rate_hz=RATE_HZ, options=StreamOptions(engine="reference"))
    native = Keyed("ecg", rate_hz=RATE_HZ)
    assert (
        run([keyed, native], [[m] for m in messages(ecg[:1000], 100)])[1]
        == run([native], [messages(ecg[:1000], 100)])[1]
    )


@pytest.mark.parametrize("on_gap", ["reset", "hold", "interpolate"])
@pytest.mark.parametrize("counted", ["chunks", "frames"])
def test_an_empty_chunk_changes_nothing_and_hides_no_gap(ecg: Samples, counted: Any, on_gap: Any) -> None:
    per, nothing = (1 if counted == "chunks" else 10), np.zeros(0, np.float32)
    many = [(k * per, x) for k, x in messages(ecg[:3000], 10)]
    kept = [*many[:150], *many[151:]]
    with_empty = [(0, nothing)] * (counted == "frames") + [*many[:150], (151 * per, []), *many[151:], (many[3][0], [])]
    arguments: dict[str, Any] = {"rate_hz": RATE_HZ, "on_gap": on_gap, "seq_counts": counted}
    expected = run([Keyed("ecg", **arguments)], [kept])
    assert run([Keyed("ecg", **arguments)], [with_empty]) == expected
    assert run([Keyed("ecg", **arguments), Keyed("ecg", **arguments)], [[one] for one in with_empty]) == expected


def test_an_empty_chunk_has_a_number_of_its_own(ecg: Samples) -> None:
    cut = [(0, ecg[:100]), (1, np.zeros((0, 1))), (2, ecg[100:150]), (3, []), (4, ecg[150:3000].astype(np.float64))]
    assert (
        run([Keyed("ecg", rate_hz=RATE_HZ)], [cut])[1] == run([Keyed("ecg", rate_hz=RATE_HZ)], [[(0, ecg[:3000])]])[1]
    )


@pytest.mark.parametrize("on_gap", ["reset", "hold"])
def test_what_is_no_message_is_refused_in_a_sentence(ecg: Samples, on_gap: Any) -> None:
    keyed = Keyed("ecg", rate_hz=RATE_HZ, on_gap=on_gap, limit_s=1)
    many = messages(ecg, 25)
    state, _ = keyed.step("bed", None, many[:100])
    two = np.zeros((25, 2), np.float32)
    hidden = np.ma.array(ecg[:25], mask=np.arange(25) == 3)
    no_message: list[Any] = [(100, two), (103, two), (100, [[1], [1, 2]]), (100, hidden), (100, 1.0), (100,), None]
    for wrong in no_message:
        for before in ([], many[100:101] if wrong and wrong[0] == 103 else []):
            with pytest.raises(StreamError):
                keyed.step("bed", state, [*before, wrong])
    for none in (None, 5):
        with pytest.raises(StreamError, match="messages are pairs"):
            keyed.step("bed", state, none)  # type: ignore[arg-type]
    with pytest.raises(StreamError):
        keyed.step("bed", state, [many[100], (101, two), many[102]])
    assert keyed.step("bed", state, many[100:]) == Keyed("ecg", rate_hz=RATE_HZ, on_gap=on_gap, limit_s=1).step(
        "bed", state, many[100:]
    )


def test_a_model_of_several_inputs_is_refused_in_a_sentence() -> None:
    with pytest.raises(SignalError, match="2 inputs"):
        Keyed(DATA / "converted" / "k3_two_in.tflite", rate_hz=RATE_HZ)


def jumping(ecg: Samples, counted: Any, by: int, at: int = 100) -> list[Message]:
    """Chunks of 25, of which those from ``at`` on have numbers that are ``by`` higher."""
    per = 1 if counted == "chunks" else 25
    return [(k * per + (by if k >= at else 0), x) for k, x in messages(ecg[:5000], 25)]


@pytest.mark.parametrize("false", [25 * 10**6, 1 << 40, 1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("counted", ["chunks", "frames"])
def test_a_number_that_is_falsely_huge_costs_no_other_message(ecg: Samples, counted: Any, false: int) -> None:
    """One that follows the numbers so far says that it was false; those that come twice say nothing."""
    many, arguments = jumping(ecg, counted, 0), {"rate_hz": RATE_HZ, "seq_counts": counted}
    spoilt = [*many[:100], (false, ecg[:25]), many[7], *many[100:]]
    expected = run([Keyed("ecg", **arguments)], [many])
    joined_up, apart = Keyed("ecg", **arguments), Keyed("ecg", **arguments, cached=0)
    assert run([joined_up], [spoilt]) == expected
    assert (joined_up.counts.gaps, joined_up.counts.doubted, joined_up.counts.duplicates) == (0, 1, 1)
    assert run([joined_up, apart], [[one] for one in spoilt]) == expected


@pytest.mark.parametrize("on_gap", ["reset", "interpolate"])
@pytest.mark.parametrize("counted", ["chunks", "frames"])
def test_a_number_that_jumps_far_and_goes_on_from_there_is_believed(ecg: Samples, counted: Any, on_gap: Any) -> None:
    """No sample is lost by the doubt, and the gap is as long as the numbers say."""
    lost = 50_000_000
    many = jumping(ecg, counted, lost // 25 if counted == "chunks" else lost)
    arguments: dict[str, Any] = {"rate_hz": RATE_HZ, "seq_counts": counted, "on_gap": on_gap, "limit_s": 1e9}
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ)
    wanted = pipeline.push(ecg[:2500]) + pipeline.mark_gap(lost) + pipeline.push(ecg[2500:5000])
    twice = [*many[:101], many[100], *many[101:]]
    whole, parts = Keyed("ecg", **arguments), Keyed("ecg", **arguments, cached=0)
    state, rows = run([whole], [many])
    assert [(r.start_s, r.label) for r in rows if isinstance(r, SegmentRow)] == [(s.start_s, s.label) for s in wanted]
    assert (whole.counts.gaps, whole.counts.doubted) == (1, 0)
    assert run([whole, parts], [[one] for one in twice]) == (state, rows)
    _, rows = run([whole], [[*many[:101], *many[103:]]])
    gaps = [row for row in rows if isinstance(row, SegmentRow) and row.label == "gap"]
    assert len(gaps) == (2 if on_gap == "reset" else 1), "the one behind it is of two chunks, and may be filled"


def test_what_is_doubted_at_the_end_of_a_key_was_false(ecg: Samples) -> None:
    many, keyed = messages(ecg[:2500], 25), Keyed("ecg", rate_hz=RATE_HZ, cached=0)
    state, _ = keyed.step("bed", None, many)
    doubting, rows = keyed.step("bed", state, [(1 << 50, ecg[:25])])
    assert not rows and keyed.step("bed", doubting, [(1 << 50, ecg[:25])])[0] == doubting
    assert keyed.end("bed", doubting) == keyed.end("bed", state)
    assert keyed.counts.doubted == 1


@pytest.mark.parametrize("seq", [1 << 63, -(1 << 63) - 1, 10**30])
def test_a_number_of_more_than_64_bits_is_refused(ecg: Samples, seq: int) -> None:
    with pytest.raises(StreamError, match="sequence number has 64 bits"):
        Keyed("ecg", rate_hz=RATE_HZ).step("bed", None, [(seq, ecg[:25])])


@pytest.mark.parametrize("on_gap", ["hold", "interpolate"])
def test_a_long_gap_is_filled_in_pieces(ecg: Samples, on_gap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one message cannot take all memory, with the same rows."""
    lost, many = 3000, messages(ecg[:5000], 25)
    kept = [*many[:50], *[(k + lost // 25, x) for k, x in many[50:]]]
    arguments: dict[str, Any] = {"rate_hz": RATE_HZ, "on_gap": on_gap, "limit_s": 1e12}
    expected = run([Keyed("ecg", **arguments)], [kept])
    small = Keyed("ecg", **arguments, joined_frames=100)
    pushed, push = [], Pipeline.push

    def noted(pipeline: Pipeline, samples: Any) -> Any:
        pushed.append(len(samples))
        return push(pipeline, samples)

    monkeypatch.setattr(Pipeline, "push", noted)
    assert run([small], [kept]) == expected
    assert max(pushed) <= 125 and sum(pushed) == 5000 + lost
    assert not any(isinstance(row, SegmentRow) and row.label == "gap" for row in expected[1])


@pytest.mark.parametrize("key", [None, b"\x00\xff", "b\u00e9d \U0001f600", 7, 2.5, ("ward", 3), "x" * 10**6])
def test_a_key_may_be_anything_that_can_be_hashed(ecg: Samples, key: Any) -> None:
    keyed, many = Keyed("ecg", rate_hz=RATE_HZ, cached=1), messages(ecg[:3000], 50)
    state, rows = None, []
    for at in range(0, len(many), 7):
        state, more = keyed.step(key, state, many[at : at + 7])
        keyed.step("another", None, many[:1])
        rows += more
    assert rows and {row.key for row in rows} == {key}
    with pytest.raises(StreamError, match="a key can be hashed"):
        keyed.step([key], None, many)  # type: ignore[arg-type]
