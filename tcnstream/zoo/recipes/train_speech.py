"""The recipe of the shipped speech segmenter.

    python -m tcnstream.zoo.recipes.train_speech --cache DIR --out DIR

fetches recordings from Debian's archive into the cache, mixes them (``mixing.py``), trains the network of a parameter
file on the band levels of the mixtures, and writes ``NAME.f32.tflite`` and ``NAME.i8.tflite`` with their cards. The
front-end (``filterbank.py``) lies in the files: in the int8 file it computes in float32, and a QUANTIZE follows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.filterbank import BANDS, FLOOR, FRAME_SAMPLES, RATE_HZ, TAPS, front_end, levels
from tcnstream.zoo.recipes.fitting import Log, Recipe, Trained, fit, progress_bars, read_stages, require_keras
from tcnstream.zoo.recipes.frame_scores import auc, f1
from tcnstream.zoo.recipes.mixing import FRAME_HZ, LABELS, MUSIC, SPEECH, Mixer
from tcnstream.zoo.recipes.separable import Network, to_keras, units_of
from tcnstream.zoo.recipes.speech_material import Material, fetch, read_material, refuse_missing_tools

Floats = npt.NDArray[np.float32]

PARAMETERS = Path(__file__).resolve().parents[2] / "models" / "speech.params.json"
WINDOW_FRAMES = 200
MOST_IN_A_PART = 150
"""Windows that one process mixes at a time."""
LOWEST_LEVEL, HIGHEST_LEVEL = FLOOR**0.125, 1.2
MIN_DURATION_S = {"speech": 0.1, "music": 0.5}
MERGE_GAP_S = {"speech": 0.25, "music": 0.5}


@dataclass(frozen=True, eq=False)
class Mixtures:
    """``levels`` (windows, frames, BANDS) float16, ``label`` int8 and ``weight`` float16 (windows, frames)."""

    levels: npt.NDArray[np.float16]
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float16]


class MixtureWindows:
    """Batches of mixtures, each time a little louder or softer and through another device."""

    def __init__(self, mixtures: Mixtures, seed: int) -> None:
        self._mixtures = mixtures
        self._rng = np.random.default_rng(seed)

    def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
        """``(x, target, weight)``: (lanes, frames, BANDS), (lanes, frames, labels), (lanes, frames)."""
        rng, mixtures = self._rng, self._mixtures
        picked = rng.integers(len(mixtures.label), size=lanes)
        gain = rng.uniform(-0.25, 0.25, (lanes, 1, 1)) + rng.normal(0, 0.02, (lanes, 1, BANDS)).cumsum(axis=2)
        x = np.maximum(mixtures.levels[picked] * np.exp(gain), LOWEST_LEVEL).astype(np.float32)
        target = np.eye(len(LABELS), dtype=np.float32)[mixtures.label[picked]]
        return x, target, mixtures.weight[picked].astype(np.float32)


_material: Material | None = None


def _use(material: Material) -> None:
    global _material
    _material = material


def _mixed_part(count: int, seed: int) -> Mixtures:
    assert _material is not None
    mixer = Mixer(_material, seed)
    windows = [mixer.draw() for _ in range(count)]
    return Mixtures(
        np.stack([levels(window.signal) for window in windows]).astype(np.float16),
        np.stack([window.label for window in windows]),
        np.stack([window.weight for window in windows]).astype(np.float16),
    )


def mixed(material: Material, parts: int, windows: int, seed: int) -> Iterator[Mixtures]:
    """So many parts of so many windows, by as many processes as there are processors; the same for the same seed."""
    seeds = [1000 * seed + part for part in range(parts)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _use, (material,)) as pool:
        yield from pool.map(_mixed_part, [windows] * parts, seeds)


def joined(parts: list[Mixtures]) -> Mixtures:
    return Mixtures(
        np.concatenate([part.levels for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )


def scores_of(trained: Trained, mixtures: Mixtures) -> dict[str, float]:
    """Float scores on mixtures that were kept aside, without the product's engine; for choosing."""
    x = mixtures.levels.astype(np.float32)
    logits = trained.network.predict(x, trained.parameters, trained.statistics)
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    said, quiet = mixtures.label == SPEECH, mixtures.label != SPEECH
    return {
        "speech_auc": auc(share[..., SPEECH].ravel(), said.ravel()),
        "speech_f1": f1(logits.argmax(-1) == SPEECH, said),
        "music_auc_without_speech": auc(share[..., MUSIC][quiet], (mixtures.label == MUSIC)[quiet]),
        "accuracy": float((logits.argmax(-1) == mixtures.label).mean()),
    }


def calibration(mixtures: Mixtures, seed: int, count: int = 300) -> Floats:
    """Windows (count, WINDOW_FRAMES, BANDS) for the ranges of int8; the first one has the lowest and highest level."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(mixtures.label.shape[1] - WINDOW_FRAMES, size=count)
    picked = rng.integers(len(mixtures.label), size=count)
    windows = [mixtures.levels[i, at : at + WINDOW_FRAMES] for i, at in zip(picked, starts, strict=True)]
    x = np.clip(np.stack(windows).astype(np.float32), LOWEST_LEVEL, HIGHEST_LEVEL)
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


def write_models(trained: Trained, stages: list[Any], mixtures: Mixtures, name: str, out: Path, seed: int) -> None:
    """NAME.f32.tflite, NAME.i8.tflite and the cards NAME.f32.toml and NAME.toml (of the int8 file)."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from tcnstream.zoo.convert import to_tflite
    from tcnstream.zoo.recipes.chain import chain

    network = trained.network
    front = to_tflite(front_end(WINDOW_FRAMES))
    body = to_keras(stages, network.keras_weights(trained.parameters, trained.statistics), WINDOW_FRAMES)
    hours = mixtures.label.size / FRAME_HZ / 3600
    training = (
        f"{hours:.1f} h of mixtures of asterisk-core-sounds-en, -es, -fr, -it, -ru, klettres-data, alsa-utils, "
        f"espeak-ng, asterisk-moh-opsound, extremetuxracer-data, frozen-bubble-data, lincity-ng-data, made noise; "
        f"seed {seed}, {trained.steps} steps"
    )
    for kind, card in (("f32", f"{name}.f32"), ("i8", name)):
        file = f"{name}.{kind}.tflite"
        if kind == "i8":
            content = to_tflite(body, quantize="int8", calibration=calibration(mixtures, seed))
            about = "Speech, music or neither, 100 times a second of 16 kHz audio; float32 front-end, int8 network"
        else:
            content = to_tflite(body)
            about = "Speech, music or neither, 100 times a second of 16 kHz audio; float32"
        (out / file).write_bytes(chain(front, content))
        (out / f"{card}.toml").write_text(
            card_text(card, file, look_ahead_ms(network), training, about), encoding="utf-8"
        )


def main(
    cache: Annotated[Path, typer.Option(help="Where fetched recordings are kept; a few hundred MB.")],
    out: Annotated[Path, typer.Option(help="Where models, cards, weights and the log go.")],
    params: Annotated[Path, typer.Option(help="The network: a parameter file with stages.")] = PARAMETERS,
    name: Annotated[str, typer.Option(help="The name of the model.")] = "speech",
    hours: Annotated[float, typer.Option(help="Of mixtures to train on.", min=0.01)] = 7.1,
    seed: Annotated[int, typer.Option(help="Of the weights and the mixtures.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 40_000,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, whatever the steps.", min=0.01)] = None,
    lanes: Annotated[int, typer.Option(help="Windows of 10 s per step.", min=1)] = 8,
) -> None:
    """Train the speech segmenter on recordings of Debian packages and write it as .tflite files with cards.

    Example: python -m tcnstream.zoo.recipes.train_speech --cache recordings --out models
    """
    console = Console(stderr=True)
    with told(console):
        recipe = Recipe(seed=seed, steps=steps, minutes=minutes, lanes=lanes, frames=1000)
        _run(console, cache, out, params, name, hours, recipe)


def _run(console: Console, cache: Path, out: Path, params: Path, name: str, hours: float, recipe: Recipe) -> None:
    require_keras()
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / f"{name}.log.jsonl")
    stages = read_stages(params)
    channels, units = units_of(stages)
    network = Network(channels, units, recipe.seed, BANDS, len(LABELS))
    refuse_missing_tools()
    fetch(cache)
    material = read_material(cache)
    log.write(recipe=asdict(recipe), params=json.loads(params.read_text(encoding="utf-8")), hours=hours)
    with progress_bars(console) as progress:
        windows = max(1, round(hours * 3600 * FRAME_HZ / recipe.frames))
        count, each = max(1, round(windows / MOST_IN_A_PART)), min(windows, MOST_IN_A_PART)
        task = progress.add_task("mixing", total=count + 1, loss="")
        halves = []
        for aside, parts, draw in ((False, count, recipe.seed), (True, 1, recipe.seed + 1)):
            made = []
            for part in mixed(material.split(aside), parts, each, draw):
                made.append(part)
                progress.advance(task)
            halves.append(joined(made))
        mixtures, kept_aside = halves
        task = progress.add_task("training", total=1.0, loss="")
        trained = fit(network, partial(MixtureWindows, mixtures), recipe, log, progress, task)
    np.savez(out / f"{name}.npz", parameters=trained.parameters, statistics=trained.statistics)
    facts = {what: round(value, 4) for what, value in scores_of(trained, kept_aside).items()}
    log.write(steps=trained.steps, kept_aside=facts)
    write_models(trained, stages, mixtures, name, out, recipe.seed)
    console.print(f"on recordings, voices and songs kept aside, float32: {facts}")
    console.print(f"written to {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
