"""The speech recipe: the front-end, labels, mixing, scores, joining of files; the shipped models and their cards."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer
from helpers.contract import engines_here
from helpers.oracle import reference_kernels
from helpers.paths import AUDIO
from helpers.paths import MODELS as TEST_MODELS
from typer.testing import CliRunner

import tcnstream
from tcnstream.engines.base import ENGINES
from tcnstream.errors import MissingExtraError, ModelError, SignalError
from tcnstream.signal.card import MODELS, load_card, shipped_models
from tcnstream.signal.sources import open_recording
from tcnstream.tflite.graph import Graph, Op, Quantization, Tensor
from tcnstream.tflite.writer import write_model
from tcnstream.zoo.recipes.chain import chain
from tcnstream.zoo.recipes.filterbank import (
    BANDS,
    FLOOR,
    FRAME_SAMPLES,
    RATE_HZ,
    centres_hz,
    compressed,
    kernel,
    levels,
    pairs,
)

pytest.importorskip("scipy", reason="the recipe shapes noise and ranks scores with scipy")

from tcnstream.zoo.recipes import evaluate_speech, noises, speech_material
from tcnstream.zoo.recipes.blending import HIGHEST_LEVEL, LOWEST_LEVEL, Blender, Stems, filtered
from tcnstream.zoo.recipes.frame_scores import auc, f1
from tcnstream.zoo.recipes.mixing import (
    BRIDGED_S,
    FRAME_HZ,
    HANGOVER_S,
    LABELS,
    MUSIC,
    OTHER,
    SPEECH,
    Mixer,
    active,
    frame_db,
    hung_over,
    level,
)
from tcnstream.zoo.recipes.speech_material import Clip, Material, fetch, read_pcm, to_pcm

SHIPPED = [name for name in shipped_models() if name.startswith("speech")]
shipped = pytest.mark.skipif(not SHIPPED, reason="no speech model is shipped in this checkout")


def tone(hz: float, seconds: float, amplitude: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def test_a_tone_is_loudest_in_its_band_and_of_level_1() -> None:
    assert kernel().shape == (200, 2 * BANDS)
    loudest = []
    for hz in (150.0, 500.0, 1000.0, 2500.0, 6500.0):
        middle = levels(tone(hz, 1))[10:-10].mean(axis=0)
        loudest.append(int(middle.argmax()))
        assert 0.85 < middle.max() < 1.1
    assert loudest == sorted(set(loudest))


def test_levels_are_a_quarter_power_with_a_floor() -> None:
    np.testing.assert_allclose(levels(np.zeros(1600, np.float32)), FLOOR**0.125, rtol=1e-6)
    loud, soft = (levels(tone(1000, 1, amplitude))[50].max() for amplitude in (0.8, 0.05))
    assert loud / soft == pytest.approx(16**0.25, rel=1e-3)


def test_frames_are_centred_on_their_samples() -> None:
    x = np.zeros(3200, np.float32)
    x[10 * FRAME_SAMPLES + FRAME_SAMPLES // 2] = 1
    heard = levels(x).mean(axis=1)
    assert len(heard) == 20 and heard.argmax() == 10
    assert np.allclose(heard[[9, 11]], heard[0])


def test_energy_is_in_decibels_of_full_scale() -> None:
    db = frame_db(tone(1000, 1, 0.1))
    assert db.shape == (100,) and np.allclose(db[2:-2], -23.0, atol=0.05)
    assert (frame_db(np.zeros(1000, np.float32)) < -110).all()


def test_pauses_are_bridged_and_ends_hang_over() -> None:
    loud = np.zeros(200, bool)
    loud[20:40] = loud[50:60] = loud[120:130] = True
    spoken = hung_over(loud)
    bridged, hang = round(BRIDGED_S * FRAME_HZ), round(HANGOVER_S * FRAME_HZ)
    assert bridged < 60 and hang == 5
    expected = np.zeros(200, bool)
    expected[20 : 60 + hang] = expected[120 : 130 + hang] = True
    np.testing.assert_array_equal(spoken, expected)
    assert not hung_over(np.zeros(9, bool)).any() and hung_over(np.ones(9, bool)).all()


def test_labels_come_from_energy_however_loud_the_recording_is() -> None:
    rng = np.random.default_rng(0)
    clean = np.concatenate([np.zeros(16000), rng.normal(0, 0.2, 16000), np.zeros(16000)]).astype(np.float32)
    expected = np.zeros(300, bool)
    expected[100:205] = True
    for gain in (1.0, 0.01):
        for hum in (0.0, 0.002):
            spoken = active((gain * (clean + hum * rng.normal(0, 1, len(clean)))).astype(np.float32))
            assert np.abs(spoken.astype(int) - expected).sum() <= 4, (gain, hum)
    assert len(active(np.zeros(0, np.float32))) == 0 and not active(np.zeros(1600, np.float32)).any()


@pytest.fixture
def material() -> Material:
    """Two voices that hum with pauses, songs that are tones, and a sound."""
    t = np.arange(int(1.5 * RATE_HZ)) / RATE_HZ
    word = 0.3 * np.sin(2 * np.pi * 200 * t) * ((t > 0.2) & (t < 1.3))
    voices = {
        voice: [Clip(voice, f"{voice}-{n}", to_pcm(word.astype(np.float32), RATE_HZ)) for n in range(30)]
        for voice in ("asterisk-en", "klettres-nl")
    }
    names = ["macroform-the_simplicity", *(f"song {n}" for n in range(20))]
    songs = [Clip("s", name, to_pcm(tone(3000, 30, 0.3), RATE_HZ)) for name in names]
    songs += [Clip("xmoto-data", f"race {n}", to_pcm(tone(3000, 30, 0.3), RATE_HZ)) for n in range(2)]
    sounds = [Clip("k", f"knock {n}", to_pcm(tone(900, 0.2, 0.3), RATE_HZ)) for n in range(20)]
    return Material(voices, songs, sounds)


def test_whole_voices_songs_and_recordings_are_kept_aside(material: Material) -> None:
    train, aside = material.split(False), material.split(True)
    names = [{clip.name for clips in part.voices.values() for clip in clips} for part in (train, aside)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 60
    assert "klettres-nl" not in train.voices and len(aside.voices["klettres-nl"]) == 30
    assert 0 < len(aside.voices["asterisk-en"]) < 10
    assert [song.name for song in aside.songs if song.source == "xmoto-data"] == ["race 0", "race 1"]
    for kind, count in (("songs", 22), ("sounds", 20)):
        parts = [{clip.name for clip in getattr(part, kind)} for part in (train, aside)]
        assert parts[0] and parts[1] and not parts[0] & parts[1] and len(parts[0] | parts[1]) == count
        # Neither learns from what the evaluation plays.
        assert not (parts[0] | parts[1]) & speech_material.EVALUATION_SONGS


def test_of_a_long_song_some_stretches_are_read(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    ramp = np.linspace(-0.9, 0.9, 200 * RATE_HZ, dtype=np.float32)
    soundfile.write(tmp_path / "long.wav", ramp, RATE_HZ)
    soundfile.write(tmp_path / "short.wav", ramp[: 30 * RATE_HZ], RATE_HZ)
    kept, whole = (speech_material.stretches(tmp_path / f"{name}.wav") for name in ("long", "short"))
    assert len(kept) == 75 * RATE_HZ and len(whole) == 30 * RATE_HZ
    expected = to_pcm(ramp, RATE_HZ)
    for part, at in ((slice(1000), 0), (slice(-1000, None), len(ramp) - 1000)):
        assert np.abs(kept[part] - expected[at : at + 1000].astype(int)).max() <= 1


def test_stems_follow_their_seed_and_have_one_level(material: Material) -> None:
    first, again, other = (Mixer(material, seed, 4.0) for seed in (1, 1, 2))
    for draw in ("speech", "music", "noise") * 4:
        stem, same = getattr(first, draw)(), getattr(again, draw)()
        np.testing.assert_array_equal(stem.signal, same.signal)
        np.testing.assert_array_equal(stem.sounds, same.sounds)
        assert stem.signal.shape == (64000,) and stem.sounds.shape == (400,) and stem.signal.dtype == np.float32
        assert not stem.sounds.any() or level(stem.signal, stem.sounds) == pytest.approx(1, rel=1e-4)
        assert stem.sounds.all() or draw != "noise"
    assert not np.array_equal(first.speech().signal, other.speech().signal)


def stems_of(material: Material, seed: int, count: int = 12) -> Stems:
    mixer = Mixer(material, seed, 4.0)
    kinds = (mixer.speech, mixer.music, mixer.noise)
    return Stems(*(filtered([draw() for _ in range(count)]) for draw in kinds))


def test_filtered_stems_add_up_to_the_filtered_mixture(material: Material) -> None:
    mixer = Mixer(material, 3, 4.0)
    speech, music = mixer.speech().signal, mixer.music().signal
    together = compressed(pairs(speech) + np.float32(0.1) * pairs(music))
    np.testing.assert_allclose(together, levels(speech + np.float32(0.1) * music), rtol=1e-3, atol=1e-3)


def test_windows_follow_their_seed_and_hold_every_label(material: Material) -> None:
    stems = stems_of(material, 1)
    assert stems.hours == pytest.approx(12 * 4 / 3600)
    first, again, other = (Blender(stems, seed) for seed in (1, 1, 2))
    x, target, weight = first.draw(24)
    for made, same in zip((x, target, weight), again.draw(24), strict=True):
        np.testing.assert_array_equal(made, same)
    assert x.shape == (24, 400, BANDS) and target.shape == (24, 400, 3) and weight.shape == (24, 400)
    assert x.dtype == np.float32 and np.float32(LOWEST_LEVEL) <= x.min() and x.max() <= np.float32(HIGHEST_LEVEL)
    assert not np.array_equal(x, other.draw(24)[0])
    np.testing.assert_array_equal(target.sum(axis=-1), 1)
    assert {int(label) for label in target.argmax(-1).ravel()} == {OTHER, SPEECH, MUSIC}


def test_labels_stay_on_the_speech_in_the_mixture(material: Material) -> None:
    blender = Blender(stems_of(material, 5, 30), 5)
    hum = int(np.abs(centres_hz() - 200).argmin())
    louder = []
    for x, label in zip(*blender.windows(60), strict=True):
        spoken = label == SPEECH
        if 40 < spoken.sum() < 360 and not (label == MUSIC).any():
            louder.append(float(np.median(x[spoken, hum]) - np.median(x[~spoken, hum])))
    # Labels off by a second would give 0 on average; the hum is a level of 0.1 or more above the noise.
    assert len(louder) > 5 and np.mean(louder) > 0.05


@pytest.mark.parametrize("make", [*dict.fromkeys(noises.NOISES), noises.noise, noises.tune])
def test_noises_are_finite_sounds(make: noises.Callable[[np.random.Generator, int], np.ndarray]) -> None:
    for seed in range(3):
        x = make(np.random.default_rng(seed), 80000)
        assert x.shape == (80000,) and x.dtype == np.float32 and np.isfinite(x).all() and x.std() > 0


def test_a_room_begins_with_the_direct_sound() -> None:
    response = noises.room(np.random.default_rng(3))
    assert response[0] == 1 and not response[1:16].any() and 0 < np.abs(response[16:]).max() < 1


def test_scores() -> None:
    truth = np.array([True, True, False, False])
    assert auc([4, 3, 2, 1], truth) == 1 and auc([1, 2, 3, 4], truth) == 0 and auc([1, 1, 1, 1], truth) == 0.5
    assert auc([3, 1, 2, 0], truth) == 0.75 and np.isnan(auc([1, 2], np.array([True, True])))
    assert f1(np.array([True, False, True, False]), truth) == 0.5 and f1(~truth & truth, ~truth & truth) == 0


def test_a_reference_counts_frames_by_their_middle(tmp_path: Path) -> None:
    (tmp_path / "x.rttm").write_text(
        "SPEAKER x 1 0.100 0.050 <NA> <NA> a <NA> <NA>\nSPEAKER x 1 0.146 0.02 <NA> <NA> b <NA> <NA>\n\n;; note\n"
    )
    spoken = evaluate_speech.read_rttm(tmp_path / "x.rttm", 30)
    assert np.flatnonzero(spoken).tolist() == [10, 11, 12, 13, 14, 15, 16]


def test_what_is_mixed_on_top_has_the_asked_level() -> None:
    rng = np.random.default_rng(0)
    spoken = np.zeros(100, bool)
    spoken[20:60] = True
    signal = np.where(np.repeat(spoken, FRAME_SAMPLES), rng.normal(0, 0.1, 16000), 0).astype(np.float32)
    mixed = evaluate_speech._on_top(evaluate_speech.Judged(signal, spoken), rng.normal(0, 3, 16000), 10)
    added = level(mixed.signal - signal, np.ones(100, bool))
    assert 20 * np.log10(level(signal, spoken) / added) == pytest.approx(10, abs=0.1)
    np.testing.assert_array_equal(mixed.spoken, spoken)


def test_recordings_are_read_at_16_khz_as_one_channel(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    both = np.stack([tone(440, 0.5, 0.5), np.zeros(8000, np.float32)], axis=1)
    soundfile.write(tmp_path / "x.wav", both, RATE_HZ)
    assert np.abs(read_pcm(tmp_path / "x.wav") / 32767 - tone(440, 0.5, 0.25)).max() < 1e-3
    (tmp_path / "y.wav").write_bytes(b"no")
    with pytest.raises(SignalError, match=r"y\.wav cannot be read"):
        read_pcm(tmp_path / "y.wav")


@pytest.mark.parametrize(("ending", "form"), [("ogg", "VORBIS"), ("opus", "OPUS"), ("wav", "PCM_16")])
def test_a_song_is_read_in_any_of_its_packages_codings(ending: str, form: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path / "wesnoth-1.16-music"
    folder.mkdir()
    for name, seconds in (("song", 21.0), ("jingle", 2.0), ("rain", 22.0)):
        with (folder / f"{name}.{ending}").open("wb") as file:
            container = "WAV" if ending == "wav" else "OGG"
            soundfile.write(file, tone(440, seconds, 0.3), RATE_HZ, format=container, subtype=form)
    (song,) = speech_material.read_songs(tmp_path, ["wesnoth-1.16-music"])
    assert song.name == "song" and len(song.samples) == pytest.approx(21 * RATE_HZ, rel=0.01)


def test_every_source_has_its_licence() -> None:
    assert set(speech_material.LICENCES) == set(speech_material.PACKAGES)
    said = speech_material.sources()
    aside = speech_material.VALIDATION_VOICES | speech_material.VALIDATION_SONGS
    assert all(f"{p} ({speech_material.LICENCES[p]})" in said for p in speech_material.PACKAGES if p not in aside)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignalError, match=r"asterisk-moh-opsound-g722 holds no recordings: delete that folder"):
        speech_material.read_songs(tmp_path, speech_material.SONGS)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]"):
        read_pcm(tmp_path / "x.g722")
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(SignalError, match="apt-get is not here"):
        fetch(tmp_path)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]"):
        speech_material.refuse_missing_tools()
    monkeypatch.setitem(sys.modules, "av", ModuleType("av"))
    with pytest.raises(SignalError, match="apt-get install espeak-ng"):
        speech_material.refuse_missing_tools()


def test_fetching_unpacks_each_package_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(command: list[str], folder: Path | None = None) -> bytes:
        calls.append(command[0])
        assert folder is not None
        if command[0] == "apt-get":
            (folder / f"{command[2]}_1.0_all.deb").write_bytes(b"")
        else:
            (Path(command[3]) / "usr").mkdir(parents=True)
            with zipfile.ZipFile(Path(command[3]) / "usr" / "music.pk3", "w") as files:
                files.writestr("base/song.ogg", "x")
        return b""

    monkeypatch.setattr(speech_material, "_run", run)
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    for _ in range(2):
        fetch(tmp_path / "cache", ["one", "two"])
    assert calls == ["apt-get", "dpkg-deb"] * 2
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["one", "two"]
    assert (tmp_path / "cache" / "one" / "usr" / "music" / "base" / "song.ogg").read_text() == "x"


def test_a_failed_tool_is_quoted() -> None:
    with pytest.raises(SignalError, match=r"^sh -c echo no >&2; exit 3 failed: no$"):
        speech_material._run(["sh", "-c", "echo no >&2; exit 3"])


def test_two_files_become_one_with_a_quantize_between() -> None:
    shape, real, whole = (1, 8, 2), np.dtype(np.float32), np.dtype(np.int8)
    steps = Quantization(np.array([0.5], np.float32), np.array([-3], np.int64))
    square = Graph((Tensor("x", shape, real), Tensor("y", shape, real)), (Op("SQUARE", (0,), (1,)),), (0,), (1,))
    ends = (Tensor("y", shape, whole, steps), Tensor("z", shape, whole, steps))
    rectified = Graph(ends, (Op("RELU", (0,), (1,)),), (0,), (1,))
    first, second = write_model([square]), write_model([rectified])
    x = np.array([[-3, 0.4], [1, 2], [0.5, 100], [0, 1.1]], np.float32)

    def through(content: bytes) -> np.ndarray:
        stream = tcnstream.load(content).stream("reference")
        return np.concatenate([stream.push(x), stream.flush()])

    np.testing.assert_array_equal(through(chain(first, second)), [[15, -3], [-1, 5], [-2, 127], [-3, -1]])
    np.testing.assert_allclose(through(chain(first, first)), x**4, rtol=1e-6)


def test_files_that_do_not_fit_are_refused() -> None:
    one, other = ((TEST_MODELS / f"{name}.tflite").read_bytes() for name in ("nse_lg.i8", "spectro.f32"))
    with pytest.raises(ModelError, match="chain: the first model gives int8"):
        chain(one, other)


@shipped
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_says_what_its_model_does(name: str) -> None:
    card = load_card(MODELS / f"{name}.toml")
    model = tcnstream.load(MODELS / card.file)
    assert card.labels == LABELS and card.rate_hz == RATE_HZ and model.outputs[0].rate * RATE_HZ == FRAME_HZ
    assert card.look_ahead_ms == model.delay * 1000 / RATE_HZ <= 100
    assert sum(t.data.size for t in model.graph.tensors if t.data is not None) <= 150_000
    assert str(model.outputs[0].dtype) == ("float32" if name.endswith("f32") else "int8")
    assert card.quality["pyannote_sample"]["auc"] > 0.98


@shipped
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_keep_the_contract_on_audio(name: str, engine: str) -> None:
    card = load_card(MODELS / f"{name}.toml")
    content = (MODELS / card.file).read_bytes()
    model = tcnstream.load(content)
    if engine not in engines_here(model):
        pytest.skip(f"the {engine} engine is not here")
    samples = np.concatenate(list(open_recording(AUDIO).chunks))
    window = samples[14 * RATE_HZ :][: model.window_frames]
    (expected,) = reference_kernels(content, [window[None]])
    stream = model.stream(engine)
    for size in (1, 160, 333, len(window)):
        stream.reset()
        made = [stream.push(window[at : at + size]) for at in range(0, len(window), size)]
        got = np.concatenate([*made, stream.flush()])
        if got.dtype == np.int8:
            np.testing.assert_array_equal(got, expected[0])
        else:
            assert (np.abs(got - expected[0]) <= 1e-5 * np.maximum(1, np.abs(expected[0]))).all()


@shipped
def test_the_front_end_of_training_is_that_of_the_file() -> None:
    card = load_card(MODELS / "speech.f32.toml")
    graph = tcnstream.load(MODELS / card.file).graph
    filters = next(t.data for t in graph.tensors if t.data is not None and t.data.size == kernel().size)
    np.testing.assert_array_equal(np.squeeze(filters), kernel().T)


@shipped
def test_the_evaluation_is_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    samples = np.concatenate(list(open_recording(AUDIO).chunks))[: 8 * RATE_HZ, 0]
    spoken = np.zeros(800, bool)
    spoken[100:400] = True
    monkeypatch.setattr(evaluate_speech, "read_sets", lambda cache: {"demo": [evaluate_speech.Judged(samples, spoken)]})
    fake = ModuleType("webrtcvad")
    fake.Vad = lambda mode: type("Vad", (), {"is_speech": lambda self, frame, rate_hz: len(frame) == 320})()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "webrtcvad", fake)
    app = typer.Typer()
    app.command()(evaluate_speech.main)
    call = ["--cache", str(tmp_path), "--peer", "webrtcvad"]
    result = CliRunner().invoke(app, [*call, "--json"])
    rows = json.loads(result.stdout)
    assert result.exit_code == 0 and list(rows)[:2] == ["`speech`", "`speech.f32`"]
    assert rows["`speech`"]["demo"]["auc"] > 0.97 and rows["webrtcvad, mode 3"]["demo"]["auc"] == 0.5
    assert rows["webrtcvad, mode 0"]["demo"]["f1"] == pytest.approx(2 * 300 / 1100)
    for option in ("--markdown", "--engine=interpreter"):
        table = CliRunner().invoke(app, [*call, option])
        assert table.exit_code == 0 and "0.5000 / 0.5455" in table.stdout
    monkeypatch.setattr(
        evaluate_speech, "read_songs_alone", lambda cache: {"demo": [samples, np.zeros(16000, np.float32)]}
    )
    played = CliRunner().invoke(app, [*call, "--songs", "--json"])
    shares = json.loads(played.stdout)
    assert 0.1 < shares["`speech`"]["demo"] < 0.3 and shares["webrtcvad, mode 3"]["demo"] == 1
    table = CliRunner().invoke(app, [*call, "--songs", "--markdown"])
    assert table.stdout.startswith("| of music alone | demo |\n|---|--:|\n") and "| 100.0 % |" in table.stdout
    refused = CliRunner().invoke(app, ["--cache", str(tmp_path), "--peer", "ear"])
    assert refused.exit_code == 2 and "choose from webrtcvad, silero-vad" in " ".join(refused.stderr.split())
    refused = CliRunner().invoke(app, ["--cache", str(tmp_path), "--model", "ecg"])
    assert refused.exit_code == 2 and "is not a speech segmenter" in " ".join(refused.stderr.split())


def test_a_parameter_file_keeps_the_limits() -> None:
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import read_stages

    channels, units = units_of(read_stages(MODELS / "speech.params.json"))
    assert FRAME_SAMPLES * sum(unit.look_ahead for unit in units) + 180 <= 1600
    assert kernel().size + channels * BANDS + sum(channels * (channels + unit.taps + 8) for unit in units) < 150_000


def test_a_cautious_network_calls_little_music_speech(material: Material) -> None:
    pytest.importorskip("typer", reason="the recipe is a command")
    from tcnstream.zoo.recipes import train_speech
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import Trained, read_stages
    from tcnstream.zoo.recipes.separable import Network

    channels, units = units_of(read_stages(MODELS / "speech.params.json"))
    network = Network(channels, units, 1, BANDS, len(LABELS))
    x, _ = Blender(stems_of(material, 5), 5).windows(30)
    statistics = network.measure(x, network.parameters)
    parameters = network.parameters.copy()
    parameters[network.parts["head.b"][0]][SPEECH] += 2
    eager = Trained(network, parameters, statistics, 1)
    rng = np.random.default_rng(5)
    songs = [levels(noises.tune(rng, 6 * RATE_HZ)) for _ in range(8)]
    calm = train_speech.cautious(eager, songs)

    def called_speech(trained: Trained) -> float:
        logits = [network.predict(song[None], trained.parameters, statistics) for song in songs]
        return float((np.concatenate(logits, axis=1).argmax(-1) == SPEECH).mean())

    assert called_speech(eager) > 0.1
    assert called_speech(calm) == pytest.approx(train_speech.MUSIC_AS_SPEECH, abs=0.002)
    moved = calm.parameters != parameters
    bias = (calm.parameters - parameters)[network.parts["head.b"][0]]
    assert moved.sum() == 2 and bias[SPEECH] < 0 and bias[MUSIC] == pytest.approx(-bias[SPEECH], rel=1e-5)
    again = train_speech.cautious(calm, songs)
    np.testing.assert_allclose(again.parameters, calm.parameters, atol=1e-3)


def test_a_training_stops_within_its_schedule(material: Material, tmp_path: Path) -> None:
    from functools import partial

    from rich.console import Console

    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import Log, Recipe, fit, progress_bars, read_stages
    from tcnstream.zoo.recipes.separable import Network

    channels, units = units_of(read_stages(MODELS / "speech.params.json"))
    windows = partial(Blender, stems_of(material, 5))
    with progress_bars(Console(stderr=True)) as progress:
        task = progress.add_task("training", total=1.0, loss="")
        whole, part = (
            fit(
                Network(channels, units, 1, BANDS, len(LABELS)),
                windows,
                Recipe(steps=steps, stop=stop, lanes=2, frames=400),
                Log(tmp_path / "log"),
                progress,
                task,
            )
            for steps, stop in ((3, None), (1000, 3))
        )
    assert whole.steps == part.steps == 3
    # The rates of the two schedules are not the same.
    assert not np.array_equal(whole.parameters, part.parameters)


@pytest.mark.train
def test_the_recipe_is_one_command(material: Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of it in miniature, on recordings that are made here: 72 s of mixtures, 3 s of training."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow (extra `train`)")
    from tcnstream.zoo.recipes import train_speech

    fetched: list[Path] = []
    monkeypatch.setattr(train_speech, "refuse_missing_tools", lambda: None)
    monkeypatch.setattr(train_speech, "fetch", fetched.append)
    monkeypatch.setattr(train_speech, "read_material", lambda cache: material)
    app = typer.Typer()
    app.command()(train_speech.main)
    folders = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*folders, "--hours=0.02", "--minutes=0.05", "--last=2", "--name=tiny"])
    assert result.exit_code == 0, result.stderr
    assert fetched == [tmp_path / "cache"] and "kept aside" in result.stderr
    for name, dtype in (("tiny", "int8"), ("tiny.f32", "float32")):
        card = load_card(tmp_path / "out" / f"{name}.toml")
        model = tcnstream.load(tmp_path / "out" / card.file)
        assert card.labels == LABELS and card.look_ahead_ms == model.delay * 1000 / RATE_HZ
        stream = model.stream()
        made = np.concatenate([stream.push(tone(440, 1)[:, None]), stream.flush()])
        assert made.shape == (100, 3) and made.dtype == dtype
    facts = [json.loads(line) for line in (tmp_path / "out" / "tiny.log.jsonl").read_text().splitlines()]
    assert [fact["last"] for fact in facts if "last" in fact] == list(train_speech.LAST)
    assert facts[0]["hours"] == 0.02 and facts[-1]["steps"] > 4 and 0 <= facts[-1]["kept_aside"]["accuracy"] <= 1
    refused = CliRunner().invoke(app, [*folders, f"--params={tmp_path / 'none.json'}"])
    assert refused.exit_code == 2 and "is not a parameter file" in " ".join(refused.stderr.split())
