"""Streams of the Lab Streaming Layer (package pylsl, extra ``lsl``; it has no wheels for a Raspberry Pi).

An outlet that ends gives no samples and no error, so that silence for some seconds is its end. LSL's time stamps are on
the sender's clock; a step of them that is longer than the samples between is a loss.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

import numpy as np

from tcnstream.live.blocks import Lost, Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Found, Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package
from tcnstream.signal.sources.base import choose_channels

_RESOLVE_S = 1.0
_PULL_S = 0.25
_MOST_SAMPLES = 1024
_JITTER_S = 0.05


@dataclass(frozen=True)
class LslConfig(SourceConfig):
    """``stream`` is the name that the outlet has."""

    stream: str

    def needs(self) -> Needs:
        return Needs(multicast=True)


class LslSource(Live):
    """Pulls from the outlet of that name, and looks for it again when it is gone."""

    silent_s = 3.0
    has_crystal = False

    def __init__(self, config: LslConfig, wanted: Wanted) -> None:
        self._config, self._wanted = config, wanted
        self._lsl = optional_package("pylsl", f"{config.uri} is a stream of LSL", "lsl")
        self.rate_hz, self.units = config.rate_hz or wanted.rate_hz, config.units

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        lsl, name = self._lsl, self._config.stream
        found = lsl.resolve_byprop("name", name, 1, _RESOLVE_S)
        if not found:
            raise SourceDownError(f"no LSL stream is called {name}")
        info = found[0]
        if info.nominal_srate() and self.rate_hz and abs(info.nominal_srate() / self.rate_hz - 1) > 1e-3:
            raise SourceDownError(
                f"the LSL stream {name} has {info.nominal_srate():g} Hz and {self.rate_hz:g} Hz is expected: say ?rate="
            )
        names = tuple(str(number) for number in range(info.channel_count()))
        chosen = choose_channels(names, self._wanted.channels, self._config.uri)
        inlet = lsl.StreamInlet(info, max_buflen=60, recover=False)
        try:
            yield from self._pull(inlet, chosen, stop)
        finally:
            inlet.close_stream()

    def _pull(self, inlet: object, chosen: list[int], stop: Flag) -> Iterator[Piece | None]:
        lsl, rate_hz = self._lsl, self.rate_hz or 1.0
        expected_s: float | None = None
        while not stop.is_set():
            try:
                samples, stamps = inlet.pull_chunk(_PULL_S, _MOST_SAMPLES)  # type: ignore[attr-defined]
            except lsl.LostError as error:
                raise SourceDownError(f"the LSL stream {self._config.stream} is lost") from error
            if not stamps:
                yield None
                continue
            lost = None
            if expected_s is not None and 0 < _JITTER_S < stamps[0] - expected_s:
                frames = round((stamps[0] - expected_s) * rate_hz)
                lost = Lost(frames, max(1, round(_JITTER_S * rate_hz)), "deficit") if frames else None
            # A clock that was reset begins anew here, and is no loss.
            expected_s = stamps[-1] + 1 / rate_hz
            yield Piece(np.asarray(samples, np.float32)[:, chosen], time.monotonic(), lost, len(stamps) < _MOST_SAMPLES)


def _configure(uri: str, name: str, options: Table, folder: Path) -> LslConfig:
    if not name:
        options.problems.add(options.path, f'= "{uri}" names no stream: give lsl:NAME')
    return LslConfig("lsl", uri, rate_option(options), options.text("units"), name)


def _find() -> list[Found]:
    try:
        import pylsl
    except (ImportError, RuntimeError):
        return []
    streams = pylsl.resolve_streams(_RESOLVE_S)
    return [
        Found(f"lsl:{each.name()}", f"{each.type()}, {each.channel_count()} channels, {each.nominal_srate():g} Hz")
        for each in streams
    ]


KIND = SourceKind("lsl", "lsl:NAME", _configure, LslSource, _find)
