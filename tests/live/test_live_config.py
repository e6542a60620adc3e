"""live.toml: every error with its line, what was found and what is allowed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.paths import ECG, ROOT

from tcnstream.errors import SignalError
from tcnstream.live.config import ConfigError, read_config
from tcnstream.live.gaps import GapRule
from tcnstream.live.journal import Journal
from tcnstream.live.sinks.jsonl import JsonlConfig
from tcnstream.live.tables.toml import read_toml
from tcnstream.signal.card import model_files

WRONG = """\
state = "state"
[page]
listen = "0.0.0.0:8080"
[stream.bed]
source = "serial:/dev/ttyACM0?rate=fast&units=mV"
modle = "ecg"
sinks = ["log", "hom"]
[stream.bed.gap]
policy = "rest"
limit = "40"
[stream.room]
source = "bluetooth:x"
model = "eggc"
gap = { policy = "hold" }
[sink.log]
kind = "jsonl"
path = "nowhere/segments.jsonl"
rotate = { size = "20 MB", keeep = 10 }
[sink.home]
kind = "pigeon"
"""

STREAM = "[stream.a]\nsource = '-'\nmodel = 'ecg'\n"


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "live.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    return list(caught.value.problems)


def test_every_error_names_its_line_and_what_is_allowed(tmp_path: Path) -> None:
    found = problems(tmp_path, WRONG)
    expected = [
        'live.toml, line 3: page.listen = "0.0.0.0:8080" is beyond this machine: a token_file is required, or 127.',
        "live.toml, line 4: stream.bed has no model: name a shipped model",
        'live.toml, line 5: stream.bed.source.rate = "fast" is no number',
        "live.toml, line 6: stream.bed.modle is no key here: did you mean model?",
        'live.toml, line 7: stream.bed.sinks = "hom" is none of log, home: write a table [sink.hom]',
        'live.toml, line 9: stream.bed.gap.policy = "rest" is none of reset, hold, interpolate',
        'live.toml, line 10: stream.bed.gap.limit = "40" is no time: give one such as "40 ms"',
        'live.toml, line 12: stream.room.source = "bluetooth:x" is of no kind that is known: file:',
        "live.toml, line 13: stream.room.model = \"eggc\": there is no model 'eggc'",
        'live.toml, line 14: stream.room.gap has policy = "hold" and no limit',
        "live.toml, line 17: sink.log.path = ",
        "live.toml, line 18: sink.log.rotate.keeep is no key here: did you mean keep?",
        'live.toml, line 20: sink.home.kind = "pigeon" is none of jsonl, ',
    ]
    for sentence, beginning in zip(found, expected, strict=True):
        assert sentence.startswith(beginning), sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[stream.a]\nmodel = 3\n", "stream.a.model = 3 is no text in quotes"),
        ("stream = 3\n", "stream = 3 is no table"),
        ("[sink.a]\nkind = 'jsonl'\npath = 'a'\nfull = 'blok'\n", 'sink.a.full = "blok" is none of drop-oldest, block'),
        (
            "[sink.a]\nkind = 'jsonl'\npath = 'a'\nevents = ['beat', 'qrs']\n",
            'sink.a.events = "qrs" is none of segment, beat, gap, clock, status',
        ),
        ("[sink.a]\nkind = 'jsonl'\npath = 'a'\nevents = []\n", "sink.a.events = [] leaves nothing"),
        ("[stream.'a b']\nsource = '-'\nmodel = 'ecg'\n", "stream.a b is no name of a stream"),
        ("[page]\nlisten = 'here'\n", 'page.listen = "here" is no address: give HOST:PORT'),
        ("[stream.a]\nsource = 'file:no.csv'\nmodel = 'ecg'\n", 'source = "file:no.csv" names no file'),
        ("state = 'x'\n", "stream is not there: write a table [stream.NAME]"),
        ("[stream]\n", "stream is not there: write a table [stream.NAME]"),
        ("[stream.a]\nsource = 'file:/'\nmodel = 'ecg'\n", 'source = "file:/" names no file'),
        ("[stream.a]\nsource = 'serail:x'\nmodel = 'ecg'\n", "of no kind that is known, did you mean serial?"),
        (
            "[stream.a]\nsource = '-?units=Pa'\nmodel = 'ecg'\n",
            'source = "-?units=Pa": stream.a is in Pa and the model takes mV: convert the recording, or give ?units=mV',
        ),
        (STREAM + "gain = 0\n", "stream.a.gain = 0 leaves nothing of the signal"),
        (STREAM + "output = 'x'\n", "has no output 'x': choose one of 0 ("),
        (
            STREAM + "engine = 'x'\n",
            'engine = "x" is none of auto, native, interpreter',
        ),
        (
            STREAM + "sinks = ['s', 's']\n[sink.s]\nkind = 'stdout'\n",
            '"s" is there twice',
        ),
        (
            STREAM + "gap = { policy = 'hold', limit = '1000000 h' }\n",
            'stream.a.gap.limit = "1000000 h" is out of range: give at most 60 s',
        ),
        ("[checkpoint]\nlive = '0 s'\n", 'checkpoint.live = "0 s" is out of range: give more than 0 s'),
        ('[page]\ntoken_file = "\\u0000"\n', "page.token_file = "),
        ("[sink.a]\nkind='jsonl'\npath='a'\nquota='1 MB'\nrotate={size='1 MB'}\n", "quota is less than two files"),
        ("[sink.a]\nkind='jsonl'\npath='a'\n[sink.b]\nkind='jsonl'\npath='a'\n", "is written by sink.a too"),
    ],
)
def test_one_error(tmp_path: Path, text: str, sentence: str) -> None:
    assert any(sentence in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)


READ = """
state = "state"
[page]
token_file = "token"
[stream.a]
source = "file:a.wav"
model = "card.toml"
sinks = ["log", "s"]
[stream.b]
source = "file:rec_1.hea"
model = "ecg"
[sink.log]
kind = "mqtt"
url = "mqtt://127.0.0.1"
password_file = "word"
"""


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("kind = 'jsonl'\npath = 'a.wav'", "a.wav"),
        ("kind = 'jsonl'\npath = 'linked/a.wav'", "a.wav"),
        ("kind = 'jsonl'\npath = 'hard'", "hard"),
        ("kind = 'jsonl'\npath = 'live.toml'", "live.toml"),
        ("kind = 'jsonl'\npath = 'token'", "token"),
        ("kind = 'jsonl'\npath = 'word'", "word"),
        ("kind = 'jsonl'\npath = 'card.toml'", "card.toml"),
        ("kind = 'jsonl'\npath = 'model.tflite'", "model.tflite"),
        ("kind = 'jsonl'\npath = 'rec_1.dat'", "rec_1.dat"),
        ("kind = 'jsonl'\npath = 'state/journal.db'", "journal.db"),
        ("kind = 'jsonl'\npath = 'old'\nrotate = { size = '1 MB' }", "old.7"),
        ("kind = 'wfdb'\npath = '.'", "rec_1."),
        ("kind = 'clips'\npath = '.'\nlabels = ['qrs']\nkeep = { days = 1 }", "a.wav"),
    ],
)
def test_what_is_read_is_no_sink(tmp_path: Path, ecg: np.ndarray, table: str, found: str) -> None:
    soundfile.write(tmp_path / "a.wav", ecg[:3600], 360)
    model, card = model_files("ecg")
    (tmp_path / "model.tflite").write_bytes(model.read_bytes())
    (tmp_path / "card.toml").write_text(card.read_text().replace(model.name, "model.tflite"))
    for name in ("token", "word"):
        (tmp_path / name).write_text("a-long-random-word")
    (tmp_path / "rec_1.hea").write_text("rec_1 1 360 10\nrec_1.dat 16 200/mV 16 0 0 0 0 a\n")
    (tmp_path / "rec_1.dat").write_bytes(bytes(20))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.db").touch()
    (tmp_path / "linked").symlink_to(tmp_path)
    os.link(tmp_path / "a.wav", tmp_path / "hard")
    os.link(tmp_path / "a.wav", tmp_path / "old.7")
    text = READ.replace("a.wav", "a.wav?units=mV") + "[sink.s]\n"
    said = problems(tmp_path, text + table)
    assert len(said) == 1 and "sink.s.path = " in said[0] and found in said[0], said
    assert said[0].endswith(" is read here and would be written over: name another file")
    (tmp_path / "live.toml").write_text(text + re.sub("path = '[^']*'", "path = 'new'", table))
    read_config(tmp_path / "live.toml")


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Path]:
    """A disk that can only be read."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("file", "file is no folder: name a folder, or move that away"),
        ("file/inner", "file is no folder: name a folder, or move that away"),
        ("fixed/state", "cannot be written: change its permissions, or name another folder"),
        ("fixed", "cannot be written: change its permissions, or name another folder"),
    ],
)
def test_a_state_that_can_hold_no_journal_is_told(tmp_path: Path, fixed: Path, state: str, sentence: str) -> None:
    (tmp_path / "file").touch()
    (said,) = problems(tmp_path, f"state = '{state}'\n{STREAM}")
    assert said.startswith("live.toml, line 1: state = ") and said.endswith(sentence)
    with pytest.raises(
        SignalError, match=r"cannot be (made|opened): .*; (name another|check the) folder (as )?`state`"
    ):
        Journal(tmp_path / state)


def test_a_recording_whose_unit_does_not_fit_is_told(tmp_path: Path) -> None:
    stream = f"[stream.a]\nsource = 'file:{ECG}'\nmodel = "
    (said,) = problems(tmp_path, stream + "'speech'\n")
    assert said.startswith("live.toml, line 2: stream.a.source = ")
    assert "stream.a is in mV and the model takes full scale" in said
    (tmp_path / "live.toml").write_text(stream + "'ecg'\n")
    assert read_config(tmp_path / "live.toml").streams["a"].source.units == ""


def test_two_names_of_one_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("d")
    sink = "[sink.{0}]\nkind = 'jsonl'\npath = '{0}'\n"
    said = problems(tmp_path, STREAM + "".join(map(sink.format, "abcd")))
    assert [sentence.partition(" is ")[2] for sentence in said] == [
        "written by sink.a too: name another",
        "written by sink.c too: name another",
    ]


def test_lines_of_keys_are_found_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('a = [\n  "x = 1",\n  "]",\n]\nb.c = """\nd = 1\n"""\n[ e . "f" ]\n"g" = 1 # h = 2\n[[i]]\nj = 1\n')
    lines = read_toml(path).lines
    assert lines == {
        ("a",): 1, ("b",): 5, ("b", "c"): 5, ("e", "f"): 8, ("e", "f", "g"): 9, ("i",): 10, ("i", "j"): 11,
    }  # fmt: skip
    path.write_text("a = \n")
    with pytest.raises(SignalError, match=r"a\.toml is not TOML"):
        read_toml(path)


def test_check_tells_all_and_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    path.write_text(WRONG)
    command = [sys.executable, "-m", "tcnstream", "serve", "--check", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 13
    assert 'live.toml, line 9: stream.bed.gap.policy = "rest" is none of reset, hold, interpolate' in answer.stderr
    path.write_text('[stream.a]\nsource = "-"\nmodel = "ecg"\n')
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0 and list(tmp_path.iterdir()) == [path]


def test_the_configuration_of_the_page_is_right_as_it_stands(tmp_path: Path) -> None:
    page = (ROOT / "tcnstream" / "docs" / "daemon.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    path = tmp_path / "live.toml"
    path.write_text(block[1])
    config = read_config(path)
    assert config.streams["bed"].gap == GapRule("interpolate", 0.04)
    assert config.sinks["log"] == JsonlConfig(
        "log", "jsonl", "by-source", 10_000, tmp_path / "segments.jsonl", 20_000_000, 10, 0
    )
    assert (config.page.host, config.page.port) == ("127.0.0.1", 8080)
