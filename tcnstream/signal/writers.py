"""What comes out: segments as JSON Lines, CSV or WFDB annotations, and bare frames."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.segments import Segment
from tcnstream.signal.sources import optional_package

_WAVES = {"p": ("p", 0), "qrs": ("N", 1), "t": ("t", 2)}


class SegmentWriter(Protocol):
    """Takes segments as they become final. Nothing is promised to be complete before ``close``."""

    def write(self, segments: Iterable[Segment]) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """One JSON object a line, given on at once: ``{"start_s": .., "end_s": .., "label": .., "probability": ..}``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._stream.write(json.dumps(segment_fields(segment)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


class CsvWriter:
    """A header and one row a segment."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        stream.write("start_s,end_s,label,probability\n")

    def write(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            label = segment.label
            if re.search(r'[",\r\n]', label):
                label = '"' + label.replace('"', '""') + '"'
            fields = segment_fields(segment)
            self._stream.write(f"{fields['start_s']},{fields['end_s']},{label},{fields['probability']}\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


class WfdbWriter:
    """A WFDB annotation file that lies over the recording: samples are counted at ``rate_hz``, the recording's own.

    Each segment is ``(``, its wave and ``)``, as wave delineators of PhysioNet write it: P, QRS and T as ``p``, ``N``
    and ``t`` with 0, 1 and 2 in the ``num`` field of the brackets, any other label as a comment. The wave stands in the
    middle of the segment: frames say where a wave begins and ends, not where it is highest.
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
        self._wfdb = optional_package("wfdb", "WFDB annotations are asked for")
        self._segments: list[Segment] = []

    def write(self, segments: Iterable[Segment]) -> None:
        self._segments.extend(segments)

    def close(self) -> None:
        """Writes the file; annotations must be in order of time, so that this is the end of it."""
        marks: list[tuple[int, str, int, str]] = []
        for segment in self._segments:
            symbol, number = _WAVES.get(segment.label.lower(), ('"', 0))
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
        self._wfdb.wrann(
            self._record,
            self._extension,
            np.array(samples),
            symbol=list(symbols),
            num=np.array(numbers),
            aux_note=list(notes),
            fs=self._rate_hz,
            write_dir=str(self._folder),
        )


class FrameWriter(Protocol):
    """Takes output frames, float32, as they are computed."""

    def write(self, frames: npt.NDArray[np.float32]) -> None: ...

    def close(self) -> None: ...


class RawWriter:
    """Little-endian float32, frame after frame, given on at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, frames: npt.NDArray[np.float32]) -> None:
        self._stream.write(np.ascontiguousarray(frames, "<f4").tobytes())
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


class NpyWriter:
    """A .npy file of shape (frames, *frame shape), little-endian float32; ``stream`` must be one that can seek.

    Frames go to the file at once, so that an endless signal takes no memory. NumPy leaves room in the header for the
    number of frames to grow, and ``close`` puts it in.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._shape: tuple[int, ...] = (0,)
        self._write_header()

    def write(self, frames: npt.NDArray[np.float32]) -> None:
        if len(self._shape) != frames.ndim:
            self._shape = (0, *frames.shape[1:])
            self._write_header()
        self._shape = (self._shape[0] + len(frames), *self._shape[1:])
        self._stream.write(np.ascontiguousarray(frames, "<f4").tobytes())

    def close(self) -> None:
        self._write_header()
        self._stream.flush()

    def _write_header(self) -> None:
        self._stream.seek(0)
        np.lib.format.write_array_header_1_0(
            self._stream, {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        )


def segment_fields(segment: Segment) -> dict[str, float | str]:
    """A segment for a person or a program to read: times to a tenth of a millisecond."""
    return {
        "start_s": round(segment.start_s, 4),
        "end_s": round(segment.end_s, 4),
        "label": segment.label,
        "probability": round(segment.probability, 4),
    }
