"""What the documents say is so."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import typer
from helpers.paths import ROOT
from typer.main import get_command

import tcnstream
from tcnstream.cli.app import app
from tcnstream.signal import card as card_module
from tcnstream.signal.sources import open_recording

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "tcnstream" / "docs"
PAGES = [ROOT / "README.md", ROOT / "tcnstream" / "README.md", *sorted(DOCS.glob("*.md"))]
ELSEWHERE = r"\A# tcnstream/|\Afrom pyflink|archive\.parquet"
MODEL_TABLES = (DOCS / "models.md").read_text(encoding="utf-8")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def python_blocks() -> list[tuple[str, str]]:
    """The programs of the pages; what begins with the path of a source is an excerpt of it.

    Those for Flink are run by tests/fleet/test_flink.py, in an environment of its own, those that read an archive by
    tests/fleet/test_engines.py, which makes one.
    """
    blocks = [(page, block) for page in PAGES for block in re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)]
    return [(page.name, block) for page, block in blocks if not re.search(ELSEWHERE, block)]


@pytest.mark.parametrize(("name", "lines"), python_blocks())
def test_the_lines_of_the_pages_run_as_they_stand(
    name: str, lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, name, "exec"), {})


def test_the_ten_lines_find_the_waves(capsys: pytest.CaptureFixture[str]) -> None:
    lines = python_blocks()[0][1]
    assert len(lines.splitlines()) <= 11
    exec(compile(lines, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert len(re.findall(r"^ *[\d.]+ +[\d.]+ s  qrs", told, re.MULTILINE)) >= 95 and "Segment(" in told


def commands() -> list[str]:
    """Every command line of the pages and of the help texts."""
    found: list[str] = []
    for page in PAGES:
        text = text_of(page)
        found += [line.split("#")[0] for line in text.splitlines() if re.match(r"(cat .*\| )?tcnstream \w+ ", line)]
        found += re.findall(r"`(tcnstream \w+ [^`]*)`", text)
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        found += re.findall(r"`(tcnstream \w+ [^`]*)`", command.help)
    return list(dict.fromkeys(line.strip() for line in found))


@pytest.mark.parametrize("line", commands())
def test_every_command_line_in_the_documents_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line.split("| ")[-1])[1:]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    missing = ["MODEL"] if any(each.param_type_name == "argument" for each in command.params) else []
    command.make_context(name, [a for a in arguments if a != "..."] or missing, resilient_parsing=False)


def recipe_commands() -> list[str]:
    """The command lines of the recipes, whole where they go on in the next line."""
    text = "\n".join(map(text_of, PAGES)).replace("\\\n", "")
    return list(dict.fromkeys(re.findall(r"^python -m tcnstream\.zoo\.recipes\.(\w+ .*)$", text, re.MULTILINE)))


@pytest.mark.parametrize("line", recipe_commands())
def test_every_command_line_of_a_recipe_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    pytest.importorskip("soxr", reason="the recipes need the extra train")
    recipe = typer.Typer()
    recipe.command()(importlib.import_module(f"tcnstream.zoo.recipes.{name}").main)
    get_command(recipe).make_context(name, arguments, resilient_parsing=False)


def test_the_readme_shows_every_command() -> None:
    shown = {shlex.split(line.split("| ")[-1])[1] for line in commands()}
    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_readme_lists_the_extras_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = re.findall(r"^\| `(\w+)` \|", README.split("## Ten lines")[0], re.MULTILINE)
    assert shown == [name for name in extras if name not in ("lint", "test")]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.name}")
def test_files_that_the_pages_name_exist(page: Path) -> None:
    for path in re.findall(r"`((?:tcnstream|firmware_bridge|tests)/[\w./]+)`", text_of(page)):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#:]+)\)", text_of(page)):
        assert (page.parent / link).exists(), link


def test_pictures_of_the_documents_say_what_they_show() -> None:
    pictures = [picture for page in PAGES for picture in re.findall(r"!\[(.*?)\]\((.*?)\)", text_of(page))]
    assert [Path(path).name for _, path in pictures] == ["demo_ecg.png", "push_cost.svg", "page.png", "page_phone.png"]
    assert all(said for said, _ in pictures)


def test_every_page_is_linked_from_the_readme_and_in_the_package() -> None:
    packaged = resources.files("tcnstream") / "docs"
    for page in sorted(DOCS.glob("*.md")):
        assert f"(tcnstream/docs/{page.name})" in README, page.name
        assert (packaged / page.name).read_text(encoding="utf-8") == text_of(page)


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
    "row", re.findall(r"^\| `(ecg\w*)`, look-ahead ([\d.]+) ms \| (\w+) \| ([\d.]+) \|", MODEL_TABLES, re.M)
)
def test_the_figures_of_the_models_are_those_of_their_cards(row: tuple[str, str, str, str]) -> None:
    name, look_ahead_ms, wave, f1 = row
    _, card = card_module.find_model(name)
    assert card is not None and card.look_ahead_ms == float(look_ahead_ms)
    assert card.quality[wave.lower()]["f1"] == float(f1)


SPEECH_SETS = ("pyannote sample", "pocketsphinx", "noise, 10 dB", "noise, 0 dB", "music, 10 dB")


@pytest.mark.parametrize("row", re.findall(r"^\| `(speech[\w.]*)` \| (.*) \| [\d.]+ \|$", MODEL_TABLES, re.M))
def test_the_figures_of_the_speech_models_are_those_of_their_cards(row: tuple[str, str]) -> None:
    name, cells = row
    _, card = card_module.find_model(name)
    assert card is not None
    shown = [tuple(float(figure) for figure in cell.split(" / ")) for cell in cells.split(" | ")]
    known = [card.quality[key] for key in card.quality if key != "measured"]
    assert shown == [(facts["auc"], facts["f1"]) for facts in known] and len(shown) == len(SPEECH_SETS)


def test_the_tables_have_every_shipped_model() -> None:
    ecg = set(re.findall(r"^\| `(ecg\w*)`, look-ahead", MODEL_TABLES, re.M))
    speech = set(re.findall(r"^\| `(speech[\w.]*)` \|", MODEL_TABLES, re.M))
    assert ecg == {"ecg", "ecg_fast"} and speech == {"speech", "speech.f32"}
    assert all(name in MODEL_TABLES for name in SPEECH_SETS)


def test_the_shipped_audio_is_small_and_says_its_licence() -> None:
    package = resources.files("tcnstream")
    recording = open_recording(str(package / "data" / "audio.ogg"))
    assert recording.rate_hz == 16000 and len(np.concatenate(list(recording.chunks))) == 36 * 16000
    assert len((package / "data" / "audio.ogg").read_bytes()) < 400_000
    assert "Attribution-ShareAlike 3.0" in (package / "data" / "README.md").read_text(encoding="utf-8")
    assert "Redistribution and use" in (package / "data" / "LICENSE-pocketsphinx.txt").read_text()
