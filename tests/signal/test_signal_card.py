"""Model cards: what they say, and that a wrong one names its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcnstream.errors import SignalError
from tcnstream.signal import card as card_module
from tcnstream.signal.card import SegmentRules, find_model, load_card, shipped_models
from tcnstream.signal.filters import FilterChain, Gain, Sos

GOOD = """
name = "ecg"
file = "ecg.tflite"
rate_hz = 250
labels = ["none", "p", "qrs", "t"]
label_delay_frames = 45
units = "mV"

[[preprocessing]]
kind = "sos"
sections = [[1, -2, 1, 1.0, -1.982, 0.983]]
start = "steady"

[[preprocessing]]
kind = "gain"
value = 0.5

[segments]
min_duration_s = { p = 0.04 }

[quality]
qrs_f1 = 0.995
"""


def write(folder: Path, text: str, name: str = "ecg.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_card_is_read(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, GOOD))
    assert card.rate_hz == 250.0 and card.labels[2] == "qrs" and card.output == "logits"
    assert card.preprocessing == (Sos(((1.0, -2.0, 1.0, 1.0, -1.982, 0.983),), "steady"), Gain(0.5))
    assert card.segments == SegmentRules("none", {"p": 0.04}, {})
    assert card.quality == {"qrs_f1": 0.995}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("rate_hz", "rate", "unknown field `rate`"),
        ("rate_hz = 250", "", "missing required field `rate_hz`"),
        ("rate_hz = 250", 'rate_hz = "fast"', "`$.rate_hz`"),
        ("rate_hz = 250", "rate_hz = 0", "rate_hz must be above 0"),
        ('"none", "p"', '"p", "p"', "different names"),
        ("p = 0.04", "u = 0.04", "min_duration_s names 'u'"),
        ("p = 0.04", "p = -1", "0 s or more"),
        ('"ecg.tflite"', '"../ecg.tflite"', "beside the card"),
        ("label_delay_frames = 45", "label_delay_frames = -1", "label_delay_frames must be 0 or more"),
        ('kind = "gain"', 'kind = "magic"', "magic"),
        ("[segments]", '[segments]\nbackground = "noise"', "background is 'noise', which is not one of the labels"),
        ("rate_hz = 250", 'rate_hz = 250\nmarks = ["p"]', "`$.marks[0]`"),
        ("rate_hz = 250", 'rate_hz = 250\nmarks = ["noise", "noise"]', "marks must be a list of different names"),
        ('kind = "gain"\nvalue = 0.5', 'kind = "compand"\nknee = 0', "knee above 0"),
        ("[quality]", "[quality", "is not TOML"),
    ],
)
def test_a_wrong_card_names_the_field(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(SignalError) as caught:
        load_card(write(tmp_path, GOOD.replace(old, new)))
    assert text in str(caught.value)


def test_a_missing_card_is_a_signal_error(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"none\.toml cannot be read: No such file"):
        load_card(tmp_path / "none.toml")


def test_a_model_is_found_by_file_card_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_module, "MODELS", tmp_path)
    path = write(tmp_path, GOOD)
    with pytest.raises(SignalError, match=r"names ecg\.tflite, which is not beside it"):
        find_model("ecg")
    model = tmp_path / "ecg.tflite"
    model.write_bytes(b"")
    for name in ("ecg", path, model):
        found, card = find_model(name)
        assert found == model and card is not None and card.name == "ecg"


def test_the_card_may_have_another_name_than_the_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "heart.toml")
    write(tmp_path, "broken", "other.toml")
    (tmp_path / "ecg.tflite").write_bytes(b"")
    (tmp_path / "alone.tflite").write_bytes(b"")
    _, card = find_model(tmp_path / "ecg.tflite")
    assert card is not None
    assert find_model(tmp_path / "alone.tflite")[1] is None


def test_an_unknown_model_lists_the_shipped_ones() -> None:
    with pytest.raises(SignalError, match=r"there is no model 'nothing': give a \.tflite file or a shipped model"):
        find_model("nothing")


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_cards_are_complete(name: str) -> None:
    model, card = find_model(name)
    assert model.is_file() and card is not None
    assert card.licence and card.training_data and card.quality
    assert card.limits or "qrs" not in card.labels
    FilterChain(card.preprocessing)
