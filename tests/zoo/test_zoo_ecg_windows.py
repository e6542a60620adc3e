"""Windows that a training draws: what is done to the signal, and that labels stay on their waves."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.drawn_hearts import QRS, P, T, beats, record_of, told_waves, typed_record, windows

from tcnstream.zoo.recipes.augment import MARK_WEIGHTS, MARKS, Mix, Windows
from tcnstream.zoo.recipes.ludb import LABELS
from tcnstream.zoo.recipes.signals import KNEE_MV, LIMIT_MV, RATE_HZ, STEP_MV, companded, highpass, quantised
from tcnstream.zoo.recipes.targets import UNKNOWN, Example, beats_example, ludb_example, runs_of


def test_the_high_pass_is_3_db_down_at_half_a_hertz() -> None:
    b0, b1, _, _, a1, _ = highpass(RATE_HZ).sections[0]
    z = np.exp(-2j * np.pi * np.array([0.0, 0.5, 40.0]) / RATE_HZ)
    gain = np.abs((b0 + b1 * z) / (1 + a1 * z))
    np.testing.assert_allclose(gain, [0, np.sqrt(0.5), 1], atol=1e-3)


def test_windows_follow_their_seed() -> None:
    first, again, other = windows().draw(6), windows().draw(6), windows(seed=4).draw(6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_windows_are_what_the_int8_input_can_hold() -> None:
    x, target, weight = windows().draw(16)
    assert x.shape == (16, 800) and weight.shape == (16, 800, 3) and target.shape == (16, 800, 6)
    assert x.dtype == target.dtype == weight.dtype == np.float32
    np.testing.assert_allclose(x / STEP_MV, np.round(x / STEP_MV), atol=1e-3)
    assert np.abs(x).max() <= LIMIT_MV + STEP_MV and np.all(target[..., :4].sum(-1) == 1)
    assert 0 < weight[..., 0].mean() < 1 and quantised(np.array([9.0]))[0] == pytest.approx(LIMIT_MV, abs=STEP_MV)
    # A record without a diagnosis of ventricular beats says of each QRS that it is none, and nothing of other frames.
    of_a_beat = target[..., QRS] == 1
    assert weight[..., 1][of_a_beat].all() and not weight[..., 1][~of_a_beat].any() and not target[..., 4].any()


def test_labels_stay_on_their_waves_however_time_is_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "_disturb", lambda windows, window: None)
    x, target, weight = Windows([([ludb_example(record_of(beats(10)))], 1.0)], None, 800, seed=8).draw(24)
    label, weight = target[..., :4].argmax(-1), weight[..., 0]
    power = np.square(np.diff(x, axis=1, prepend=x[:, :1]))
    inside = [p[(c == QRS) & (w == 1)].mean() for p, c, w in zip(power, label, weight, strict=True)]
    outside = [p[c == 0].mean() for p, c in zip(power, label, strict=True)]
    # A label a few frames off would fail in all of them.
    assert np.all(np.array(inside) > 10 * np.array(outside))


def test_hidden_p_waves_are_none_and_the_time_before_a_qrs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "_disturb", lambda windows, window: None)
    monkeypatch.setattr(Windows, "_time_map", lambda *_: (np.array([0.0, 10.0]), np.array([0.0, 10.0])))
    records = [([ludb_example(record_of(beats(11)))], 1.0)]
    mix = Mix(fibrillates=0.0, hides_p=1.0)
    x, target, _ = Windows(records, None, 2000, 2, mix).draw(12)
    label = target[..., :4].argmax(-1).astype(np.uint8)
    counts = [(len(runs_of(lane, P)), len(runs_of(lane, QRS))) for lane in label]
    assert all(q == 10 for _, q in counts) and min(p for p, _ in counts) == 0 < max(p for p, _ in counts) < 10
    for signal, lane in zip(x, label, strict=True):
        for start, _ in runs_of(lane, QRS):
            before = slice(max(start - 45, 0), start - 5)
            # Where no P wave is labelled before a QRS, none is left to be seen.
            assert (P in lane[before]) == (np.ptp(signal[before]) > 0.04)


def test_resized_waves_are_higher_or_lower_each_kind_by_itself_and_nothing_else_changes() -> None:
    example = ludb_example(record_of(beats(11)))
    signal, label = example.signal[0], example.label[0]
    near_waves = np.convolve(label != 0, np.ones(2 * round(0.016 * 500) + 1), "same") > 0
    sizes: dict[int, list[list[float]]] = {P: [], QRS: [], T: []}
    for seed in range(60):
        x = Windows([([example], 1.0)], None, 2000, seed)._resized(signal, 500.0, label)
        np.testing.assert_array_equal(x[~near_waves], signal[~near_waves])
        for wave, of_windows in sizes.items():
            spans = runs_of(label, wave)
            of_windows.append([np.ptp(x[start:end]) / np.ptp(signal[start:end]) for start, end in spans])
    of_window = {wave: np.median(of_windows, axis=1) for wave, of_windows in sizes.items()}
    assert all(of.min() < 0.7 for of in of_window.values()) and of_window[P].max() > 2 > 1.6 > of_window[QRS].max()
    assert abs(np.corrcoef(of_window[P], of_window[QRS])[0, 1]) < 0.3
    lowest = np.min(sizes[QRS], axis=1) / of_window[QRS]
    # Now and then one beat is much lower than those beside it.
    assert 0.05 < np.mean(lowest < 0.6) < 0.5


def test_another_lead_comes_and_goes_when_the_heart_turns() -> None:
    example = ludb_example(record_of(beats(11)))
    windows = Windows([([example], 1.0)], None, 2000, 5)
    span = slice(0, example.signal.shape[1])
    seen = np.abs(example.signal[0]) > 0.05
    share = windows._turned(example.signal[0], example, span, 0.3)[seen] / example.signal[0][seen] - 1
    # The second lead is the first one upside down.
    assert 0.2 < np.ptp(share) <= 0.6 + 1e-9 and np.abs(share).max() <= 0.3 + 1e-9


def test_every_qrs_is_widened_alike_and_those_of_ventricular_origin_by_themselves() -> None:
    label, ventricular = np.zeros(5000, np.uint8), np.full(5000, UNKNOWN, np.int8)
    for beat, start in enumerate(range(300, 4800, 400)):
        width = 60 if beat % 3 == 1 else 40
        label[start : start + width], ventricular[start : start + width] = QRS, beat % 3 == 1
    of_others, of_ventricular = [], []
    for seed in range(40):
        windows = Windows([([ludb_example(record_of(beats(11)))], 1.0)], None, 2000, seed, Mix(widens=1.0))
        stretch = np.array([s for _, _, s in windows._widened(label, ventricular, 500.0)])
        is_ventricular = np.arange(len(stretch)) % 3 == 1
        assert np.ptp(np.log(stretch[~is_ventricular])) < 0.3 and np.ptp(np.log(stretch[is_ventricular])) < 0.3
        of_others.append(np.median(stretch[~is_ventricular]))
        of_ventricular.append(np.median(stretch[is_ventricular]))
    assert 0.8 < min(of_others) < 1 < 1.45 < max(of_others) and abs(np.corrcoef(of_others, of_ventricular)[0, 1]) < 0.4
    # One of 160 ms does not become wider than 170 by more than beats differ.
    wide = np.zeros(2000, np.uint8)
    wide[500:580] = QRS
    windows = Windows([([ludb_example(record_of(beats(11)))], 1.0)], None, 2000, 1)
    assert max(windows._widened(wide, ventricular, 500.0)[0][2] for _ in range(50)) < 170 / 160 * 1.2


def test_labels_stay_on_their_waves_when_they_are_widened_and_bent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "_disturb", lambda windows, window: None)
    mix = Mix(widens=1.0, bends=1.0, resizes=0.5)
    x, target, weight = Windows([([ludb_example(record_of(beats(10)))], 1.0)], None, 800, 8, mix).draw(24)
    label, weight = target[..., :4].argmax(-1), weight[..., 0]
    power = np.square(np.diff(x, axis=1, prepend=x[:, :1]))
    inside = [p[(c == QRS) & (w == 1)].mean() for p, c, w in zip(power, label, weight, strict=True)]
    outside = [p[c == 0].mean() for p, c in zip(power, label, strict=True)]
    assert np.all(np.array(inside) > 5 * np.array(outside))


def test_smeared_spikes_of_a_pacemaker_are_wide_and_lead_the_ventricles() -> None:
    examples = [([ludb_example(record_of(beats(11)))], 1.0)]
    label = np.zeros(2000, np.uint8)
    for start in range(100, 2000, 200):
        label[start : start + 25] = QRS
    widths, leads = set(), []
    for seed in range(30):
        spikes = Windows(examples, None, 2000, seed, Mix(smeared=1.0))._spikes(label)
        height = np.abs(spikes).max()
        assert 0.04 <= height <= 0.81
        widths |= {end - start for start, end in runs_of((np.abs(spikes) > height / 2).astype(np.uint8), 1)}
        leads.append(int(np.argmax(np.abs(spikes) > height / 2)))
    assert min(widths) >= 2 and max(widths) > 5 and len(set(leads)) > 10


def test_records_without_p_are_drawn_more_often() -> None:
    with_p, without = record_of(beats(10)), record_of(tuple(w for w in beats(10) if w.label != P))
    assert not ludb_example(with_p).lacks_p and ludb_example(without).lacks_p
    examples: list[Example] = [ludb_example(with_p), ludb_example(without)]
    _, target, _ = Windows([(examples, 1.0)], None, 800, 1).draw(60)
    lanes_with_p = (target[..., :4].argmax(-1) == P).any(axis=1).mean()
    assert 0.05 < lanes_with_p < 0.45


def test_large_beats_are_companded_not_cut_off() -> None:
    assert companded(np.array([0.01, 1.0, -5.0])) == pytest.approx([0.01 / 1.01, KNEE_MV / 2, -5 / 6])
    assert np.ptp(quantised(np.linspace(4, 5, 9))) > 2 * STEP_MV and MARKS == ("ventricular", "noise")


def test_a_ventricular_beat_that_is_missed_costs_more_than_another() -> None:
    example = beats_example(typed_record("NNVN" * 8), told_waves(typed_record("NNVN" * 8)))
    assert example.is_ectopic and not beats_example(typed_record("N" * 8), told_waves(typed_record("N" * 8))).is_ectopic
    _, target, weight = Windows([([example], 1.0)], None, 2000, 1).draw(8)
    ventricular = target[..., len(LABELS)] == 1
    assert ventricular.any() and (weight[ventricular][:, 1] == MARK_WEIGHTS[0]).all()
    assert set(np.unique(weight[~ventricular][:, 1])) <= {0.0, 1.0}
