"""Output frames as bare numbers: a .npy file, or little-endian float32 one after the other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tcnstream.signal.outfile import NewFile
from tcnstream.signal.sinks.base import FileSink, GrowingFile, OutFile, Sink, SinkKind, Writer


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
        self._stream.write(np.ascontiguousarray(frames, "<f4").tobytes())
        self._shape = (self._shape[0] + len(frames), *self._shape[1:])

    def close(self) -> None:
        self._write_header()
        self._stream.flush()

    def _write_header(self) -> None:
        self._stream.seek(0)
        np.lib.format.write_array_header_1_0(
            self._stream, {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        )


def _open(path: Path | None, record_rate_hz: float | None) -> Sink[Any]:
    def open_file() -> tuple[Writer[Any], OutFile]:
        if path is not None and path.suffix.lower() == ".npy":
            whole = NewFile(path)
            return NpyWriter(whole.stream), whole
        stream = sys.stdout.buffer if path is None else path.open("wb")
        return RawWriter(stream), GrowingFile(stream, path is not None)

    return FileSink(open_file)


KIND = SinkKind("raw", "frames", _open)
