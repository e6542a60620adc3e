"""How well a shipped or trained ECG model finds P, QRS and T in LUDB, measured through the product.

    python -m tcnstream.zoo.recipes.evaluate_ecg --ludb DIR --records 1,2,5 --model ecg

Every lead is one signal: it goes chunk by chunk through a Pipeline (rate, the card's filters, engine, segments), as
``tcnstream run`` does it, and the segments are compared with the cardiologists'.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tcnstream
from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.options import StreamOptions
from tcnstream.pipeline import Pipeline
from tcnstream.signal.card import MODELS, Card, find_model
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.delineation import BORDERS, TOLERANCE_S, Scores, both, score, total
from tcnstream.zoo.recipes.ludb import LABELS, Record, read_record, record_names

Floats = npt.NDArray[np.float32]
Found = list[tuple[str, float, float]]

WAVES = {"qrs": "QRS", "t": "T", "p": "P"}


def open_model(name: str) -> tuple[tcnstream.Model, Card]:
    """A shipped model's name ("ecg", "ecg.f32"), a .tflite file or a card. SignalError without a card."""
    beside = MODELS / f"{name}.tflite"
    path, card = find_model(beside if beside.is_file() else name)
    if card is None:
        raise SignalError(f"{path} has no card beside it: write one (.toml), it says what the model takes and gives")
    if card.labels != LABELS:
        raise SignalError(f"{path} labels {', '.join(card.labels)}; LUDB is about {', '.join(LABELS)}")
    return tcnstream.load(path), card


def delineate(
    model: tcnstream.Model, card: Card, signal: Floats, rate_hz: float, engine: str = "auto", chunk: int = 1
) -> Found:
    """Segments of one lead ``signal`` (samples,) in mV, pushed ``chunk`` samples at a time."""
    pipeline = Pipeline(model, card=card, rate_hz=rate_hz, units=card.units, options=StreamOptions(engine))
    segments = [s for at in range(0, len(signal), chunk) for s in pipeline.push(signal[at : at + chunk])]
    segments += pipeline.flush()
    return [(s.label, s.start_s, s.end_s) for s in segments]


def neurokit(signal: Floats, rate_hz: float) -> Found:
    """The discrete-wavelet delineation of neurokit2 (Martinez et al., 2004) on one whole lead."""
    try:
        neurokit2 = import_module("neurokit2")
    except ImportError as error:
        raise MissingExtraError(f"--peer neurokit2 needs that package ({error}): pip install neurokit2") from error
    found: Found = []
    try:
        clean = neurokit2.ecg_clean(signal, sampling_rate=int(rate_hz))
        _, peaks = neurokit2.ecg_peaks(clean, sampling_rate=int(rate_hz))
        _, waves = neurokit2.ecg_delineate(clean, peaks["ECG_R_Peaks"], sampling_rate=int(rate_hz), method="dwt")
    except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
        # Flat or odd leads make it fail; then it has found nothing.
        return found
    for label, name in (("p", "P"), ("qrs", "R"), ("t", "T")):
        pairs = zip(waves[f"ECG_{name}_Onsets"], waves[f"ECG_{name}_Offsets"], strict=True)
        # A border that it could not place is NaN, which matches nothing and is not counted as found.
        found += [(label, float(start) / rate_hz, float(end) / rate_hz) for start, end in pairs]
    return found


def evaluate(records: Sequence[Record], find: Callable[[Floats, float], Found]) -> dict[str, Scores]:
    """Record -> scores of all its leads."""
    return {
        record.name: total(
            score(waves, find(record.signal[:, lead], record.rate_hz)) for lead, waves in enumerate(record.waves)
        )
        for record in records
    }


def facts(scores: Scores) -> dict[str, dict[str, float]]:
    """Percentages and milliseconds of every wave, as the tables and the cards show them."""
    table = {}
    for label in WAVES:
        joint = both(scores, label)
        row = {"f1": 100 * joint.f1, "se": 100 * joint.sensitivity, "ppv": 100 * joint.predictive_value}
        for border in BORDERS:
            one = scores[label, border]
            row |= {f"{border}_mean_ms": one.mean_ms, f"{border}_std_ms": one.std_ms}
        table[label] = {key: round(value, 2) for key, value in row.items()}
    return table


def markdown(rows: Sequence[tuple[str, Scores]]) -> str:
    """A table for a README: a row per model and wave."""
    lines = ["| | wave | F1 % | Se % | PPV % | onset error ms | offset error ms |", "|---|---|---|---|---|---|---|"]
    for name, scores in rows:
        for label, row in facts(scores).items():
            errors = [f"{row[f'{b}_mean_ms']:+.1f} ± {row[f'{b}_std_ms']:.1f}" for b in BORDERS]
            cells = [name, WAVES[label], *(f"{row[key]:.2f}" for key in ("f1", "se", "ppv")), *errors]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    ludb: Annotated[Path, typer.Option(help="The folder of LUDB.")],
    records: Annotated[str, typer.Option(help="Numbers with commas between them, or all.")] = "all",
    model: Annotated[str, typer.Option(help="A shipped model, a .tflite file or a card.")] = "ecg",
    engine: Annotated[str, typer.Option(help="auto, native, interpreter or reference.")] = "auto",
    chunk: Annotated[int, typer.Option(help="Samples per push.", min=1)] = 1,
    peer: Annotated[str | None, typer.Option(help="neurokit2: measure that, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A table for a README.")] = False,
) -> None:
    """Stream LUDB records through a model and compare the segments with the annotations.

    A border counts as found within 150 ms. Timing errors are found minus annotated.

    Example: python -m tcnstream.zoo.recipes.evaluate_ecg --ludb ludb --records 8,16,23 --model ecg --peer neurokit2
    """
    console = Console(stderr=True)
    with told(console):
        if peer not in (None, "neurokit2"):
            raise SignalError(f"there is no peer {peer!r}: the one that is known is neurokit2")
        names = record_names(ludb) if records == "all" else [name.strip() for name in records.split(",")]
        loaded, card = open_model(model)
        rows: list[tuple[str, Scores]] = []
        read = [read_record(ludb, name) for name in names]
        for title, find in (
            (model, lambda signal, rate_hz: delineate(loaded, card, signal, rate_hz, engine, chunk)),
            ("neurokit2 dwt", neurokit),
        )[: 2 if peer else 1]:
            parts = [evaluate([record], find)[record.name] for record in track(read, title, console=console)]
            rows.append((title, total(parts)))
    if as_json:
        found = {title: facts(scores) for title, scores in rows}
        typer.echo(
            json.dumps({"records": names, "leads": 12 * len(names), "tolerance_s": TOLERANCE_S, "models": found})
        )
    elif as_markdown:
        typer.echo(markdown(rows))
    else:
        _show(rows, len(names))


def _show(rows: Sequence[tuple[str, Scores]], records: int) -> None:
    table = Table(title=f"{records} records, all leads, borders within {TOLERANCE_S * 1000:.0f} ms")
    for column in ("", "wave", "F1 %", "Se %", "PPV %", "onset ms", "offset ms"):
        table.add_column(column, justify="left" if column in ("", "wave") else "right")
    for name, scores in rows:
        for label, row in facts(scores).items():
            errors = [f"{row[f'{b}_mean_ms']:+.1f} ± {row[f'{b}_std_ms']:.1f}" for b in BORDERS]
            table.add_row(name, WAVES[label], *(f"{row[key]:.2f}" for key in ("f1", "se", "ppv")), *errors)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
