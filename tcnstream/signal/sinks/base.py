"""What every kind of sink shares: the life of its file, and how a segment is written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, TypeVar

from tcnstream.errors import SignalError
from tcnstream.signal.segments import Segment

Items = TypeVar("Items", contravariant=True)


class Sink(Protocol[Items]):
    """Takes segments or frames as they are made. Nothing is promised to be complete before ``close``.

    ``break_off`` is the end where an error came before it: what was written is kept.
    """

    def write(self, items: Items, /) -> None: ...

    def close(self) -> None: ...

    def break_off(self) -> None: ...


class Writer(Protocol[Items]):
    """Gives items their form in a file; ``close`` completes it and leaves the file open."""

    def write(self, items: Items, /) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class SinkKind:
    """An entry of the registry: an output format by the name that a person gives it.

    ``takes`` says what is written to it. ``open`` takes the file (None: standard output) and the recording's own rate
    in Hz, and raises SignalError for a file that cannot be of this kind. ``refuses_stdout`` is the sentence for a kind
    that needs a file.
    """

    name: str
    takes: Literal["segments", "frames"]
    open: Callable[[Path | None, float | None], Sink[Any]]
    refuses_stdout: str = ""


class FileSink:
    """A writer and the file that it writes.

    The file is opened, and what stood in it is gone, with the first items or at the end, not before: a recording that
    cannot be read leaves the answer to an older one alone.
    """

    def __init__(self, open_file: Callable[[], tuple[Writer[Any], OutFile]]) -> None:
        self._open_file = open_file
        self._opened: tuple[Writer[Any], OutFile] | None = None
        self._nothing: Any = None

    def write(self, items: Any) -> None:
        if self._opened is None and not len(items):
            self._nothing = items
        else:
            self._write(items)

    def _write(self, items: Any) -> None:
        if self._opened is None:
            self._opened = self._open_file()
        writer, file = self._opened
        try:
            writer.write(items)
        except OSError:
            self._opened = None
            file.discard()
            raise

    def close(self) -> None:
        if self._opened is None and self._nothing is not None:
            self._write(self._nothing)
        self.break_off()

    def break_off(self) -> None:
        opened, self._opened, self._nothing = self._opened, None, None
        if opened is None:
            return
        writer, file = opened
        try:
            writer.close()
        except OSError:
            file.discard()
            raise
        file.keep()


class OutFile(Protocol):
    """A file, when its writer has closed: whole, or cut off by an error of writing."""

    def keep(self) -> None: ...

    def discard(self) -> None: ...


class GrowingFile:
    """A file, or standard output, that can be read while it is written, and stays as far as it came."""

    def __init__(self, stream: Any, is_ours: bool) -> None:
        self.stream, self._is_ours = stream, is_ours

    def keep(self) -> None:
        if self._is_ours:
            self.stream.close()

    def discard(self) -> None:
        with suppress(OSError):
            self.keep()


def text_file(writer: Callable[[TextIO], Writer[Any]]) -> Callable[[Path | None, float | None], Sink[Any]]:
    """``SinkKind.open`` for a writer of text that can be read while it grows."""

    def open_sink(path: Path | None, record_rate_hz: float | None) -> Sink[Any]:
        def open_file() -> tuple[Writer[Any], OutFile]:
            stream = sys.stdout if path is None else path.open("w", newline="", encoding="utf-8")
            return writer(stream), GrowingFile(stream, path is not None)

        return FileSink(open_file)

    return open_sink


@contextmanager
def closing(sink: Sink[Any]) -> Iterator[None]:
    """Closes ``sink`` at the end, or where an error or Ctrl-C breaks it off: what is final by then is not lost."""
    try:
        yield
    except BaseException:
        with suppress(OSError, SignalError):
            sink.break_off()
        raise
    sink.close()


def segment_fields(segment: Segment) -> dict[str, float | str]:
    """A segment for a person or a program to read: times to a tenth of a millisecond."""
    return {
        "start_s": round(segment.start_s, 4),
        "end_s": round(segment.end_s, 4),
        "label": segment.label,
        "probability": round(segment.probability, 4),
        **said_marks(segment),
    }


def said_marks(segment: Segment) -> dict[str, float]:
    """What the model says of a segment beside its label: probabilities by name."""
    marks = {"ventricular": segment.ventricular, "noise": segment.noise}
    return {name: round(value, 4) for name, value in marks.items() if value is not None}
