"""The segmenter against a definition that sees all frames at once."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.draws import drawn
from hypothesis import given
from hypothesis import strategies as st

from tcnstream.errors import SignalError
from tcnstream.signal.segments import Segment, Segmenter

LABELS = ("none", "p", "qrs", "t")


def one_hot(labels: list[int], sure: float = 5.0) -> np.ndarray:
    return np.eye(len(LABELS))[labels] * sure


def whole(labels: list[int], minimum: dict[int, int], gap: dict[int, int]) -> list[tuple[int, int, int]]:
    """(label, start, end) by the definition, all at once: join runs from left to right, then drop short ones."""
    runs: list[list[int]] = []
    for at, label in enumerate(labels):
        if runs and runs[-1][0] == label and runs[-1][2] == at:
            runs[-1][2] += 1
        else:
            runs.append([label, at, at + 1])
    joined: list[list[int]] = []
    for label, start, end in runs:
        if label == 0:
            continue
        same = next((k for k in range(len(joined) - 1, -1, -1) if joined[k][0] == label), None)
        between = [] if same is None else joined[same + 1 :]
        clear = all(stop - begin < max(1, minimum.get(other, 0)) for other, begin, stop in between)
        if same is not None and clear and start - joined[same][2] <= gap.get(label, 0):
            joined[same:] = [[label, joined[same][1], end]]
        else:
            joined.append([label, start, end])
    return [(a, b, c) for a, b, c in joined if c - b >= max(1, minimum.get(a, 0))]


counts = st.dictionaries(st.integers(1, 3), st.integers(0, 6))
runs = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=30)


@drawn(150)
@given(runs=runs, minimum=counts, gap=counts, cuts=st.lists(st.integers(0, 7), min_size=1, max_size=10))
def test_any_cut_gives_the_segments_of_the_definition(
    runs: list[tuple[int, int]], minimum: dict[int, int], gap: dict[int, int], cuts: list[int]
) -> None:
    labels = [label for label, length in runs for _ in range(length)]
    rate_hz = 250.0
    segmenter = Segmenter(
        LABELS,
        rate_hz,
        background="none",
        min_duration_s={LABELS[label]: frames / rate_hz for label, frames in minimum.items()},
        merge_gap_s={LABELS[label]: frames / rate_hz for label, frames in gap.items()},
    )
    frames, found, at, turn = one_hot(labels), [], 0, 0
    while at < len(frames):
        step = cuts[turn % len(cuts)] if any(cuts) else 1
        found += segmenter.push(frames[at : at + step])
        at, turn = at + step, turn + 1
        blob, provisional = segmenter.state(), segmenter.provisional
        assert [provisional] == (segmenter.flush() or [None])[-1:]
        segmenter.restore(blob)
    found += segmenter.flush()
    got = [(LABELS.index(s.label), round(s.start_s * rate_hz), round(s.end_s * rate_hz)) for s in found]
    assert got == whole(labels, minimum, gap)


def test_a_segment_is_given_as_soon_as_it_cannot_change() -> None:
    segmenter = Segmenter(LABELS, 100.0, background="none", merge_gap_s={"qrs": 0.02})
    assert segmenter.push(one_hot([2, 2, 2, 0, 0])) == []
    assert [s.label for s in segmenter.push(one_hot([0]))] == ["qrs"]


def test_probability_is_the_mean_of_the_softmax_over_the_frames_of_the_label() -> None:
    segmenter = Segmenter(LABELS, 1.0, background="none", merge_gap_s={"p": 1.0})
    frames = np.array([[0, 1, 0, 0], [9, 0, 0, 0], [0, 3, 0, 0]], float)
    expected = np.mean([np.e / (np.e + 3), np.e**3 / (np.e**3 + 3)])
    (segment,) = [*segmenter.push(frames), *segmenter.flush()]
    assert (segment.start_s, segment.end_s, segment.label) == (0.0, 3.0, "p")
    assert segment.probability == pytest.approx(expected, rel=1e-12)


def test_probabilities_are_taken_as_they_are() -> None:
    segmenter = Segmenter(("a", "b"), 1.0, probabilities=True)
    assert segmenter.push([[0.9, 0.1], [0.7, 0.3]]) == []
    assert segmenter.flush() == [Segment(0.0, 2.0, "a", pytest.approx(0.8))]


def test_the_label_delay_is_taken_back_and_frames_before_the_signal_are_ignored() -> None:
    segmenter = Segmenter(LABELS, 10.0, background="none", label_delay_frames=3)
    found = [s for frame in one_hot([1, 1, 1, 1, 0, 2, 2]) for s in segmenter.push(frame[None])]
    found += segmenter.flush()
    assert [(s.start_s, s.end_s, s.label) for s in found] == [(0.0, 0.1, "p"), (0.2, 0.4, "qrs")]


def test_reset_forgets() -> None:
    segmenter = Segmenter(LABELS, 10.0, background="none")
    segmenter.push(one_hot([1, 1]))
    segmenter.reset()
    assert segmenter.flush() == []


def test_a_model_with_other_channels_than_labels_is_refused() -> None:
    with pytest.raises(SignalError, match=r"frames of shape \(3,\) do not fit 4 labels"):
        Segmenter(LABELS, 10.0).push(np.zeros((2, 3)))


def test_frames_may_begin_before_or_after_the_signal() -> None:
    """Frames at 10 Hz centred on their time: the first one is half outside of the signal."""
    segmenter = Segmenter(("a", "b"), 10.0, start_s=-0.05)
    frames = np.eye(2)[[0, 0, 1, 1, 1]] * 9
    found = [*segmenter.push(frames), *segmenter.flush()]
    assert [(round(s.start_s, 9), round(s.end_s, 9)) for s in found] == [(0.0, 0.15), (0.15, 0.45)]


def test_marks_are_means_over_the_segment_and_a_ventricular_one_is_of_a_qrs() -> None:
    labels = one_hot([1, 1, 0, 2, 2, 2, 2])
    marks = np.array([[-9, -9], [-9, 9], [0, 0], [9, -9], [-9, -9], [9, -9], [9, -9]])
    frames = np.concatenate([labels, marks], axis=1)
    whole = Segmenter(LABELS, 10.0, background="none", marks=("ventricular", "noise"))
    found = [*whole.push(frames), *whole.flush()]
    assert [(s.label, s.ventricular) for s in found] == [("p", None), ("qrs", pytest.approx(0.75, abs=1e-3))]
    assert [s.noise for s in found] == pytest.approx([0.5, 0], abs=1e-3)
    first, second = (Segmenter(LABELS, 10.0, background="none", marks=("ventricular", "noise")) for _ in range(2))
    some = first.push(frames[:4])
    second.restore(first.state())
    assert second.provisional is not None and second.provisional.ventricular == pytest.approx(1, abs=1e-3)
    assert [*some, *second.push(frames[4:]), *second.flush()] == found
    with pytest.raises(ValueError, match="other labels"):
        Segmenter(LABELS, 10.0).restore(first.state())
    with pytest.raises(SignalError, match=r"4 labels .* and 2 marks \(ventricular, noise\)"):
        whole.push(labels)
    assert whole.rules != Segmenter(LABELS, 10.0, background="none").rules


def test_marks_of_runs_that_join_are_joined() -> None:
    labels = one_hot([2, 0, 2, 0, 0, 0])
    frames = np.concatenate([labels, np.array([[9.0], [-9], [-9], [0], [0], [0]])], axis=1)
    segmenter = Segmenter(LABELS, 10.0, background="none", marks=("ventricular",), merge_gap_s={"qrs": 0.1})
    (segment,) = segmenter.push(frames)
    assert (segment.start_s, segment.end_s, segment.noise) == (0.0, 0.3, None)
    assert segment.ventricular == pytest.approx(0.5, abs=1e-3)
