"""What is measured is what it says: the arithmetic of the ratios, the peers' networks, the names."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.allocations import count as allocator_calls
from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from tcnstream import EngineError, Model, SignalError, StreamError
from tcnstream.measure.bench import Measurement, bench, draw, stream_push, usable_engines
from tcnstream.measure.peers import PEERS, open_peer


def load(name: str) -> Model:
    return tcnstream.load(MODELS / f"{name}.tflite")


def test_an_engine_that_is_not_there_is_said_before_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> list[float]:
        raise AssertionError("measured")

    monkeypatch.setattr("tcnstream.measure.bench.in_turns", never)
    with pytest.raises(StreamError, match="no engine 'natvie'"):
        bench(load("nse_lg.i8"), [1], ["native", "natvie"])


def test_a_hop_longer_than_the_window_takes_several_windows() -> None:
    row = Measurement("native", hop_frames=250, us_per_push=50.0, window_us=200.0, window_frames=100)
    assert row.us_per_frame == 0.2
    assert row.window_us_per_frame == pytest.approx(3 * 200 / 250)
    assert row.times_faster == pytest.approx(12.0)


def test_every_engine_that_can_is_measured_at_every_hop() -> None:
    model, told = load("nse_mb.i8"), []
    measured = bench(model, (1, 5), rounds=1, round_s=0.001, progress=lambda done, of: told.append((done, of)))
    names = usable_engines(model)
    assert "reference" in names and not set(names) & set(PEERS)  # the peers run float32
    assert [(row.engine, row.hop_frames) for row in measured] == [(name, hop) for name in names for hop in (1, 5)]
    assert all(row.us_per_push > 0 and row.window_us > 0 for row in measured)
    assert told == [(k + 1, len(measured)) for k in range(len(measured))]


def test_what_is_timed_is_a_push_past_the_start() -> None:
    model = load("nse_mb.f32")
    assert stream_push(model, 3, "reference")() == 3
    with pytest.raises(StreamError, match="there is no engine 'torch': choose one of native, interpreter, reference"):
        stream_push(model, 3, "torch")


@pytest.mark.parametrize("name", ["nse_lg.f32", "nse_lg.i8", "unet_max.f32"])
def test_a_push_allocates_nothing(name: str, tmp_path: Path) -> None:
    if shutil.which("cc") is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("the allocator is counted with a C compiler and glibc")
    assert "native" in usable_engines(load(name)), "the core is not built here"
    assert allocator_calls(MODELS / f"{name}.tflite", 20_000, tmp_path) == 0


def peers_here(name: str) -> None:
    for package in (name, "onnx"):
        pytest.importorskip(package, reason=f"{package} comes with the extra `peers`")


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("hop", [1, 7])
@pytest.mark.parametrize("name", ["nse_lg.f32", "causal.f32", "nse_mb_d2b2.f32", "wavenet.f32", "ktcn_seq.f32"])
def test_a_peer_runs_the_same_network(name: str, hop: int, peer: str) -> None:
    peers_here(peer)
    model = load(name)
    other = open_peer(peer, model.plan, hop)
    field = model.receptive_field
    assert field is not None and other.delay_frames == model.delay
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 1, (hop * ((2 * field) // hop + 20), *model.inputs[0].shape)).astype(np.float32)
    expected = np.asarray(model.stream("reference").push(signal))
    columns = np.ascontiguousarray(signal.reshape(len(signal), -1).T[None])
    chunks = np.split(columns, len(signal) // hop, axis=2)
    answered = np.concatenate([other.step(np.ascontiguousarray(chunk)) for chunk in chunks], axis=2)[0].T
    answered = answered[other.delay_frames :][: len(expected)]
    np.testing.assert_allclose(answered[field:], expected[field : len(answered)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_is_measured_beside_the_engines(peer: str) -> None:
    peers_here(peer)
    model = load("causal.f32")
    assert peer in usable_engines(model)
    (row,) = bench(model, (4,), [peer], rounds=1, round_s=0.001)
    assert row.engine == peer and row.us_per_push > 0


def test_what_a_peer_cannot_run_is_named() -> None:
    with pytest.raises(EngineError, match="there is no peer 'torch'"):
        open_peer("torch", load("nse_lg.f32").plan, 1)
    for peer in PEERS:
        peers_here(peer)
        with pytest.raises(EngineError, match="is int8"):
            open_peer(peer, load("nse_lg.i8").plan, 1)
        with pytest.raises(EngineError, match=r"`MAX_POOL_2D` \(op \d+"):
            open_peer(peer, load("unet_max.f32").plan, 1)


def test_a_missing_peer_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tract", None)
    with pytest.raises(EngineError, match=r"tract needs the package tract: install tcnstream\[peers\]"):
        open_peer("tract", load("nse_lg.f32").plan, 1)


def test_the_picture_has_a_line_per_engine(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures are drawn by matplotlib")
    rows = [Measurement(e, hop, 2.0 * hop, 300.0, 800) for e in ("native", "tract") for hop in (1, 16)]
    draw(tmp_path / "cost.svg", rows, "cost")
    assert (tmp_path / "cost.svg").read_text().startswith("<?xml")
    with pytest.raises(SignalError, match="of no kind that can be drawn"):
        draw(tmp_path / "cost.doc", rows, "cost")


def test_a_dilated_network_without_bias_fits_the_peers() -> None:
    convolution = layer("convolution", kernel=3, dilation=4, channels=4, bias=False, activation="RELU6")
    model = tcnstream.load(build([convolution, layer("activation", kind="SOFTMAX")], 64).content)
    for peer in PEERS:
        peers_here(peer)
        (row,) = bench(model, (2,), [peer], rounds=1, round_s=0.001)
        assert row.us_per_push > 0
