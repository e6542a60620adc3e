"""Headers of WFDB records: text that says which files hold which signals, and how.

The format is that of header(5) of the WFDB Applications Guide (https://physionet.org/physiotools/wag/header-5.htm).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import decoded

NULL = "~"
"""The name of a segment, or of a signal's file, where nothing is."""

_DEFAULT_HZ = 250.0
_DEFAULT_GAIN = 200.0
_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    r"(?:\s+(?P<rate>[\d.eE+-]+)(?:/[^\s]*)?(?:\s+(?P<frames>\d+))?.*)?"
)
_FORMAT = re.compile(r"(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?")
_GAIN = re.compile(r"(?P<gain>[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?")


@dataclass(frozen=True)
class Signal:
    """One signal: ``per_frame`` samples a frame in ``file``, of which ``(digital - baseline) / gain`` is in ``units``.

    The samples of frame t stand ``skew_frames`` frames later in the file, which begins ``offset_bytes`` into it.
    ``initial`` is what the first sample of a difference format is added to.
    """

    name: str
    file: str
    format: int
    per_frame: int
    skew_frames: int
    offset_bytes: int
    gain: float
    baseline: int
    units: str
    initial: int
    is_calibrated: bool


@dataclass(frozen=True)
class Header:
    """A record of signals, or of segments (record name, frames), each with a header of its own.

    ``frames`` is None where the header does not say the length; ``says_rate`` whether ``rate_hz`` is its own word.
    """

    path: Path
    rate_hz: float
    says_rate: bool
    frames: int | None
    signals: tuple[Signal, ...]
    segments: tuple[tuple[str, int], ...]


def read_header(path: Path) -> Header:
    """Raises SignalError that names the line that is none."""
    try:
        text = decoded(path.read_bytes())
    except FileNotFoundError:
        raise SignalError(f"there is no file {path}: a WFDB record needs its header") from None
    except OSError as error:
        raise SignalError(f"{path} cannot be read: {error.strerror or error}") from error
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    record = _RECORD.fullmatch(lines[0][1]) if lines else None
    rate_hz = _number(record["rate"]) if record is not None and record["rate"] else _DEFAULT_HZ
    if record is None or not rate_hz or not 0 < rate_hz < math.inf:
        raise SignalError(
            f"{path} cannot be read as a WFDB header: its first line should say the record's name, how many signals "
            "it has, its rate in Hz and its length in frames"
        )
    count, what = (record["segments"], "segments") if record["segments"] else (record["signals"], "signals")
    described = lines[1 : 1 + int(count)]
    if len(described) < int(count):
        raise SignalError(f"{path} says {count} {what} and describes {len(described)}: the header is cut short")
    return Header(
        path=path,
        rate_hz=rate_hz,
        says_rate=record["rate"] is not None,
        frames=int(record["frames"] or 0) or None,
        signals=tuple(_signal(path, k, *line) for k, line in enumerate(described)) if what == "signals" else (),
        segments=tuple(_segment(path, *line) for line in described) if what == "segments" else (),
    )


def _segment(path: Path, number: int, line: str) -> tuple[str, int]:
    name, _, frames = line.partition(" ")
    if not frames.strip().isdecimal():
        raise SignalError(f"{path}, line {number}, is no segment: it should be a record's name and a number of frames")
    return name, int(frames)


def _signal(path: Path, position: int, number: int, line: str) -> Signal:
    fields = line.split(maxsplit=8)
    stored = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    scaled = _GAIN.fullmatch(fields[2]) if len(fields) > 2 else None
    whole = [_number(field) for field in fields[3:8]]
    gain = _number(scaled["gain"]) if scaled else 0.0
    if stored is None or gain is None or (len(fields) > 2 and scaled is None) or None in whole:
        raise SignalError(f"{path}, line {number}, is no signal: it should be a file, a format, a gain, ...")
    adc_zero = int(whole[1] or 0) if len(whole) > 1 else 0
    return Signal(
        name=fields[8].strip() if len(fields) > 8 else str(position),
        file=fields[0],
        format=int(stored["format"]),
        per_frame=int(stored["per_frame"] or 1) or 1,
        skew_frames=int(stored["skew"] or 0),
        offset_bytes=int(stored["offset"] or 0),
        gain=gain or _DEFAULT_GAIN,
        baseline=adc_zero if scaled is None or scaled["baseline"] is None else int(scaled["baseline"]),
        units=(scaled["units"] if scaled else None) or "mV",
        initial=int(whole[2] or 0) if len(whole) > 2 else adc_zero,
        is_calibrated=bool(gain),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
