"""Segments as annotations of a WFDB record (package ``wfdb``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.extras import optional_package
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import Sink, SinkKind

_WAVES = {"p": ("p", 0), "qrs": ("N", 1), "t": ("t", 2)}
_OF_VENTRICLE = "V"
_ARTEFACT = "|"
"""PhysioNet's sign for what looks like a QRS and is none; programs that compare beats pass over it."""


class WfdbWriter:
    """A WFDB annotation file that lies over the recording: samples are counted at ``rate_hz``, the recording's own.

    Each segment is ``(``, its wave and ``)``, as wave delineators of PhysioNet write it: P, QRS and T as ``p``, ``N``
    and ``t`` with 0, 1 and 2 in the ``num`` field of the brackets, any other label as a comment. A QRS that is
    more likely of ventricular origin than not is ``V``, one that the model takes for noise ``|``, which is no beat. The
    wave stands in the middle of the segment: frames say where a wave begins and ends, not where it is highest.
    """

    def __init__(self, path: str | Path, rate_hz: float) -> None:
        path = Path(path)
        self._record, self._extension = path.stem, path.suffix[1:] or "tcn"
        self._folder, self._rate_hz = path.parent, rate_hz
        if not re.fullmatch(r"[\w-]+", self._record, re.ASCII) or not re.fullmatch("[A-Za-z]+", self._extension):
            raise SignalError(
                f"{path.name} cannot name WFDB annotations: use letters, digits, - and _, and letters after the dot"
            )
        if self._extension in ("hea", "dat"):
            raise SignalError(f"{path.name} would be a part of the record itself: end it in letters such as .tcn")
        self._wfdb = optional_package("wfdb", "WFDB annotations are asked for", "files")
        self._segments: list[Segment] = []

    def write(self, segments: Iterable[Segment]) -> None:
        self._segments.extend(segments)

    def break_off(self) -> None:
        """As ``close``."""
        self.close()

    def close(self) -> None:
        """Writes the file; annotations must be in order of time, so that this is the end of it."""
        marks: list[tuple[int, str, int, str]] = []
        for segment in self._segments:
            symbol, number = _WAVES.get(segment.label.lower(), ('"', 0))
            if segment.is_ventricular:
                symbol = _OF_VENTRICLE
            elif segment.is_noise and symbol == "N":
                symbol = _ARTEFACT
            note = segment.label if symbol == '"' else ""
            first, last = round(segment.start_s * self._rate_hz), round(segment.end_s * self._rate_hz) - 1
            marks += [
                (first, "(", number, ""),
                ((first + last) // 2, symbol, 0, note),
                (max(first, last), ")", number, ""),
            ]
        if not marks:
            raise SignalError("there is no segment to annotate, and WFDB knows no empty annotation file")
        marks.sort(key=lambda mark: mark[0])
        samples, symbols, numbers, notes = zip(*marks, strict=True)
        with TemporaryDirectory(dir=self._folder) as beside:
            self._wfdb.wrann(
                self._record,
                self._extension,
                np.array(samples),
                symbol=list(symbols),
                num=np.array(numbers),
                aux_note=list(notes),
                fs=self._rate_hz,
                write_dir=beside,
            )
            name = f"{self._record}.{self._extension}"
            Path(beside, name).replace(self._folder / name)


def read_segments(wfdb: Any, record: Path, extension: str, rate_hz: float) -> Iterator[Segment]:
    """The segments of annotations that a WfdbWriter wrote; their probability is not in them, and 1 here."""
    marks = wfdb.rdann(str(record), extension)
    labels = {symbol: label for label, (symbol, _) in _WAVES.items()}
    begins: list[int] = []
    found: list[tuple[str, float | None, float | None]] = []
    for sample, symbol, note in zip(marks.sample, marks.symbol, marks.aux_note, strict=True):
        if symbol == "(":
            begins.append(int(sample))
        elif symbol == ")":
            label, ventricular, noise = found.pop(0)
            yield Segment(begins.pop(0) / rate_hz, (int(sample) + 1) / rate_hz, label, 1.0, ventricular, noise)
        elif symbol == _OF_VENTRICLE:
            found.append(("qrs", 1.0, None))
        elif symbol == _ARTEFACT:
            found.append(("qrs", None, 1.0))
        else:
            found.append((labels.get(symbol, note), None, None))


def _open(path: Path | None, record_rate_hz: float | None) -> Sink[Any]:
    assert path is not None and record_rate_hz is not None
    return WfdbWriter(path, record_rate_hz)


KIND = SinkKind(
    "wfdb",
    "segments",
    _open,
    refuses_stdout="WFDB annotations are a file beside the record: name it with --out, for example record.tcn",
)
