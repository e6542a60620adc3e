"""Sound is read to its end, whatever a header says of the length, and what does not agree is said."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.paths import AUDIO
from helpers.recordings import read, rf64, wav

from tcnstream.errors import SignalError
from tcnstream.opened import open_input, open_model
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.base import ReadOptions
from tcnstream.signal.units import FULL_SCALE

FRAMES = 9001
NOISE = np.random.default_rng(4).integers(-30000, 30000, FRAMES)
PCM = {
    8: ((NOISE >> 8) + 128).astype("u1").tobytes(),
    16: NOISE.astype("<i2").tobytes(),
    24: (NOISE << 8).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes(),
    32: (NOISE << 16).astype("<i4").tobytes(),
    -32: (NOISE / 32768).astype("<f4").tobytes(),
    -64: (NOISE / 32768).astype("<f8").tobytes(),
}
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"


def file(folder: Path, content: bytes, name: str = "x.wav") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def wav_of(bits: int, **other: object) -> bytes:
    return wav(PCM[bits], bits=abs(bits), tag=3 if bits < 0 else 1, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", PCM)
@pytest.mark.parametrize("said", ["right", "0", "4 GiB - 1", "2 GiB - 1", "half", "a header's worth"])
def test_a_size_that_is_not_so_loses_nothing(tmp_path: Path, bits: int, said: str, extensible: bool) -> None:
    size = len(PCM[bits])
    sizes = {"0": 0, "4 GiB - 1": 0xFFFFFFFF, "2 GiB - 1": 0x7FFFFFFF, "half": size // 4 * 2, "a header's worth": 36}
    recording = open_recording(file(tmp_path, wav_of(bits, said=sizes.get(said, size), extensible=extensible)))
    expected = (NOISE >> 8) / 128 if bits == 8 else NOISE / 32768
    assert (recording.rate_hz, recording.units, recording.frames) == (16000, FULL_SCALE, FRAMES)
    np.testing.assert_allclose(read(recording)[:, 0], expected, atol=1e-7)
    assert bool(recording.remark) == (said in ("0", "half", "a header's worth"))
    if recording.remark:
        why = "never finished" if said == "0" else "more is there"
        assert recording.remark.endswith(f"bytes of sound ({why}): read to the end of the file")


def test_what_follows_the_sound_is_no_sound(tmp_path: Path) -> None:
    for after in (LIST, LIST + bytes(200), bytes(460), b"\0"):
        recording = open_recording(file(tmp_path, wav_of(16, after=after)))
        assert len(read(recording)) == FRAMES and recording.remark == ""
    with pytest.raises(SignalError, match="holds no samples"):
        read(open_recording(file(tmp_path, wav(b"", after=LIST))))
    silence = open_recording(file(tmp_path, wav(bytes(32000), said=0)))
    assert len(read(silence)) == 16000 and "never finished" in silence.remark


def test_a_wav_file_that_was_cut_short_is_called_so(tmp_path: Path) -> None:
    recording = open_recording(file(tmp_path, wav_of(24)[:20_000]))
    assert recording.remark.startswith("cut short") and len(read(recording)) == (20_000 - 44) // 3


def test_more_than_4_gib_whose_size_wrapped(tmp_path: Path) -> None:
    size = 4 * 2**30 + 200 * 2**20
    for said in (size & 0xFFFFFFFF, 0xFFFFFFFF, 0):
        path = file(tmp_path, wav(b"", said=said))
        os.truncate(path, 44 + size)
        recording = open_recording(path)
        assert recording.frames == size // 2
        assert ("division by 4 GiB" in recording.remark) == (said == size & 0xFFFFFFFF)
        first = next(recording.chunks)
        assert isinstance(first, np.ndarray) and not first.any()
    whole = file(tmp_path, rf64(b"", said=size))
    os.truncate(whole, whole.stat().st_size + size)
    assert open_recording(whole).frames == size // 2 and open_recording(whole).remark == ""


@pytest.mark.parametrize("said", [None, 0, 1000])
def test_rf64(tmp_path: Path, said: int | None) -> None:
    recording = open_recording(file(tmp_path, rf64(PCM[16], said=said)))
    np.testing.assert_array_equal(read(recording)[:, 0], (NOISE / 32768).astype(np.float32))
    assert bool(recording.remark) == (said == 1000)  # no size at all is a pipe's


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 4096, 8192, FRAMES])
def test_flac_of_unknown_length(tmp_path: Path, frames: int, channels: int, subtype: str) -> None:
    """As a program writes it to a pipe; its last block was lost, and it was called damaged."""
    x = np.repeat((NOISE[:frames] / 32768)[:, None], channels, axis=1)
    path = tmp_path / "x.flac"
    soundfile.write(path, x, 16000, subtype=subtype)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO: total samples, of which 0 is "unknown"
    content[22:26] = bytes(4)
    path.write_bytes(content)
    recording = open_recording(path, channels=channels)
    assert recording.frames is None
    np.testing.assert_allclose(read(recording), x, atol=1e-7)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_that_was_cut_is_called_so(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.mp3"
    samples = soundfile.read(AUDIO, dtype="float32")[0][: 16000 * 12]
    with soundfile.SoundFile(path, "w", 16000, 1, format="MP3", bitrate_mode=mode) as made:
        made.write(samples)
    whole = read(open_recording(path))
    assert len(samples) <= len(whole) < len(samples) + 4000
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames = 0
    with pytest.raises(SignalError, match="is cut short"):
        for piece in open_recording(path).chunks:
            assert isinstance(piece, np.ndarray)
            frames += len(piece)
    assert frames > len(whole) / 2


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF", "W64"])
def test_other_containers_are_whole_or_say_that_they_are_not(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form.lower()}"
    soundfile.write(path, NOISE / 32768, 16000, format=form, subtype="PCM_16")
    np.testing.assert_allclose(read(open_recording(path))[:, 0], NOISE / 32768, atol=1e-7)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    try:
        recording = open_recording(path)
        frames = len(read(recording))
    except SignalError:
        return
    assert recording.remark.startswith("cut short") and frames > FRAMES // 3


def test_one_ear_hears_the_mean_of_all_channels(tmp_path: Path) -> None:
    speech = np.round(soundfile.read(AUDIO, dtype="float32")[0][: 5 * 16000] * 32767) / 32768
    right = np.stack([np.zeros_like(speech), speech], axis=1)
    soundfile.write(tmp_path / "x.wav", right, 16000)
    model = open_model("speech")
    recording = open_input(model, str(tmp_path / "x.wav"), ReadOptions())
    assert recording.channels == ("0+1",) and "mean of its 2 channels" in recording.remark
    np.testing.assert_allclose(read(recording)[:, 0], speech / 2, atol=1e-6)
    chosen = open_input(model, str(tmp_path / "x.wav"), ReadOptions(channels=["1"]))
    assert chosen.channels == ("1",) and chosen.remark == ""
    np.testing.assert_allclose(read(chosen)[:, 0], speech, atol=1e-6)
    ecg = open_input(open_model("ecg"), str(tmp_path / "x.wav"), ReadOptions())
    assert ecg.channels == ("0",) and not read(ecg).any()


LOUD_THEN_QUIET = np.random.default_rng(2).normal(0, 1, 48000) * np.where(np.arange(48000) < 8000, 0.3, 0.001)


def test_mp3_without_a_count_of_its_frames_is_read_to_its_end(tmp_path: Path) -> None:
    """Of a variable bit rate half was read, as a constant one would have had it; and a cut was not seen."""
    path = tmp_path / "x.mp3"
    soundfile.write(path, LOUD_THEN_QUIET, 16000, bitrate_mode="VARIABLE")
    whole, content = read(open_recording(path)), path.read_bytes()
    counted = content.index(b"Xing") - 13
    first = content.index(content[counted : counted + 2], counted + 1)
    bare = file(tmp_path, b"ID3\4\0\0\0\0\0\5tag: " + content[first:] + b"TAG".ljust(128), "bare.mp3")
    delay = 1105  # of an encoder and a decoder, which only a count lets go
    recording = open_recording(bare)
    values = read(recording)
    assert recording.frames == len(values) and len(values) >= len(whole) + delay and not recording.remark
    np.testing.assert_allclose(values[delay : delay + len(whole)], whole, atol=2e-4)
    cut = open_recording(file(tmp_path, content[first:-5], "cut.mp3"))
    assert len(read(cut)) == len(values) - 576 and "cut short: its last MPEG frame is not whole" in cut.remark


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_adpcm_in_a_wav_file_of_a_wrong_size_is_read_to_its_end(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, LOUD_THEN_QUIET, 16000, subtype=subtype)
    whole, content = read(open_recording(path)), path.read_bytes()
    at = content.index(b"data") + 4
    size = len(content) - at - 4
    for said in (0, 256, 1000, size // 2, 0xFFFFFFFF):
        recording = open_recording(file(tmp_path, content[:at] + struct.pack("<I", said) + content[at + 4 :]))
        np.testing.assert_array_equal(read(recording), whole)
        assert bool(recording.remark) == (said < 1 << 31)
    recording = open_recording(file(tmp_path, content[:-100]))
    values = read(recording)
    np.testing.assert_array_equal(values, whole[: len(values)])
    assert "cut short" in recording.remark and len(whole) - len(values) in (505, 500, 1017, 1012, 2041, 2036)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(("kind", "name", "size"), [("AIFF", b"SSND", 4), ("AU", b".snd", 4), ("CAF", b"data", 8)])
def test_other_headers_that_say_too_little_lose_nothing(
    tmp_path: Path, kind: str, name: bytes, size: int, subtype: str
) -> None:
    """They were read as far as the header said, without a word."""
    path = tmp_path / f"x.{kind.lower()}"
    soundfile.write(path, LOUD_THEN_QUIET, 16000, subtype=subtype, format=kind)
    whole, content = read(open_recording(path)), path.read_bytes()
    assert not open_recording(path).remark
    at = content.index(name) + (8 if kind == "AU" else 4)
    said = int.from_bytes(content[at : at + size], "big")
    for little in (0, 808, said // 2 // 12 * 12 + 8):
        changed = content[:at] + little.to_bytes(size, "big") + content[at + size :]
        recording = open_recording(file(tmp_path, changed, path.name))
        np.testing.assert_array_equal(read(recording), whole)
        assert "bytes of sound" in recording.remark and "read to the end of the file" in recording.remark
    cut = open_recording(file(tmp_path, content[:20000], path.name))
    assert "cut short" in cut.remark
    values = read(cut)
    np.testing.assert_array_equal(values, whole[: len(values)])


def test_a_cut_is_seen_in_the_last_page_of_ogg_and_in_rf64(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.ogg", LOUD_THEN_QUIET, 16000)
    content = (tmp_path / "x.ogg").read_bytes()
    assert not open_recording(tmp_path / "x.ogg").remark
    assert "cut short" in open_recording(file(tmp_path, content[:-1], "y.ogg")).remark
    assert "cut short" in open_recording(file(tmp_path, rf64(PCM[16])[:-100])).remark


def flac_that_says(path: Path, frames: int) -> None:
    """Into the 36 bits of STREAMINFO that are for all samples of a channel; 0 is "unknown"."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("frames", "said"), [(2, 1), (4096, 4095), (5000, 4096), (FRAMES, 1), (FRAMES, FRAMES - 1)])
def test_flac_holds_more_than_it_says(tmp_path: Path, frames: int, said: int, channels: int) -> None:
    """It was read short without a word."""
    x = np.repeat((NOISE[:frames] / 32768)[:, None], channels, axis=1)
    path = tmp_path / "x.flac"
    soundfile.write(path, x, 16000)
    flac_that_says(path, said)
    recording = open_recording(path, channels=channels)
    assert recording.frames == frames
    assert recording.remark == f"its header says {said:,} frames (more is there): read to the end of the file"
    np.testing.assert_allclose(read(recording), x, atol=1e-7)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(60)])
def test_flac_that_is_whole_is_not_called_cut(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, NOISE / 32768, 16000)
    path.write_bytes(path.read_bytes() + tag)
    recording = open_recording(path)
    assert recording.remark == "" and len(read(recording)) == FRAMES
    flac_that_says(path, 0)
    recording = open_recording(path)
    assert recording.remark == "" and len(read(recording)) == FRAMES


@pytest.mark.parametrize("lost", [1, 2, 100, 5000])
def test_flac_of_unknown_length_that_was_cut_is_called_so(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, NOISE / 32768, 16000)
    flac_that_says(path, 0)
    path.write_bytes(path.read_bytes()[:-lost])
    recording = open_recording(path)
    assert recording.remark == "cut short: its last block is not whole"
    got = read(recording)[:, 0]
    assert 0 < len(got) < FRAMES
    np.testing.assert_allclose(got, (NOISE / 32768)[: len(got)], atol=1e-7)
