"""The fleet on one core: what the command says is what was played."""

from __future__ import annotations

import pytest

from tcnstream.fleet.local import main


def test_the_shipped_recording_plays_as_many_patients(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--patients", "4", "--seconds", "5"]) == 0
    said = capsys.readouterr().out
    assert "20 s of signal of 4 patients" in said and " qrs\n" in said and "streams per core" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["nobody"], "there is no model"), (["ecg", "none.csv"], "none.csv"), (["--patients", "0"], "above 0")],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
