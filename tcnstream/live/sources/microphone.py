"""Microphones by name, each heard by a small process of its own (``heard.py``), which is started again when it must be.

PortAudio lists devices once, when it starts, so that a microphone that is plugged in later, or a sound server that was
started again, needs a new process. A killed sound server shows as silence or as nothing at all, without an error. What
was lost is counted against the monotonic clock, since the flag for it does not always come.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from threading import Event as Flag

import numpy as np

from tcnstream.live.blocks import Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Found, Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources.base import choose_channels

HEAD = struct.Struct("<4sdII")
"""Magic, arrival in seconds of CLOCK_MONOTONIC, frames, whether nothing waited."""
MAGIC = b"TCNM"
_WAIT_S = 0.25
_SILENT_S = 3.0
_LIST_S = 20.0


@dataclass(frozen=True)
class MicrophoneConfig(SourceConfig):
    """``device`` is a name, or a part of one that only one device has."""

    device: str

    def needs(self) -> Needs:
        return Needs(sound=True)


class Microphone(Live):
    """The child's samples, and its last words when it dies."""

    silent_s = _SILENT_S
    opening_s = _LIST_S
    has_crystal = True

    def __init__(self, config: MicrophoneConfig, wanted: Wanted) -> None:
        self._config = config
        self.rate_hz = config.rate_hz or wanted.rate_hz or 48000.0
        self.units = config.units
        self._columns = wanted.channels if isinstance(wanted.channels, int) else _columns_for(wanted.channels)
        self._chosen = choose_channels(
            tuple(str(number) for number in range(self._columns)), wanted.channels, config.uri
        )

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        command = [sys.executable, "-m", "tcnstream.live.sources.heard", self._config.device]
        child = subprocess.Popen(
            [*command, f"{self.rate_hz:g}", str(self._columns), str(os.getpid())],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        try:
            yield from self._heard(child, child.stdout.fileno(), stop)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()

    def _heard(self, child: subprocess.Popen[bytes], pipe: int, stop: Flag) -> Iterator[Piece | None]:
        pending = b""
        while not stop.is_set():
            if not select([pipe], [], [], _WAIT_S)[0]:
                yield None
                continue
            received = os.read(pipe, 1 << 20)
            if not received:
                raise SourceDownError(self._last_words(child))
            pending += received
            while len(pending) >= HEAD.size:
                magic, arrived_s, frames, fresh = HEAD.unpack_from(pending)
                if magic != MAGIC:
                    raise SourceDownError("the child that hears the microphone says nonsense")
                end = HEAD.size + frames * self._columns * 4
                if len(pending) < end:
                    break
                samples = np.frombuffer(pending[HEAD.size : end], "<f4").reshape(frames, self._columns)
                pending = pending[end:]
                yield Piece(np.ascontiguousarray(samples[:, self._chosen], np.float32), arrived_s, None, bool(fresh))

    def _last_words(self, child: subprocess.Popen[bytes]) -> str:
        assert child.stderr is not None
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)
        os.set_blocking(child.stderr.fileno(), False)
        lines = (child.stderr.read() or b"").decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the child that hears the microphone ended ({child.returncode})"


def _columns_for(channels: object) -> int:
    numbers = [int(name) for name in channels if str(name).isdecimal()] if isinstance(channels, tuple) else []
    return max(numbers, default=0) + 1


def _configure(uri: str, name: str, options: Table, folder: Path) -> MicrophoneConfig:
    if name.isdecimal():
        options.problems.add(
            options.path, f'= "{uri}" is a number, which another device has after the next start: give its name'
        )
    return MicrophoneConfig("mic", uri, rate_option(options), options.text("units"), name)


def _find() -> list[Found]:
    command = [sys.executable, "-m", "tcnstream.live.sources.heard"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_LIST_S)
    except subprocess.TimeoutExpired:
        return []  # a sound server that does not answer
    found = []
    for line in answer.stdout.splitlines():
        name, _, says = line.partition("\t")
        found.append(Found(f"mic:{name}", says))
    return found


KIND = SourceKind("mic", "mic:NAME", _configure, Microphone, _find)
