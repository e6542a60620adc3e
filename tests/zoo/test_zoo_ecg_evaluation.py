"""The command that evaluates ECG models: which records, which models, which peers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tcnstream.errors import SignalError
from tcnstream.signal.card import shipped_models
from tcnstream.zoo.recipes.evaluate_ecg import chosen_records, main, open_model

shipped = pytest.mark.skipif("ecg" not in shipped_models(), reason="no ECG model is shipped in this checkout")


@shipped
def test_the_evaluation_is_a_command(ludb: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    call = ["--ludb", str(ludb), "--records", "7", "--chunk", "500"]
    result = CliRunner().invoke(app, [*call, "--json"])
    answer = json.loads(result.stdout)
    assert result.exit_code == 0 and answer["records"] == ["7"] and answer["models"]["ecg"]["qrs"]["se"] > 90
    for option in ("--markdown", "--engine=reference"):
        table = CliRunner().invoke(app, [*call, option])
        assert table.exit_code == 0 and "QRS" in table.stdout
    refused = CliRunner().invoke(app, [*call, "--peer", "other"])
    assert refused.exit_code == 2 and "choose of neurokit2, sleepecg, xqrs" in refused.stderr.replace("\n", " ")


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"x")
    (tmp_path / "m.toml").write_text('name = "m"\nfile = "m.tflite"\nrate_hz = 250\nlabels = ["a", "b"]\n')
    with pytest.raises(SignalError, match="LUDB is about none, p, qrs, t"):
        open_model(str(tmp_path / "m.tflite"))
    (tmp_path / "m.toml").unlink()
    with pytest.raises(SignalError, match="no card beside it"):
        open_model(str(tmp_path / "m.tflite"))


def test_the_evaluation_reads_the_records_that_a_training_left_out(ludb: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    (tmp_path / "ecg.unseen").write_text("ludb/7,mitdb/119")
    result = CliRunner().invoke(app, ["--ludb", str(ludb), "--records", f"@{tmp_path / 'ecg.unseen'}", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["records"] == ["7"]
    refused = CliRunner().invoke(app, ["--ludb", str(ludb), "--records", "@none"])
    assert refused.exit_code == 2 and "none" in refused.stderr


def test_records_are_chosen_by_name_and_what_is_not_there_is_said() -> None:
    listings = {"ludb": ["4", "7"], "mitdb": ["100", "4"]}
    assert chosen_records("all", listings) == {"ludb": ["4", "7"], "mitdb": ["100", "4"]}
    assert chosen_records("4, ludb/7", listings) == {"ludb": ["4", "7"], "mitdb": ["4"]}
    assert chosen_records("mitdb/100,qtdb/sel30", listings) == {"ludb": [], "mitdb": ["100"]}
    assert chosen_records("4,ludb/4", listings) == {"ludb": ["4"], "mitdb": ["4"]}
    for wrong, said in (
        ("9", "there is no record 9 in the folder given: ludb has 4, 7; mitdb has 100, 4"),
        ("4,mitdb/7", "there is no record 7 in the folder given: mitdb has 100, 4"),
        ("qtdb/sel30", "of ludb, mitdb no record is asked for: --records has qtdb/sel30"),
        ("", "no record is asked for: --records has none"),
    ):
        with pytest.raises(SignalError, match=re.escape(said)):
            chosen_records(wrong, listings)


def test_a_peer_that_is_not_installed_is_said_before_anything_is_measured(
    ludb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sleepecg", None)
    app = typer.Typer()
    app.command()(main)
    refused = CliRunner().invoke(app, [f"--ludb={ludb}", "--peer=sleepecg"])
    assert refused.exit_code == 2 and "pip install sleepecg" in refused.stderr and " on ludb" not in refused.stderr


def test_noise_for_records_that_are_not_there_is_said_before_anything_is_measured(ludb: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    refused = CliRunner().invoke(app, [f"--ludb={ludb}", "--noise=nstdb.h5"])
    assert (
        refused.exit_code == 2 and "give --mitdb, or no --noise" in refused.stderr and " on ludb" not in refused.stderr
    )
