"""The shipped ECG models: their limits, their cards, and what they find."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.drawn_hearts import beats, drawn

import tcnstream
from tcnstream.signal.card import MODELS, load_card, shipped_models
from tcnstream.zoo.recipes.augment import MARKS
from tcnstream.zoo.recipes.delineation import score
from tcnstream.zoo.recipes.evaluate_ecg import delineate, facts, find_segments, open_model
from tcnstream.zoo.recipes.ludb import LABELS
from tcnstream.zoo.recipes.signals import RATE_HZ

shipped = pytest.mark.skipif("ecg" not in shipped_models(), reason="no ECG model is shipped in this checkout")


@pytest.mark.parametrize(("file", "look_ahead"), [("ecg", 50), ("ecg_fast", 10)])
def test_the_shipped_parameter_files_keep_their_limits(file: str, look_ahead: int) -> None:
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import read_stages

    channels, units = units_of(read_stages(MODELS / f"{file}.params.json"))
    norms = 1 + 2 * len(units)
    weights = channels + sum(u.taps * channels + channels**2 for u in units) + channels * 6 + 6
    assert sum(u.look_ahead for u in units) <= look_ahead
    assert weights + norms * 4 * channels <= 40_000


@shipped
@pytest.mark.parametrize(("name", "most_ms"), [("ecg", 200), ("ecg.f32", 200), ("ecg_fast", 40), ("ecg_fast.f32", 40)])
def test_a_shipped_card_says_what_its_model_does(name: str, most_ms: float) -> None:
    card = load_card(MODELS / f"{name}.toml")
    model = tcnstream.load(MODELS / card.file)
    assert card.labels == LABELS and card.rate_hz == RATE_HZ and card.units == "mV"
    assert card.look_ahead_ms == model.delay * 1000 / RATE_HZ + card.label_delay_frames * 1000 / RATE_HZ <= most_ms
    constants = sum(t.data.size for t in model.graph.tensors if t.data is not None)
    assert 10_000 < constants <= 40_000
    assert not model.needs_time_pooling and "records" in card.quality


@shipped
@pytest.mark.parametrize("name", ["ecg", "ecg_fast"])
def test_shipped_models_find_the_waves_of_a_drawn_heart(name: str) -> None:
    model, card = open_model(name)
    waves = beats(11)
    signal = drawn(waves, 500, 10).astype(np.float32) + 0.3
    found = delineate(model, card, signal, 500.0, chunk=1000)
    assert found == delineate(model, card, signal, 500.0, chunk=37)
    table = facts(score(waves[6:-3], found))
    assert table["qrs"]["f1"] == 100 and table["t"]["se"] == 100 and abs(table["qrs"]["onset_mean_ms"]) < 60


@shipped
def test_marks_stand_beside_the_labels_of_the_same_network() -> None:
    model, card = open_model("ecg_beats")
    assert card.marks == MARKS and model.outputs[0].shape == (len(LABELS) + len(MARKS),)
    demo = np.loadtxt(MODELS.parent / "data" / "ecg.csv", np.float32, skiprows=4)
    found = find_segments(model, card, demo, 360.0)
    beats = [s for s in found if s.label == "qrs"]
    ventricular = [s for s in beats if s.ventricular is not None and s.ventricular > 0.5]
    assert all(s.ventricular is None for s in found if s.label != "qrs") and all(
        s.noise is not None and s.noise < 0.5 for s in found
    )
    assert 3 <= len(ventricular) < len(beats) / 2
    width = [np.mean([s.end_s - s.start_s for s in some]) for some in (ventricular, beats)]
    assert width[0] > 1.2 * width[1]
