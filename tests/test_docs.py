"""What the documents say is so."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import MODELS, ROOT
from typer.main import get_command

import tcnstream
from tcnstream.cli.app import app
from tcnstream.signal import card as card_module
from tcnstream.signal.sources import open_recording

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "ecg.tflite").write_bytes((MODELS / "nse_lg.i8.tflite").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "README.md", "exec"), {})
    model = tcnstream.load("ecg.tflite")
    assert capsys.readouterr().out.split() == [str(model.delay), str(model.receptive_field), str(model.state_bytes)]


def commands() -> list[str]:
    """Every command line of the README and of the help texts."""
    found = [line.split("#")[0] for line in README.splitlines() if re.match(r"(cat .*\| )?tcnstream \w+ ", line)]
    found += re.findall(r"`(tcnstream \w+ [^`]*)`", README)
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        found += re.findall(r"`(tcnstream \w+ [^`]*)`", command.help)
    return found


@pytest.mark.parametrize("line", commands())
def test_every_command_line_in_the_documents_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line.split("| ")[-1])[1:]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, [a for a in arguments if a != "..."] or ["MODEL"], resilient_parsing=False)


def test_the_version_is_one() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == tcnstream.__version__


def test_unreleased_changes_stand_on_top() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_files_that_the_documents_name_exist() -> None:
    for path in re.findall(r"`((?:tcnstream|tests)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path


def test_pictures_of_the_documents_exist_and_say_what_they_show() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    assert [Path(path).name for _, path in pictures][:2] == ["demo_ecg.png", "push_cost.svg"]
    assert all(said and (ROOT / path).is_file() for said, path in pictures)


def test_the_map_of_the_package_names_every_module() -> None:
    text = (ROOT / "tcnstream" / "README.md").read_text()
    for entry in sorted((ROOT / "tcnstream").iterdir()):
        if (entry.suffix == ".py" or entry.is_dir()) and not entry.name.startswith(("_", ".")):
            assert f"`{entry.name}{'/' if entry.is_dir() else ''}`" in text, entry.name


def test_the_card_in_the_docstring_is_a_card(tmp_path: Path) -> None:
    assert card_module.__doc__ is not None
    example = card_module.__doc__.split("::\n", 1)[1].replace("\n    ", "\n")
    (tmp_path / "ecg.toml").write_text(example)
    assert card_module.load_card(tmp_path / "ecg.toml").labels == ("none", "p", "qrs", "t")


def test_the_installed_package_brings_recording_licence_and_types() -> None:
    package = resources.files("tcnstream")
    recording = open_recording(str(package / "data" / "ecg.csv"))
    frames = np.concatenate(list(recording.chunks))
    assert recording.rate_hz == 360 and recording.units == "mV" and frames.shape == (21600, 1)
    assert np.abs(np.median(frames)) < 1 and np.ptp(frames) > 2
    assert "Redistribution and use" in (package / "data" / "LICENSE-scipy.txt").read_text()
    assert (package / "py.typed").is_file()


def test_no_tensorflow_among_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if "tensorflow" in name or "keras" in name]
    assert json.dumps(project["optional-dependencies"]["train"]).count("tensorflow") >= 1


@pytest.mark.parametrize(
    "row", re.findall(r"^\| `(ecg\w*)`, look-ahead ([\d.]+) ms \| (\w+) \| ([\d.]+) \|", README, re.M)
)
def test_the_figures_of_the_models_are_those_of_their_cards(row: tuple[str, str, str, str]) -> None:
    name, look_ahead_ms, wave, f1 = row
    _, card = card_module.find_model(name)
    assert card is not None and card.look_ahead_ms == float(look_ahead_ms)
    assert card.quality[wave.lower()]["f1"] == float(f1)


SPEECH_SETS = ("pyannote sample", "pocketsphinx", "noise, 10 dB", "noise, 0 dB", "music, 10 dB")


@pytest.mark.parametrize("row", re.findall(r"^\| `(speech[\w.]*)` \| (.*) \| [\d.]+ \|$", README, re.M))
def test_the_figures_of_the_speech_models_are_those_of_their_cards(row: tuple[str, str]) -> None:
    name, cells = row
    _, card = card_module.find_model(name)
    assert card is not None
    shown = [tuple(float(figure) for figure in cell.split(" / ")) for cell in cells.split(" | ")]
    known = [card.quality[key] for key in card.quality if key != "measured"]
    assert shown == [(facts["auc"], facts["f1"]) for facts in known] and len(shown) == len(SPEECH_SETS)


def test_the_readme_has_the_speech_models() -> None:
    assert {"speech", "speech.f32"} <= set(re.findall(r"^\| `(speech[\w.]*)` \|", README, re.M))
    assert all(name in README for name in SPEECH_SETS)


def test_the_shipped_audio_is_small_and_says_its_licence() -> None:
    package = resources.files("tcnstream")
    recording = open_recording(str(package / "data" / "audio.ogg"))
    assert recording.rate_hz == 16000 and len(np.concatenate(list(recording.chunks))) == 36 * 16000
    assert len((package / "data" / "audio.ogg").read_bytes()) < 400_000
    assert "Attribution-ShareAlike 3.0" in (package / "data" / "README.md").read_text(encoding="utf-8")
    assert "Redistribution and use" in (package / "data" / "LICENSE-pocketsphinx.txt").read_text()
