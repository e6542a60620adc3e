"""What every kind of source shares: the Recording that it gives, and what a person says of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.units import known

Chunk: TypeAlias = npt.NDArray[np.float32]
Channels: TypeAlias = Sequence[str] | int
"""Channels chosen by name or number, or the first so many."""

MEAN_OF_ALL: Channels = ("mean",)
"""One channel, the mean of all: what audio is to a model that hears with one ear."""

CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class Gap:
    """A stretch of ``frames`` frames of which the source itself says that it has none."""

    frames: int


Piece: TypeAlias = Chunk | Gap


@dataclass(frozen=True)
class Recording:
    """A signal that can be read once, front to back.

    ``chunks`` gives (n, len(channels)) float32 in ``units``, and a Gap where the source was not recording.
    ``available`` names all channels of the source and ``available_units`` their units, where the source says them.
    ``rate_hz`` is None if the source does not say it, ``frames`` (gaps counted) if the length is not known in advance.
    ``remark`` is what a user should be told of the file.
    """

    source: str
    rate_hz: float | None
    units: str
    channels: tuple[str, ...]
    available: tuple[str, ...]
    frames: int | None
    chunks: Iterator[Piece]
    remark: str = ""
    available_units: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How a person says a source is to be read; None where the source says it itself.

    ``channels`` chooses by name or number. ``raw_format`` reads bare samples, ``raw_channels`` interleaved.
    ``hold_gaps`` repeats the last good value where a sample is missing (NaN); otherwise that is an error.
    """

    channels: Sequence[str] | None = None
    rate_hz: float | None = None
    units: str | None = None
    gain: float = 1.0
    raw_format: str | None = None
    raw_channels: int = 1
    hold_gaps: bool = False


AS_IT_SAYS = ReadOptions()


@dataclass(frozen=True)
class Listening:
    """What a source is told: the rate that the model prefers, when to end, whom to tell of lost and of held samples.

    ``held`` gets the number of frames, a piece at a time; the others are for live sources. ``hears_with_one_ear``: of
    several channels of sound the mean is wanted, where none is chosen. ``missing_is_gap``: frames without a value (NaN)
    are a Gap, and no error.
    """

    preferred_hz: float | None = None
    stop: Callable[[], bool] = lambda: False
    overflowed: Callable[[], None] = lambda: None
    held: Callable[[int], None] = lambda frames: None
    hears_with_one_ear: bool = False
    missing_is_gap: bool = False


NOT_LISTENING = Listening()


@dataclass(frozen=True)
class FileKind:
    """An entry of the registry: files of one kind, told by their suffixes.

    ``names`` are what people call it, as help texts and refusals list it. ``open`` takes the path and the channels.
    ``files`` are all that is read for a path, since a record may be several files. ``claims`` says whether a path
    without one of the suffixes is of this kind all the same. ``is_sound`` says that ``open`` takes MEAN_OF_ALL.
    """

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    open: Callable[[Path, Channels], Recording]
    files: Callable[[Path], list[Path]] = lambda path: [path]
    claims: Callable[[Path], bool] = lambda path: False
    is_sound: bool = False


@dataclass(frozen=True)
class LiveKind:
    """An entry of the registry: a source that is no file, and has a place of its own among the names of files.

    ``says`` is how a person names it. ``open`` takes that name, the channels, the options and the Listening.
    ``ends_by_itself`` is false for what goes on until it is stopped. ``is_live``: whether the signal is being made
    while it is read, as far as that can be known.
    """

    says: str
    is_named: Callable[[str], bool]
    open: Callable[[str, Channels, ReadOptions, Listening], Recording]
    ends_by_itself: bool
    files: Callable[[], list[Path]] = lambda: []
    is_live: Callable[[], bool] = lambda: True


def choose_channels(available: Sequence[str], wanted: Channels, source: str) -> list[int]:
    """Positions of the wanted channels; a name wins over a number, case does not matter."""
    if not available:
        raise SignalError(f"{source} has no signals, at most annotations: give another recording")
    if isinstance(wanted, int):
        if wanted > len(available):
            raise SignalError(
                f"the model takes {wanted} channels and {source} has {len(available)} ({listed(available)}): "
                "give a recording with as many"
            )
        return list(range(wanted))
    folded = [name.casefold().strip() for name in available]
    bare = [re.sub(r"\s*[(\[].*", "", name) for name in folded]  # "ECG (mV)" is also asked for as "ECG"
    chosen = []
    for name in wanted:
        if (plain := name.casefold().strip()) in folded:
            chosen.append(folded.index(plain))
        elif bare.count(plain) == 1:
            chosen.append(bare.index(plain))
        elif name.isdecimal() and int(name) < len(available):
            chosen.append(int(name))
        else:
            raise SignalError(
                f"{source} has no channel {name!r}: choose one of {listed(available)} "
                f"or a number from 0 to {len(available) - 1} (channels=)"
            )
    return chosen


def listed(names: Sequence[str], most: int = 24) -> str:
    """Names in a row, of very many the first ones."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more:,} more"


def must_be_frames_first(source: str, rows: int | None, columns: int, wanted: int) -> None:
    """Raises SignalError for a table that seems to lie on its side; ``rows`` is None where there are many."""
    if rows is None or columns == wanted:
        return
    if columns > max(64, 4 * rows) or (rows == wanted and columns >= 16 and columns > rows):
        raise SignalError(
            f"{source} has {rows:,} frame(s) of {columns:,} channels, so that it seems to lie on its side: "
            "write a frame a row, or choose with channels="
        )


def must_exist(path: Path, or_be_a_pipe: bool = False) -> Path:
    """``path``, if it is a file, ``or_be_a_pipe`` with a name (FIFO); else SignalError."""
    if path.is_dir():
        raise SignalError(f"{path} is a folder: give a recording in it")
    if path.exists() and not path.is_file():
        if not or_be_a_pipe:
            raise SignalError(f"{path} is a pipe or a device, and its kind must be a file: copy it into one")
        return path
    if not path.is_file():
        raise SignalError(f"there is no file {path}: check the path")
    return path


def no_samples(source: str) -> SignalError:
    """The error of a recording without a frame, of which a model would say nothing at all."""
    return SignalError(f"{source} holds no samples: give a recording with at least one frame")


def with_samples(recording: Recording) -> Iterator[Piece]:
    """The pieces; SignalError behind the last one where none of them had a frame."""
    frames = 0
    for piece in recording.chunks:
        frames += 0 if isinstance(piece, Gap) else len(piece)
        yield piece
    if not frames:
        raise no_samples(recording.source)


def finite(recording: Recording, hold: bool, held: Callable[[int], None] = lambda frames: None) -> Iterator[Piece]:
    """The pieces without NaN, which would stay in a model's state for as long as its receptive field.

    With ``hold`` the last good value stands where a sample is missing, in gaps too, and ``held`` is told how many
    frames that were.
    """
    last = np.zeros(len(recording.channels), np.float32)
    done = 0
    for piece in recording.chunks:
        if isinstance(piece, Gap):
            done += piece.frames
            if not hold:
                yield piece
                continue
            held(piece.frames)
            for at in range(0, piece.frames, CHUNK_FRAMES):
                yield np.tile(last, (min(CHUNK_FRAMES, piece.frames - at), 1))
            continue
        chunk = piece
        bad = ~np.isfinite(chunk)
        if bad.any():
            frame, channel = (int(number) for number in np.argwhere(bad)[0])
            if not hold:
                if frame:
                    yield chunk[:frame]
                raise SignalError(
                    f"{recording.source} has no value at frame {done + frame} of channel "
                    f"{recording.channels[channel]}: hold_gaps=True repeats the last one"
                )
            chunk = _held(chunk, bad, last)
            held(int(bad.any(axis=1).sum()))
        if len(chunk):
            last = chunk[-1]
        done += len(chunk)
        yield chunk


def missing_as_gaps(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces with a Gap in place of frames that lack a value (NaN)."""
    for piece in pieces:
        if isinstance(piece, Gap):
            yield piece
            continue
        bad = np.logical_not(np.isfinite(piece)).any(axis=1).reshape(-1)
        edges = [0, *(np.flatnonzero(bad[1:] != bad[:-1]) + 1).tolist(), len(piece)]
        for begin, end in itertools.pairwise(edges):
            if begin < end:
                yield Gap(end - begin) if bad[begin] else piece[begin:end]


def _held(chunk: Chunk, bad: npt.NDArray[np.bool_], last: Chunk) -> Chunk:
    """``chunk`` with the last good value of a channel where one is ``bad``; ``last`` is the frame before it."""
    longer = np.concatenate([last[None], chunk])
    good = np.where(bad, 0, np.arange(1, len(chunk) + 1)[:, None])
    return np.take_along_axis(longer, np.maximum.accumulate(good, axis=0), axis=0)


def decoded(text: bytes) -> str:
    """Text of a header as people write it: UTF-8, or Latin-1, in which a byte may be anything."""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def of_one_unit(source: str, channels: Sequence[str], units: Sequence[str]) -> str:
    """The unit that all chosen channels have; SignalError where they differ."""
    if len({known(unit) for unit in units}) > 1:
        said = listed([f"{name} in {unit or 'no unit'}" for name, unit in zip(channels, units, strict=True)])
        raise SignalError(f"the channels of {source} differ in unit ({said}): choose channels of one with channels=")
    return units[0] if units else ""
