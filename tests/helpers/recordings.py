"""Files of recordings, byte by byte as their formats' specifications say, and as those that do not keep to them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tcnstream.signal.sources.base import Gap, Recording


def read(recording: Recording) -> np.ndarray:
    """All frames (n, channels), NaN in gaps."""
    width = len(recording.channels)
    pieces = [np.zeros((0, width), np.float32)]
    for piece in recording.chunks:
        assert isinstance(piece, Gap) or (piece.dtype == np.float32 and piece.ndim == 2)
        pieces.append(np.full((piece.frames, width), np.nan, np.float32) if isinstance(piece, Gap) else piece)
    return np.concatenate(pieces)


def write_edf(
    path: Path,
    signals: Sequence[np.ndarray],
    *,
    rate_hz: int | Sequence[int],
    units: str | Sequence[str] = "mV",
    labels: Sequence[str] | None = None,
    per_unit: float = 200.0,
    record_s: float = 1.0,
    onsets_s: Sequence[float] | None = None,
    bits: int = 16,
    said_records: int | None = None,
    said_duration: str | None = None,
) -> None:
    """EDF, or BDF with 24 ``bits``, of whole numbers at ``rate_hz``; discontinuous EDF+ where ``onsets_s`` says when
    each data record begins."""
    rates = [rate_hz] * len(signals) if isinstance(rate_hz, int) else list(rate_hz)
    unit = [units] * len(signals) if isinstance(units, str) else list(units)
    names = [f"S{k}" for k in range(len(signals))] if labels is None else list(labels)
    counts = [round(rate * record_s) for rate in rates]
    records = len(signals[0]) // counts[0]
    high = (1 << (bits - 1)) - 1
    limits = [(f"{-(high + 1) / per_unit:.8g}"[:8], f"{high / per_unit:.8g}"[:8])] * len(signals)
    plus = onsets_s is not None
    if plus:
        names, unit, counts = [*names, "EDF Annotations"], [*unit, ""], [*counts, 20]
        limits = [*limits, ("-1", "1")]

    def field(text: object, width: int) -> bytes:
        return str(text).encode("latin-1").ljust(width)[:width]

    count = len(names)
    head = b"\xffBIOSEMI" if bits == 24 else field("0", 8)
    head += field("X", 80) + field("Startdate X", 80) + field("01.01.24", 8) + field("00.00.00", 8)
    head += field(256 * (count + 1), 8) + field(("BDF+D" if bits == 24 else "EDF+D") if plus else "", 44)
    head += field(records if said_records is None else said_records, 8)
    head += field(f"{record_s:g}" if said_duration is None else said_duration, 8) + field(count, 4)
    head += b"".join(field(name, 16) for name in names) + b" " * 80 * count
    head += b"".join(field(name, 8) for name in unit)
    head += b"".join(field(low, 8) for low, _ in limits) + b"".join(field(top, 8) for _, top in limits)
    head += field(-high - 1, 8) * count + field(high, 8) * count + b" " * 80 * count
    head += b"".join(field(number, 8) for number in counts) + b" " * 32 * count
    body = []
    for number in range(records):
        for signal, samples in zip(signals, counts, strict=False):
            body.append(_little(signal[number * samples : (number + 1) * samples], bits // 8))
        if onsets_s is not None:
            body.append(f"+{onsets_s[number]:g}\x14\x14\0".encode().ljust(20 * bits // 8, b"\0"))
    path.write_bytes(head + b"".join(body))


def _little(numbers: np.ndarray, size: int) -> bytes:
    return np.ascontiguousarray(numbers, "<i4").view(np.uint8).reshape(-1, 4)[:, :size].tobytes()


def wav(
    samples: bytes,
    *,
    rate_hz: int = 16000,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    said: int | None = None,
    extensible: bool = False,
    after: bytes = b"",
) -> bytes:
    """A WAV file whose header says ``said`` bytes of sound."""
    size = len(samples) if said is None else said
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate_hz, rate_hz * block, block, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, tag) + bytes.fromhex("000000001000800000aa00389b71")
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(0xFFFFFFFF, len(head) + size)) + head + samples + after


def rf64(samples: bytes, *, rate_hz: int = 16000, said: int | None = None) -> bytes:
    """As ``wav`` of 16 bits and one channel, with sizes of 64 bits."""
    size = len(samples) if said is None else said
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    long = struct.pack("<QQQI", size + 72, size, size // 2, 0)
    head = b"WAVEds64" + struct.pack("<I", len(long)) + long + b"fmt " + struct.pack("<I", len(form)) + form
    return b"RF64" + b"\xff" * 4 + head + b"data" + b"\xff" * 4 + samples
