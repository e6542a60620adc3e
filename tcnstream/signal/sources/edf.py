"""European Data Format: EDF, EDF+ and their 24-bit brothers BDF and BDF+.

The formats are those of https://www.edfplus.info/specs (EDF 1992, EDF+ 2003). Read here and not by ``pyedflib``: that
one keeps a table of open files for the whole process (a file that is opened twice reads as zeros), refuses what is
discontinuous or unfinished, and writes to standard output. The tests compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    FileKind,
    Gap,
    Piece,
    Recording,
    choose_channels,
    decoded,
    must_exist,
    of_one_unit,
)
from tcnstream.signal.units import known

_HEAD_BYTES = 256
_FIELDS = {
    "label": 16,
    "transducer": 80,
    "units": 8,
    "physical_low": 8,
    "physical_high": 8,
    "digital_low": 8,
    "digital_high": 8,
    "prefilter": 80,
    "samples": 8,
    "reserved": 32,
}
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_MOST_SIGNALS = 10_000


@dataclass(frozen=True)
class _Signal:
    """``samples`` in a data record, ``offset_bytes`` into it; ``scale`` is (factor, offset), None where it is wrong."""

    label: str
    units: str
    samples: int
    offset_bytes: int
    scale: tuple[float, float] | None


@dataclass(frozen=True)
class _Layout:
    """What the header says. ``said_records`` is -1 in a file that was not finished; a record lasts ``duration_s``."""

    path: Path
    sample_bytes: int
    head_bytes: int
    record_bytes: int
    said_records: int
    records: int
    duration_s: float
    is_discontinuous: bool
    signals: tuple[_Signal, ...]
    clock: _Signal | None


def read_edf(path: Path, channels: Channels) -> Recording:
    """Signals of one rate and unit, in physical units; where data records do not follow each other there is a Gap."""
    layout = _layout(must_exist(path))
    available = tuple(signal.label for signal in layout.signals)
    chosen = choose_channels(available, channels, str(path))
    signals = [layout.signals[number] for number in chosen]
    units = of_one_unit(str(path), [signal.label for signal in signals], [signal.units for signal in signals])
    if len({signal.samples for signal in signals}) > 1:
        rates = ", ".join(f"{s.label} has {s.samples} samples in {layout.duration_s:g} s" for s in signals)
        raise SignalError(f"the channels of {path} differ in rate ({rates}): choose channels of one with channels=")
    for signal in signals:
        if signal.scale is None:
            raise SignalError(
                f"{path} says no scale for {signal.label} (its lowest and highest values are equal or no numbers): "
                "mend the header, or choose another with channels="
            )
    samples = signals[0].samples
    if not samples:
        raise SignalError(f"{path} has no samples of {signals[0].label}: choose another with channels=")
    rate_hz = samples / layout.duration_s if layout.duration_s else None
    onsets_s = _onsets_s(layout) if layout.is_discontinuous and rate_hz is not None else None
    frames = layout.records * samples
    if onsets_s is not None and rate_hz is not None and len(onsets_s):
        frames = round((onsets_s[-1] - onsets_s[0]) * rate_hz) + samples
    return Recording(
        source=str(path),
        rate_hz=rate_hz,
        units=units,
        channels=tuple(signal.label for signal in signals),
        available=available,
        frames=frames,
        chunks=_chunks(layout, signals, rate_hz, onsets_s),
        remark="; ".join(_remarks(layout)),
        available_units=tuple(signal.units for signal in layout.signals),
    )


def _chunks(
    layout: _Layout, signals: list[_Signal], rate_hz: float | None, onsets_s: npt.NDArray[np.float64] | None
) -> Iterator[Piece]:
    samples = signals[0].samples
    at_once = max(1, CHUNK_FRAMES // samples)
    position, number = 0, 0
    with layout.path.open("rb") as file:
        file.seek(layout.head_bytes)
        while number < layout.records:
            count = min(at_once, layout.records - number)
            if onsets_s is not None and rate_hz is not None:
                count = 1
                begin = round((onsets_s[number] - onsets_s[0]) * rate_hz)
                if begin < position:
                    at_s = float(onsets_s[number])
                    raise SignalError(
                        f"{layout.path} has a data record at {at_s:g} s that begins before the last one ends: "
                        "its times cannot be right; mend the file"
                    )
                if begin > position:
                    yield Gap(begin - position)
                position = begin
            data = file.read(count * layout.record_bytes)
            if len(data) < count * layout.record_bytes:
                raise SignalError(f"{layout.path} ends early: it became shorter while it was read")
            records = np.frombuffer(data, np.uint8).reshape(count, layout.record_bytes)
            columns = [_physical(records, signal, layout.sample_bytes) for signal in signals]
            frames = np.stack(columns, axis=1).astype(np.float32)
            for at in range(0, len(frames), CHUNK_FRAMES):
                yield frames[at : at + CHUNK_FRAMES]
            position += count * samples
            number += count


def _physical(records: npt.NDArray[np.uint8], signal: _Signal, sample_bytes: int) -> npt.NDArray[np.float64]:
    """The samples of one signal in whole data records, in its unit."""
    end = signal.offset_bytes + signal.samples * sample_bytes
    data = np.ascontiguousarray(records[:, signal.offset_bytes : end])
    if sample_bytes == 2:
        digital = data.view("<i2").ravel().astype(np.float64)
    else:
        low, middle, high = data.reshape(-1, 3).astype(np.int32).T
        digital = ((low | middle << 8 | high << 16) ^ 0x800000).astype(np.float64) - 0x800000
    factor, offset = signal.scale or (1.0, 0.0)
    return digital * factor + offset


def _onsets_s(layout: _Layout) -> npt.NDArray[np.float64]:
    """The time at which each data record begins, from the first annotation in it."""
    clock = layout.clock
    if clock is None:
        raise SignalError(f"{layout.path} is discontinuous and has no annotations that say when: mend the file")
    found = np.zeros(layout.records)
    size = clock.samples * layout.sample_bytes
    with layout.path.open("rb") as file:
        for number in range(layout.records):
            file.seek(layout.head_bytes + number * layout.record_bytes + clock.offset_bytes)
            onset = file.read(size).partition(b"\x14")[0].partition(b"\x15")[0]
            try:
                found[number] = float(onset)
            except ValueError:
                raise SignalError(
                    f"{layout.path} is discontinuous and does not say when its data record {number} begins: "
                    "mend the file"
                ) from None
    return found


def _remarks(layout: _Layout) -> Iterator[str]:
    if layout.said_records < 0:
        yield f"never finished: the {layout.records:,} whole data records that are there are read"
    elif layout.said_records > layout.records:
        yield f"cut short: it says {layout.said_records:,} data records and {layout.records:,} are there"
    elif layout.said_records < layout.records:
        yield f"it says {layout.said_records:,} data records and holds {layout.records:,}, which are all read"


def _layout(path: Path) -> _Layout:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = file.seek(0, 2)
            count = _whole(head[252:256])
            is_edf = head[:8] == b"0       " or head[:8] == b"\xffBIOSEMI"
            if len(head) < _HEAD_BYTES or not is_edf or count is None or not 0 < count <= _MOST_SIGNALS:
                raise SignalError(f"{path} cannot be read: it does not begin as EDF or BDF does")
            file.seek(_HEAD_BYTES)
            rest = file.read(count * _HEAD_BYTES)
    except OSError as error:
        raise SignalError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(rest) < count * _HEAD_BYTES:
        raise SignalError(f"{path} is cut short within its header: there is no signal in it")
    sample_bytes = 3 if head[:1] == b"\xff" else 2
    duration_s, said_records = _real(head[244:252]), _whole(head[236:244])
    fields, at = {}, 0
    for name, width in _FIELDS.items():
        fields[name] = [rest[at + k * width : at + (k + 1) * width] for k in range(count)]
        at += count * width
    signals, offset = [], 0
    for k in range(count):
        samples = _whole(fields["samples"][k])
        if samples is None or samples < 0:
            raise SignalError(f"{path} does not say how many samples of signal {k} a data record has: mend the header")
        label, units = (decoded(fields[name][k]).strip(" \0") for name in ("label", "units"))
        limits = [_real(fields[f"{kind}_{end}"][k]) for kind in ("physical", "digital") for end in ("low", "high")]
        signals.append(_Signal(label, known(units), samples, offset, _scale(limits)))
        offset += samples * sample_bytes
    if duration_s is None or not 0 <= duration_s < math.inf or said_records is None or not offset:
        raise SignalError(f"{path} does not say how long its data records are and what is in them: mend the header")
    head_bytes = _HEAD_BYTES * (count + 1)
    records = max(0, size - head_bytes) // offset
    return _Layout(
        path=path,
        sample_bytes=sample_bytes,
        head_bytes=head_bytes,
        record_bytes=offset,
        said_records=said_records,
        records=records,
        duration_s=duration_s,
        is_discontinuous=head[192:197] in (b"EDF+D", b"BDF+D"),
        signals=tuple(signal for signal in signals if signal.label not in _ANNOTATIONS),
        clock=next((signal for signal in signals if signal.label in _ANNOTATIONS), None),
    )


def _scale(limits: list[float | None]) -> tuple[float, float] | None:
    """Digital times the first plus the second is physical; from the lowest and highest values of both."""
    if None in limits:
        return None
    physical_low, physical_high, digital_low, digital_high = (float(limit or 0.0) for limit in limits)
    if physical_low == physical_high or digital_low == digital_high or not all(map(math.isfinite, limits)):  # type: ignore[arg-type]
        return None
    factor = (physical_high - physical_low) / (digital_high - digital_low)
    return factor, physical_low - digital_low * factor


def _real(field: bytes) -> float | None:
    try:
        return float(field.strip(b" \0").replace(b",", b"."))
    except ValueError:
        return None


def _whole(field: bytes) -> int | None:
    number = _real(field)
    return None if number is None or not number.is_integer() else int(number)


KIND = FileKind(names=("EDF",), suffixes=(".edf", ".bdf", ".rec"), open=read_edf)
