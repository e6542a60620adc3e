"""Recordings as streams of float32 chunks: WAV, FLAC, Ogg, CSV, NPY, WFDB, EDF, and raw samples.

``open_recording`` looks at the file's name, reads what the file says of itself (rate, channels, units) and gives a
Recording whose ``chunks`` are read as they are asked for. All that is wrong with a file is a SignalError.
"""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError

RawFormat: TypeAlias = Literal["f32le", "s16le", "text"]
Chunk: TypeAlias = npt.NDArray[np.float32]

CHUNK_FRAMES = 4096
AUDIO = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"}
TEXT = {".csv": ",", ".tsv": "\t", ".txt": ""}
WFDB = {".hea", ".dat"}
EDF = {".edf", ".bdf", ".rec"}


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


def open_recording(
    path: str | Path,
    *,
    channels: Sequence[str] | int = 1,
    raw_format: RawFormat | None = None,
    raw_channels: int = 1,
    hold_gaps: bool = False,
) -> Recording:
    """Opens a recording.

    ``channels`` chooses by name or number (``["ii"]``, ``["0", "3"]``), or takes the first so many. ``raw_format``
    reads bare samples, ``raw_channels`` interleaved. ``hold_gaps`` repeats the last good value where a sample is
    missing (NaN); otherwise that is an error.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if raw_format is not None:
            _must_exist(path)
            return read_raw(path.open("rb"), raw_format, channels, raw_channels, str(path), hold_gaps)
        elif suffix in AUDIO:
            recording = _audio(_must_exist(path), channels)
        elif suffix in TEXT:
            recording = _text(_must_exist(path).open("rb"), channels, TEXT[suffix], str(path))
        elif suffix == ".npy":
            recording = _npy(_must_exist(path), channels)
        elif suffix in EDF:
            recording = _edf(_must_exist(path), channels)
        elif suffix in WFDB or (path.name and path.with_name(path.name + ".hea").is_file()):
            recording = _wfdb(path.with_suffix("") if suffix in WFDB else path, channels)
        else:
            _must_exist(path)
            raise SignalError(
                f"{path} is of no kind that can be read (WAV, FLAC, Ogg, CSV, TSV, NPY, WFDB, EDF): "
                f"say how bare samples are stored with --raw-format {'|'.join(get_args(RawFormat))}"
            )
    except OSError as error:
        raise SignalError(f"{path} cannot be read: {error.strerror or error}") from error
    return replace(recording, chunks=_finite(recording, hold_gaps))


def read_raw(
    stream: BinaryIO,
    raw_format: RawFormat,
    channels: Sequence[str] | int = 1,
    raw_channels: int = 1,
    source: str = "standard input",
    hold_gaps: bool = False,
) -> Recording:
    """Bare samples from a file or a pipe, given on as soon as they are there.

    ``f32le`` and ``s16le`` are little-endian and interleaved; ``text`` has one frame a line, its numbers parted by
    commas, semicolons or white space.
    """
    if raw_format == "text":
        recording = _text(stream, channels, "", source)
        return replace(recording, chunks=_finite(recording, hold_gaps))
    if raw_channels < 1:
        raise SignalError(f"{raw_channels} raw channels make no signal: give 1 or more (--raw-channels)")
    dtype = np.dtype({"f32le": "<f4", "s16le": "<i2"}[raw_format])
    available = tuple(str(number) for number in range(raw_channels))
    chosen = choose_channels(available, channels, source)

    def chunks() -> Iterator[Chunk]:
        frame_bytes = dtype.itemsize * raw_channels
        rest = b""
        read = stream.read1 if isinstance(stream, io.BufferedIOBase) else stream.read
        with stream:
            while block := read(CHUNK_FRAMES * frame_bytes):
                block = rest + block
                whole = len(block) - len(block) % frame_bytes
                rest = block[whole:]
                if whole:
                    frames = np.frombuffer(block[:whole], dtype).reshape(-1, raw_channels)
                    yield frames[:, chosen].astype(np.float32)
        if rest:
            raise SignalError(
                f"{source} ends {len(rest)} bytes into a frame of {frame_bytes}: "
                f"is it {raw_format} with {raw_channels} channel(s)?"
            )

    names = tuple(available[number] for number in chosen)
    recording = Recording(source, None, "", names, available, None, chunks())
    return replace(recording, chunks=_finite(recording, hold_gaps))


def choose_channels(available: Sequence[str], wanted: Sequence[str] | int, source: str) -> list[int]:
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


def _must_exist(path: Path) -> Path:
    if path.is_dir():
        raise SignalError(f"{path} is a folder: give a recording in it")
    if not path.is_file():
        raise SignalError(f"there is no file {path}: check the path")
    return path


def _finite(recording: Recording, hold: bool) -> Iterator[Chunk]:
    """A NaN would stay in a model's state for as long as its receptive field, so that it is never let in."""
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


def _audio(path: Path, channels: Sequence[str] | int) -> Recording:
    import soundfile

    try:
        file = soundfile.SoundFile(path)
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


def _npy(path: Path, channels: Sequence[str] | int) -> Recording:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SignalError(f"{path} is not an array that can be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise SignalError(f"{path} must hold numbers of shape (frames,) or (frames, channels): save it like that")
    frames = array[:, None] if array.ndim == 1 else array
    available = tuple(str(number) for number in range(frames.shape[1]))
    chosen = choose_channels(available, channels, str(path))
    chunks = (
        np.asarray(frames[at : at + CHUNK_FRAMES, chosen], np.float32) for at in range(0, len(frames), CHUNK_FRAMES)
    )
    names = tuple(available[number] for number in chosen)
    return Recording(str(path), None, "", names, available, len(frames), chunks)


def _wfdb(record: Path, channels: Sequence[str] | int) -> Recording:
    wfdb = optional_package("wfdb", f"{record} is a WFDB record")
    if not record.with_name(record.name + ".hea").is_file():
        raise SignalError(f"there is no file {record}.hea: a WFDB record needs its header")
    header = _third_party(f"the WFDB header {record}.hea", wfdb.rdheader, str(record))
    available = tuple(header.sig_name or ())
    chosen = choose_channels(available, channels, str(record))
    units = {header.units[number] for number in chosen} if header.units else {""}
    if len(units) > 1:
        raise SignalError(f"the channels of {record} are in {' and '.join(sorted(units))}: choose channels of one unit")

    def chunks() -> Iterator[Chunk]:
        order = sorted(set(chosen))
        for at in range(0, header.sig_len, CHUNK_FRAMES):
            to = min(at + CHUNK_FRAMES, header.sig_len)
            what = f"the WFDB record {record}"
            block = _third_party(what, wfdb.rdrecord, str(record), sampfrom=at, sampto=to, channels=order).p_signal
            yield np.asarray(block, np.float32)[:, [order.index(number) for number in chosen]]

    names = tuple(available[number] for number in chosen)
    return Recording(str(record), float(header.fs), units.pop(), names, available, header.sig_len, chunks())


def _edf(path: Path, channels: Sequence[str] | int) -> Recording:
    pyedflib = optional_package("pyedflib", f"{path} is an EDF file")
    reader = _third_party(f"the EDF file {path}", pyedflib.EdfReader, str(path))
    available = tuple(reader.getSignalLabels())
    chosen = choose_channels(available, channels, str(path))
    facts = {
        (reader.getSampleFrequency(n), int(reader.getNSamples()[n]), reader.getPhysicalDimension(n)) for n in chosen
    }
    if len(facts) != 1:
        reader.close()
        raise SignalError(f"the channels of {path} differ in rate, length or unit: choose channels that go together")
    rate_hz, frames, units = facts.pop()

    def chunks() -> Iterator[Chunk]:
        try:
            for at in range(0, frames, CHUNK_FRAMES):
                count = min(CHUNK_FRAMES, frames - at)
                what = f"the EDF file {path}"
                columns = [_third_party(what, reader.readSignal, number, at, count) for number in chosen]
                yield np.stack(columns, axis=1).astype(np.float32)
        finally:
            reader.close()

    names = tuple(available[number] for number in chosen)
    return Recording(str(path), float(rate_hz), units.strip(), names, available, frames, chunks())


def _text(stream: BinaryIO, channels: Sequence[str] | int, delimiter: str, source: str) -> Recording:
    """Columns of numbers. Comment lines ``# rate_hz = 360`` and ``# units = mV`` say what the numbers are."""
    lines = enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace"), start=1)
    facts: dict[str, str] = {}
    first: tuple[int, list[str]] | None = None
    for number, line in lines:
        if fact := re.match(r"#\s*(\w+)\s*[=:]\s*(.*)", line):
            facts[fact[1]] = fact[2].strip()
        elif line.strip() and not line.startswith("#"):
            delimiter = delimiter if delimiter and delimiter in line else _delimiter(line)
            first = number, _cells(line, delimiter)
            break
    if first is None:
        stream.close()
        raise SignalError(f"{source} holds no numbers: give a recording with at least one frame")
    named = not all(_is_number(cell) for cell in first[1])
    available = tuple(first[1]) if named else tuple(str(number) for number in range(len(first[1])))
    if isinstance(channels, int):
        # A column that counts time is not a signal, unless it is asked for by name.
        signals = [name for name in available if name.casefold() not in {"time", "time_s", "t", "seconds", "index", ""}]
        chosen = [available.index(signals[n]) for n in choose_channels(signals, channels, source)]
    else:
        chosen = choose_channels(available, channels, source)

    def chunks() -> Iterator[Chunk]:
        with stream:
            rows = []
            for number, cells in itertools.chain([] if named else [first], cells_of_lines):
                rows.append(_row(number, cells, chosen, len(available), source))
                if len(rows) >= chunk_frames:
                    yield np.array(rows, np.float32)
                    rows.clear()
            if rows:
                yield np.array(rows, np.float32)

    cells_of_lines = (
        (number, _cells(line, delimiter)) for number, line in lines if line.strip() and not line.startswith("#")
    )
    # A pipe may be a person typing: there every line is a chunk.
    chunk_frames = CHUNK_FRAMES if stream.seekable() else 1
    names = tuple(available[number] for number in chosen)
    rate_hz = _number(facts["rate_hz"], f"{source}: the comment rate_hz") if "rate_hz" in facts else None
    return Recording(source, rate_hz, facts.get("units", ""), names, available, None, chunks())


def _delimiter(line: str) -> str:
    return next((mark for mark in (";", "\t", ",") if mark in line), "")


def _cells(line: str, delimiter: str) -> list[str]:
    if not delimiter:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise SignalError(f"{where} is {text!r} and not a number: mend the file") from None


def _row(line: int, cells: list[str], chosen: list[int], columns: int, source: str) -> list[float]:
    if len(cells) != columns:
        raise SignalError(f"{source}, line {line}, has {len(cells)} columns, the first has {columns}: mend the file")
    return [_number(cells[number], f"{source}, line {line}, column {number}") for number in chosen]


def optional_package(name: str, why: str) -> Any:
    """Imports a reader where it is needed: some are slow to load, and 32-bit ARM has no wheels of them."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SignalError(f"{why}, which takes the package {name}: pip install {name}") from error


def _third_party(what: str, read: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """Readers of file formats raise whatever their parsing stumbles over; a person needs one kind of error."""
    try:
        return read(*arguments, **named)
    except FileNotFoundError as error:
        raise SignalError(f"{what} cannot be read without {error.filename}, which is not there") from error
    except Exception as error:
        raise SignalError(f"{what} cannot be read: {error}") from error
