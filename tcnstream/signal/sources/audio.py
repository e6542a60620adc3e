"""Audio files, by libsndfile (package ``soundfile``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    MEAN_OF_ALL,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    must_exist,
)
from tcnstream.signal.sources.flac import find_flac
from tcnstream.signal.sources.mpeg import find_mpeg
from tcnstream.signal.sources.riff import UNKNOWN_FROM, Sound, View
from tcnstream.signal.sources.sound_headers import find_sound
from tcnstream.signal.units import FULL_SCALE

_UNKNOWN_FRAMES = 1 << 62
_EMPTY_FROM_BYTES = 4096
_MPEG_FRAME = 1152
_MOST_OGG_PAGE_BYTES = 27 + 255 + 255 * 255


def read_audio(path: Path, channels: Channels) -> Recording:
    """Samples from -1 to 1, at the file's rate; all that the file holds, whatever its header says of the length."""
    sound = find_sound(must_exist(path))
    file, remarks = _whole(path, sound)
    if not file.frames and path.stat().st_size > _EMPTY_FROM_BYTES and (sound is None or sound.is_open_ended):
        raise SignalError(
            f"{path} says that it holds no sound and has {path.stat().st_size:,} bytes: its recorder did not finish "
            "it; mend its header, or give the samples with raw_format="
        )
    available = tuple(str(number) for number in range(file.channels))
    if channels is MEAN_OF_ALL:
        chosen = list(range(file.channels))
        names: tuple[str, ...] = ("+".join(available),)
        if file.channels > 1:
            remarks.append(f"the mean of its {file.channels} channels is taken (one of them: channels=)")
    else:
        chosen = choose_channels(available, channels, str(path))
        names = tuple(available[number] for number in chosen)

    def chunks() -> Iterator[Chunk]:
        for block in _blocks(path, file):
            yield block[:, chosen] if channels is not MEAN_OF_ALL else block.mean(axis=1, keepdims=True)

    frames = file.frames - file.tell() if file.seekable() and file.frames < _UNKNOWN_FRAMES else None
    return Recording(
        source=str(path),
        rate_hz=float(file.samplerate),
        units=FULL_SCALE,
        channels=names,
        available=available,
        frames=frames,
        chunks=chunks(),
        remark="; ".join(remarks),
        available_units=(FULL_SCALE,) * file.channels,
    )


def _whole(path: Path, sound: Sound | None) -> tuple[Any, list[str]]:
    """The opened file, so that reading it gives all that is there, and what is to be said of that.

    ``sound`` is what the headers of WAV and its like say; None for other kinds of file.
    """
    try:
        file = _opened(path)
    except SignalError:
        if sound is None or not sound.subtype or not sound.there_bytes:
            raise
        file = _bare(path, sound)
    if sound is not None and sound.is_open_ended:
        file, remark = _to_the_end(path, file, sound)
        return file, [remark]
    if sound is not None and sound.is_cut and not sound.subtype and sound.size_at:
        file.close()
        return _in_whole_blocks(path, sound), [_LESS_THAN_SAID]
    if (sound is not None and sound.is_cut) or _cut_short(file.extra_info):
        return file, [_LESS_THAN_SAID]
    by_format = _BY_FORMAT.get(file.format)
    return (file, []) if by_format is None else by_format(path, file)


def _whole_flac(path: Path, file: Any) -> tuple[Any, list[str]]:
    flac = find_flac(path)
    if flac is None:
        return file, []
    remarks = []
    says_less = 0 < flac.said_frames < flac.there_frames
    if says_less or flac.is_tagged:
        file.close()
        file = _opened(path, View(path, flac.head, len(flac.head), flac.end_bytes))
    if says_less:
        remarks.append(f"its header says {flac.said_frames:,} frames (more is there): read to the end of the file")
    if flac.is_cut and not flac.said_frames:
        remarks.append("cut short: its last block is not whole")
    return file, remarks


def _whole_ogg(path: Path, file: Any) -> tuple[Any, list[str]]:
    return file, [] if _ends_with_its_last_page(path) else ["cut short: its last page is not the end"]


def _whole_mp3(path: Path, file: Any) -> tuple[Any, list[str]]:
    mpeg = find_mpeg(path)
    if mpeg is None:
        return file, []
    if not mpeg.says_count:
        file.close()
        file = _opened(path, View(path, mpeg.counted(), mpeg.begin_bytes, mpeg.end_bytes))
        file.read(mpeg.silent_frames)
    return file, ["cut short: its last MPEG frame is not whole"] if mpeg.is_cut else []


_LESS_THAN_SAID = "cut short: it holds less than it says"
_BY_FORMAT = {"FLAC": _whole_flac, "OGG": _whole_ogg, "MP3": _whole_mp3}
"""How a file whose length is not that of its samples is read to its end, by libsndfile's name of its format."""


def _opened(path: Path, view: View | None = None, **raw: Any) -> Any:
    import soundfile

    try:
        return soundfile.SoundFile(path if view is None else view, **raw)
    except soundfile.LibsndfileError as error:
        # What libsndfile says of a file that it takes for MP3 and that is none.
        why = "Format not recognised." if "possibly a pipe" in error.error_string else error.error_string
        raise SignalError(f"{path} is not audio that can be read: {why}") from error


def _to_the_end(path: Path, file: Any, sound: Sound) -> tuple[Any, str]:
    """The file read to its end, against its header, and what is to be said of it."""
    frames = sound.there_bytes // sound.frame_bytes if sound.frame_bytes else 0
    why = "more is there"
    if not sound.said_bytes:
        why = "never finished"
    elif (sound.there_bytes - sound.said_bytes) % (1 << 32) == 0:
        why = "the rest of a division by 4 GiB"
    # A pipe's header promises nothing.
    remark = "" if sound.said_bytes >= UNKNOWN_FROM else f"its header says {sound.said_bytes:,} bytes of sound ({why})"
    if frames and file.frames != frames and sound.subtype:
        file.close()
        file = _bare(path, sound)
    elif not sound.subtype and sound.size_at and sound.there_bytes < UNKNOWN_FROM:
        file.close()
        file = _in_whole_blocks(path, sound)
        if sound.there_bytes % max(1, sound.block_bytes):
            return file, "; ".join([*([remark] if remark else []), "cut short: its last block is not whole"])
    elif frames and file.frames != frames:
        return file, remark and f"{remark}, of which it holds more, and its kind cannot be read beyond that"
    return file, f"{remark}: read to the end of the file" if remark else ""


def _bare(path: Path, sound: Sound) -> Any:
    """The samples of a file without its header."""
    form = {"format": "RAW", "subtype": sound.subtype, "endian": sound.endian}
    place = {"samplerate": sound.rate_hz, "channels": sound.channels}
    return _opened(path, View(path, b"", sound.offset_bytes), **form, **place)


def _in_whole_blocks(path: Path, sound: Sound) -> Any:
    """The file with the size of what is there in its header; of a block that is cut nothing is known."""
    whole = sound.there_bytes - sound.there_bytes % max(1, sound.block_bytes)
    with path.open("rb") as file:
        head = bytearray(file.read(sound.offset_bytes))
    head[sound.size_at : sound.size_at + 4] = whole.to_bytes(4, "big" if sound.endian == "BIG" else "little")
    return _opened(path, View(path, bytes(head), sound.offset_bytes, sound.offset_bytes + whole))


def _ends_with_its_last_page(path: Path) -> bool:
    """Whether the last page of an Ogg file (RFC 3533) is all there, and said to be the last one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _MOST_OGG_PAGE_BYTES))
        end = file.read()
    at = end.rfind(b"OggS")
    head = end[at : at + 27]
    if at < 0 or len(head) < 27:
        return False
    lengths = end[at + 27 : at + 27 + head[26]]
    is_whole = len(lengths) == head[26] and at + 27 + head[26] + sum(lengths) <= len(end)
    return is_whole and bool(head[5] & 4)


def _blocks(path: Path, file: Any) -> Iterator[Chunk]:
    import soundfile

    is_open = file.frames >= _UNKNOWN_FRAMES
    done = 0
    try:
        with file:
            while True:
                # Of an unknown length the last block comes with an error, and what was read of it is in the buffer.
                block = np.full((CHUNK_FRAMES, file.channels), np.nan, np.float32)
                try:
                    block = file.read(CHUNK_FRAMES, dtype="float32", always_2d=True, out=block)
                except soundfile.LibsndfileError:
                    if not is_open:
                        raise
                    block = block[: int(np.isfinite(block).all(axis=1).sum())]
                if not len(block):
                    break
                yield block
                done += len(block)
    except soundfile.LibsndfileError as error:
        at_s = done / file.samplerate
        raise SignalError(
            f"{path} is damaged or cut short {at_s:.2f} s after its beginning: {error.error_string}"
        ) from error
    if file.format == "MP3" and file.frames - done > 2 * _MPEG_FRAME:
        raise SignalError(
            f"{path} is cut short {done / file.samplerate:.2f} s after its beginning: it says {file.frames:,} frames "
            f"and {done:,} are there"
        )


def _cut_short(notes: str) -> bool:
    """By what libsndfile notes when it opens a file. A length of 2 GB and more is that of a pipe, which knew none."""
    promised = re.search(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be", notes, re.MULTILINE)
    return bool(promised and int(promised[1]) < 0x7FFF0000) or "Last page lacks an end-of-stream bit" in notes


KIND = FileKind(
    names=("WAV", "FLAC", "Ogg"),
    suffixes=(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"),
    open=read_audio,
    is_sound=True,
)
