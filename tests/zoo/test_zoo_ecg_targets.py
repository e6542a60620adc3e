"""What a record teaches: a teacher's waves, the beats of experts, and beats put into another heart."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.drawn_hearts import QRS, P, T, beats, record_of, told_waves, typed_record

from tcnstream.zoo.recipes.augment import MARK_WEIGHTS, Mix, Windows
from tcnstream.zoo.recipes.evaluate_ecg import score_best_lead
from tcnstream.zoo.recipes.grafts import Stretch, donors, grafted
from tcnstream.zoo.recipes.ludb import Wave
from tcnstream.zoo.recipes.mitdb import BeatRecord
from tcnstream.zoo.recipes.qtdb import QtRecord
from tcnstream.zoo.recipes.targets import UNKNOWN, beats_example, ludb_example, qtdb_example, runs_of


def test_beats_decide_where_the_teacher_does_not() -> None:
    record = typed_record("NNVNNNVNNN")
    example = beats_example(record, told_waves(record, miss=4))
    label, weight, ventricular = example.label[0], example.weight[0], example.ventricular[0]
    at = [round(beat.time_s * 250) for beat in record.beats]
    (wide,) = [run for run in runs_of(label, QRS) if run[0] <= at[2] < run[1]]
    assert 28 <= wide[1] - wide[0] <= 75 and ventricular[at[2]] == 1
    assert not (label[wide[0] - 25 : wide[0]] == P).any()
    assert label[at[4]] == QRS and weight[at[4]] == 1 and weight[at[4] - 20] == 0 and ventricular[at[4]] == 0
    assert ventricular[at[4] + 60] == UNKNOWN and (label == P).any()
    unseen = typed_record("NNN.NN".replace(".", "N"))
    lost = BeatRecord("1", 250.0, ("MLII",), unseen.signal[:, :1], unseen.beats[:3] + unseen.beats[4:], ())
    gone = beats_example(lost, told_waves(unseen))
    assert gone.label[0][round(unseen.beats[3].time_s * 250)] != QRS


def test_beats_of_ventricular_origin_are_put_into_another_heart() -> None:
    record = typed_record("NNVNNNVNNN")
    giver, taker = beats_example(record, told_waves(record)), ludb_example(record_of(beats(11)))
    (donor,) = donors([taker, giver])
    assert [start for start, _ in donor.beats] == [
        start - 4 for start, _ in runs_of(giver.label[0], QRS) if giver.ventricular[0, start] == 1
    ]
    graft = donor.beat(0, 0.3)
    assert abs(graft.signal[0]) < 0.05 * np.ptp(graft.signal) > abs(graft.signal[-1]) and T in graft.label
    old = Stretch(taker.signal[0], taker.label[0], taker.weight[0], taker.ventricular[0], taker.rate_hz)
    before = old.copy()
    grafts, early_s = 0, set()
    for seed in range(40):
        new = grafted(np.random.default_rng(seed), [donor], old)
        last = -1
        for number, (start, end) in enumerate(runs_of(new.label, QRS)):
            if not (new.ventricular[start:end] == 1).any():
                continue
            assert (new.ventricular[start:end] == 1).all() and end - start > 0.1 * new.rate_hz and number > last + 1
            assert not (new.label[start - 60 : start] == P).any() and T in new.label[end : end + 200]
            assert np.ptp(new.signal[start:end]) > 0.3 * np.ptp(old.signal)
            grafts, last = grafts + 1, number
            early_s.add(round((runs_of(old.label, QRS)[number][0] - start) / 500, 1))
        # A beat that is left is left whole, and what is between them.
        same = new.label == old.label
        assert len(runs_of(new.label, QRS)) == 11 and same.mean() > 0.5
    assert grafts > 40 and min(early_s) <= 0 < 0.1 < max(early_s)
    for kept, given in zip(
        (old.signal, old.label, old.weight), (before.signal, before.label, before.weight), strict=True
    ):
        np.testing.assert_array_equal(kept, given)
    few = Stretch(old.signal[:700], old.label[:700], old.weight[:700], old.ventricular[:700], 500.0)
    np.testing.assert_array_equal(grafted(np.random.default_rng(1), [donor], few).signal, few.signal)
    _, target, weight = Windows([([taker], 0.999), ([giver], 0.001)], None, 2000, 3, Mix(grafts=1.0)).draw(12)
    assert target[..., 4].any(axis=1).mean() > 0.5 and (weight[..., 1][target[..., 4] == 1] == MARK_WEIGHTS[0]).all()


@pytest.mark.parametrize("symbol", "NRL")
def test_a_wave_in_front_of_a_beat_stays_where_the_atria_go_before_it(symbol: str) -> None:
    record = typed_record(f"NNN{symbol}NN")
    example = beats_example(record, told_waves(record))
    wave = beats(6)[9]
    middle = round((wave.start_s + wave.end_s) / 2 * 250)
    assert wave.label == P and (example.label[:, middle] == P).all() and (example.weight[:, middle] == 1).all()


@pytest.mark.parametrize(("symbol", "rhythm", "known"), [("N", "N", 0), ("L", "N", 0), ("N", "AFIB", 1), ("V", "N", 1)])
def test_nothing_is_known_where_the_teacher_sees_no_p_that_must_be_there(symbol: str, rhythm: str, known: int) -> None:
    record = typed_record(f"NNN{symbol}NN", rhythm)
    example = beats_example(record, told_waves(record, miss=3, kind=P))
    before = round(beats(6)[10].start_s * 250) - 20
    assert example.label[0, before] == 0 and example.weight[0, before] == known


def test_fibrillation_has_no_p_and_flutter_of_the_ventricles_teaches_nothing() -> None:
    for rhythm, expected in (("AFIB", 1.0), ("VFL", 0.0)):
        record = typed_record("NNNNNN", rhythm)
        example = beats_example(record, told_waves(record))
        before_r = round(record.beats[3].time_s * 250) - 38
        assert example.weight[0][before_r] == expected
        assert rhythm == "VFL" or not (example.label == P).any()


def test_a_cardiologist_is_right_against_teacher_and_program() -> None:
    record = typed_record("NNNNNN")
    r_s = record.beats[2].time_s
    manual = (
        Wave(P, r_s - 0.24, r_s - 0.2, r_s - 0.12),
        Wave(QRS, r_s - 0.06, r_s, r_s + 0.06),
        Wave(T, None, r_s + 0.3, r_s + 0.38),
    )
    example = qtdb_example(QtRecord(record, manual, (beats(6), beats(6))), told_waves(record))
    label = example.label[0]
    assert label[round((r_s - 0.055) * 250)] == QRS and label[round((r_s - 0.23) * 250)] == P
    assert label[round((r_s + 0.37) * 250)] == T and label[round((r_s - 0.09) * 250)] == 0
    assert example.weight[0][round((r_s + 0.8) * 250)] > 0.5
    found = [("qrs", r_s - 0.05, r_s + 0.06)], [("qrs", r_s - 0.058, r_s + 0.1), ("t", r_s, r_s + 0.38)]
    scores = score_best_lead(QtRecord(record, manual, ()), found)
    assert scores["qrs", "onset"].errors_s == pytest.approx([0.002]) and scores[
        "qrs", "offset"
    ].errors_s == pytest.approx([0])
    assert scores["p", "onset"].misses == 1 and scores["t", "onset"].hits == scores["t", "onset"].misses == 0
