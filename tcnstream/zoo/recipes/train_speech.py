"""The recipe of the shipped speech segmenter.

    python -m tcnstream.zoo.recipes.train_speech --cache DIR --out DIR

fetches recordings from Debian's archive into the cache, makes stems of them (``mixing.py``), trains the network of a
parameter file on the band levels of their mixtures (``blending.py``), and writes ``NAME.f32.tflite`` and
``NAME.i8.tflite`` with their cards. The front-end (``filterbank.py``) lies in the files: in the int8 file it computes
in float32, and a QUANTIZE follows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from tcnstream.zoo.recipes.architecture import Architecture, Step, units_of
from tcnstream.zoo.recipes.blending import HIGHEST_LEVEL, LOWEST_LEVEL, Blender, Filtered, Mix, Stems, filtered, joined
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.devices import Device, step_on
from tcnstream.zoo.recipes.filterbank import BANDS, FRAME_SAMPLES, RATE_HZ, TAPS, front_end, levels
from tcnstream.zoo.recipes.fitting import Log, Recipe, Trained, finished, fit, progress_bars, read_stages, require_keras
from tcnstream.zoo.recipes.frame_scores import auc, f1
from tcnstream.zoo.recipes.mixing import FRAME_HZ, LABELS, MUSIC, OTHER, SPEECH, Mixer
from tcnstream.zoo.recipes.separable import Network, to_keras
from tcnstream.zoo.recipes.speech_material import (
    VALIDATION_SONGS,
    Material,
    as_float,
    fetch,
    read_material,
    refuse_missing_tools,
    sources,
)

Floats = npt.NDArray[np.float32]

PARAMETERS = Path(__file__).resolve().parents[2] / "models" / "speech.params.json"
WINDOW_FRAMES = 200
MOST_IN_A_PART = 60
"""Windows of each kind that one process makes at a time."""
CHOSEN_WINDOWS = 200
"""Of recordings kept aside, to judge by."""
MUSIC_AS_SPEECH = 0.02
"""Of the frames of songs of packages that were never heard; of other such packages it may be twice as much."""
LAST = {
    "noise": Mix(speakers=(0.1, 0.78, 0.12), noise=0.95, music_db=(-3.0, 25.0), noise_db=(-8.0, 20.0)),
    "songs": Mix(speakers=(0.3, 0.58, 0.12), music=0.65, music_alone=0.85, noise=0.8, music_db=(0.0, 25.0)),
}
"""What comes last, each from the network of the first part on, before their mean is taken."""
MIN_DURATION_S = {"speech": 0.1, "music": 0.5}
MERGE_GAP_S = {"speech": 0.25, "music": 0.5}


_material: Material | None = None


def _use(material: Material) -> None:
    global _material
    _material = material


def _part(count: int, seed: int) -> tuple[Filtered, Filtered, Filtered]:
    assert _material is not None
    mixer = Mixer(_material, seed)
    speech, music, noise = (
        filtered([draw() for _ in range(count)]) for draw in (mixer.speech, mixer.music, mixer.noise)
    )
    return speech, music, noise


def made_stems(material: Material, parts: int, windows: int, seed: int, advance: Callable[[], object]) -> Stems:
    """So many parts of so many windows, by as many processes as there are processors; the same for the same seed."""
    seeds = [1000 * seed + part for part in range(parts)]
    made = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _use, (material,)) as pool:
        for part in pool.map(_part, [windows] * parts, seeds):
            made.append(part)
            advance()
    speech, music, noise = (joined(kind) for kind in zip(*made, strict=True))
    return Stems(speech, music, noise)


def cautious(trained: Trained, songs: Sequence[Floats]) -> Trained:
    """The same network, slower to say speech: of the frames of ``songs`` at most MUSIC_AS_SPEECH.

    ``songs`` are levels (frames, BANDS) of songs of packages that were never heard, as they are. The bias of speech
    goes down and that of music goes up by the same, and only if they must. Music alone would make music of much that
    is neither, and speech alone would lose more of it in noise.
    """
    ahead = []
    for song in songs:
        (logits,) = trained.network.predict(song[None], trained.parameters, trained.statistics)
        speech = logits[:, SPEECH]
        ahead.append(np.minimum((speech - logits[:, MUSIC]) / 2, speech - logits[:, OTHER]))
    if not ahead:
        return trained
    excess = max(0.0, float(np.quantile(np.concatenate(ahead), 1 - MUSIC_AS_SPEECH, method="lower")))
    parameters = trained.parameters.copy()
    bias = parameters[trained.network.parts["head.b"][0]]
    bias[SPEECH] -= excess
    bias[MUSIC] += excess
    return replace(trained, parameters=parameters)


def scores_of(trained: Trained, levels: Floats, label: npt.NDArray[np.int8]) -> dict[str, float]:
    """Float scores on windows that were kept aside, without the product's engine; for choosing."""
    logits = trained.network.predict(levels, trained.parameters, trained.statistics)
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    said, quiet, decided = label == SPEECH, label != SPEECH, logits.argmax(-1)
    music = (label == MUSIC) & ~said.any(axis=1, keepdims=True)
    return {
        "speech_auc": auc(share[..., SPEECH].ravel(), said.ravel()),
        "speech_f1": f1(decided == SPEECH, said),
        "music_auc_without_speech": auc(share[..., MUSIC][quiet], (label == MUSIC)[quiet]),
        "music_called_speech": float((decided == SPEECH)[music].mean()) if music.any() else 0.0,
        "accuracy": float((decided == label).mean()),
    }


def calibration(levels: Floats, seed: int, count: int = 300) -> Floats:
    """Windows (count, WINDOW_FRAMES, BANDS) for the ranges of int8; the first one has the lowest and highest level."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(levels.shape[1] - WINDOW_FRAMES, size=count)
    picked = rng.integers(len(levels), size=count)
    x = np.stack([levels[i, at : at + WINDOW_FRAMES] for i, at in zip(picked, starts, strict=True)])
    x[0, :2] = np.array([[LOWEST_LEVEL], [HIGHEST_LEVEL]])
    return x


def look_ahead_ms(network: Network) -> float:
    """Of the whole file: half of the filters' overlap, the frame itself, and the network's look-ahead."""
    samples = (TAPS + FRAME_SAMPLES) // 2 - 1 + FRAME_SAMPLES * network.look_ahead
    return samples * 1000 / RATE_HZ


def card_text(name: str, file: str, look_ahead: float, training: str, description: str) -> str:
    """The model card (see tcnstream.signal.card) without its quality, which the evaluation measures."""
    durations, gaps = (
        ", ".join(f"{label} = {seconds}" for label, seconds in rule.items()) for rule in (MIN_DURATION_S, MERGE_GAP_S)
    )
    return f"""name = "{name}"
file = "{file}"
description = "{description}"
rate_hz = {RATE_HZ:.1f}
units = "full scale"
labels = {json.dumps(LABELS)}
label_delay_frames = 0
look_ahead_ms = {look_ahead}
output = "logits"
training_data = "{training}"
licence = "Apache-2.0"

[segments]
background = "{LABELS[0]}"
min_duration_s = {{ {durations} }}
merge_gap_s = {{ {gaps} }}
"""


def write_models(trained: Trained, stages: list[Any], stems: Stems, name: str, out: Path, seed: int) -> None:
    """NAME.f32.tflite, NAME.i8.tflite and the cards NAME.f32.toml and NAME.toml (of the int8 file)."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from tcnstream.zoo.convert import to_tflite
    from tcnstream.zoo.recipes.chain import chain

    network = trained.network
    front = to_tflite(front_end(WINDOW_FRAMES))
    body = to_keras(stages, network.keras_weights(trained.parameters, trained.statistics), WINDOW_FRAMES)
    amount = f"{stems.hours:.1f} h each of voices, music and noise"
    training = f"Mixtures of {amount}; {sources()}; seed {seed}, {trained.steps} steps"
    heard = calibration(Blender(stems, seed).windows(CHOSEN_WINDOWS)[0], seed)
    for kind, card in (("f32", f"{name}.f32"), ("i8", name)):
        file = f"{name}.{kind}.tflite"
        if kind == "i8":
            content = to_tflite(body, quantize="int8", calibration=heard)
            about = "Speech, music or neither, 100 times a second of 16 kHz audio; float32 front-end, int8 network"
        else:
            content = to_tflite(body)
            about = "Speech, music or neither, 100 times a second of 16 kHz audio; float32"
        (out / file).write_bytes(chain(front, content))
        (out / f"{card}.toml").write_text(
            card_text(card, file, look_ahead_ms(network), training, about), encoding="utf-8"
        )


def main(
    cache: Annotated[Path, typer.Option(help="Where fetched recordings are kept; 2.4 GB.")],
    out: Annotated[Path, typer.Option(help="Where models, cards, weights and the log go.")],
    params: Annotated[Path, typer.Option(help="The network: a parameter file with stages.")] = PARAMETERS,
    name: Annotated[str, typer.Option(help="The name of the model.")] = "speech",
    hours: Annotated[float, typer.Option(help="Of voices, of music and of noise to mix.", min=0.01)] = 5.0,
    seed: Annotated[int, typer.Option(help="Of the weights and the mixtures.", min=0)] = 1,
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 24_000,
    stop: Annotated[int | None, typer.Option(help="End after so many of the steps.", min=1)] = None,
    last: Annotated[
        int, typer.Option(help="Steps of each of the last parts, whose mean is the network; 0: without them.", min=0)
    ] = 3_000,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, whatever the steps.", min=0.01)] = None,
    lanes: Annotated[int, typer.Option(help="Windows of 10 s per step.", min=1)] = 8,
    device: Annotated[
        Device, typer.Option(help="Where to train; auto: on an accelerator if JAX sees one.")
    ] = Device.AUTO,
) -> None:
    """Train the speech segmenter on recordings of Debian packages and write it as .tflite files with cards.

    Example: python -m tcnstream.zoo.recipes.train_speech --cache recordings --out models
    """
    console = Console(stderr=True)
    with told(console):
        recipe = Recipe(seed=seed, steps=steps, stop=stop, minutes=minutes, lanes=lanes, frames=1000)
        require_keras()
        _run(console, cache, out, params, name, hours, recipe, last, step_on(device))


def _run(
    console: Console,
    cache: Path,
    out: Path,
    params: Path,
    name: str,
    hours: float,
    recipe: Recipe,
    last: int,
    step: Callable[[Architecture], Step],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / f"{name}.log.jsonl")
    stages = read_stages(params)
    channels, units = units_of(stages)
    network = Network(channels, units, recipe.seed, BANDS, len(LABELS), step=step)
    refuse_missing_tools()
    fetch(cache)
    material = read_material(cache)
    console.print(f"training on: {network.step.name}", markup=False)
    log.write(
        recipe=asdict(recipe),
        params=json.loads(params.read_text(encoding="utf-8")),
        hours=hours,
        device=network.step.name,
    )
    with progress_bars(console) as progress:
        windows = max(1, round(hours * 3600 * FRAME_HZ / recipe.frames))
        parts, each = max(1, round(windows / MOST_IN_A_PART)), min(windows, MOST_IN_A_PART)
        task = progress.add_task("mixing", total=parts + 1, loss="")
        stems, kept_aside = (
            made_stems(material.split(aside), count, each, draw, lambda: progress.advance(task))
            for aside, count, draw in ((False, parts, recipe.seed), (True, 1, recipe.seed + 1))
        )
        task = progress.add_task("training", total=1.0, loss="")
        trained = fit(network, partial(Blender, stems), recipe, log, progress, task, out / f"{name}.npz")
        if last:
            of_parts = {part: partial(Blender, stems, mix=mix) for part, mix in LAST.items()}
            shorter = replace(recipe, steps=last, stop=None)
            trained = finished(trained, of_parts, shorter, log, progress, out / f"{name}.npz")
    unheard = [song for song in material.split(True).songs if song.source in VALIDATION_SONGS]
    trained = cautious(trained, [levels(as_float(song.samples)) for song in unheard])
    windows_aside = Blender(kept_aside, recipe.seed).windows(CHOSEN_WINDOWS)
    facts = {what: round(value, 4) for what, value in scores_of(trained, *windows_aside).items()}
    log.write(steps=trained.steps, kept_aside=facts)
    write_models(trained, stages, stems, name, out, recipe.seed)
    console.print(f"on recordings, voices and songs kept aside, float32: {facts}")
    console.print(f"written to {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
