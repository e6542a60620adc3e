"""What the daemon says of an ECG beyond its segments, and what it keeps of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.heartbeats import made_ecg
from helpers.paths import ECG
from helpers.served import Served

from tcnstream import Pipeline, PipelinePool, Segment
from tcnstream.live.beats import Beats
from tcnstream.live.blocks import Block, Lost
from tcnstream.live.chain import Chain
from tcnstream.live.events import Event
from tcnstream.live.gaps import GapRule
from tcnstream.live.lanes import Lane, push_together
from tcnstream.live.quality import Quality, judge, lags_frames

LAGS = lags_frames(360)


def test_intervals_of_a_beat() -> None:
    beats = Beats(True)
    found = []
    for at in (0.0, 0.8, 1.8, 4.4):
        for start, end, label in ((at, at + 0.1, "p"), (at + 0.16, at + 0.26, "qrs"), (at + 0.36, at + 0.56, "t")):
            found += beats.take(Segment(start, end, label, 0.9))
    found += beats.flush()
    first, second, third, fourth = [more for _, _, more in found]
    assert first == {"qrs_ms": 100.0, "pr_ms": 160.0, "qt_ms": 400.0}  # no beat before it: no rhythm
    assert second == {
        "qrs_ms": 100.0,
        "pr_ms": 160.0,
        "rr_ms": 800.0,
        "rate_bpm": 75.0,
        "qt_ms": 400.0,
        "qtc_bazett_ms": round(400 / 0.8**0.5, 1),
        "qtc_fridericia_ms": round(400 / 0.8 ** (1 / 3), 1),
    }
    assert (third["rr_ms"], third["qtc_bazett_ms"]) == (1000.0, 400.0) and "pause" not in third
    assert (fourth["rr_ms"], fourth["pause"]) == (2600.0, True)
    assert Beats(False).take(Segment(0, 1, "qrs", 1.0)) == []


def test_noise_makes_no_beat_and_a_beat_says_whether_it_is_ventricular() -> None:
    beats = Beats(True)
    assert beats.take(Segment(1.0, 1.1, "qrs", 1.0, 0.1, 0.0)) == []
    ((_, _, first),) = beats.take(Segment(2.0, 2.12, "qrs", 1.0, 0.9, 0.2))
    ((_, _, second),) = beats.take(Segment(3.0, 3.1, "qrs", 1.0, 0.1, 0.9))
    assert (first["ventricular"], second["ventricular"]) == (0.1, 0.9) and second["rr_ms"] == 1000
    assert beats.take(Segment(4.0, 4.1, "qrs", 1.0, 0.1, 0.0)) == []
    ((_, _, after),) = beats.flush()
    assert "rr_ms" not in after


def test_a_beat_goes_on_from_a_snapshot() -> None:
    one, two = Beats(True), Beats(True)
    waves = [Segment(t + d, t + d + 0.1, label, 0.9) for t in (0, 1, 2) for d, label in ((0, "p"), (0.2, "qrs"))]
    wanted = [beat for wave in waves for beat in one.take(wave)] + one.flush()
    found = []
    for wave in waves:
        found += two.take(wave)
        blob = two.snapshot()
        two = Beats(True)
        two.restore(blob)
    assert found + two.flush() == wanted and len(wanted) == 3


def test_quality(ecg: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    assert {judge(window, LAGS) for window in ecg.reshape(-1, 720).astype(np.float64)} == {"good"}
    assert judge(rng.normal(0, 0.005, 720), LAGS) == "flat"
    assert judge(np.clip(3 * ecg[:720].astype(np.float64), -0.6, 0.6), LAGS) == "saturated"
    assert judge(ecg[:720] + rng.normal(0, 0.2, 720), LAGS) == "noisy"
    spoilt = ecg[:7200].copy()
    spoilt[2160:3600] = 0.1
    for size in (1, 97, 7200):
        quality = Quality(360, 1.0)
        found = []
        for at in range(0, 7200, size):
            found += quality.push(spoilt[at : at + size])
            blob = quality.snapshot()
            quality = Quality(360, 1.0)
            quality.restore(blob)
        assert found == [(2160, "flat"), (3600, "good")]


@pytest.mark.parametrize("rate_hz", [200, 250, 360, 500, 1000])
@pytest.mark.parametrize("hz", [50, 60])
def test_hum_is_not_noise_and_noise_in_hum_is(rate_hz: int, hz: int) -> None:
    times = np.arange(2 * rate_hz) / rate_hz
    hum, noise = np.sin(2 * np.pi * hz * times + 0.3), np.random.default_rng(1).normal(0, 0.25, len(times))
    lags = lags_frames(rate_hz)
    assert (judge(hum, lags), judge(noise, lags), judge(hum + noise, lags)) == ("good", "noisy", "noisy")


def events_of(model: str, signal: np.ndarray, rate_hz: int, block: int) -> list[Event]:
    """What the daemon says of a signal in mV, in blocks of so many samples; it is stopped and goes on in the middle."""

    def made() -> Chain:
        config: Any = SimpleNamespace(name="bed", gain=1.0)
        pipeline = Pipeline(model, rate_hz=rate_hz, units="mV")
        return Chain(config, pipeline, lambda frame: None, replayed=False, units="mV")

    chain, events = made(), []
    for at in range(0, len(signal), block):
        if at <= len(signal) // 2 < at + block:
            blob = chain.snapshot()
            chain = made()
            chain.restore(blob)
        piece = signal[at : at + block, None].astype(np.float32)
        chain.push(Block(at, piece, 0.0))
        events += chain.take()
    chain.end()
    return events + chain.take()


@pytest.mark.parametrize("model", ["ecg", "ecg_fast", "ecg_beats"])
def test_no_beats_are_made_of_noise_that_the_rules_know(model: str) -> None:
    """Half a minute of beats, of noise in which they drown, and of beats."""
    signal, beats = made_ecg(90.0, 250)
    noisy = (np.arange(len(signal)) >= 30 * 250) & (np.arange(len(signal)) < 60 * 250)
    signal += noisy * np.random.default_rng(3).normal(0, 1.0, len(signal))
    events = events_of(model, signal, 250, 125)
    assert [e.label for e in events if e.type == "status"] == ["noisy", "good"]
    at_s = np.array([e.start_s for e in events if e.type == "beat"])
    assert not np.any((at_s > 32) & (at_s < 60))
    clean = beats[(beats < 29) | (beats > 63)]
    assert all(np.abs(at_s - beat).min() < 0.1 for beat in clean)
    after = next(e for e in events if e.type == "beat" and e.start_s > 60)
    assert "pause" not in after.more and "rr_ms" not in after.more


def test_a_pause_without_an_electrode_says_that_the_signal_was_flat() -> None:
    signal, _ = made_ecg(60.0, 250)
    signal[20 * 250 : 40 * 250] = 0
    (pause,) = (e for e in events_of("ecg_beats", signal, 250, 500) if e.type == "beat" and e.more.get("pause"))
    assert pause.more["rr_ms"] > 19_000 and pause.more["quality"] == "flat"


def test_what_is_said_of_a_beat_does_not_depend_on_the_blocks() -> None:
    """A recording comes in large blocks, and its beats must not hear of what is behind them."""
    signal, _ = made_ecg(90.0, 250)
    signal[30 * 250 : 40 * 250] = 0
    signal[60 * 250 : 66 * 250] += np.random.default_rng(3).normal(0, 1.0, 6 * 250)
    said = [events_of("ecg_beats", signal, 250, block) for block in (25, 500, 5000, len(signal))]
    beats = [[(e.start_s, e.more) for e in events if e.type == "beat"] for events in said]
    assert beats[0] == beats[1] == beats[2] == beats[3]
    assert all("quality" not in more for start_s, more in beats[0] if 5 < start_s < 28)


def noisy_ecg(rng: np.random.Generator) -> np.ndarray:
    """Two minutes at 250 Hz in which noise swells and ends, now beyond what the rules know and now below it."""
    signal, _ = made_ecg(120.0, 250)
    for begin_s in np.cumsum(rng.uniform(3, 9, 12)):
        there = slice(int(begin_s * 250), int((begin_s + rng.uniform(0.5, 5)) * 250))
        signal[there] += rng.normal(0, rng.choice([0.05, 0.1, 0.2, 0.5]), len(signal[there]))
    signal[90 * 250 : 97 * 250] = 0
    return signal


def test_what_is_said_and_in_which_order_does_not_depend_on_the_blocks() -> None:
    rng = np.random.default_rng(4)
    signal = noisy_ecg(rng)
    said = [events_of("ecg_beats", signal, 250, block) for block in (25, 499, 4096, *rng.integers(1, 2000, 4))]
    by_model = [e for e in said[0] if e.type == "status" and "noisy" in e.label and e.probability < 1]
    assert len(by_model) >= 3 and {"noisy", "flat"} <= {e.label for e in said[0] if e.type == "status"}
    for events in said[1:]:
        assert events == said[0]


def test_replays_and_live_streams_say_the_same() -> None:
    """In large blocks and in small ones, alone and as lanes of a pool, with gaps that begin anew or are filled."""
    rng = np.random.default_rng(5)
    signals = [noisy_ecg(rng).astype(np.float32)[:, None] for _ in range(3)]
    frames = len(signals[0])
    gaps = sorted(rng.choice(np.arange(500, frames - 500), 4, replace=False).tolist())
    opened = PipelinePool("ecg_beats", 3, rate_hz=250, units="mV")

    def lanes() -> list[Lane]:
        made = []
        for number in range(3):
            opened[number].reset()
            config: Any = SimpleNamespace(name=f"bed{number}", gain=1.0, sinks=(), gap=GapRule("hold", 0.1))
            chain = Chain(config, opened[number], lambda frame: None, replayed=False, units="mV")
            made.append(Lane(chain, opened, number))
        return made

    def blocks(signal: np.ndarray, cuts: list[int]) -> list[Block]:
        """Of a signal that lacks some frames at ``gaps``."""
        made, missing = [], 0
        for begin, end in pairwise(sorted({0, *cuts, *gaps, frames})):
            lost = None
            if begin in gaps:
                lost = Lost(4 if gaps.index(begin) % 2 else 900, 0, "counter")
                missing += lost.frames
            made.append(Block(begin + missing, signal[begin:end], 0.0, lost))
        return made

    def said(cuts: list[int], together: bool) -> list[list[Event]]:
        events: list[list[Event]] = [[], [], []]
        there = lanes()
        for turn in zip(*(blocks(signal, cuts) for signal in signals), strict=True):
            rows = list(zip(there, turn, strict=True))
            for those in [rows] if together else [[row] for row in rows]:
                push_together(those)
            for lane, out in zip(there, events, strict=True):
                out += lane.chain.take()
        for lane, out in zip(there, events, strict=True):
            lane.chain.end()
            out += lane.chain.take()
        return events

    expected = said([], together=False)
    assert all({"gap", "beat", "status"} <= {e.type for e in events} for events in expected)
    assert {e.more["done"] for e in expected[0] if e.type == "gap"} == {"reset", "hold"}
    for cuts in (list(range(0, frames, 25)), rng.integers(1, frames, 60).tolist()):
        for together in (False, True):
            assert said(cuts, together) == expected


@pytest.mark.slow
def test_records_and_clips_are_kept(serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    pytest.importorskip("pyedflib")
    served = serve(
        f"""
[stream.bed]
source = "file:{ECG}"
model = "ecg"
sinks = ["log", "record", "clips", "edf"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
[sink.record]
kind = "wfdb"
path = "records"
every = "40 s"
[sink.clips]
kind = "clips"
path = "clips"
labels = ["beat"]
before = "1 s"
after = "1 s"
keep = {{ days = 30, size = "60 kB" }}
[sink.edf]
kind = "clips"
path = "edf"
labels = ["qrs"]
format = "edf"
""",
        "--once",
    )
    assert served.process.wait(180) == 0, served.log.read_text()
    assert "sink.failed" not in served.log.read_text()
    records = sorted((tmp_path / "records").glob("*.hea"), key=lambda path: int(path.stem.split("_")[1]))
    read = np.concatenate([wfdb.rdrecord(str(path.with_suffix(""))).p_signal[:, 0] for path in records])
    assert len(records) == 2 and len(read) == 21600
    np.testing.assert_allclose(read, ecg, atol=5.1e-4)
    marks = wfdb.rdann(str(records[0].with_suffix("")), "tcn")
    assert marks.symbol.count("N") > 50
    beats = [e for e in served.events() if e["type"] == "beat"]
    clips = sorted((tmp_path / "clips").iterdir())
    assert 0 < len(clips) < len(beats) and sum(path.stat().st_size for path in clips) <= 60_000
    last = next(beat for beat in beats if f"-{beat['seq']:08d}-" in clips[-2].name)
    samples, rate_hz = soundfile.read(clips[-2], dtype="float32")
    begin = last["frame"] - 360
    assert rate_hz == 360
    np.testing.assert_array_equal(samples, ecg[begin : begin + len(samples)])
    assert len(list((tmp_path / "edf").glob("*.edf"))) == sum(e["label"] == "qrs" for e in served.events())


@pytest.mark.slow
def test_markers_and_rate_over_lsl(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "lsl_api.cfg"
    config.write_text("[multicast]\nResolveScope = machine\n[lab]\nKnownPeers = {127.0.0.1}\n")
    monkeypatch.setenv("LSLAPICFG", str(config))
    pylsl = pytest.importorskip("pylsl")
    served = serve(
        f"""
[stream.bed]
source = "file:{ECG}?speed=2&repeat=true"
model = "ecg"
sinks = ["lsl"]
[sink.lsl]
kind = "lsl"
name = "tcnstream-out"
""",
        env={"LSLAPICFG": str(config)},
    )
    inlets = {}
    for name in ("tcnstream-out", "tcnstream-out rate"):
        found = pylsl.resolve_byprop("name", name, 1, 90)
        assert found, served.log.read_text()
        inlets[name] = pylsl.StreamInlet(found[0])
    until_s = time.monotonic() + 90
    rate = None
    while rate is None and time.monotonic() < until_s:
        rate, _ = inlets["tcnstream-out rate"].pull_sample(1.0)
    assert rate is not None and 60 < rate[0] < 200
    marker, _ = inlets["tcnstream-out"].pull_sample(90.0)
    assert json.loads(marker[0])["stream"] == "bed"
    assert served.end() == 0
