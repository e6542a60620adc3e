"""Files with bytes and words changed, or cut: read, or refused in a sentence that names the file; no crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.recordings import rf64, wav, write_edf

from tcnstream.errors import SignalError
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.base import Gap

SAMPLES = np.random.default_rng(0).integers(-2000, 2000, 3000)
WORDS = [
    b"",
    b"0",
    b"-1",
    b"1e400",
    b"nan",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"99999999",
    b",",
    b";",
    b"\n",
    b'"',
    b"x",
]
MOST_FRAMES = 200_000
CASES = 250


def make_wfdb(folder: Path) -> list[Path]:
    for name in ("a", "b"):
        lines = f"{name}.dat 16x2:1+4 200(5)/mV 16 0 3 0 0 I\n{name}.dat 16 0.2/\u00b5V 16 0 0 0 0 II\n"
        (folder / f"{name}.hea").write_text(f"{name} 2 360 500\n{lines}", encoding="utf-8")
        (folder / f"{name}.dat").write_bytes(SAMPLES.astype("<i2").tobytes())
    (folder / "x.hea").write_text("x/3 2 360 1200\na 500\n~ 200\nb 500\n")
    return [folder / "x.hea", folder / "a.hea"]


def make_edf(folder: Path) -> list[Path]:
    write_edf(folder / "x.edf", [SAMPLES, SAMPLES], rate_hz=100, onsets_s=[*range(10), *range(15, 35)])
    return [folder / "x.edf"]


def make_text(folder: Path) -> list[Path]:
    rows = "".join(f"{k / 360:.4f};{x / 200:.3f}\n" for k, x in enumerate(SAMPLES[:600])).replace(".", ",")
    (folder / "x.csv").write_text(f"# rate_hz = 360\nZeit (s);ECG (mV)\n{rows}")
    return [folder / "x.csv"]


def make_sound(suffix: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        path = folder / f"x.{suffix}"
        if suffix == "wav":
            path.write_bytes(wav(SAMPLES.astype("<i2").tobytes(), extensible=True))
        elif suffix == "rf64":
            path.write_bytes(rf64(SAMPLES.astype("<i2").tobytes()))
        else:
            soundfile.write(path, SAMPLES / 2048, 16000)
        return [path]

    return make


def make_npy(folder: Path) -> list[Path]:
    np.save(folder / "x.npy", np.asfortranarray(np.stack([SAMPLES, SAMPLES], axis=1).astype(np.float32)))
    return [folder / "x.npy"]


KINDS: dict[str, Callable[[Path], list[Path]]] = {
    "wfdb": make_wfdb,
    "edf": make_edf,
    "text": make_text,
    "npy": make_npy,
    **{suffix: make_sound(suffix) for suffix in ("wav", "rf64", "flac", "aiff")},
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, min(len(made), 600) if rng.integers(4) else len(made))) if made else 0
        match rng.integers(4):
            case 0:
                made[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                word = WORDS[int(rng.integers(len(WORDS)))]
                made[at : at + len(word)] = word
            case 2:
                del made[at : at + int(rng.integers(1, 40))]
            case _:
                made = made[: int(rng.integers(len(made) + 1))]
    return bytes(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    paths = KINDS[kind](tmp_path)
    whole = {path: path.read_bytes() for path in paths}
    rng = np.random.default_rng(7)
    read = 0
    for _ in range(CASES):
        path = paths[int(rng.integers(len(paths)))]
        path.write_bytes(damaged(whole[path], rng))
        try:
            recording = open_recording(paths[0], hold_gaps=bool(rng.integers(2)))
            frames = 0
            for piece in recording.chunks:
                frames += piece.frames if isinstance(piece, Gap) else len(piece)
                assert isinstance(piece, Gap) or np.isfinite(piece).all()
                if frames > MOST_FRAMES:
                    break
            read += 1
        except SignalError as error:
            assert tmp_path.name in str(error)
        path.write_bytes(whole[path])
    assert read > 0
