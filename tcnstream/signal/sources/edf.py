"""European Data Format and BDF (package ``pyedflib``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.extras import optional_package
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    must_exist,
    read_by_package,
)


def read_edf(path: Path, channels: Channels) -> Recording:
    """Signals of one rate, length and unit, in physical units."""
    must_exist(path)
    pyedflib = optional_package("pyedflib", f"{path} is an EDF file", "files")
    reader = read_by_package(f"the EDF file {path}", pyedflib.EdfReader, str(path))
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
                columns = [read_by_package(what, reader.readSignal, number, at, count) for number in chosen]
                yield np.stack(columns, axis=1).astype(np.float32)
        finally:
            reader.close()

    names = tuple(available[number] for number in chosen)
    return Recording(str(path), float(rate_hz), units.strip(), names, available, frames, chunks())


KIND = FileKind(names=("EDF",), suffixes=(".edf", ".bdf", ".rec"), open=read_edf)
