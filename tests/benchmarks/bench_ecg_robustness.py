"""What signals the shipped ECG models bear: the table of ``docs/models.md``, from MIT-BIH and from an ECG that is made.

    python tests/benchmarks/bench_ecg_robustness.py MITDB

Two minutes of each record, changed as a row says, and a made ECG where no record has it; beats within 150 ms, counts
added up. Extra ``train``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.heartbeats import made_ecg

from tcnstream import Pipeline
from tcnstream.zoo.recipes.beat_scores import match_beats
from tcnstream.zoo.recipes.mitdb import read_record

Signal = npt.NDArray[np.float64]
MODELS = ("ecg", "ecg_fast", "ecg_beats")
RECORDS = ["101", "104", "106", "109", "112", "115", "118", "119", "122", "209", "223", "230"]
FROM_S, TO_S = 300.0, 420.0
OFF_S = (40.0, 60.0)
"""Of an electrode that comes off; the first two seconds with it on again are let pass."""


@dataclass(frozen=True)
class Case:
    """A stretch of one lead in mV, and its beats in s; ``skipped`` is a stretch in which a QRS is an extra one."""

    signal: Signal
    rate_hz: float
    beats_s: Signal
    skipped: tuple[float, float] | None = None


def records(folder: Path) -> Iterator[Case]:
    for name in RECORDS:
        record = read_record(folder, name)
        first, last = (round(at * record.rate_hz) for at in (FROM_S, TO_S))
        beats = np.array([b.time_s - FROM_S for b in record.beats if FROM_S <= b.time_s < TO_S])
        yield Case(record.signal[first:last, 0].astype(float), record.rate_hz, beats)


def sized(mv: float, case: Case) -> Case:
    """The middle beat is so high from bottom to top."""
    around = round(0.1 * case.rate_hz)
    at = (case.beats_s * case.rate_hz).astype(int)
    heights = [np.ptp(case.signal[max(0, i - around) : i + around]) for i in at]
    return changed(lambda x, _: x * (mv / np.median(heights)), case)


def changed(change: Callable[[Signal, Signal], Signal], case: Case) -> Case:
    """``change`` of samples and their times."""
    return Case(change(case.signal, np.arange(len(case.signal)) / case.rate_hz), case.rate_hz, case.beats_s)


def hum(hz: float, mv: float) -> Callable[[Case], Case]:
    return partial(changed, lambda x, t: x + mv * np.sin(2 * np.pi * hz * t))


def recorded(bits: int, span_mv: float) -> Callable[[Case], Case]:
    """By a converter of so many bits over so many mV."""
    step = span_mv / 2**bits
    return partial(changed, lambda x, t: np.clip(np.round(x / step) * step, -span_mv / 2, span_mv / 2))


def sampled(rate_hz: float, case: Case) -> Case:
    return Case(soxr.resample(case.signal, case.rate_hz, rate_hz), rate_hz, case.beats_s)


def paced(mv: float, ms: float, case: Case) -> Case:
    """At 1 kHz, 40 ms before each beat."""
    fine = sampled(1000, case)
    for beat in fine.beats_s:
        at = round((beat - 0.04) * 1000)
        fine.signal[max(0, at) : max(0, at) + round(ms)] += mv
    return fine


def off(what: Callable[[Signal], Signal], case: Case) -> Case:
    """``what`` (of times) stands where the electrode is off."""
    times = np.arange(len(case.signal)) / case.rate_hz
    inside = (times >= OFF_S[0]) & (times < OFF_S[1])
    kept = (case.beats_s < OFF_S[0]) | (case.beats_s > OFF_S[1] + 2)
    return Case(np.where(inside, what(times), case.signal), case.rate_hz, case.beats_s[kept], OFF_S)


def fast(beats_per_min: float) -> Case:
    signal, beats = made_ecg(60.0, 500, beats_per_min)
    return Case(signal, 500, beats)


CHANGES: dict[str, Callable[[Case], Case]] = {
    "as recorded": lambda case: case,
    **{f"beats of {mv:g} mV": partial(sized, mv) for mv in (0.1, 0.2, 0.5, 2, 5)},
    "upside down": partial(changed, lambda x, t: -x),
    **{f"{hz} Hz hum of {mv:g} mV": hum(hz, mv) for hz in (50, 60) for mv in (0.1, 0.2, 0.5, 1)},
    "8 bits over 10 mV": recorded(8, 10),
    "12 bits over 10 mV": recorded(12, 10),
    "24 bits over 800 mV": recorded(24, 800),
    **{f"{hz} Hz": partial(sampled, hz) for hz in (128, 200, 250, 500, 1000)},
    "spikes of 2 mV, 1 ms": partial(paced, 2, 1),
    "spikes of 20 mV, 2 ms": partial(paced, 20, 2),
    "electrode off: 0 mV": partial(off, np.zeros_like),
    "electrode off: at 5 mV": partial(off, lambda t: np.full_like(t, 5.0)),
    "electrode off: hum of 2 mV": partial(off, lambda t: 2 * np.sin(2 * np.pi * 50 * t)),
}
MADE = {f"made ECG, {rate}/min": fast(rate) for rate in (200, 210, 220)}


def judge(model: str, case: Case) -> tuple[int, int, int, int]:
    """Beats, those found, QRS complexes that are none, and of these those where the electrode was off."""
    pipeline = Pipeline(model, rate_hz=case.rate_hz, units="mV")
    segments = pipeline.push(case.signal.astype(np.float32)) + pipeline.flush()
    middles = np.array([(s.start_s + s.end_s) / 2 for s in segments if s.label == "qrs" and (s.noise or 0) <= 0.5])
    begin, end = case.skipped or (-1.0, -1.0)
    pairs = match_beats(case.beats_s, middles)
    extras = [at for j, at in enumerate(middles) if j not in set(pairs.values())]
    while_off = sum(begin <= at < end for at in extras)
    return len(case.beats_s), len(pairs), sum(not end <= at < end + 2 for at in extras), while_off


def row(what: str, cases: list[Case]) -> str:
    cells = []
    for model in MODELS:
        beats, found, extras, while_off = np.sum([judge(model, case) for case in cases], axis=0)
        off_s = sum(OFF_S[1] - OFF_S[0] for case in cases if case.skipped)
        cells.append(f"{100 * found / beats:.2f} / {100 * found / max(1, found + extras):.2f}")
        if off_s:
            cells[-1] += f", {60 * while_off / off_s:.1f} a minute off"
    return f"| {what} | {' | '.join(cells)} |"


if __name__ == "__main__":
    read = list(records(Path(sys.argv[1])))
    print(f"| Se / PPV % | {' | '.join(f'`{model}`' for model in MODELS)} |\n|---|{'--:|' * len(MODELS)}")
    for what, change in CHANGES.items():
        print(row(what, [change(case) for case in read]), flush=True)
    for what, case in MADE.items():
        print(row(what, [case]), flush=True)
