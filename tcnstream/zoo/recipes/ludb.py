"""The Lobachevsky University Electrocardiography Database, read through ``wfdb``.

Kalyakulina et al., LUDB: A New Open-Access Validation Tool for Electrocardiogram Delineation
Algorithms, IEEE Access 8 (2020). 12 leads, 10 s, 500 Hz; every lead has its own annotation of the
onsets, peaks and offsets of P, QRS and T. The first and last beats of a record are not annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcnstream.errors import MissingExtraError, SignalError

LABELS = ("none", "p", "qrs", "t")
_SYMBOLS = {"p": 1, "N": 2, "t": 3}
_VENTRICULAR = ("ventricular extrasystole", "iii degree av-block", "idioventricular")
"""A third-degree block leaves the ventricles their own rhythm."""


@dataclass(frozen=True)
class Wave:
    """An annotated wave, times in seconds; an onset or offset that the annotator left out is None."""

    label: int
    onset_s: float | None
    peak_s: float
    offset_s: float | None

    @property
    def start_s(self) -> float:
        return self.peak_s if self.onset_s is None else self.onset_s

    @property
    def end_s(self) -> float:
        return self.peak_s if self.offset_s is None else self.offset_s


@dataclass(frozen=True, eq=False)
class Record:
    """``signal`` (samples, leads) float32 in mV; ``waves[lead]`` in order of time; ``diagnoses`` in LUDB's words."""

    name: str
    rate_hz: float
    leads: tuple[str, ...]
    signal: npt.NDArray[np.float32]
    waves: tuple[tuple[Wave, ...], ...]
    diagnoses: tuple[str, ...] = ()

    @property
    def has_ventricular_beats(self) -> bool:
        """Whether a beat may come from a ventricle: LUDB says of a record that it has such beats, not which."""
        return any(word in each.lower() for each in self.diagnoses for word in _VENTRICULAR)


def record_names(folder: Path) -> list[str]:
    """The records of the list RECORDS (without it, all headers) whose signals are there. SignalError if none are."""
    listed = folder / "RECORDS"
    if listed.is_file():
        names = [Path(line.strip()).name for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        names = sorted((p.stem for p in _data(folder).glob("*.hea")), key=lambda n: (len(n), n))
    names = [name for name in names if (_data(folder) / f"{name}.dat").is_file()]
    if not names:
        raise SignalError(f"{folder} holds no LUDB records (data/1.hea, data/1.dat, ...): download LUDB from PhysioNet")
    return names


def read_record(folder: Path, name: str) -> Record:
    """One record with the annotations of all its leads. Raises SignalError if a file is missing or damaged."""
    try:
        import wfdb
    except ImportError as error:
        raise MissingExtraError(
            f"tcnstream.zoo.recipes.ludb reads records with wfdb ({error}): pip install tcnstream[files]"
        ) from error
    path = str(_data(folder) / name)
    try:
        record = wfdb.rdrecord(path)
        annotations = [wfdb.rdann(path, lead) for lead in record.sig_name]
    except (OSError, ValueError, IndexError) as error:
        raise SignalError(f"LUDB record {path} cannot be read: {error}") from error
    if any(unit != "mV" for unit in record.units):
        raise SignalError(f"LUDB record {path} is in {', '.join(sorted(set(record.units)))}; mV is expected")
    return Record(
        name=name,
        rate_hz=float(record.fs),
        leads=tuple(record.sig_name),
        signal=record.p_signal.astype(np.float32),
        waves=tuple(waves_of(a.symbol, [float(s / record.fs) for s in a.sample]) for a in annotations),
        diagnoses=tuple(line.strip() for line in record.comments),
    )


def waves_of(symbols: Sequence[str], times_s: Sequence[float]) -> tuple[Wave, ...]:
    """Waves from annotation marks: a peak ("p", "N", "t") with the brackets right before and after it, if there."""
    waves = []
    for i, symbol in enumerate(symbols):
        if symbol in _SYMBOLS:
            onset = times_s[i - 1] if i and symbols[i - 1] == "(" else None
            offset = times_s[i + 1] if i + 1 < len(symbols) and symbols[i + 1] == ")" else None
            waves.append(Wave(_SYMBOLS[symbol], onset, times_s[i], offset))
    return tuple(waves)


def _data(folder: Path) -> Path:
    return folder / "data" if (folder / "data").is_dir() else folder
