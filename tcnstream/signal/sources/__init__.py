"""Recordings as streams of float32 chunks: one registry, one module a kind.

``open_source`` takes what a person names: a file, standard input or a microphone; ``open_recording`` a file. Either
looks at the name, reads what the source says of itself (rate, channels, units) and gives a Recording whose ``chunks``
are read as they are asked for. All that is wrong with a source is a SignalError. A new kind is a module with a ``KIND``
and its entry below; help texts and refusals follow.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tcnstream.errors import SignalError
from tcnstream.signal.sources import audio, edf, microphone, npy, raw, text, wfdb
from tcnstream.signal.sources.base import (
    AS_IT_SAYS,
    MEAN_OF_ALL,
    NOT_LISTENING,
    Channels,
    FileKind,
    Listening,
    LiveKind,
    ReadOptions,
    Recording,
    finite,
    missing_as_gaps,
    must_exist,
    with_samples,
)
from tcnstream.signal.sources.raw import RAW_FORMATS, RawFormat, raw_format_named, read_raw
from tcnstream.signal.units import is_said, known

FILE_KINDS: tuple[FileKind, ...] = (audio.KIND, text.KIND, npy.KIND, wfdb.KIND, edf.KIND)
LIVE_KINDS: tuple[LiveKind, ...] = (raw.KIND, microphone.KIND)


def names_of_files() -> tuple[str, ...]:
    """What can be read, as people call it: WAV, FLAC, ..."""
    return tuple(name for kind in FILE_KINDS for name in kind.names)


def described() -> str:
    """What ``open_source`` takes, in one phrase for a help text."""
    *most, last = names_of_files()
    live = ", ".join(kind.says for kind in LIVE_KINDS)
    return f"{', '.join(most)} or {last} file, a folder of them (--jobs), {live}."


def ends_by_itself(source: str) -> bool:
    """Whether a source has an end of its own, or goes on until it is stopped."""
    kind = _live_kind(source)
    return kind is None or kind.ends_by_itself


def is_live(source: str) -> bool:
    """Whether a source gives its signal while it is being made."""
    kind = _live_kind(source)
    return kind is not None and kind.is_live()


def files_of(source: str | None) -> list[Path]:
    """The files that a source is read from, to be kept from being written over."""
    if source is None or not Path(source).name:
        return []
    live = _live_kind(source)
    if live is not None:
        return live.files()
    path = Path(source)
    kind = _file_kind(path)
    return [path] if kind is None else kind.files(path)


def is_folder(source: str) -> bool:
    """Whether a source is a folder, and no recording that is named without its suffix."""
    path = Path(source)
    return bool(source) and _live_kind(source) is None and path.is_dir() and _file_kind(path) is None


def recordings_below(folder: Path) -> list[str]:
    """All recordings in ``folder`` and the folders in it, as paths below it, in order.

    Of a record in several files it is the one that names the others. Hidden files and folders, pipes and devices are
    left out.
    """
    found: dict[Path, FileKind] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            kind = _kind_by_suffix(path)
            if kind and (path.is_file() or not path.exists()):  # of a pipe nobody would hear that it never ends
                found[path] = kind
    parts: set[Path] = set()
    # A header and its signals name each other; a kind's first suffix is that of its headers.
    for path in sorted(found, key=lambda path: found[path].suffixes.index(path.suffix.lower())):
        if path not in parts:
            parts.update(file for file in found[path].files(path) if file != path)
    return sorted(path.relative_to(folder).as_posix() for path in found if path not in parts)


def open_source(
    source: str, channels: Channels = 1, options: ReadOptions = AS_IT_SAYS, listening: Listening = NOT_LISTENING
) -> Recording:
    """Opens what a person names, with ``channels`` of it, and puts what ``options`` say over what it says itself."""
    live = _live_kind(source)
    if live is not None:
        recording = live.open(source, channels, options, listening)
        if live.ends_by_itself:
            recording = replace(recording, chunks=with_samples(recording))
        recording = replace(recording, chunks=finite(recording, options.hold_gaps, listening.held))
    else:
        recording = open_recording(
            source,
            channels=channels,
            raw_format=None if options.raw_format is None else raw_format_named(options.raw_format),
            raw_channels=options.raw_channels,
            hold_gaps=options.hold_gaps,
            listening=listening,
        )
    return _as_told(recording, options)


def _as_told(recording: Recording, options: ReadOptions) -> Recording:
    """What a person says stands over what a source says, which is said where the two differ."""
    remarks = [recording.remark] if recording.remark else []
    rate_hz, units = recording.rate_hz, recording.units
    if options.rate_hz is not None:
        if rate_hz is not None and abs(options.rate_hz / rate_hz - 1) > 1e-6:
            remarks.append(f"rate_hz={options.rate_hz:g} stands over its own {rate_hz:g} Hz")
        rate_hz = options.rate_hz
    if options.units is not None:
        if is_said(units) and known(units) != known(options.units):
            remarks.append(f"units={options.units!r} stands over its own {units}")
        units = options.units
    return replace(recording, rate_hz=rate_hz, units=units, remark="; ".join(remarks))


def open_recording(
    path: str | Path,
    *,
    channels: Channels = 1,
    raw_format: RawFormat | None = None,
    raw_channels: int = 1,
    hold_gaps: bool = False,
    listening: Listening = NOT_LISTENING,
) -> Recording:
    """Opens a file.

    ``channels`` chooses by name or number (``["ii"]``, ``["0", "3"]``), or takes the first so many. ``raw_format``
    reads bare samples, ``raw_channels`` interleaved. ``hold_gaps`` repeats the last good value where a sample is
    missing (NaN, or a Gap); otherwise that is an error, or stays a Gap. A recording without a frame is an error when
    its chunks have been asked for.
    """
    path = Path(path)
    try:
        if raw_format is not None:
            stream = must_exist(path, or_be_a_pipe=True).open("rb")
            recording = read_raw(stream, raw_format, channels, raw_channels, str(path))
        else:
            kind = _file_kind(path)
            if kind is None:
                must_exist(path, or_be_a_pipe=True)
                raise SignalError(
                    f"{path} is of no kind that can be read ({', '.join(names_of_files())}): "
                    f"say how bare samples are stored with raw_format= ({', '.join(RAW_FORMATS)})"
                )
            mean = kind.is_sound and channels == 1 and listening.hears_with_one_ear
            recording = kind.open(path, MEAN_OF_ALL if mean else channels)
    except OSError as error:
        raise SignalError(f"{path} cannot be read: {error.strerror or error}") from error
    recording = replace(recording, chunks=with_samples(recording))
    if listening.missing_is_gap:
        return replace(recording, chunks=missing_as_gaps(recording.chunks))
    return replace(recording, chunks=finite(recording, hold_gaps, listening.held))


def _file_kind(path: Path) -> FileKind | None:
    return _kind_by_suffix(path) or next((kind for kind in FILE_KINDS if kind.claims(path)), None)


def _kind_by_suffix(path: Path) -> FileKind | None:
    suffix = path.suffix.lower()
    return next((kind for kind in FILE_KINDS if suffix in kind.suffixes), None)


def _live_kind(source: str) -> LiveKind | None:
    return next((kind for kind in LIVE_KINDS if kind.is_named(source)), None)
