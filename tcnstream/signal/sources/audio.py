"""Audio files, by libsndfile (package ``soundfile``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    must_exist,
)


def read_audio(path: Path, channels: Channels) -> Recording:
    """Samples from -1 to 1, at the file's rate."""
    import soundfile

    try:
        file = soundfile.SoundFile(must_exist(path))
    except soundfile.LibsndfileError as error:
        # What libsndfile says of a file that it takes for MP3 and that is none.
        why = "Format not recognised." if "possibly a pipe" in error.error_string else error.error_string
        raise SignalError(f"{path} is not audio that can be read: {why}") from error
    available = tuple(str(number) for number in range(file.channels))
    chosen = choose_channels(available, channels, str(path))

    def chunks() -> Iterator[Chunk]:
        done = 0
        try:
            with file:
                while len(block := file.read(CHUNK_FRAMES, dtype="float32", always_2d=True)):
                    yield block[:, chosen]
                    done += len(block)
        except soundfile.LibsndfileError as error:
            at_s = done / file.samplerate
            raise SignalError(
                f"{path} is damaged or cut short {at_s:.2f} s after its beginning: {error.error_string}"
            ) from error

    names = tuple(available[number] for number in chosen)
    frames = file.frames if file.seekable() else None
    remark = "cut short: it holds less than it says; " if _cut_short(file.extra_info) else ""
    return Recording(str(path), float(file.samplerate), "", names, available, frames, chunks(), remark)


def _cut_short(notes: str) -> bool:
    """By what libsndfile notes when it opens a file. A length of 2 GB and more is that of a pipe, which knew none."""
    promised = re.search(r"^data : (\d+) \(should be", notes, re.MULTILINE)
    return bool(promised and int(promised[1]) < 0x7FFF0000) or "Last page lacks an end-of-stream bit" in notes


KIND = FileKind(
    names=("WAV", "FLAC", "Ogg"),
    suffixes=(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"),
    open=read_audio,
)
