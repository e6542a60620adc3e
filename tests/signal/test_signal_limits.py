"""What the shipped ECG models can and cannot do, as their page says it, and what no recording's form may change."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from helpers.heartbeats import RATE_HZ, made_ecg, qrs_found
from helpers.paths import ROOT

import tcnstream
from tcnstream import Pipeline, StreamError
from tcnstream.signal.card import find_model

SIGNAL, BEATS = made_ecg()
TIMES = np.arange(len(SIGNAL)) / RATE_HZ


def spikes(height_mv: float, samples: int) -> np.ndarray:
    """A pacemaker's, 0.22 s before each beat."""
    made = np.zeros_like(SIGNAL)
    for beat in BEATS:
        at = round((beat - 0.22) * RATE_HZ)
        made[at : at + samples] += height_mv
    return made


ADDED = [
    0 * SIGNAL,
    *(height * np.sin(2 * np.pi * 50 * TIMES) for height in (0.2, 0.5, 1.0)),
    *(height * np.sin(2 * np.pi * 0.3 * TIMES) for height in (1.0, 1.5, 2.0)),
    spikes(2.0, 1),
    spikes(20.0, 1),
]
"""In the order of the page's table."""


@pytest.mark.parametrize("name", ["ecg", "ecg.f32", "ecg_fast", "ecg_fast.f32", "ecg_beats"])
def test_the_page_says_what_disturbs_the_models(name: str) -> None:
    page = (ROOT / "tcnstream" / "docs" / "models.md").read_text(encoding="utf-8")
    row = re.search(rf"^  \| `{re.escape(name)}` \|(.*)\|$", page, re.MULTILINE)
    assert row is not None
    said = [tuple(map(int, cell.split("+"))) for cell in row[1].split("|")]
    assert said == [qrs_found(name, SIGNAL + added, BEATS) for added in ADDED]


@pytest.mark.parametrize("rate_hz", [128, 200, 257, 360, 500, 977, 1000])
def test_any_usual_rate_finds_all_beats(rate_hz: int) -> None:
    signal, beats = made_ecg(rate_hz=rate_hz)
    for changed in (signal, -signal, signal + 5, signal - 30, signal + 300, signal.clip(-0.3, 0.3)):
        assert qrs_found("ecg", changed, beats, rate_hz) == (len(beats), 0)


@pytest.mark.parametrize("value", [0.0, 3.0, -300.0])
def test_nothing_is_found_in_a_constant(value: float) -> None:
    assert qrs_found("ecg", np.full(10_000, value), np.array([-9.0])) == (0, 0)


def as_forms(x: np.ndarray) -> dict[str, object]:
    """The same numbers, which float16 holds exactly, as people's programs have them."""
    read_only = x.astype(np.float32)
    read_only.flags.writeable = False
    return {
        "float64": x.astype(np.float64),
        "float16": x.astype(np.float16),
        "big-endian": x.astype(">f4"),
        "integers": x.astype(np.int16),
        "read-only": read_only,
        "every second": np.repeat(x, 2).astype(np.float32)[::2],
        "backwards": x[::-1].astype(np.float32)[::-1],
        "a column": x.astype(np.float32)[:, None],
        "Fortran order": np.asfortranarray(np.stack([x, x], axis=1).astype(np.float32))[:, :1],
        "memoryview": memoryview(x.astype(np.float32)),
        "list": x.astype(float).tolist(),
        "unaligned": np.frombuffer(b"\1" + x.astype("<f4").tobytes(), "<f4", offset=1),
    }


@pytest.mark.parametrize("rate_hz", [250, 360])
def test_numbers_in_any_form_are_the_same_signal(rate_hz: int) -> None:
    x = np.round(made_ecg(5.0, rate_hz)[0] * 1000)
    expected = None
    for name, form in as_forms(x).items():
        pipeline = Pipeline("ecg", rate_hz=rate_hz, units="uV", keep_frames=True)
        pipeline.push(form)  # type: ignore[arg-type]
        frames = pipeline.frames
        expected = frames if expected is None else expected
        np.testing.assert_array_equal(frames, expected, err_msg=name)


@pytest.mark.parametrize("rate_hz", [100, 250, 977, 16000])
@pytest.mark.parametrize("samples", [0, 1, 2, 40, 101])
@pytest.mark.parametrize("model", ["ecg", "speech"])
def test_a_signal_shorter_than_the_receptive_field_is_one_however_it_comes(
    model: str, rate_hz: int, samples: int
) -> None:
    x = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    units = "mV" if model == "ecg" else "full scale"
    answers = []
    for chunks in ([x], [x[:0], x, x[:0]], [*x[:, None]]):
        pipeline = Pipeline(model, rate_hz=rate_hz, units=units, keep_frames=True)
        segments, frames = [], []
        for chunk in chunks:
            segments += pipeline.push(chunk)
            frames.append(pipeline.frames)
        segments += pipeline.flush()
        answers.append((segments, np.concatenate([*frames, pipeline.frames])))
    for segments, made in answers:
        assert segments == answers[0][0]
        np.testing.assert_array_equal(made, answers[0][1])
    if model == "ecg":
        assert len(made) == -(-samples * 250 // rate_hz)


def test_what_a_mask_hides_is_no_sample() -> None:
    """The number behind the mask went into the model."""
    x = np.ma.masked_array(np.ones((9, 1), np.float32), mask=np.arange(9)[:, None] == 4)
    model = tcnstream.load(find_model("ecg.f32")[0])
    calls: list[Callable[[], object]] = [
        lambda: model.stream("reference").push(x),
        lambda: model.stream("native").push(x),
        lambda: model.pool(2).push([x, x[:0]]),
        lambda: Pipeline("ecg", rate_hz=250, units="mV").push(x),
        lambda: Pipeline("ecg", rate_hz=250, units="mV").push(x[:, 0]),
    ]
    for call in calls:
        with pytest.raises(StreamError, match=r"masked at \[4.*fill it first"):
            call()
    Pipeline("ecg", rate_hz=250, units="mV").push(x[:4])
