"""Frames, spectra and networks over frames, as tutorials write them, against the file in the real interpreter."""

from __future__ import annotations

import pytest
from helpers.paths import DATA

import tcnstream
from tcnstream.engines.base import ENGINES
from tcnstream.errors import NotStreamableError
from tcnstream.measure.verify import verify

SPECTRA = DATA / "spectra"
REFUSED = {
    "normalized": "`REDUCE_MAX` .* takes the maximum of all 1024 frames",
    "avg_same": "`AVERAGE_POOL_2D` .* averages over two axes of every frame, with fewer values at their edges",
}
STREAMED = sorted(path.stem for path in SPECTRA.glob("*.tflite") if path.stem not in REFUSED)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STREAMED)
def test_front_ends_stream_in_every_engine(name: str, engine: str) -> None:
    report = verify(tcnstream.load(SPECTRA / f"{name}.tflite"), engine=engine, chunkings=2)
    assert report.passed, report.checks


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_all_of_time_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotStreamableError, match=REFUSED[name]):
        tcnstream.load(SPECTRA / f"{name}.tflite").stream()


def test_a_frame_is_computed_once() -> None:
    """A frame of 128 samples every 64 of them costs one transform, not one per sample."""
    model = tcnstream.load(SPECTRA / "power_mel_db.tflite")
    transforms, mel = 2 * 128 * 65, 65 * 20
    assert model.macs_per_frame == pytest.approx((transforms + mel) / 64)
    assert str(model.outputs[0].rate) == "1/64"
