"""How well a speech segmenter finds speech in recordings that it never saw, measured through the product.

    python -m tcnstream.zoo.recipes.evaluate_speech --cache DIR --peer webrtcvad --peer silero-vad --markdown

The recordings: the sample of the PyPI package pyannote.audio, with its own reference (.rttm), and Debian's
pocketsphinx-testdata, whose references are made by the rule of the training labels (``mixing.active``: energy of the
clean recording, bridged pauses, hang-over). The latter also with noise, and with music that was kept out of training,
mixed to them after the labels were made. Every recording goes 32 ms at a time through each detector. ``--songs`` says
instead how much of music alone they call speech.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tcnstream
from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.signal.card import Card, find_model
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.filterbank import FRAME_SAMPLES, RATE_HZ
from tcnstream.zoo.recipes.frame_scores import auc, f1
from tcnstream.zoo.recipes.mixing import FRAME_HZ, LABELS, SPEECH, active, level
from tcnstream.zoo.recipes.noises import noise
from tcnstream.zoo.recipes.speech_material import (
    EVALUATION_PACKAGES,
    EVALUATION_SONGS,
    UNHEARD_SONGS,
    Clip,
    as_float,
    fetch,
    read_pcm,
    read_songs,
    stretches,
)

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

PYANNOTE = "pyannote.audio==4.0.7"
CHUNK_SAMPLES = 512
PEERS = ("webrtcvad", "silero-vad")
MIXED_DB = (10, 0)
MODELS = ("speech", "speech.f32")


@dataclass(frozen=True, eq=False)
class Judged:
    """A recording (samples,) at RATE_HZ and where it speaks (frames,)."""

    signal: Floats
    spoken: Flags


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector says of every frame: a ``score`` to rank by, and whether it ``decided`` for speech."""

    score: npt.NDArray[np.float64]
    decided: Flags


Detector = Callable[[Floats], Found]


def open_model(name: str) -> tuple[tcnstream.Model, Card]:
    """A shipped model's name, a .tflite file or a card. SignalError without a card, or with other labels."""
    path, card = find_model(name)
    if card is None:
        raise SignalError(f"{path} has no card beside it: write one (.toml), it says what the model takes and gives")
    if card.labels != LABELS or card.rate_hz != RATE_HZ:
        raise SignalError(f"{path} is not a speech segmenter: {', '.join(LABELS)} at {RATE_HZ} Hz are needed")
    return tcnstream.load(path), card


def segmenter(model: tcnstream.Model, engine: str = "auto") -> Detector:
    """The product: scores are probabilities of speech, decided is where speech is the most probable label."""
    port, stream = model.outputs[0], model.stream(engine)

    def detect(signal: Floats) -> Found:
        stream.reset()
        parts = [stream.push(chunk[:, None]) for chunk in _chunks(signal, CHUNK_SAMPLES)]
        logits = port.dequantize(np.concatenate([*parts, stream.flush()]))
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Found((share[:, SPEECH] / share.sum(axis=1)).astype(np.float64), logits.argmax(axis=1) == SPEECH)

    return detect


def webrtcvad(mode: int) -> Detector:
    """WebRTC's detector at 10 ms in an aggressiveness from 0 to 3; it decides and gives no score."""
    vad = _peer("webrtcvad", "webrtcvad-wheels").Vad

    def detect(signal: Floats) -> Found:
        detector = vad(mode)
        frames = [chunk.tobytes() for chunk in _chunks(_pcm(signal), FRAME_SAMPLES) if len(chunk) == FRAME_SAMPLES]
        decided = np.array([detector.is_speech(frame, RATE_HZ) for frame in frames])
        return Found(decided.astype(np.float64), decided)

    return detect


def webrtcvad_modes() -> Detector:
    """All four modes at once; the score is how many of them hear speech, the decision that of two or more."""
    detectors = [webrtcvad(mode) for mode in range(4)]

    def detect(signal: Floats) -> Found:
        votes = np.sum([detector(signal).score for detector in detectors], axis=0)
        return Found(votes, votes >= 2)

    return detect


def silero() -> Detector:
    """The ONNX file of silero-vad, 32 ms at a time as its authors run it; decided is a probability above one half."""
    runtime = _peer("onnxruntime", "onnxruntime")
    # Importing the package needs PyTorch; its ONNX file does not.
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise MissingExtraError("--peer silero-vad needs that package: pip install --no-deps silero-vad")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = Path(package.origin).parent / "data" / "silero_vad.onnx"
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    rate, context_samples = np.array(RATE_HZ, np.int64), 64

    def detect(signal: Floats) -> Found:
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, context_samples), np.float32)
        probabilities = []
        for chunk in _chunks(signal, CHUNK_SAMPLES):
            x = np.pad(chunk, (0, CHUNK_SAMPLES - len(chunk)))[None]
            probability, state = session.run(
                None, {"input": np.concatenate([context, x], axis=1), "state": state, "sr": rate}
            )
            context = x[:, -context_samples:]
            probabilities.append(float(probability[0, 0]))
        middle = (np.arange(len(signal) // FRAME_SAMPLES) * FRAME_SAMPLES + FRAME_SAMPLES // 2) // CHUNK_SAMPLES
        score = np.array(probabilities)[middle]
        return Found(score, score > 0.5)

    return detect


def _peer(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"that peer needs the package {package} ({error}): pip install {package}") from error


def _chunks(signal: npt.NDArray[Any], samples: int) -> list[npt.NDArray[Any]]:
    return [signal[at : at + samples] for at in range(0, len(signal), samples)]


def _pcm(signal: Floats) -> npt.NDArray[np.int16]:
    return np.round(signal * 32768).clip(-32768, 32767).astype(np.int16)


def read_sets(cache: Path) -> dict[str, list[Judged]]:
    """The recordings by the names of the table's columns; fetched into ``cache`` where they are not there."""
    clean = pocketsphinx_recordings(cache)
    songs = evaluation_songs(cache)
    sets = {"pyannote sample": [pyannote_sample(cache)], "pocketsphinx": clean}
    for snr_db in MIXED_DB:
        rng = np.random.default_rng(2024)
        sets[f"pocketsphinx + noise, {snr_db} dB"] = [_on_top(r, noise(rng, len(r.signal)), snr_db) for r in clean]
    pieces = [songs[i % len(songs)].samples[(20 + 5 * i) * RATE_HZ :] for i in range(len(clean))]
    name = f"pocketsphinx + music, {MIXED_DB[0]} dB"
    sets[name] = [_on_top(r, np.resize(p, len(r.signal)) / 32768, 10) for r, p in zip(clean, pieces, strict=True)]
    return sets


def evaluation_songs(cache: Path) -> list[Clip]:
    """The two songs that are mixed to recordings, whole."""
    fetch(cache, EVALUATION_PACKAGES)
    return [song for song in read_songs(cache, EVALUATION_PACKAGES) if song.name in EVALUATION_SONGS]


def read_songs_alone(cache: Path) -> dict[str, list[Floats]]:
    """Music (samples,) that no network learned from, by the names of the columns: two songs, and a whole package."""
    fetch(cache, [UNHEARD_SONGS])
    sets = {song.name: [as_float(song.samples)] for song in evaluation_songs(cache)}
    return sets | {UNHEARD_SONGS: [as_float(song.samples) for song in read_songs(cache, [UNHEARD_SONGS], stretches)]}


def called_speech(detector: Detector, songs: Sequence[Floats]) -> float:
    """The share of frames, each song counting the same."""
    return float(np.mean([detector(song).decided.mean() for song in songs]))


def _on_top(recording: Judged, other: npt.NDArray[Any], snr_db: float) -> Judged:
    """``other`` below the speech by ``snr_db``, and all of it scaled down where it would be too loud."""
    everywhere = np.ones_like(recording.spoken)
    gain = level(recording.signal, recording.spoken) * 10 ** (-snr_db / 20) / level(other, everywhere)
    signal = recording.signal + np.float32(gain) * other.astype(np.float32)
    signal /= np.float32(max(1.0, float(np.abs(signal).max())))
    return Judged(as_float(_pcm(signal)), recording.spoken)


def pyannote_sample(cache: Path) -> Judged:
    """The recording and reference in the wheel of pyannote.audio, which is fetched by pip and not installed."""
    folder = cache / "pyannote"
    files = [folder / "pyannote" / "audio" / "sample" / name for name in ("sample.wav", "sample.rttm")]
    if not all(file.is_file() for file in files):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PYANNOTE]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise SignalError(f"{' '.join(command[1:])} failed: {made.stderr.strip()[-300:]}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            for file in files:
                wheel.extract(str(file.relative_to(folder)), folder)
    signal = as_float(read_pcm(files[0]))
    return Judged(signal, read_rttm(files[1], len(signal) // FRAME_SAMPLES))


def read_rttm(path: Path, frames: int) -> Flags:
    """Where anybody speaks: (frames,), a frame counts if its middle is in a SPEAKER line."""
    middle_s = (np.arange(frames) + 0.5) / FRAME_HZ
    spoken = np.zeros(frames, bool)
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            start_s, length_s = float(fields[3]), float(fields[4])
            spoken |= (middle_s >= start_s) & (middle_s < start_s + length_s)
    return spoken


def pocketsphinx_recordings(cache: Path) -> list[Judged]:
    """All 16 kHz recordings of pocketsphinx-testdata, with references by ``mixing.active``."""
    fetch(cache, ["pocketsphinx-testdata"])
    data = cache / "pocketsphinx-testdata" / "usr" / "share" / "pocketsphinx" / "test" / "data"
    paths = sorted([*data.rglob("*.wav"), *data.rglob("*.raw")])
    if not paths:
        raise SignalError(
            f"{data} holds no recordings: delete {cache / 'pocketsphinx-testdata'}, and it is fetched again"
        )
    signals = [np.fromfile(p, "<i2") if p.suffix == ".raw" else read_pcm(p) for p in paths]
    return [Judged(signal, active(signal)) for signal in map(as_float, signals)]


def measure(detector: Detector, recordings: Sequence[Judged]) -> dict[str, float]:
    """``auc`` and ``f1`` of all frames of all recordings together, and the processor's ``ms_per_s`` of signal."""
    began = time.process_time()
    found = [detector(recording.signal) for recording in recordings]
    spent_s = time.process_time() - began
    pairs = [(f, r.spoken[: len(f.score)]) for f, r in zip(found, recordings, strict=True)]
    truth = np.concatenate([spoken for _, spoken in pairs])
    score, decided = (
        np.concatenate([getattr(f, field)[: len(spoken)] for f, spoken in pairs]) for field in ("score", "decided")
    )
    signal_s = sum(len(recording.signal) for recording in recordings) / RATE_HZ
    return {"auc": auc(score, truth), "f1": f1(decided, truth), "ms_per_s": 1000 * spent_s / signal_s}


def detectors_of(models: Sequence[str], peers: Sequence[str], engine: str) -> dict[str, Detector]:
    """By the names of the table's rows."""
    detectors = {}
    for name in models:
        model, card = open_model(name)
        detectors[f"`{card.name}`"] = segmenter(model, engine)
    for peer in peers:
        if peer == "webrtcvad":
            detectors |= {f"webrtcvad, mode {mode}": webrtcvad(mode) for mode in range(4)}
            detectors["webrtcvad, votes of the four modes"] = webrtcvad_modes()
        elif peer == "silero-vad":
            detectors["silero-vad"] = silero()
        else:
            raise SignalError(f"there is no peer {peer!r}: choose from {', '.join(PEERS)}")
    return detectors


def main(
    cache: Annotated[Path, typer.Option(help="Where fetched recordings are kept.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Shipped models (speech, speech.f32), files or cards.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, native, interpreter or reference.")] = "auto",
    peer: Annotated[list[str] | None, typer.Option(help="Measure this, too: webrtcvad or silero-vad.")] = None,
    songs: Annotated[
        bool, typer.Option("--songs", help="Instead: how much of music alone is called speech, of songs never heard.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A table for a README.")] = False,
) -> None:
    """Stream recordings through speech segmenters and compare their frames of 10 ms with references.

    Example: python -m tcnstream.zoo.recipes.evaluate_speech --cache recordings --peer webrtcvad --peer silero-vad
    """
    console = Console(stderr=True)
    with told(console):
        detectors = detectors_of(model or MODELS, peer or [], engine)
        rows = _measured_songs(console, detectors, cache) if songs else _measured(console, detectors, cache)
    title = "share of frames called speech" if songs else "frames of 10 ms: area under the ROC curve / F1"
    cells = {name: _shares(row) if songs else _cells(row) for name, row in rows.items()}
    columns = list(next(iter(rows.values()))) + ([] if songs else ["processor ms per s"])
    if as_json:
        typer.echo(json.dumps(rows))
    elif as_markdown:
        typer.echo(markdown("of music alone" if songs else "AUC / F1", columns, cells))
    else:
        _show(title, columns, cells)


def _measured(console: Console, detectors: dict[str, Detector], cache: Path) -> dict[str, dict[str, Any]]:
    sets = read_sets(cache)
    return {
        name: {column: measure(detector, recordings) for column, recordings in sets.items()}
        for name, detector in track(detectors.items(), "measuring", console=console)
    }


def _measured_songs(console: Console, detectors: dict[str, Detector], cache: Path) -> dict[str, dict[str, Any]]:
    sets = read_songs_alone(cache)
    return {
        name: {column: called_speech(detector, songs) for column, songs in sets.items()}
        for name, detector in track(detectors.items(), "measuring", console=console)
    }


def _cells(row: dict[str, dict[str, float]]) -> list[str]:
    scores = [f"{facts['auc']:.4f} / {facts['f1']:.4f}" for facts in row.values()]
    # The fastest set, because other programs may have run beside the others.
    return [*scores, f"{min(facts['ms_per_s'] for facts in row.values()):.2f}"]


def _shares(row: dict[str, float]) -> list[str]:
    return [f"{100 * share:.1f} %" for share in row.values()]


def markdown(corner: str, columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """A table for a README: a row per detector."""
    lines = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---|' * (len(columns) - 1)}--:|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in cells.items())])


def _show(title: str, columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> None:
    table = Table(title=title)
    for column in ("", *columns):
        table.add_column(column)
    for name, row in cells.items():
        table.add_row(name, *row)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
