"""Recordings for training the speech segmenter, from Debian's archive: voices, songs, synthetic voices.

Packages are fetched with ``apt-get download`` and unpacked into a cache folder; nothing is installed. G.722, the 16 kHz
form of Asterisk's prompts, is decoded by PyAV (extra ``train``); the synthetic voices are spoken by ``espeak-ng``.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.zoo.recipes.filterbank import RATE_HZ

Pcm = npt.NDArray[np.int16]

PROMPTS = {f"asterisk-core-sounds-{language}-g722": language for language in ("en", "es", "fr", "it", "ru")}
SONGS = ("asterisk-moh-opsound-g722", "extremetuxracer-data", "frozen-bubble-data", "lincity-ng-data")
PACKAGES = (*PROMPTS, *SONGS, "klettres-data", "alsa-utils")

VALIDATION_VOICES = {"klettres-hu", "klettres-nl", "klettres-tn", "espeak-de"}
VALIDATION_SONGS = {"macroform-the_simplicity", "02 - Robert van Herk - City Blues"}

_NO_SPEECH = re.compile(r"silence/|(^|/)(beep|beeperr|\w+-2tone|confbridge-(join|leave)|tt-monkeys)$")
_LEAST_S = 0.1
_SONG_S = 20.0
"""What is shorter is a jingle or a noise."""

# Article 1 of the Universal Declaration of Human Rights.
_TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos, dotados como están de razón.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft begabt.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. São dotados de razão.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są obdarzeni rozumem.",
}
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")


@dataclass(frozen=True, eq=False)
class Clip:
    """16-bit samples at RATE_HZ of one recording of ``source`` (a voice or a song)."""

    source: str
    name: str
    samples: Pcm


@dataclass(frozen=True)
class Material:
    """Clean speech by voice, and songs."""

    voices: dict[str, list[Clip]]
    songs: list[Clip]

    def split(self, validation: bool) -> Material:
        """The part to train on or the one kept aside: whole voices and songs, and every tenth recording of the rest."""
        voices = {
            voice: [c for c in clips if (voice in VALIDATION_VOICES or _tenth(c.name)) == validation]
            for voice, clips in self.voices.items()
        }
        songs = [song for song in self.songs if (song.name in VALIDATION_SONGS) == validation]
        return Material({voice: clips for voice, clips in voices.items() if clips}, songs)


def _tenth(name: str) -> bool:
    return zlib.crc32(name.encode()) % 10 == 0


def refuse_missing_tools() -> None:
    """What reading the material will need; said before hours are spent. Raises SignalError or MissingExtraError."""
    _decoder()
    if shutil.which("espeak-ng") is None:
        raise SignalError("the synthetic voices are spoken by espeak-ng, which is not here: apt-get install espeak-ng")


def fetch(cache: Path, packages: Iterable[str] = PACKAGES) -> None:
    """Fills ``cache`` with the unpacked ``packages`` that it lacks. Raises SignalError if that is not possible here."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SignalError(
                f"the recordings come from Debian's archive, and {tool} is not here: use a Debian machine"
            )
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if (cache / package).is_dir():
            continue
        for old in cache.glob(f"{package}_*.deb"):
            old.unlink()
        _run(["apt-get", "download", package], cache)
        (archive,) = cache.glob(f"{package}_*.deb")
        unpacked = cache / f"{package}.part"
        _run(["dpkg-deb", "-x", str(archive), str(unpacked)], cache)
        unpacked.rename(cache / package)
        archive.unlink()


def _run(command: list[str], folder: Path | None = None) -> bytes:
    made = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if made.returncode:
        raise SignalError(f"{' '.join(command)} failed: {made.stderr.decode(errors='replace').strip()[-300:]}")
    return made.stdout


def read_material(cache: Path) -> Material:
    """All recordings of the fetched packages, and the synthetic voices."""
    voices: dict[str, list[Clip]] = {}
    for clip in _spoken_clips(cache):
        voices.setdefault(clip.source, []).append(clip)
    return Material(voices, read_songs(cache))


def read_songs(cache: Path) -> list[Clip]:
    """The songs of the fetched packages."""
    clips = (clip for package in SONGS for clip in _clips(package, _files(cache, package, ".g722", ".ogg")))
    return [clip for clip in clips if len(clip.samples) > _SONG_S * RATE_HZ]


def _spoken_clips(cache: Path) -> Iterator[Clip]:
    for package, language in PROMPTS.items():
        yield from _clips(f"asterisk-{language}", _files(cache, package, ".g722"))
    for folder in sorted((cache / "klettres-data" / "usr" / "share" / "klettres").iterdir()):
        yield from _clips(f"klettres-{folder.name}", sorted(folder.rglob("*.ogg")))
    words = [path for path in _files(cache, "alsa-utils", ".wav") if path.stem != "Noise"]
    yield from _clips("alsa-utils", words)
    yield from _synthetic(cache / "espeak-ng")


def _files(cache: Path, package: str, *endings: str) -> list[Path]:
    found = sorted(path for path in (cache / package).rglob("*") if path.suffix in endings and path.is_file())
    if not found:
        raise SignalError(f"{cache / package} holds no recordings: delete that folder, and it is fetched again")
    return [path for path in found if not _NO_SPEECH.search(str(path.with_suffix("")))]


def _clips(source: str, paths: Iterable[Path]) -> Iterator[Clip]:
    for path in paths:
        samples = read_pcm(path)
        # The archive has some files without a sound in them.
        if len(samples) > _LEAST_S * RATE_HZ:
            yield Clip(source, path.stem, samples)


def read_pcm(path: Path) -> Pcm:
    """One channel at RATE_HZ, whatever the file's rate and channels."""
    if path.suffix == ".g722":
        return _decode_g722(path)
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SignalError(f"{path} cannot be read: {error}") from error
    return to_pcm(samples.mean(axis=1), rate_hz)


def to_pcm(samples: npt.NDArray[np.float32], rate_hz: float) -> Pcm:
    if rate_hz != RATE_HZ:
        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    return (samples * 32767).clip(-32768, 32767).astype(np.int16)


def as_float(samples: Pcm) -> npt.NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)


def _decoder() -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise MissingExtraError(f"G.722 is decoded by PyAV ({error}): pip install tcnstream[train]") from error


def _decode_g722(path: Path) -> Pcm:
    with _decoder().open(str(path), format="g722") as container:
        pieces = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate([np.zeros(0, np.int16), *pieces])


def _synthetic(folder: Path) -> Iterator[Clip]:
    """Every language in every variant, at speeds and pitches of their own."""
    folder.mkdir(exist_ok=True)

    def speak(number: int, language: str, variant: str) -> Clip:
        path = folder / f"{language}-{variant}.wav"
        if not path.is_file():
            manner = [
                "-s",
                str(120 + 37 * number % 90),
                "-p",
                str(20 + 29 * number % 60),
                "-v",
                f"{language}+{variant}",
            ]
            path.write_bytes(_mended(_run(["espeak-ng", *manner, "--stdout", _TEXTS[language]])))
        return Clip(f"espeak-{language}", path.stem, read_pcm(path))

    jobs = [(language, variant) for language in _TEXTS for variant in _VARIANTS]
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(speak, range(len(jobs)), *zip(*jobs, strict=True))


def _mended(wav: bytes) -> bytes:
    """What espeak-ng writes to a pipe says in its header that it is 2 GB long."""
    samples = np.frombuffer(wav[44 : len(wav) - len(wav) % 2], "<i2")
    rate_hz = int.from_bytes(wav[24:28], "little")
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()
