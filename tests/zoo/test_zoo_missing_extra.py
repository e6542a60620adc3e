"""Without the extra, the zoo says how to get it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from helpers.paths import ROOT
from typer.testing import CliRunner

from tcnstream.errors import MissingExtraError, TcnStreamError
from tcnstream.signal.card import MODELS


@pytest.mark.parametrize("module", ["tcn", "convert", "signal_conv"])
def test_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, f"tcnstream.zoo.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]") as caught:
        importlib.import_module(f"tcnstream.zoo.{module}")
    assert isinstance(caught.value, TcnStreamError)
    assert isinstance(caught.value, ImportError)


def test_a_recipe_names_the_extra_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = pytest.importorskip("tcnstream.zoo.recipes.fitting", exc_type=ImportError)
    monkeypatch.setitem(sys.modules, "keras", None)
    for module in ("tcn", "convert"):
        monkeypatch.delitem(sys.modules, f"tcnstream.zoo.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]"):
        fitting.require_keras()
    assert len(fitting.read_stages(MODELS / "ecg.params.json")) > 0


@pytest.mark.parametrize("recipe", ["train_ecg", "train_speech"])
def test_a_recipe_without_the_extra_says_so_in_one_line_and_writes_nothing(
    recipe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = pytest.importorskip(f"tcnstream.zoo.recipes.{recipe}", exc_type=ImportError)
    monkeypatch.setitem(sys.modules, "keras", None)
    for name in ("tcn", "convert"):
        monkeypatch.delitem(sys.modules, f"tcnstream.zoo.{name}", raising=False)
    where = "--ludb" if recipe == "train_ecg" else "--cache"
    app = typer.Typer()
    app.command()(module.main)
    answer = CliRunner().invoke(app, [where, str(tmp_path), "--out", str(tmp_path / "made")])
    assert answer.exit_code == 2 and not (tmp_path / "made").exists()
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ") and line.endswith("pip install tcnstream[train]")


@pytest.mark.parametrize("recipe", ["train_ecg", "evaluate_ecg", "train_speech", "evaluate_speech"])
@pytest.mark.parametrize("package", ["scipy", "soxr"])
def test_a_recipe_on_a_base_install_says_what_to_install(recipe: str, package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError('it is not installed')")
    found = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", f"tcnstream.zoo.recipes.{recipe}", "--help"]
    answer = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2 and not answer.stdout
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: tcnstream.zoo.recipes needs the package {package}")
    assert line.endswith("pip install tcnstream[train]")


def test_the_package_itself_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keras", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "tcnstream.zoo", raising=False)
    importlib.import_module("tcnstream.zoo")
