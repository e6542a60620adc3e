"""Hearts of Gaussian waves, as the records that the ECG recipe learns from and as windows of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tcnstream.zoo.recipes.augment import Windows
from tcnstream.zoo.recipes.ludb import Record, Wave
from tcnstream.zoo.recipes.mitdb import Beat, BeatRecord, Rhythm
from tcnstream.zoo.recipes.targets import ludb_example

wfdb = pytest.importorskip("wfdb", reason="LUDB is read with wfdb")

P, QRS, T = 1, 2, 3


def beats(count: int, interval_s: float = 0.8, first_s: float = 0.5) -> tuple[Wave, ...]:
    """P, QRS and T of each beat, at even distances."""
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
    """Ten seconds at 500 Hz, in two leads."""
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


def windows(seed: int = 3, examples: int = 2, frames: int = 800) -> Windows:
    rng = np.random.default_rng(0)
    noise = {"ma": rng.normal(size=(2, 4000)).astype(np.float32)}
    return Windows([([ludb_example(record_of(beats(10))) for _ in range(examples)], 1.0)], noise, frames, seed)


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
