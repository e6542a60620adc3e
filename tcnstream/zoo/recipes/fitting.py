"""What the training recipes share: parameter files, the optimiser's loop, the log."""

from __future__ import annotations

import importlib
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tcnstream.errors import SignalError
from tcnstream.zoo.recipes.separable import Network
from tcnstream.zoo.tcn_params import TcnParams

Floats = npt.NDArray[np.float32]

LAST_RATE, LAST_SEED = 1e-3, 10
"""The highest rate of learning in the last parts of a training, and what is added to the seed."""


@dataclass(frozen=True)
class Recipe:
    """What a training run is told. ``minutes`` sets the length by the clock instead of ``steps``.

    ``stop`` ends it after so many of the steps, with the rate of learning that they have there.
    """

    seed: int = 1
    steps: int = 15_000
    minutes: float | None = None
    stop: int | None = None
    lanes: int = 8
    frames: int = 2000
    rate: float = 4e-3
    decay: float = 2e-2

    def __post_init__(self) -> None:
        """Raises SignalError for a rate or a time with which nothing is learned."""
        if not 0 < self.rate < math.inf:
            raise SignalError(
                f"a learning rate of {self.rate:g} teaches nothing: give one above 0, such as 0.003 (--rate)"
            )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise SignalError(
                f"{self.minutes:g} minutes of training have no end or no beginning: give some (--minutes)"
            )


class Batches(Protocol):
    """Where training windows come from."""

    def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
        """``(x, target, weight)`` as ``Network.learn`` takes them."""
        ...


@dataclass(frozen=True, eq=False)
class Trained:
    """A network's averaged parameters and statistics; ``steps`` it took."""

    network: Network
    parameters: Floats
    statistics: Floats
    steps: int


class Log:
    """JSON Lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, **facts: Any) -> None:
        self._file.write(json.dumps(facts) + "\n")
        self._file.flush()


def require_keras() -> None:
    """Raises MissingExtraError now instead of after hours of training, whose result Keras is to convert."""
    importlib.import_module("tcnstream.zoo.convert")


def read_stages(path: Path) -> list[TcnParams]:
    """The TcnParams of every stage of a parameter file ``{"stages": [...]}``; each stage feeds the next."""
    try:
        stages = [TcnParams(**stage) for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SignalError(f'{path} is not a parameter file with "stages": {error}') from error
    if not stages:
        raise SignalError(f'{path} has no stage under "stages": a network needs one')
    return stages


def fit(
    network: Network,
    windows: Callable[[int], Batches],
    recipe: Recipe,
    log: Log,
    progress: Progress,
    task: TaskID,
    kept: Path | None = None,
) -> Trained:
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101) along half a cosine, with averaged parameters at the end.

    ``windows`` are those of a seed. The statistics of the batch norms are measured anew for the averaged parameters, on
    windows of the next seed: how many of the first are drawn ahead and never used is a matter of time. ``kept`` is a
    .npz that has the parameters so far, every 500 steps, when Ctrl-C comes, and at the end (``kept_parameters``).
    """
    parameters = network.parameters
    average = parameters.copy()
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    losses: list[float] = []
    began = time.monotonic()
    step, done = 0, 0.0
    with _drawn_ahead(windows(recipe.seed), recipe.lanes) as batches, _kept_if_stopped(kept, network, average):
        while done < 1 and step != recipe.stop:
            step += 1
            minutes = (time.monotonic() - began) / 60
            done = min(1.0, step / recipe.steps if recipe.minutes is None else minutes / recipe.minutes)
            losses.append(network.learn(*next(batches)))
            gradient = network.gradient
            norm = float(np.sqrt(np.square(gradient).sum()))
            if not np.isfinite(norm):
                log.write(step=step, skipped="the gradient is not finite")
                continue
            gradient = gradient * min(1.0, 2.0 / norm) if norm else gradient
            mean += 0.1 * (gradient - mean)
            square += 0.005 * (np.square(gradient) - square)
            rate = recipe.rate * min(1.0, step / 200) * (0.5 + 0.5 * np.cos(np.pi * done))
            towards = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.995**step)) + 1e-8)
            parameters -= (rate * (towards + recipe.decay * network.is_weight * parameters)).astype(np.float32)
            keep = np.float32(min(0.9985, step / (step + 10)))
            average += (1 - keep) * (parameters - average)
            if step % 50 == 0 or done >= 1:
                log.write(step=step, loss=round(float(np.mean(losses)), 5), rate=rate, minutes=round(minutes, 2))
                progress.update(task, completed=done, loss=f"{np.mean(losses):.4f}")
                losses.clear()
            if kept is not None and step % 500 == 0:
                keep_parameters(kept, average, network.statistics)
    trained = Trained(network, average, measured_statistics(network, average, windows(recipe.seed + 1), recipe), step)
    if kept is not None:
        keep_parameters(kept, trained.parameters, trained.statistics)
    return trained


def finished(
    trained: Trained,
    windows: Mapping[str, Callable[[int], Batches]],
    recipe: Recipe,
    log: Log,
    progress: Progress,
    kept: Path,
    rates: Mapping[str, float] | None = None,
) -> Trained:
    """Trains on from ``trained`` with each of ``windows``, and gives the mean of the networks.

    Networks that go on from the same one have a mean that holds what each learned (Wortsman et al., arXiv:2203.05482).
    ``recipe`` is that of one of them but for its rate, which is LAST_RATE where ``rates`` has no other. ``kept`` is a
    .npz that has the parameters at the end.
    """
    network = trained.network
    recipe = replace(recipe, seed=recipe.seed + LAST_SEED, minutes=None)
    ends = []
    try:
        for name, drawn in windows.items():
            of_part = replace(recipe, rate=(rates or {}).get(name, LAST_RATE))
            log.write(last=name, recipe=asdict(of_part))
            task = progress.add_task(f"training, {name}", total=1.0, loss="")
            network.parameters[:] = trained.parameters
            ends.append(fit(network, drawn, of_part, log, progress, task).parameters)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{kept} has the network as it was before the last parts") from None
    mean: Floats = np.mean(ends, axis=0).astype(np.float32)
    *_, drawn = windows.values()
    statistics = measured_statistics(network, mean, drawn(recipe.seed + 1), recipe)
    keep_parameters(kept, mean, statistics)
    return Trained(network, mean, statistics, trained.steps + len(ends) * recipe.steps)


def measured_statistics(network: Network, parameters: Floats, windows: Batches, recipe: Recipe) -> Floats:
    """The batch norms' statistics of ``parameters``, the mean over 24 steps' windows."""
    each = [network.measure(windows.draw(recipe.lanes)[0], parameters) for _ in range(24)]
    measured: Floats = np.mean(each, axis=0).astype(np.float32)
    return measured


def keep_parameters(path: Path, parameters: Floats, statistics: Floats) -> None:
    """Writes them beside ``path`` first, so that a full disk leaves what was there."""
    beside = path.with_suffix(".part.npz")
    np.savez(beside, parameters=parameters, statistics=statistics)
    beside.replace(path)


def kept_parameters(path: Path) -> Floats:
    """What ``keep_parameters`` has written. SignalError if the file is something else, OSError if there is none."""
    try:
        with np.load(path) as file:
            return np.asarray(file["parameters"], np.float32)
    except (ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
        raise SignalError(f"{path} holds no parameters of a training: {error}") from error


@contextmanager
def _kept_if_stopped(kept: Path | None, network: Network, average: Floats) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if kept is None:
            raise
        keep_parameters(kept, average, network.statistics)
        raise KeyboardInterrupt(f"{kept} has the network as it was then") from None


@contextmanager
def _drawn_ahead(windows: Batches, lanes: int) -> Iterator[Iterator[tuple[Floats, Floats, Floats]]]:
    """Batches, drawn by a thread of its own while the compiled step runs."""
    ready: queue.Queue[tuple[Floats, Floats, Floats] | Exception] = queue.Queue(4)
    stop = threading.Event()

    def draw() -> None:
        batch: tuple[Floats, Floats, Floats] | Exception
        while not stop.is_set():
            try:
                batch = windows.draw(lanes)
            except Exception as error:
                batch = error
            while not stop.is_set():
                try:
                    ready.put(batch, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(batch, Exception):
                return

    def taken() -> Iterator[tuple[Floats, Floats, Floats]]:
        while True:
            batch = ready.get()
            # Raised here, or the training would wait for a thread that has ended.
            if isinstance(batch, Exception):
                raise batch
            yield batch

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join()


def progress_bars(console: Console) -> Progress:
    """Bars with the loss beside them."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    return Progress(*columns, console=console)
