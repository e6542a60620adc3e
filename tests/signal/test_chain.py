"""A chunk in one call of the core: the bits, and the refusals, of the steps one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.draws import drawn
from hypothesis import given
from hypothesis import strategies as st

from tcnstream import Pipeline, StreamError, StreamOptions
from tcnstream.engines.native import real
from tcnstream.signal.card import load_card, shipped_models

pytest.importorskip("tcnstream._native", reason="the core was not built")

ECGS = sorted(name for name in shipped_models() if load_card(shipped_models()[name]).units == "mV")


def step_by_step(model: str, **arguments: Any) -> Pipeline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "chain", lambda *facts: None)
        return pipeline(model, **arguments)


def pipeline(model: str, **arguments: Any) -> Pipeline:
    return Pipeline(model, rate_hz=250, units="mV", **arguments)


@drawn(15)
@given(
    model=st.sampled_from(ECGS),
    frames=st.booleans(),
    gain=st.sampled_from([1.0, 0.7, -1.3]),
    cuts=st.lists(st.sampled_from([0, 1, 25, 64, 250, 3000]), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
def test_chunks_at_once_have_the_bits_of_the_steps(
    model: str, frames: bool, gain: float, cuts: list[int], seed: int
) -> None:
    said: dict[str, Any] = {"gain": gain, "segments": not frames, "keep_frames": frames}
    said["options"] = StreamOptions(keep_tail=True)
    one, other = pipeline(model, **said), step_by_step(model, **said)
    rng = np.random.default_rng(seed)
    for at, cut in enumerate(cuts):
        x = rng.normal(0, 0.4, (cut, 1)).cumsum(axis=0).astype(np.float32) % 2 - 1
        assert one.push(x) == other.push(x)
        if frames:
            assert one.frames.tobytes() == other.frames.tobytes()
        assert one.snapshot() == other.snapshot() and one.tail() == other.tail()
        if at % 7 == 5:
            assert one.mark_gap(3) == other.mark_gap(3)
        if at % 7 == 6:
            one.restore(other.tail())
    assert one.flush() == other.flush() and one.snapshot() == other.snapshot()


def test_what_is_refused_moves_nothing_and_says_why() -> None:
    sick = pipeline("ecg")
    sick.push(np.zeros((100, 1), np.float32))
    before = sick.snapshot()
    bad: list[tuple[npt.NDArray[Any], str]] = [
        (np.full((5, 1), np.nan, np.float32), "there is no value at sample 0"),
        (np.full((5, 1), np.inf, np.float32), "there is no value at sample 0"),
        (np.zeros((5, 2), np.float32), "takes samples of shape"),
        (np.zeros((5, 1, 1), np.float32), "takes samples of shape"),
        (np.zeros((5, 1), np.complex64), "takes real numbers"),
    ]
    for x, says in bad:
        with pytest.raises(StreamError, match=says):
            sick.push(x)
        assert sick.snapshot() == before
    sick.flush()
    with pytest.raises(StreamError, match="after flush"):
        sick.push(np.zeros((5, 1), np.float32))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_other_numbers_and_layouts_are_taken_as_well(engine: Any) -> None:
    x = np.sin(np.arange(600) / 9).astype(np.float32)
    whole = pipeline("ecg", options=StreamOptions(engine=engine))
    expected = whole.push(x.reshape(-1, 1)) + whole.flush()
    for chunks in (x.astype(np.float64).tolist(), np.asfortranarray(np.stack([x, x], 1))[:, :1], np.ma.masked_array(x)):
        made = pipeline("ecg", options=StreamOptions(engine=engine))
        assert made.push(chunks) + made.flush() == expected
