"""The ECG recipe: reading LUDB, scoring, drawing windows, the compiled step, the shipped models and cards."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import tcnstream
from tcnstream.errors import ModelError, SignalError
from tcnstream.signal.card import MODELS, load_card, shipped_models
from tcnstream.signal.segments import Segment
from tcnstream.zoo.recipes import delineation, mitdb, qtdb
from tcnstream.zoo.recipes.augment import MARK_WEIGHTS, MARKS, STRESS_CLEAN_S, Mix, Windows, is_stress
from tcnstream.zoo.recipes.beat_scores import BeatCounts, count, stressed
from tcnstream.zoo.recipes.delineation import Score, both, match, score, total
from tcnstream.zoo.recipes.evaluate_ecg import (
    WAVES,
    Judged,
    chosen_records,
    delineate,
    evaluate,
    facts,
    find_segments,
    main,
    open_model,
    score_best_lead,
)
from tcnstream.zoo.recipes.grafts import Stretch, donors, grafted
from tcnstream.zoo.recipes.ludb import LABELS, Record, Wave, read_record, record_names, waves_of
from tcnstream.zoo.recipes.mitdb import Beat, BeatRecord, Rhythm
from tcnstream.zoo.recipes.persons import fold_of, of_persons, person_of, record_list
from tcnstream.zoo.recipes.qtdb import QtRecord
from tcnstream.zoo.recipes.signals import KNEE_MV, LIMIT_MV, RATE_HZ, STEP_MV, companded, highpass, quantised
from tcnstream.zoo.recipes.targets import UNKNOWN, Example, beats_example, ludb_example, qtdb_example, runs_of

wfdb = pytest.importorskip("wfdb", reason="LUDB is read with wfdb")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the training step is compiled with the system's C"
)
shipped = pytest.mark.skipif("ecg" not in shipped_models(), reason="no ECG model is shipped in this checkout")

P, QRS, T = 1, 2, 3


def beats(count: int, interval_s: float = 0.8, first_s: float = 0.5) -> tuple[Wave, ...]:
    waves = []
    for beat in range(count):
        r = first_s + beat * interval_s
        waves.append(Wave(P, r - 0.20, r - 0.15, r - 0.10))
        waves.append(Wave(QRS, r - 0.04, r, r + 0.05))
        waves.append(Wave(T, r + 0.16, r + 0.26, r + 0.34))
    return tuple(waves)


def drawn(waves: tuple[Wave, ...], rate_hz: float, duration_s: float) -> np.ndarray:
    """A heart of Gaussians, mV."""
    t = np.arange(int(duration_s * rate_hz)) / rate_hz
    x = np.zeros_like(t)
    height = {P: 0.07, QRS: 0.6, T: 0.15}
    for w in waves:
        x += height[w.label] * np.exp(-0.5 * ((t - w.peak_s) / ((w.end_s - w.start_s) / 5)) ** 2)
    return x


def record_of(waves: tuple[Wave, ...], name: str = "1") -> Record:
    x = drawn(waves, 500, 10).astype(np.float32)
    return Record(name, 500.0, ("i", "ii"), np.stack([x, -x], axis=1), (waves, waves))


def write_record(folder: Path, record: Record) -> None:
    """As LUDB lays a record out."""
    signal, symbol_of = record.signal.astype(np.float64), {P: "p", QRS: "N", T: "t"}
    wfdb.wrsamp(
        record.name,
        500,
        ["mV", "mV"],
        list(record.leads),
        signal,
        fmt=["16", "16"],
        comments=list(record.diagnoses),
        write_dir=str(folder),
    )
    for lead, waves in zip(record.leads, record.waves, strict=True):
        times = [(w.onset_s, w.peak_s, w.offset_s) for w in waves]
        symbols = [s for w in waves for s in ("(", symbol_of[w.label], ")")]
        samples = np.array([round(s * 500) for three in times for s in three if s is not None])
        wfdb.wrann(record.name, lead, samples, symbol=symbols, fs=500, write_dir=str(folder))


@pytest.fixture
def ludb(tmp_path: Path) -> Path:
    """Two tiny records as LUDB lays them out."""
    data = tmp_path / "data"
    data.mkdir()
    for name, number in (("1", 9), ("7", 10)):
        write_record(data, record_of(beats(number), name))
    return tmp_path


def test_a_record_comes_back_as_it_was_written(ludb: Path) -> None:
    assert record_names(ludb) == ["1", "7"]
    record, written = read_record(ludb, "7"), record_of(beats(10))
    assert (record.rate_hz, record.leads) == (500.0, ("i", "ii"))
    np.testing.assert_allclose(record.signal, written.signal, atol=1e-3)
    assert [w.label for w in record.waves[1]] == [w.label for w in written.waves[1]]
    for read, wave in zip(record.waves[0], written.waves[0], strict=True):
        assert (read.onset_s, read.offset_s) == (
            pytest.approx(wave.onset_s, abs=0.002),
            pytest.approx(wave.offset_s, abs=0.002),
        )


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        ("Rhythm: Sinus rhythm.", 0),
        ("Complete left bundle branch block.", 0),
        ("Left ventricular hypertrophy.", 0),
        ("UNIpolar ventricular pacing.", 0),
        ("Atrial extrasystole, type: single PAC.", 0),
        ("Ventricular extrasystole, type: couplet.", UNKNOWN),
        ("III degree AV-block.", UNKNOWN),
    ],
)
def test_a_diagnosis_tells_which_beats_are_not_of_ventricular_origin(
    tmp_path: Path, diagnosis: str, expected: int
) -> None:
    write_record(tmp_path, replace(record_of(beats(9)), diagnoses=("<age>: 51", "<diagnoses>:", diagnosis)))
    assert diagnosis in read_record(tmp_path, "1").diagnoses
    example = ludb_example(read_record(tmp_path, "1"))
    assert set(np.unique(example.ventricular[example.label == QRS])) == {expected}
    assert set(np.unique(example.ventricular[example.label != QRS])) == {UNKNOWN} and not example.is_ectopic


def test_the_list_of_records_names_what_is_there(ludb: Path) -> None:
    (ludb / "RECORDS").write_text("data/7\ndata/8\n")
    assert record_names(ludb) == ["7"]


def test_a_folder_without_records_is_said(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="holds no LUDB records"):
        record_names(tmp_path)
    with pytest.raises(SignalError, match="cannot be read"):
        read_record(tmp_path, "3")


def test_marks_without_brackets_have_no_border() -> None:
    waves = waves_of(["(", "p", "N", ")", "t"], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert waves == (Wave(P, 0.1, 0.2, None), Wave(QRS, None, 0.3, 0.4), Wave(T, None, 0.5, None))
    assert (waves[2].start_s, waves[2].end_s) == (0.5, 0.5)


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


def test_the_high_pass_is_3_db_down_at_half_a_hertz() -> None:
    b0, b1, _, _, a1, _ = highpass(RATE_HZ).sections[0]
    z = np.exp(-2j * np.pi * np.array([0.0, 0.5, 40.0]) / RATE_HZ)
    gain = np.abs((b0 + b1 * z) / (1 + a1 * z))
    np.testing.assert_allclose(gain, [0, np.sqrt(0.5), 1], atol=1e-3)


def windows(seed: int = 3, examples: int = 2, frames: int = 800) -> Windows:
    rng = np.random.default_rng(0)
    noise = {"ma": rng.normal(size=(2, 4000)).astype(np.float32)}
    return Windows([([ludb_example(record_of(beats(10))) for _ in range(examples)], 1.0)], noise, frames, seed)


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


def stage_params(**changes: object) -> list[object]:
    from tcnstream.zoo.tcn_params import TcnParams

    block = {"filters": 16, "kernel": [1, 3], "norm": "batch"}
    near = {"include_top": False, "blocks": [block | {"ex_ratio": 1.01}, block | {"dilation": [1, 2], "depth": 2}]}
    past = {
        "padding": "causal",
        "output_kernel": 1,
        "blocks": [block | {"dilation": [1, 4], "kernel": [1, 5]} | changes],
    }
    return [TcnParams(**near), TcnParams(**past)]


@pytest.mark.parametrize(
    "changes", [{"filters": 24}, {"norm": "layer"}, {"branch": 2}, {"ex_ratio": 2}, {"se_ratio": 4}]
)
def test_networks_that_the_step_does_not_train_are_refused(changes: dict[str, object]) -> None:
    params = stage_params(**changes)
    from tcnstream.zoo.recipes.architecture import units_of

    with pytest.raises(ModelError, match="separable: "):
        units_of(params)


@needs_compiler
@pytest.mark.parametrize("marks", [0, 2])
def test_gradients_are_those_of_the_loss(marks: int) -> None:
    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.separable import Network

    units = [Unit(3, 1, 1, -1, "0:B1.D1"), Unit(3, 2, 2, -1, "0:B2.D1"), Unit(5, 4, 16, 1, "0:B2.D2")]
    network = Network(16, units, seed=2, classes=4 + marks, marks=marks)
    assert network.look_ahead == 1 + 2
    rng = np.random.default_rng(5)
    x = rng.normal(0, 0.2, (3, 700)).astype(np.float32)
    target = np.eye(4, dtype=np.float32)[rng.integers(0, 4, x.shape)]
    weight = rng.uniform(0, 1, (*x.shape, 1 + marks)).astype(np.float32)
    target = np.concatenate([target, rng.integers(0, 2, (*x.shape, marks))], axis=-1, dtype=np.float32)
    network.learn(x, target, weight)
    gradient = network.gradient.copy()
    for name, (place, _) in network.parts.items():
        along = gradient[place] / np.linalg.norm(gradient[place])
        start, steps = network.parameters[place].copy(), []
        for sign in (1, -1):
            network.parameters[place] = start + sign * np.float32(5e-4) * along
            steps.append(network.learn(x, target, weight))
        network.parameters[place] = start
        slope = (steps[0] - steps[1]) / 1e-3
        assert slope == pytest.approx(float(gradient[place] @ along), rel=0.05, abs=2e-4), name


@needs_compiler
def test_a_network_begins_with_the_weights_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="the file is converted by Keras")
    from tcnstream.zoo.convert import to_tflite
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.separable import Network, folded_weights, to_keras

    params = stage_params()
    channels, units = units_of(params)
    first = Network(channels, units, seed=1)
    x = np.random.default_rng(0).normal(0, 0.2, (2, 60)).astype(np.float32)
    statistics = first.measure(x, first.parameters)
    (tmp_path / "m.tflite").write_bytes(
        to_tflite(to_keras(params, first.keras_weights(first.parameters, statistics), 60))
    )
    second = Network(channels, units, seed=2, classes=6, marks=2)
    second.adopt(folded_weights(tmp_path / "m.tflite"), x)
    logits = second.predict(x, second.parameters, second.measure(x, second.parameters))
    np.testing.assert_allclose(logits[..., :4], first.predict(x, first.parameters, statistics), atol=1e-3)
    with pytest.raises(ModelError, match="do not fit a network of"):
        second.adopt(folded_weights(tmp_path / "m.tflite")[1:], x)


@needs_compiler
def test_the_keras_model_computes_what_was_trained() -> None:
    pytest.importorskip("keras", reason="the model that is compared is Keras's")
    params = stage_params()
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.separable import Network, to_keras

    channels, units = units_of(params)
    network = Network(channels, units, seed=1)
    x = np.random.default_rng(0).normal(0, 0.2, (2, 60)).astype(np.float32)
    statistics = network.measure(x, network.parameters)
    model = to_keras(params, network.keras_weights(network.parameters, statistics), 60)
    expected = np.asarray(model(x[..., None]))
    np.testing.assert_allclose(network.predict(x, network.parameters, statistics), expected, atol=1e-4)
    with pytest.raises(ValueError, match="float32"):
        network.predict(x.astype(np.float64), network.parameters, statistics)


@needs_compiler
def test_training_learns_and_follows_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress

    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.fitting import Log, Recipe, fit
    from tcnstream.zoo.recipes.separable import Network
    from tcnstream.zoo.recipes.train_ecg import scores_of

    def train() -> tuple[np.ndarray, np.ndarray]:
        units = [Unit(5, 1, 2, -1, "0:B1.D1"), Unit(5, 4, 8, 1, "0:B2.D1"), Unit(5, 16, 32, 2, "0:B3.D1")]
        recipe = Recipe(seed=1, steps=150, lanes=4, frames=500, rate=1e-2)
        draw = partial(Windows, [([ludb_example(record_of(beats(11)))], 1.0)], None, recipe.frames)
        with Progress(disable=True) as progress:
            task = progress.add_task("", total=1.0, loss="")
            trained = fit(
                Network(16, units, 1, classes=6, marks=2), draw, recipe, Log(tmp_path / "log"), progress, task
            )
        assert trained.steps == 150
        assert both(scores_of(trained, [record_of(beats(11))]), "qrs").f1 > 0.9
        return trained.parameters, trained.statistics

    first = train()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log").read_text().splitlines()]
    assert len(losses) == 3 and losses[-1] < 0.7 * losses[0]
    # Windows that come later than they are wanted: then none is drawn ahead.
    at_once = Windows.draw
    monkeypatch.setattr(Windows, "draw", lambda windows, lanes: (time.sleep(0.02), at_once(windows, lanes))[1])
    for kept, again in zip(first, train(), strict=True):
        np.testing.assert_array_equal(kept, again)


@needs_compiler
def test_the_files_lean_to_p_waves_and_to_marks(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import Trained
    from tcnstream.zoo.recipes.separable import Network, folded_weights
    from tcnstream.zoo.recipes.train_ecg import write_models

    params = stage_params()
    channels, units = units_of(params)
    network = Network(channels, units, seed=1, classes=6, marks=2)
    statistics = network.measure(windows().draw(1)[0], network.parameters)
    learned = network.parameters[network.parts["head.b"][0]].copy()
    trained = Trained(network, network.parameters, statistics, 1)
    biases = {"p": 0.75, "ventricular": 1.5, "noise": 0.5}
    write_models(trained, params, windows(frames=1000), MARKS, "nothing", "m", tmp_path, biases)
    leans = folded_weights(tmp_path / "m.f32.tflite")[-1][1] - learned
    np.testing.assert_allclose(leans, [0, 0.75, 0, 0, 1.5, 0.5], atol=1e-6)


@pytest.mark.parametrize(("file", "look_ahead"), [("ecg", 50), ("ecg_fast", 10)])
def test_the_shipped_parameter_files_keep_their_limits(file: str, look_ahead: int) -> None:
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import read_stages

    channels, units = units_of(read_stages(MODELS / f"{file}.params.json"))
    norms = 1 + 2 * len(units)
    weights = channels + sum(u.taps * channels + channels**2 for u in units) + channels * 6 + 6
    assert sum(u.look_ahead for u in units) <= look_ahead
    assert weights + norms * 4 * channels <= 40_000


@shipped
@pytest.mark.parametrize(("name", "most_ms"), [("ecg", 200), ("ecg.f32", 200), ("ecg_fast", 40), ("ecg_fast.f32", 40)])
def test_a_shipped_card_says_what_its_model_does(name: str, most_ms: float) -> None:
    card = load_card(MODELS / f"{name}.toml")
    model = tcnstream.load(MODELS / card.file)
    assert card.labels == LABELS and card.rate_hz == RATE_HZ and card.units == "mV"
    assert card.look_ahead_ms == model.delay * 1000 / RATE_HZ + card.label_delay_frames * 1000 / RATE_HZ <= most_ms
    constants = sum(t.data.size for t in model.graph.tensors if t.data is not None)
    assert 10_000 < constants <= 40_000
    assert not model.needs_time_pooling and "records" in card.quality


@shipped
@pytest.mark.parametrize("name", ["ecg", "ecg_fast"])
def test_shipped_models_find_the_waves_of_a_drawn_heart(name: str) -> None:
    model, card = open_model(name)
    waves = beats(11)
    signal = drawn(waves, 500, 10).astype(np.float32) + 0.3
    found = delineate(model, card, signal, 500.0, chunk=1000)
    assert found == delineate(model, card, signal, 500.0, chunk=37)
    table = facts(score(waves[6:-3], found))
    assert table["qrs"]["f1"] == 100 and table["t"]["se"] == 100 and abs(table["qrs"]["onset_mean_ms"]) < 60


@shipped
def test_marks_stand_beside_the_labels_of_the_same_network() -> None:
    model, card = open_model("ecg_beats")
    assert card.marks == MARKS and model.outputs[0].shape == (len(LABELS) + len(MARKS),)
    demo = np.loadtxt(MODELS.parent / "data" / "ecg.csv", np.float32, skiprows=4)
    found = find_segments(model, card, demo, 360.0)
    beats = [s for s in found if s.label == "qrs"]
    ventricular = [s for s in beats if s.ventricular is not None and s.ventricular > 0.5]
    assert all(s.ventricular is None for s in found if s.label != "qrs") and all(
        s.noise is not None and s.noise < 0.5 for s in found
    )
    assert 3 <= len(ventricular) < len(beats) / 2
    width = [np.mean([s.end_s - s.start_s for s in some]) for some in (ventricular, beats)]
    assert width[0] > 1.2 * width[1]


@shipped
def test_the_evaluation_is_a_command(ludb: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    call = ["--ludb", str(ludb), "--records", "7", "--chunk", "500"]
    result = CliRunner().invoke(app, [*call, "--json"])
    answer = json.loads(result.stdout)
    assert result.exit_code == 0 and answer["records"] == ["7"] and answer["models"]["ecg"]["qrs"]["se"] > 90
    for option in ("--markdown", "--engine=reference"):
        table = CliRunner().invoke(app, [*call, option])
        assert table.exit_code == 0 and "QRS" in table.stdout
    refused = CliRunner().invoke(app, [*call, "--peer", "other"])
    assert refused.exit_code == 2 and "choose of neurokit2, sleepecg, xqrs" in refused.stderr.replace("\n", " ")


def typed_record(symbols: str, rhythm: str = "N", name: str = "100") -> BeatRecord:
    """Beats half as wide as those of ``beats``, and twice as wide where they are ventricular."""
    waves = beats(len(symbols))
    wide = [
        w if w.label != QRS or symbols[i // 3] != "V" else Wave(QRS, w.peak_s - 0.09, w.peak_s, w.peak_s + 0.1)
        for i, w in enumerate(waves)
    ]
    signal = drawn(tuple(wide), 250, 0.8 * len(symbols) + 1).astype(np.float32)
    typed = tuple(Beat(w.peak_s, symbol) for w, symbol in zip(waves[1::3], symbols, strict=True))
    end_s = len(signal) / 250
    return BeatRecord(
        name, 250.0, ("MLII", "V1"), np.stack([signal, -signal], axis=1), typed, (Rhythm(0, end_s, rhythm),)
    )


def told_waves(record: BeatRecord, miss: int | None = None, kind: int = QRS) -> Callable[[np.ndarray], np.ndarray]:
    """A teacher that knows the waves of ``beats``, but for one wave of one beat."""

    def teach(lead: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(lead), 4), np.float32)
        logits[:, 0] = 5
        for number, wave in enumerate(beats(len(record.beats))):
            if number // 3 != miss or wave.label != kind:
                logits[round(wave.start_s * 250) : round(wave.end_s * 250) + 1, wave.label] = 10
        return logits

    return teach


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


def test_records_of_mitdb_and_qtdb_come_back_as_they_were_written(tmp_path: Path) -> None:
    record = typed_record("NNVN")
    frames = np.array([round(beat.time_s * 250) for beat in record.beats])
    samples = record.signal.astype(np.float64)
    wfdb.wrsamp("sel1", 250, ["mV", "mV"], ["MLII", "V1"], samples, fmt=["16", "16"], write_dir=str(tmp_path))
    wfdb.wrann(
        "sel1", "atr", np.insert(frames, 0, 5), symbol=["+", *"NNVN"], aux_note=["(AFIB", *[""] * 4], fs=250,
        write_dir=str(tmp_path),
    )  # fmt: skip
    marks = np.sort(np.concatenate([frames - 10, frames, frames + 10]))
    wfdb.wrann("sel1", "qc", marks, symbol=["(", "N", ")"] * 4, fs=250, write_dir=str(tmp_path))
    (tmp_path / "sel1.qc").rename(tmp_path / "sel1.q1c")
    assert mitdb.record_names(tmp_path) == qtdb.record_names(tmp_path) == ["sel1"]
    read = qtdb.read_record(tmp_path, "sel1")
    assert [beat.symbol for beat in read.beats.beats] == list("NNVN") and read.beats.beats[2].ventricular
    assert read.beats.rhythms == (Rhythm(0.02, len(samples) / 250, "AFIB"),) and read.automatic == ((), ())
    assert len(read.manual) == 4 and read.manual[1].onset_s == pytest.approx(frames[1] / 250 - 0.04)
    assert mitdb.rhythms_of(wfdb.rdann(str(tmp_path / "sel1"), "q1c"), 9.0) == ()
    part = read.part(1.0, 2.5)
    assert len(part.manual) == len(part.beats.beats) == 2 and part.beats.rhythms[0].start_s == 0
    with pytest.raises(SignalError, match="holds no records"):
        mitdb.record_names(tmp_path / "sel1.dat")
    with pytest.raises(SignalError, match="cannot be read"):
        mitdb.read_record(tmp_path, "sel2")


def test_large_beats_are_companded_not_cut_off() -> None:
    assert companded(np.array([0.01, 1.0, -5.0])) == pytest.approx([0.01 / 1.01, KNEE_MV / 2, -5 / 6])
    assert np.ptp(quantised(np.linspace(4, 5, 9))) > 2 * STEP_MV and MARKS == ("ventricular", "noise")


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"x")
    (tmp_path / "m.toml").write_text('name = "m"\nfile = "m.tflite"\nrate_hz = 250\nlabels = ["a", "b"]\n')
    with pytest.raises(SignalError, match="LUDB is about none, p, qrs, t"):
        open_model(str(tmp_path / "m.tflite"))
    (tmp_path / "m.toml").unlink()
    with pytest.raises(SignalError, match="no card beside it"):
        open_model(str(tmp_path / "m.tflite"))


def test_no_person_is_on_both_sides() -> None:
    records = {
        "ludb": ["1", "2", "3"],
        "mitdb": ["116", "201", "202", "223"],
        "qtdb": ["sel116", "sel223", "sel30", "sel310"],
    }
    assert of_persons(records, ["mitdb/116"]) == of_persons(records, ["qtdb/sel116"]) == {"mitdb/116", "qtdb/sel116"}
    assert of_persons(records, ["mitdb/202", "ludb/2"]) == {"mitdb/201", "mitdb/202", "ludb/2"}
    folds = [fold_of(records, f"{number}/3") for number in (1, 2, 3)]
    everything = {f"{database}/{name}" for database, names in records.items() for name in names}
    assert set.union(*map(set, folds)) == everything and sum(map(len, folds)) == len(everything)
    persons = [{person_of(*record.split("/")) for record in fold} for fold in folds]
    assert all(persons) and not persons[0] & persons[1] and not persons[1] & persons[2] and not persons[0] & persons[2]
    # Whoever is in a database that is not learned from may be in another one.
    assert of_persons({"qtdb": records["qtdb"]}, ["mitdb/116", "ludb/999"]) == {"qtdb/sel116"}
    with pytest.raises(SignalError, match="no record of a database: say it as mitdb/119"):
        of_persons(records, ["119"])
    # A slip of the pen must not let a person who is to be kept aside into the training.
    with pytest.raises(SignalError, match="there is no record 117 in the folder given: mitdb has 116, 201, 202, 223"):
        of_persons(records, ["mitdb/117"])
    for wrong in ("2", "0/5", "6/5", "1/1", "a/b"):
        with pytest.raises(SignalError, match="the second of five as 2/5"):
            fold_of(records, wrong)


def test_a_list_of_records_is_written_out_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("ludb/7\nmitdb/119, sel30\n\nludb/7\n")
    assert record_list(f"@{tmp_path / 'names'}") == ["ludb/7", "mitdb/119", "sel30"]
    assert record_list("") == record_list(" , ") == [] and record_list("4,4") == ["4"]
    with pytest.raises(SignalError, match=r"there is no database 'mitbd': say 'mitbd/119' with ludb, mitdb, qtdb"):
        record_list("ludb/4,mitbd/119")
    (tmp_path / "names").write_bytes(b"\x89HDF\xff")
    with pytest.raises(SignalError, match="is no text, so no list of records"):
        record_list(f"@{tmp_path / 'names'}")


def test_the_evaluation_reads_the_records_that_a_training_left_out(ludb: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    (tmp_path / "ecg.unseen").write_text("ludb/7,mitdb/119")
    result = CliRunner().invoke(app, ["--ludb", str(ludb), "--records", f"@{tmp_path / 'ecg.unseen'}", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["records"] == ["7"]
    refused = CliRunner().invoke(app, ["--ludb", str(ludb), "--records", "@none"])
    assert refused.exit_code == 2 and "none" in refused.stderr


def test_a_ventricular_beat_that_is_missed_costs_more_than_another() -> None:
    example = beats_example(typed_record("NNVN" * 8), told_waves(typed_record("NNVN" * 8)))
    assert example.is_ectopic and not beats_example(typed_record("N" * 8), told_waves(typed_record("N" * 8))).is_ectopic
    _, target, weight = Windows([([example], 1.0)], None, 2000, 1).draw(8)
    ventricular = target[..., len(LABELS)] == 1
    assert ventricular.any() and (weight[ventricular][:, 1] == MARK_WEIGHTS[0]).all()
    assert set(np.unique(weight[~ventricular][:, 1])) <= {0.0, 1.0}


@needs_compiler
def test_one_command_trains_a_model_and_says_whom_it_never_saw(ludb: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--ludb={ludb}", "--fold=2/2", "--steps=3", "--frames=1000", f"--out={tmp_path / 'out'}"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "ecg.unseen").read_text() == "ludb/7"
    card = load_card(tmp_path / "out" / "ecg.toml")
    # LUDB says of no beat that it is of ventricular origin, so there are no marks to learn.
    assert card.labels == LABELS and card.marks == () and card.training_data.startswith("1 records of ludb")
    assert tcnstream.load(tmp_path / "out" / card.file).outputs[0].shape == (len(LABELS),)
    assert not list((tmp_path / "out").glob("*.part.npz"))
    int8, other, nothing = tmp_path / "out" / card.file, MODELS / "speech.f32.tflite", tmp_path / "no.npz"
    for wrong, said in (
        (["--held=7"], "say it as mitdb/119"),
        (["--held=ludb/8"], "there is no record 8 in the folder given: ludb has 1, 7"),
        (["--held=ludb/1"], "nothing is left to learn from"),
        (["--noise=no.h5"], "no.h5 is not the noise of NSTDB"),
        ([f"--start={int8}"], "has no float32 weights and bias: give the NAME.f32.tflite"),
        ([f"--start={other}"], "do not fit"),
        ([f"--start={nothing}"], "No such file"),
        (["--rate=nan"], "a learning rate of nan teaches nothing"),
        (["--steps=0"], "--steps"),
        (["--frames=999"], "--frames"),
        (["--seed=-1"], "--seed"),
        (["--minutes=nan"], "(--minutes)"),
    ):
        refused = CliRunner().invoke(app, [*call, *wrong])
        assert refused.exit_code == 2 and said in " ".join(refused.stderr.split()), (wrong, refused.output)
    for content in ({}, [], {"stages": []}, {"stages": ["wide"]}):
        (tmp_path / "params.json").write_text(json.dumps(content))
        refused = CliRunner().invoke(app, [*call, f"--params={tmp_path / 'params.json'}"])
        assert refused.exit_code == 2 and "stage" in refused.stderr, refused.output


@needs_compiler
def test_a_training_that_is_stopped_keeps_its_network_and_goes_on_from_it(
    ludb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import separable, train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--ludb={ludb}", "--frames=1000", f"--out={tmp_path}"]
    learn, steps = separable.Network.learn, []

    def stopped(network: separable.Network, *batch: Any) -> float:
        steps.append(network.parameters.copy())
        if len(steps) == 4:
            raise KeyboardInterrupt
        return learn(network, *batch)

    monkeypatch.setattr(separable.Network, "learn", stopped)
    result = CliRunner().invoke(app, [*call, "--steps=9"])
    assert result.exit_code == 130 and f"stopped; {tmp_path / 'ecg.npz'} has the network" in result.stderr
    kept = np.load(tmp_path / "ecg.npz")["parameters"]
    assert not np.array_equal(kept, steps[0])
    steps.clear()
    CliRunner().invoke(app, [*call, "--steps=9", f"--start={tmp_path / 'ecg.npz'}"])
    np.testing.assert_array_equal(steps[0], kept)
    steps[:] = [kept] * 9
    (tmp_path / "no.npz").write_bytes(b"PK")
    refused = CliRunner().invoke(app, [*call, f"--start={tmp_path / 'no.npz'}"])
    assert refused.exit_code == 2 and "holds no parameters of a training" in refused.stderr


def test_windows_that_cannot_be_drawn_end_the_training_and_do_not_stop_it_for_ever() -> None:
    from tcnstream.zoo.recipes.fitting import _drawn_ahead

    class Broken:
        def draw(self, lanes: int) -> Any:
            raise SignalError("there is nothing to draw from")

    with _drawn_ahead(Broken(), 1) as batches, pytest.raises(SignalError, match="nothing to draw"):
        next(batches)


@needs_compiler
@pytest.mark.parametrize(("kind", "rates"), [("beats", [1e-3, 2e-3, 1e-3]), ("fast", [1.5e-3, 1.5e-3])])
def test_the_last_parts_go_on_from_the_first_and_their_mean_is_the_network(
    ludb: Path, tmp_path: Path, kind: str, rates: list[float]
) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--course={kind}", f"--ludb={ludb}", "--steps=2", "--last=2", "--frames=1000"]
    kept = []
    for out in (tmp_path / "a", tmp_path / "b"):
        result = CliRunner().invoke(app, [*call, f"--out={out}"])
        assert result.exit_code == 0, result.output
        kept.append(dict(np.load(out / "ecg.npz")))
    assert all(np.array_equal(kept[0][what], kept[1][what]) for what in ("parameters", "statistics"))
    log = [json.loads(line) for line in (tmp_path / "a" / "ecg.log.jsonl").read_text().splitlines()]
    assert [line["last"] for line in log if "last" in line] == list(train_ecg.COURSES[train_ecg.Kind(kind)].last)
    told = [line["recipe"] for line in log if "last" in line]
    assert all(recipe["steps"] == 2 and recipe["seed"] == 11 for recipe in told)
    assert [recipe["rate"] for recipe in told] == rates
    assert f"{2 + 2 * len(rates)} steps" in load_card(tmp_path / "a" / "ecg.toml").training_data


@needs_compiler
def test_the_mean_of_the_last_parts_is_between_them(tmp_path: Path) -> None:
    from rich.progress import Progress

    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.fitting import LAST_RATE, Log, Recipe, Trained, finished, fit
    from tcnstream.zoo.recipes.separable import Network

    network = Network(16, [Unit(5, 1, 2, -1, "0:B1.D1"), Unit(5, 4, 8, 1, "0:B2.D1")], 1, classes=6, marks=2)
    begin = Trained(network, network.parameters.copy(), network.statistics.copy(), 5)
    draws = {
        mix: partial(Windows, [([ludb_example(record_of(beats(11)))], 1.0)], None, 500, mix=Mix(hides_p=mix))
        for mix in (0.0, 0.9)
    }
    recipe, log = Recipe(seed=1, steps=3, lanes=2, frames=500, rate=LAST_RATE), Log(tmp_path / "log")
    with Progress(disable=True) as progress:
        mean = finished(begin, {str(k): d for k, d in draws.items()}, recipe, log, progress, tmp_path / "kept.npz")
        ends = []
        for draw in draws.values():
            network.parameters[:] = begin.parameters
            task = progress.add_task("", total=1.0, loss="")
            ends.append(fit(network, draw, replace(recipe, seed=11), log, progress, task).parameters)
    assert not np.array_equal(*ends) and mean.steps == 11
    np.testing.assert_allclose(mean.parameters, np.mean(ends, axis=0), atol=1e-7)
    with np.load(tmp_path / "kept.npz") as kept:
        np.testing.assert_array_equal(kept["parameters"], mean.parameters)


def test_records_are_chosen_by_name_and_what_is_not_there_is_said() -> None:
    listings = {"ludb": ["4", "7"], "mitdb": ["100", "4"]}
    assert chosen_records("all", listings) == {"ludb": ["4", "7"], "mitdb": ["100", "4"]}
    assert chosen_records("4, ludb/7", listings) == {"ludb": ["4", "7"], "mitdb": ["4"]}
    assert chosen_records("mitdb/100,qtdb/sel30", listings) == {"ludb": [], "mitdb": ["100"]}
    assert chosen_records("4,ludb/4", listings) == {"ludb": ["4"], "mitdb": ["4"]}
    for wrong, said in (
        ("9", "there is no record 9 in the folder given: ludb has 4, 7; mitdb has 100, 4"),
        ("4,mitdb/7", "there is no record 7 in the folder given: mitdb has 100, 4"),
        ("qtdb/sel30", "of ludb, mitdb no record is asked for: --records has qtdb/sel30"),
        ("", "no record is asked for: --records has none"),
    ):
        with pytest.raises(SignalError, match=re.escape(said)):
            chosen_records(wrong, listings)


def test_a_peer_that_is_not_installed_is_said_before_anything_is_measured(
    ludb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sleepecg", None)
    app = typer.Typer()
    app.command()(main)
    refused = CliRunner().invoke(app, [f"--ludb={ludb}", "--peer=sleepecg"])
    assert refused.exit_code == 2 and "pip install sleepecg" in refused.stderr and " on ludb" not in refused.stderr


def test_noise_for_records_that_are_not_there_is_said_before_anything_is_measured(ludb: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    refused = CliRunner().invoke(app, [f"--ludb={ludb}", "--noise=nstdb.h5"])
    assert (
        refused.exit_code == 2 and "give --mitdb, or no --noise" in refused.stderr and " on ludb" not in refused.stderr
    )
