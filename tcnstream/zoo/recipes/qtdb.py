"""The QT Database, read through ``wfdb``: borders of waves by a cardiologist for some beats, by a program for all.

Laguna et al., A database for evaluation of algorithms for measurement of QT and other waveform intervals in the ECG,
Computers in Cardiology 24 (1997). Two leads, 15 min, 250 Hz. The first cardiologist (.q1c) looked at both leads at once
and marked some 30 to 100 beats, of T waves mostly the peak and the end alone; .pu0 and .pu1 are a program's marks in
the first and the second lead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcnstream.zoo.recipes import mitdb
from tcnstream.zoo.recipes.ludb import Wave, waves_of
from tcnstream.zoo.recipes.mitdb import BeatRecord


@dataclass(frozen=True, eq=False)
class QtRecord:
    """``manual`` waves hold for both leads, ``automatic[lead]`` for one; not every record has typed beats."""

    beats: BeatRecord
    manual: tuple[Wave, ...]
    automatic: tuple[tuple[Wave, ...], ...]

    @property
    def name(self) -> str:
        return self.beats.name

    def part(self, start_s: float, end_s: float) -> QtRecord:
        """What is between two instants, as a record of its own that begins at 0 s."""
        automatic = tuple(_between(waves, start_s, end_s) for waves in self.automatic)
        return QtRecord(self.beats.part(start_s, end_s), _between(self.manual, start_s, end_s), automatic)


def record_names(folder: Path) -> list[str]:
    """The records with a cardiologist's marks. SignalError if there are none."""
    return mitdb.record_names(folder, "q1c")


def read_record(folder: Path, name: str) -> QtRecord:
    """One record with its marks. Raises SignalError if a file is missing or damaged."""
    record, (atr, manual, *automatic) = mitdb.read_files(folder, name, ("atr", "q1c", "pu0", "pu1"))
    signal = record.p_signal.astype("float32")
    rate_hz = float(record.fs)
    beats = BeatRecord(
        name,
        rate_hz,
        tuple(record.sig_name),
        signal,
        mitdb.beats_of(atr),
        mitdb.rhythms_of(atr, len(signal) / rate_hz),
    )
    return QtRecord(beats, _waves(manual, rate_hz), tuple(_waves(each, rate_hz) for each in automatic))


def _between(waves: tuple[Wave, ...], start_s: float, end_s: float) -> tuple[Wave, ...]:
    def moved(time_s: float | None) -> float | None:
        return None if time_s is None else time_s - start_s

    return tuple(
        Wave(w.label, moved(w.onset_s), w.peak_s - start_s, moved(w.offset_s))
        for w in waves
        if start_s <= w.start_s and w.end_s < end_s
    )


def _waves(annotation: Any, rate_hz: float) -> tuple[Wave, ...]:
    if annotation is None:
        return ()
    # A second T peak, a U wave and a beat's type stand between brackets too, and are none of the three waves.
    return waves_of(annotation.symbol, [float(sample / rate_hz) for sample in annotation.sample])
