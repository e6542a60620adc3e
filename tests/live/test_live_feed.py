"""Clocks, losses and overruns of live sources: what is told of them, and that frame numbers never lie."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import numpy as np
import pytest

from tcnstream.live import clock
from tcnstream.live.blocks import Block, Lost, Piece
from tcnstream.live.chain import Chain
from tcnstream.live.clock import SampleClock, WallClock
from tcnstream.live.config import read_config
from tcnstream.live.events import Event
from tcnstream.live.feed import Feed
from tcnstream.live.hub import Hub
from tcnstream.live.lanes import Intake, Lane, LiveWorker
from tcnstream.live.logs import Log
from tcnstream.live.sources.base import Live
from tcnstream.live.sources.readers import Frames, as_pieces
from tcnstream.pipeline import PipelinePool

RATE_HZ = 360.0


class Scripted(Live):
    """Pieces as a test wants them, without waiting."""

    units = "mV"

    def __init__(self, pieces: list[Piece]) -> None:
        self.rate_hz, self._pieces = RATE_HZ, pieces

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        yield from self._pieces
        self._pieces = []
        while not stop.wait(0.02):
            yield None


class Collected:
    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def put(self, block: Block, may_wait: Any = None) -> int:
        self.blocks.append(block)
        return 0

    def end(self) -> None: ...


def fed(pieces: list[Piece], wall: WallClock | None = None) -> tuple[Feed, list[Block]]:
    """What a feed makes of them."""
    taken: Any = Collected()
    feed = Feed("bed", Scripted(pieces), taken, 1, RATE_HZ, wall or WallClock(), Log("text"), lambda: None)
    feed.start()
    until_s = time.monotonic() + 90
    while sum(len(block.samples) for block in taken.blocks) < sum(len(piece.samples) for piece in pieces):
        assert time.monotonic() < until_s
        time.sleep(0.005)
    feed.stop(5)
    return feed, taken.blocks


def piece(values: int, arrived_s: float, lost: Lost | None = None, modulus: int = 0) -> Piece:
    return Piece(np.zeros((values, 1), np.float32), arrived_s, lost, True, modulus)


@pytest.mark.parametrize("step_s", [3600.0, -7200.0, 56 * 365 * 86400.0])
def test_a_step_of_the_time_of_day_is_an_event_and_no_gap(step_s: float) -> None:
    """The last one is a machine without a clock, which wakes up in 1970."""
    offsets = itertools.chain([1000.0] * 12, itertools.repeat(1000.0 + step_s))
    wall = WallClock(lambda: next(offsets))
    feed, blocks = fed([piece(36, 50 + n / 10) for n in range(300)], wall)
    assert all(block.gap is None for block in blocks)
    assert [block.first_frame for block in blocks] == list(range(0, 300 * 36, 36))
    notes = [note for block in blocks for note in block.notes if note.type == "clock"]
    assert [(note.label, note.more) for note in notes] == [("step", {"step_s": step_s})]
    assert feed.utc(0) == clock.iso(1000.0 + step_s + 50 - 0.1)


def test_the_time_of_day_is_marked_until_somebody_sets_it(
    ecg: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_set = [False]
    monkeypatch.setattr(clock, "system_clock_is_set", lambda: is_set[0])
    wall = WallClock(lambda: 0.0)
    _, (lane,), _ = lanes(tmp_path)
    lane.chain.synchronised = lambda: wall.synchronised
    half = len(ecg) // 2
    for at in range(0, len(ecg) - 99, 100):
        if at >= half and not is_set[0]:
            is_set[0] = True
            wall.step_for("bed")
            before = lane.chain.take()
        lane.chain.push(Block(at, ecg[at : at + 100, None], 0.0))
    after = lane.chain.take()
    assert len(before) > 50 and all(event.fields()["unsynchronised"] for event in before)
    assert len(after) > 50 and not any("unsynchronised" in event.fields() for event in after)


def lanes(folder: Path) -> tuple[Hub, list[Lane], LiveWorker]:
    path = folder / "live.toml"
    path.write_text('[stream.bed]\nsource = "-"\nmodel = "ecg"\n')
    pool = PipelinePool("ecg", 1, rate_hz=RATE_HZ, units="mV")
    stream = read_config(path).streams["bed"]
    hub = Hub()
    worker = LiveWorker(hub, "test", lambda lane, error: None, lambda: None)
    return hub, [Lane(Chain(stream, pool[0], lambda frame: None, replayed=False, units="mV"), pool, 0)], worker


def test_a_machine_that_is_too_slow_loses_the_oldest_and_says_which(ecg: np.ndarray, tmp_path: Path) -> None:
    hub, (lane,), worker = lanes(tmp_path)
    viewer = hub.subscribe(100_000)
    intake = worker.add(lane)
    now_s = time.monotonic()
    dropped = 0
    with worker.still():
        worker.start()
        for n in range(45):
            block = Block(
                n * 360, ecg[n * 360 : n * 360 + 360, None], now_s - 45 + n, Lost(7, 0, "counter") if n == 3 else None
            )
            if n >= 3:
                block = Block(n * 360 + 7, block.samples, block.arrived_s, block.gap)
            dropped += intake.put(block)
    until_s = time.monotonic() + 90
    while lane.chain.next_frame < 45 * 360 + 7:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    worker.stop()
    events = [item for item in viewer.take()[0] if isinstance(item, Event)]
    gaps = [event.more for event in events if event.type == "gap"]
    assert dropped == 15 * 360
    # The counter's loss lies within what was dropped: one gap, named for its longer part.
    assert [(gap["first_frame"], gap["frames"], gap["reason"], gap["done"]) for gap in gaps] == [
        (0, 15 * 360 + 7, "overrun", "reset")
    ]
    segments = [event for event in events if event.type == "segment"]
    assert segments and all(event.epoch == 1 and event.frame >= 15 * 360 + 7 for event in segments)
    assert lane.behind_s > 0.5  # the backlog is shown as such


@pytest.mark.parametrize("lost", [0, 1, 255, 256, 257, 300, 511, 512, 1000, 2000, 100_000])
def test_a_counter_of_eight_bits_and_the_time_count_what_is_lost(lost: int) -> None:
    """Beyond 255 the counter alone is ambiguous: arrivals tell how often it went round."""
    before = [piece(36, 50 + n / 10, None, 256) for n in range(100)]
    resumes_s = 50 + 9.9 + lost / RATE_HZ + 36 / RATE_HZ
    counted = lost % 256
    after = piece(36, resumes_s + 0.004, Lost(counted, 0, "counter") if counted else None, 256)
    _, blocks = fed([*before, after])
    gap = blocks[-1].gap
    assert (0 if gap is None else gap.frames) == lost
    assert gap is None or (gap.reason == "counter" and gap.tolerance_frames == 0)
    assert blocks[-1].first_frame == 3600 + lost


def test_a_stall_of_this_machine_is_no_turn_of_the_counter() -> None:
    """One read brings a second of packets, two of which are missing, and more were lost behind what the line keeps: the
    counter was said to have gone round before and between them.
    """
    before = [piece(36, 50 + n / 10, None, 256) for n in range(100)]
    kept: Frames = [(2 if n == 20 else 0, [0.0]) for n in range(300)]
    _, blocks = fed([*before, *as_pieces(kept, [0], 50 + 9.9 + 302 / RATE_HZ, fresh=False, modulus=256)])
    assert [block.gap and block.gap.frames for block in blocks[100:]] == [None, 2]
    late = [*as_pieces(kept, [0], 50 + 9.9 + 1000 / RATE_HZ, fresh=False, modulus=256)]
    following = piece(36, 50 + 9.9 + 1036 / RATE_HZ, Lost((1000 - 302) % 256, 0, "counter"), 256)
    _, blocks = fed([*before, *late, following])
    assert [block.gap and block.gap.frames for block in blocks[100:]] == [None, 2, 1000 - 302]
    assert blocks[-1].first_frame == 3600 + 1000


def test_a_device_that_answers_late_has_not_begun_anew() -> None:
    """Arrivals that are 0.3 s late are no surprise where others were; its counter was no longer believed."""
    taken: Any = Collected()
    feed = Feed("bed", Scripted([]), taken, 1, RATE_HZ, WallClock(), Log("text"), lambda: None)
    for n in range(100):
        feed._take(piece(36, 50 + n / 10 + (0.35 if n == 90 else 0), None, 65536))
    feed._down("gone")
    feed._take(piece(36, 50 + 9.9 + 636 / RATE_HZ + 0.3, Lost(600, 0, "counter"), 65536))
    gap = taken.blocks[-1].gap
    assert (gap.frames, gap.tolerance_frames, gap.reason) == (600, 0, "unplugged")


@pytest.mark.parametrize("ppm", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("base", [0, 2**31 - 3000, 2**53 - 10**6])
def test_drift_is_measured_and_never_a_loss(ppm: float, base: int) -> None:
    rng = np.random.default_rng(1)
    sample_clock = SampleClock(1000.0)
    missing = 0
    for n in range(1, 3000):
        late_s = rng.exponential(0.003) * (rng.random() < 0.8)
        missing += sample_clock.arrived(base + n * 20, 1e5 + n * 0.02 * (1 + ppm * 1e-6) + late_s)
    assert missing == 0
    assert abs(sample_clock.drift_ppm - ppm) < 15
    at_s = sample_clock.monotonic_s(base + 1500 * 20)
    assert abs(at_s - (1e5 + 1500 * 0.02 * (1 + ppm * 1e-6))) < 2e-3
    # A second that nobody heard.
    lost = 0
    for n in range(3000, 3200):
        lost += sample_clock.arrived(base + n * 20 + lost, 1e5 + 1 + n * 0.02 * (1 + ppm * 1e-6))
    assert abs(lost - 1000) <= 2


def arrivals(sample_clock: SampleClock, late_s: np.ndarray, gone: dict[int, int]) -> list[tuple[float, int, float]]:
    """Blocks of 20 ms with these delays, and frames that are gone before some: what is said to be missing, and when."""
    said, counted, taken = [], 0, 0
    for n, late in enumerate(late_s.tolist()):
        taken += gone.get(n, 0) + 20
        counted += 20
        at_s = taken / 1000 + late
        if missing := sample_clock.arrived(counted, 1e5 + at_s):
            counted += missing
            said.append((at_s, missing, sample_clock.deficit_tolerance_s * 1000))
    return said


@pytest.mark.parametrize("seed", range(8))
def test_a_busy_machine_invents_no_gap_and_hides_none(seed: int) -> None:
    """For up to three seconds at a time everything is late, by up to 60 ms."""
    rng = np.random.default_rng(seed)
    late_s = rng.exponential(0.002, 6000)
    for begin in range(200, 6000, 400):
        late_s[begin : begin + int(rng.integers(20, 150))] += rng.uniform(0.003, 0.06)
    assert arrivals(SampleClock(1000.0), late_s, {}) == []
    assert arrivals(SampleClock(1000.0, has_crystal=False), late_s + (np.arange(6000) % 500 < 300) * 0.015, {}) == []
    for lost in (8, 40, 300, 5000):
        said = arrivals(SampleClock(1000.0), late_s, {3000: lost})
        assert abs(sum(missing for _, missing, _ in said) - lost) <= 3
        assert abs(said[0][1] - lost) <= said[0][2]
        assert all(60 < at_s < 75 + lost / 1000 for at_s, _, _ in said)


@pytest.mark.parametrize("true_hz", [200.0, 240.0, 247.0, 253.0, 360.0])
def test_a_rate_that_is_another_one_is_told(true_hz: float) -> None:
    sample_clock = SampleClock(250.0, has_crystal=False)
    assert not any(sample_clock.arrived(10 * n, 1e5 + 10 * n / true_hz) for n in range(1, 2000))
    assert abs(250 / (1 + sample_clock.drift_ppm * 1e-6) - true_hz) < 0.1


def test_sources_that_stop_and_threads_that_wait_end(tmp_path: Path) -> None:
    """An intake whose reader waits for room lets it go at the end."""
    _, (lane,), _ = lanes(tmp_path)
    intake = Intake(lane, threading.Condition(), most_s=1.0)
    stop = threading.Event()
    block = Block(0, np.zeros((300, 1), np.float32), 0.0)
    put = threading.Thread(target=lambda: [intake.put(block, lambda: not stop.is_set()) for _ in range(3)])
    put.start()
    put.join(0.3)
    assert put.is_alive() and intake.frames == 300
    stop.set()
    put.join(60)
    assert not put.is_alive()


def test_values_that_are_no_numbers_are_lost_frames() -> None:
    values = np.arange(200, dtype=np.float32).reshape(100, 2)
    values[[3, 4, 50, 98, 99], 1] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    pieces = [
        Piece(values[:40], 50.0),
        Piece(values[40:99], 50.1, Lost(5, 0, "counter")),
        Piece(values[99:], 50.2),
        Piece(values[5:15] + 1, 50.3, Lost(2, 0, "counter")),
    ]
    total = sum(len(each.samples) for each in pieces)
    taken: Any = Collected()
    feed = Feed("bed", Scripted(pieces), taken, 2, RATE_HZ, WallClock(), Log("text"), lambda: None)
    for each in pieces:
        for sound in feed._sound(each):
            feed._take(sound)
    found = [(b.first_frame, len(b.samples), 0 if b.gap is None else b.gap.frames) for b in taken.blocks]
    assert found == [(0, 3, 0), (5, 35, 2), (45, 10, 5), (56, 47, 1), (107, 10, 4)]
    assert feed.next_frame == total + 5 + 2
    assert all(np.isfinite(block.samples).all() for block in taken.blocks)
