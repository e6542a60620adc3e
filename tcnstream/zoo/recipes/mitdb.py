"""The MIT-BIH Arrhythmia Database and what is laid out like it, read through ``wfdb``: beats with types, and rhythms.

Moody & Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE Engineering in Medicine and Biology 20 (2001). Two
leads, 30 min, 360 Hz; the annotations (.atr) hold for both leads: an instant and a type for every beat, no borders of
waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.errors import MissingExtraError, SignalError

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")
"""What PhysioNet calls a beat; rhythm changes, noise, flutter waves and blocked P waves are none."""

VENTRICULAR = frozenset("VEr")
"""Premature ventricular beats, ventricular escape beats, R on T."""

WIDE = VENTRICULAR | frozenset("LRBn/fF")
"""Types whose QRS is wide: of ventricular origin, paced, fused with such, or with a bundle branch blocked."""


@dataclass(frozen=True)
class Beat:
    """An annotated beat: its R peak, and its type as PhysioNet's symbol."""

    time_s: float
    symbol: str

    @property
    def ventricular(self) -> bool | None:
        """None where the type does not say: a fusion beat, one that is fused with a paced one, an unclassified one."""
        return None if self.symbol in "FfQ?" else self.symbol in VENTRICULAR


@dataclass(frozen=True)
class Rhythm:
    """A stretch of one rhythm, named as PhysioNet does without the bracket: "N", "AFIB", "VFL"."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True, eq=False)
class BeatRecord:
    """``signal`` (samples, leads) float32 in mV; beats and rhythms in order of time."""

    name: str
    rate_hz: float
    leads: tuple[str, ...]
    signal: npt.NDArray[np.float32]
    beats: tuple[Beat, ...]
    rhythms: tuple[Rhythm, ...]

    @property
    def duration_s(self) -> float:
        return len(self.signal) / self.rate_hz

    def part(self, start_s: float, end_s: float) -> BeatRecord:
        """What is between two instants, as a record of its own that begins at 0 s."""
        return BeatRecord(
            self.name,
            self.rate_hz,
            self.leads,
            self.signal[round(start_s * self.rate_hz) : round(end_s * self.rate_hz)],
            tuple(Beat(b.time_s - start_s, b.symbol) for b in self.beats if start_s <= b.time_s < end_s),
            tuple(
                Rhythm(max(0.0, r.start_s - start_s), min(r.end_s, end_s) - start_s, r.name)
                for r in self.rhythms
                if r.start_s < end_s and r.end_s > start_s
            ),
        )


def record_names(folder: Path, annotator: str = "atr") -> list[str]:
    """The records of the folder that have a signal and annotations. SignalError if none have."""
    names = sorted(p.stem for p in folder.glob("*.hea") if p.with_suffix(f".{annotator}").is_file())
    names = [name for name in names if (folder / f"{name}.dat").is_file()]
    if not names:
        raise SignalError(f"{folder} holds no records with .hea, .dat and .{annotator}: download them from PhysioNet")
    return names


def read_record(folder: Path, name: str) -> BeatRecord:
    """One record with its beats. Raises SignalError if a file is missing or damaged."""
    record, (annotation,) = read_files(folder, name, ("atr",))
    signal = record.p_signal.astype(np.float32)
    return BeatRecord(
        name=name,
        rate_hz=float(record.fs),
        leads=tuple(record.sig_name),
        signal=signal,
        beats=beats_of(annotation),
        rhythms=rhythms_of(annotation, len(signal) / float(record.fs)),
    )


def read_files(folder: Path, name: str, annotators: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """A record in mV and its annotations, as ``wfdb`` gives them; None for an annotator that the record lacks."""
    try:
        import wfdb
    except ImportError as error:
        raise MissingExtraError(
            f"tcnstream.zoo.recipes reads PhysioNet's records with wfdb ({error}): pip install tcnstream[files]"
        ) from error
    path = folder / name
    try:
        record = wfdb.rdrecord(str(path))
        annotations = [
            wfdb.rdann(str(path), each) if path.with_name(f"{name}.{each}").is_file() else None for each in annotators
        ]
    except (OSError, ValueError, IndexError) as error:
        raise SignalError(f"the record {path} cannot be read: {error}") from error
    if any(unit != "mV" for unit in record.units):
        raise SignalError(f"the record {path} is in {', '.join(sorted(set(record.units)))}; mV is expected")
    return record, annotations


def beats_of(annotation: Any) -> tuple[Beat, ...]:
    """The beats of an annotation of ``wfdb``; none of None."""
    if annotation is None:
        return ()
    times_s = annotation.sample / annotation.fs
    return tuple(
        Beat(float(at), symbol) for at, symbol in zip(times_s, annotation.symbol, strict=True) if symbol in BEAT_SYMBOLS
    )


def rhythms_of(annotation: Any, duration_s: float) -> tuple[Rhythm, ...]:
    """The rhythms of an annotation of ``wfdb``, each up to the next one; flutter waves ("!") make one of their own."""
    if annotation is None:
        return ()
    marks = [
        (float(sample / annotation.fs), note.strip("\0 ")[1:])
        for sample, symbol, note in zip(annotation.sample, annotation.symbol, annotation.aux_note, strict=True)
        if symbol == "+" and note.startswith("(")
    ]
    following = [*(start for start, _ in marks), duration_s][1:]
    return tuple(Rhythm(start, end, name) for (start, name), end in zip(marks, following, strict=True))


def is_within(rhythms: Sequence[Rhythm], names: frozenset[str], time_s: float) -> bool:
    """Whether the heart is in one of these rhythms then."""
    return any(r.start_s <= time_s < r.end_s and r.name in names for r in rhythms)
