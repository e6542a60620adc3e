"""What becomes of a model's output: segments as they become final, or bare frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

import numpy as np

from tcnstream.cli.common import Opened
from tcnstream.cli.reading import Frames
from tcnstream.compiler.operations.activation import SOFTMAX
from tcnstream.errors import SignalError
from tcnstream.signal.card import card_segmenter
from tcnstream.signal.segments import Segment, Segmenter
from tcnstream.signal.sources import Recording
from tcnstream.signal.writers import (
    CsvWriter,
    FrameWriter,
    JsonLinesWriter,
    NpyWriter,
    RawWriter,
    SegmentWriter,
    WfdbWriter,
)
from tcnstream.spec import TensorSpec


class Sink(Protocol):
    """Takes output frames (m, *frame shape), float32, as they are computed.

    The file is opened, and what stood in it is gone, with the first frames, not before: a recording that cannot be
    read leaves the answer to an older one alone.
    """

    def take(self, frames: Frames) -> None: ...

    def flush(self) -> None:
        """The signal is over: what was waiting for more of it is final now."""

    def close(self) -> None:
        """Whatever is final is in the file, even where the signal broke off."""

    def summary(self) -> str:
        """One sentence for a person; empty if there is nothing to say."""


@contextmanager
def kept(sink: Sink) -> Iterator[None]:
    """Closes ``sink`` at the end, or where an error or Ctrl-C breaks it off: what is final by then is not lost."""
    try:
        yield
    except BaseException:
        with suppress(OSError, SignalError):
            sink.close()
        raise
    sink.close()


class FrameSink:
    """Bare frames into a .npy file, another file or standard output (None)."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._file: BinaryIO | None = None
        self._writer: FrameWriter | None = None

    def take(self, frames: Frames) -> None:
        if self._writer is None:
            self._writer = self._open()
        self._writer.write(frames)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.close()

    def summary(self) -> str:
        return ""

    def _open(self) -> FrameWriter:
        if self._output is None:
            return RawWriter(sys.stdout.buffer)
        self._file = self._output.open("wb")
        return (NpyWriter if self._output.suffix.lower() == ".npy" else RawWriter)(self._file)


class SegmentSink:
    """Segments in a format of ``run``, into a file or to standard output (None).

    Segments lie in seconds; annotations count samples at ``record_rate_hz``, the recording's own rate.
    """

    def __init__(self, segmenter: Segmenter, format: str, output: Path | None, record_rate_hz: float) -> None:
        self._segmenter = segmenter
        self._format = format
        self._output = output
        self._file: TextIO | None = None
        self._counts: dict[str, int] = {}
        self._writer: SegmentWriter | None = None
        if format == "wfdb":
            assert output is not None
            self._writer = WfdbWriter(output, record_rate_hz)

    def take(self, frames: Frames) -> None:
        self._put(self._segmenter.push(flat(frames)))

    def flush(self) -> None:
        self._put(self._segmenter.flush())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.close()

    def summary(self) -> str:
        found = ", ".join(f"{count} {label}" for label, count in sorted(self._counts.items()))
        return f"{sum(self._counts.values())} segments" + (f": {found}" if found else "")

    def _put(self, segments: list[Segment]) -> None:
        if self._writer is None:
            self._writer = self._open()
        for segment in segments:
            self._counts[segment.label] = self._counts.get(segment.label, 0) + 1
        self._writer.write(segments)

    def _open(self) -> SegmentWriter:
        if self._output is not None:
            self._file = self._output.open("w", newline="", encoding="utf-8")
        return (JsonLinesWriter if self._format == "jsonl" else CsvWriter)(self._file or sys.stdout)


def segment_sink(
    opened: Opened, spec: TensorSpec, recording: Recording, prepared: Recording, format: str, output: Path | None
) -> SegmentSink:
    """Segments of ``recording``, which goes into the model as ``prepared``. Raises SignalError if no rate is known."""
    if prepared.rate_hz is None or recording.rate_hz is None:
        raise SignalError(f"{prepared.source} does not say its sample rate, so that seconds are unknown: give --rate")
    return SegmentSink(make_segmenter(opened, spec, prepared.rate_hz), format, output, recording.rate_hz)


def flat(frames: Frames) -> Frames:
    """(m, *frame shape) -> (m, labels)."""
    return frames.reshape(len(frames), int(np.prod(frames.shape[1:])))


def make_segmenter(opened: Opened, spec: TensorSpec, rate_hz: float) -> Segmenter:
    """By the card; without one, labels are the numbers of the output channels and every frame counts.

    A frame lasts as long as it takes the next one to follow, half of that before and half after its centre. Input frame
    0 lasts from 0 to 1 / ``rate_hz``.
    """
    frame_hz = rate_hz * float(spec.rate)
    start_s = float(spec.offset + (1 - 1 / spec.rate) / 2) / rate_hz
    if opened.card is not None:
        return card_segmenter(opened.card, frame_hz, start_s)
    labels = tuple(str(number) for number in range(int(np.prod(spec.shape))))
    return Segmenter(labels, frame_hz, probabilities=_ends_in_softmax(opened, spec), start_s=start_s)


def _ends_in_softmax(opened: Opened, spec: TensorSpec) -> bool:
    plan = opened.model.plan
    tensor = plan.outputs[opened.model.outputs.index(spec)]
    return any(node.kind == SOFTMAX.kind and tensor in node.outputs for node in plan.nodes)
