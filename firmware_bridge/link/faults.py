"""A line that misbehaves on purpose: for tests, and for users who want to see what their set-up survives."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.link.transport import Transport


@dataclass(frozen=True)
class Faults:
    """How often what happens, in both directions; all are probabilities from 0 to 1.

    ``flip`` and ``lose`` count per byte, ``drop``, ``duplicate`` and ``delay`` per frame (delayed by ``delay_s``,
    and everything behind it). After ``cut_after_frames`` the line is dead. ``reader_bytes_per_s`` slows what
    comes from the board.
    """

    flip: float = 0.0
    lose: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.05
    cut_after_frames: int | None = None
    reader_bytes_per_s: float | None = None
    seed: int = 0


_CHANCES = ("flip", "lose", "drop", "duplicate", "delay")
_AMOUNTS = {"delay_s": 0, "cut_after_frames": 0, "reader_bytes_per_s": 1, "seed": 0}


def parse_faults(text: str) -> Faults:
    """``flip=0.01,drop=0.01,seed=3``. Raises BridgeError for a name or a value that there is not."""
    given: dict[str, float | int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        kind = {"seed": int, "cut_after_frames": int}.get(name, float)
        if name not in Faults.__dataclass_fields__:
            raise BridgeError(f"there is no fault {name!r}: use {', '.join(Faults.__dataclass_fields__)}")
        try:
            given[name] = kind(value)
        except ValueError:
            raise BridgeError(f"{name} takes a number, not {value!r}") from None
        if name in _CHANCES and not 0 <= given[name] <= 1:
            raise BridgeError(f"{name} is a probability from 0 to 1, not {value}")
        if name in _AMOUNTS and not _AMOUNTS[name] <= given[name] < math.inf:
            raise BridgeError(f"{name} is a number from {_AMOUNTS[name]:g} on, not {value}")
    return Faults(**given)  # type: ignore[arg-type]


@dataclass
class Done:
    """What has been done to the line so far."""

    flipped_bytes: int = 0
    lost_bytes: int = 0
    dropped_frames: int = 0
    duplicated_frames: int = 0
    delayed_frames: int = 0


class FaultyTransport:
    """``inner`` with faults; repeatable for a seed as far as the traffic is."""

    def __init__(self, inner: Transport, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._rng = np.random.default_rng(faults.seed)
        self._open = b""
        self._ready: deque[tuple[float, bytes]] = deque()
        self._frames = 0
        self._free_at = 0.0
        self.done = Done()

    def write(self, data: bytes, timeout_s: float) -> None:
        self._alive()
        for piece in self._spoiled(data):
            self._inner.write(piece, timeout_s)

    def read(self, timeout_s: float) -> bytes:
        self._alive()
        until = time.monotonic() + max(timeout_s, 0)
        while True:
            now = time.monotonic()
            if self._ready and self._ready[0][0] <= now:
                return self._slowly(self._ready.popleft()[1])
            wait = until - now
            if self._ready:
                wait = min(wait, self._ready[0][0] - now)
            received = self._inner.read(max(wait, 0))
            if received:
                self._arrived(received)
            elif time.monotonic() >= until and not (self._ready and self._ready[0][0] <= time.monotonic()):
                return b""

    def had_s(self) -> float:
        return self._inner.had_s()

    def close(self) -> None:
        self._inner.close()

    def _alive(self) -> None:
        limit = self._faults.cut_after_frames
        if limit is not None and self._frames >= limit:
            raise LinkError(f"the line was cut after {limit} frames, as asked")

    def _arrived(self, received: bytes) -> None:
        *whole, self._open = (self._open + received).split(b"\0")
        release = max(time.monotonic(), self._ready[-1][0] if self._ready else 0.0)
        for frame in filter(None, whole):
            if self._rng.random() < self._faults.delay:
                self.done.delayed_frames += 1
                release += self._faults.delay_s
            self._ready.extend((release, piece) for piece in self._spoiled(b"\0" + frame + b"\0"))

    def _spoiled(self, frame: bytes) -> list[bytes]:
        """What comes out for one frame: nothing, once or twice, with bytes changed or gone."""
        faults = self._faults
        self._frames += 1
        chance = self._rng.random()
        if chance < faults.drop:
            self.done.dropped_frames += 1
            return []
        copies = 1
        if chance < faults.drop + faults.duplicate:
            self.done.duplicated_frames += 1
            copies = 2
        return [self._bytes(frame) for _ in range(copies)]

    def _bytes(self, frame: bytes) -> bytes:
        faults = self._faults
        if not faults.flip and not faults.lose:
            return frame
        chance = self._rng.random(len(frame))
        flipped = np.flatnonzero(chance < faults.flip)
        lost = np.flatnonzero((chance >= faults.flip) & (chance < faults.flip + faults.lose))
        changed = np.frombuffer(frame, np.uint8).copy()
        changed[flipped] ^= self._rng.integers(1, 256, len(flipped), np.uint8)
        self.done.flipped_bytes += len(flipped)
        self.done.lost_bytes += len(lost)
        return np.delete(changed, lost).tobytes()

    def _slowly(self, piece: bytes) -> bytes:
        rate = self._faults.reader_bytes_per_s
        if rate:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + len(piece) / rate
            time.sleep(self._free_at - now)
        return piece


def faulty(faults: Faults) -> Callable[[Transport], Transport]:
    """For ``Options(wrap=...)``."""
    return lambda inner: FaultyTransport(inner, faults)
