"""How found waves and beats are counted against those that experts marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.drawn_hearts import T, beats, typed_record

from tcnstream.signal.segments import Segment
from tcnstream.zoo.recipes import delineation
from tcnstream.zoo.recipes.augment import STRESS_CLEAN_S, is_stress
from tcnstream.zoo.recipes.beat_scores import BeatCounts, count, stressed
from tcnstream.zoo.recipes.delineation import Score, both, match, score, total
from tcnstream.zoo.recipes.evaluate_ecg import WAVES, Judged, evaluate, facts
from tcnstream.zoo.recipes.ludb import LABELS, read_record, record_names


def test_the_closest_borders_are_pairs() -> None:
    assert match([1.0, 1.1], [1.09, 1.24], 0.15) == [(1, 0)]
    assert sorted(match([1.0, 2.0], [1.15, 1.9], 0.15)) == [(0, 0), (1, 1)]
    assert match([1.0], [1.151], 0.15) == []


def test_scores_count_hits_misses_and_extras() -> None:
    waves = beats(3)
    found = [(LABELS[w.label], w.start_s + 0.01, w.end_s - 0.02) for w in waves if w.label != T]
    found.append(("qrs", 1.75, 1.80))
    scores = score(waves, found)
    onset = scores["qrs", "onset"]
    assert (onset.hits, onset.misses, onset.extras) == (3, 0, 1)
    assert onset.mean_ms == pytest.approx(10) and scores["p", "offset"].mean_ms == pytest.approx(-20)
    assert both(scores, "t").f1 == 0 and both(scores, "t").misses == 6
    assert both(scores, "qrs").f1 == pytest.approx(2 * 6 / (2 * 6 + 2))


def test_beats_outside_the_annotated_span_are_not_judged() -> None:
    inner = beats(9)[3:-3]
    found = [(LABELS[w.label], w.start_s, w.end_s) for w in beats(9)]
    sums = total([score(inner, found), score(inner, found)])
    assert all(value.f1 == 1 and value.extras == 0 and value.hits == 14 for value in sums.values())


def test_a_perfect_delineation_gives_a_perfect_table(ludb: Path) -> None:
    records = [read_record(ludb, name) for name in record_names(ludb)]
    answers = iter([w for record in records for w in record.waves])
    per_record = evaluate(
        records, lambda signal, rate_hz: [(LABELS[w.label], w.start_s, w.end_s) for w in next(answers)]
    )
    table = facts(total(per_record.values()))
    assert list(table) == list(WAVES) and all(row["f1"] == 100 for row in table.values())
    text = Judged("ludb", list(per_record), [("ecg", list(per_record.values()))]).markdown()
    assert text.count("| ecg |") == 3 and "| 100.00 | 100.00 | 100.00 | +0.0 ± 0.0 |" in text
    assert Score() + Score(1, 2, 3, [0.5]) == Score(1, 2, 3, [0.5])
    assert delineation.TOLERANCE_S == 0.150


def test_beats_are_counted_with_what_is_said_of_them() -> None:
    record = typed_record("NVVNFN", "AFIB")
    r = [beat.time_s for beat in record.beats]

    def qrs(at: float, width: float = 0.08, ventricular: float | None = 0.1) -> Segment:
        return Segment(at - width / 2, at + width / 2, "qrs", 1.0, ventricular)

    found = [
        qrs(r[0], ventricular=0.9),
        qrs(r[1], 0.12, 0.8),
        qrs(r[2] - 0.05, 0.06),
        qrs(r[2] + 0.05, 0.06),
        Segment(r[2] - 0.16, r[2] - 0.09, "p", 1.0),
        qrs(r[4], ventricular=0.9),
        qrs(r[5] + 0.14),
        qrs(r[5] + 0.4),
    ]
    counted = count(record, found)
    assert counted == BeatCounts(5, 1, 2, 2, 2, 1, 1, 1, 1, 1, 6, 1, 2, 2)
    assert counted.percentages()["v_wide"] == 50 and (counted + counted).hits == 10
    assert count(record, found, from_s=r[4]).misses == 0
    assert BeatCounts().percentages()["p_in_af"] is None
    instants = [Segment(s.start_s + 0.05, s.start_s + 0.05, "qrs", 1.0) for s in found if s.label == "qrs"]
    asked = ("v_wide", "v_split", "v_with_p", "label_se", "label_ppv")
    assert [count(record, instants).percentages()[what] for what in asked] == [None] * 5


def test_noise_is_mixed_as_the_stress_test_does_and_trained_elsewhere() -> None:
    on = is_stress(np.array([0.0, 299.9, 300.0, 419.0, 420.0, 540.0, 1799.0]))
    assert on.tolist() == [False, False, True, True, False, True, True]
    record = typed_record("N" * 500)
    noise = np.random.default_rng(0).normal(size=len(record.signal)).astype(np.float32)
    mixed = stressed(record, 0, noise, 6.0) - record.signal[:, 0]
    begins = int(STRESS_CLEAN_S * 250)
    assert not mixed[:begins].any() and mixed[begins:].any()
    height = np.ptp(record.signal[100:150, 0])
    assert 10 * np.log10(height**2 / 8 / mixed[begins:].var()) == pytest.approx(6, abs=0.6)
