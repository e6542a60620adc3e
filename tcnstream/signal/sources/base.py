"""What every kind of source shares: the Recording that it gives, and what a person says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError

Chunk: TypeAlias = npt.NDArray[np.float32]
Channels: TypeAlias = Sequence[str] | int
"""Channels chosen by name or number, or the first so many."""

CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class Recording:
    """A signal that can be read once, front to back.

    ``chunks`` gives (n, len(channels)) float32 in ``units``. ``available`` names all channels of the source.
    ``rate_hz`` is None if the source does not say it, ``frames`` if the length is not known in advance. ``remark`` is
    what a user should be told of the file.
    """

    source: str
    rate_hz: float | None
    units: str
    channels: tuple[str, ...]
    available: tuple[str, ...]
    frames: int | None
    chunks: Iterator[Chunk]
    remark: str = ""


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
    """What a live source is told: the rate that the model prefers, when to end, whom to tell of lost samples."""

    preferred_hz: float | None = None
    stop: Callable[[], bool] = lambda: False
    overflowed: Callable[[], None] = lambda: None


NOT_LISTENING = Listening()


@dataclass(frozen=True)
class FileKind:
    """An entry of the registry: files of one kind, told by their suffixes.

    ``names`` are what people call it, as help texts and refusals list it. ``open`` takes the path and the channels.
    ``files`` are all that is read for a path, since a record may be several files. ``claims`` says whether a path
    without one of the suffixes is of this kind all the same.
    """

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    open: Callable[[Path, Channels], Recording]
    files: Callable[[Path], list[Path]] = lambda path: [path]
    claims: Callable[[Path], bool] = lambda path: False


@dataclass(frozen=True)
class LiveKind:
    """An entry of the registry: a source that is no file, and has a place of its own among the names of files.

    ``says`` is how a person names it. ``open`` takes that name, the channels, the options and the Listening.
    ``ends_by_itself`` is false for what goes on until it is stopped.
    """

    says: str
    is_named: Callable[[str], bool]
    open: Callable[[str, Channels, ReadOptions, Listening], Recording]
    ends_by_itself: bool
    files: Callable[[], list[Path]] = lambda: []


def choose_channels(available: Sequence[str], wanted: Channels, source: str) -> list[int]:
    """Positions of the wanted channels; a name wins over a number, case does not matter."""
    if isinstance(wanted, int):
        if wanted > len(available):
            raise SignalError(
                f"the model takes {wanted} channels and {source} has {len(available)} ({', '.join(available)}): "
                "give a recording with as many"
            )
        return list(range(wanted))
    folded = [name.casefold().strip() for name in available]
    chosen = []
    for name in wanted:
        if name.casefold().strip() in folded:
            chosen.append(folded.index(name.casefold().strip()))
        elif name.isdecimal() and int(name) < len(available):
            chosen.append(int(name))
        else:
            raise SignalError(
                f"{source} has no channel {name!r}: choose one of {', '.join(available)} "
                f"or a number from 0 to {len(available) - 1} (--channel)"
            )
    return chosen


def unit_factor(source: str, target: str) -> float | None:
    """What a value in ``source`` units is multiplied by to be in ``target`` units; None if they have nothing in common.

    Equal units, or one side that does not say its unit, give 1. Volts are known with their prefixes.
    """
    prefixes = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
    source, target = (re.sub("[µμ]", "u", unit.strip()) for unit in (source, target))
    if not source or not target or source.casefold() == target.casefold():
        return 1.0
    if source in prefixes and target in prefixes:
        return prefixes[source] / prefixes[target]
    return None


def must_exist(path: Path) -> Path:
    """``path``, if it is a file; else SignalError."""
    if path.is_dir():
        raise SignalError(f"{path} is a folder: give a recording in it")
    if not path.is_file():
        raise SignalError(f"there is no file {path}: check the path")
    return path


def finite(recording: Recording, hold: bool) -> Iterator[Chunk]:
    """The chunks without NaN, which would stay in a model's state for as long as its receptive field."""
    last = np.zeros(len(recording.channels), np.float32)
    done = 0
    for chunk in recording.chunks:
        bad = ~np.isfinite(chunk)
        if bad.any():
            frame, channel = (int(number) for number in np.argwhere(bad)[0])
            if not hold:
                raise SignalError(
                    f"{recording.source} has no value at frame {done + frame} of channel "
                    f"{recording.channels[channel]}: --hold-gaps repeats the last one"
                )
            chunk = chunk.copy()
            for frame, channel in np.argwhere(bad).tolist():
                chunk[frame, channel] = chunk[frame - 1, channel] if frame else last[channel]
        if len(chunk):
            last = chunk[-1]
        done += len(chunk)
        yield chunk


def read_by_package(what: str, read: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """Readers of file formats raise whatever their parsing stumbles over; a person needs one kind of error."""
    try:
        return read(*arguments, **named)
    except FileNotFoundError as error:
        raise SignalError(f"{what} cannot be read without {error.filename}, which is not there") from error
    except Exception as error:
        raise SignalError(f"{what} cannot be read: {error}") from error
