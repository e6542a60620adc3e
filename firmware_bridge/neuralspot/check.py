"""Drive a stock Ambiq board with a recording, window by window, and say whether it computes what the host does.

Stock firmware answers whole windows, so its answer at a window's edges is that of a padded window, and so is the
host's here: the offline answer to the same window. The streaming check is that of tcnstream's own firmware.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from firmware_bridge.erpc import ErpcError, Framing
from firmware_bridge.neuralspot.client import CallError, Client, RefusalError
from firmware_bridge.neuralspot.heartkit import HeartKitBoard
from firmware_bridge.neuralspot.transport import Bytes
from firmware_bridge.neuralspot.twin import Convention
from firmware_bridge.neuralspot.validator import Stats, ValidatorBoard
from firmware_bridge.neuralspot.window import WindowModel
from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.graph import Array
from tcnstream.model import Model
from tcnstream.stream import as_frames
from tcnstream.verify import FLOAT_TOLERANCE

_MOST_EXPLAINED_WINDOWS = 3

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """What still counts as equal: ``kind`` is "default" (integers exact, floats 1e-5), "exact", "steps" or "abs"."""

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """ "default", "exact", "steps:1" or "abs:1e-4"; SignalError for anything else."""
        kind, _, amount = text.partition(":")
        try:
            if text in ("default", "exact"):
                return cls(text)
            if kind == "steps" and int(amount) >= 0:
                return cls(kind, int(amount))
            if kind == "abs" and 0 <= float(amount) < math.inf:
                return cls(kind, float(amount))
        except ValueError:
            pass
        raise SignalError(f"the tolerance {text!r} is none; use exact, steps:1 or abs:1e-4")

    def allows(self, expected: Array, got: Array, distance: Numbers) -> npt.NDArray[np.bool_]:
        """Element by element; ``distance`` is in real units, 0 where both are the same NaN."""
        if self.kind == "abs":
            return np.asarray(distance <= self.amount)
        if self.kind == "steps" and expected.dtype.kind != "f":
            return np.asarray(np.abs(expected.astype(np.int64) - got.astype(np.int64)) <= self.amount)
        if self.kind == "default" and expected.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                allowed = FLOAT_TOLERANCE * np.maximum(1, np.abs(expected.astype(np.float64)))
                return np.asarray((distance <= allowed) | (distance == 0))
        return np.asarray(distance == 0)

    def __str__(self) -> str:
        if self.kind == "default":
            return f"exact, floats within {FLOAT_TOLERANCE:g} of the size of the value"
        return self.kind if self.kind == "exact" else f"{self.kind}:{self.amount:g}"


@dataclass(frozen=True)
class FirstDifference:
    """The first value outside the tolerance, by window and frame; values as the tensor holds them."""

    window: int
    begin_frame: int
    output: str
    frame: int
    element: int
    host: float
    board: float


@dataclass(frozen=True)
class OutputReport:
    """One output over all windows. ``largest_steps`` is None for a float tensor; the rest is in real units.

    ``snr_db`` is infinite and ``cosine`` 1 where both sides agree everywhere.
    """

    name: str
    frames: int
    equal_frames: int
    largest_steps: int | None
    largest: float
    rmse: float
    mae: float
    snr_db: float
    cosine: float


@dataclass(frozen=True)
class NeuralSpotReport:
    """What ``check`` found. ``passed``: every output frame of every window is within the tolerance.

    ``faults`` are the calls that failed and were recovered from, in words; ``notes`` what else a person should know.
    """

    passed: bool
    convention: str
    framing: str
    tolerance: str
    rounding: str
    windows: int
    outputs: tuple[OutputReport, ...]
    first_difference: FirstDifference | None
    explanation: str
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    late_replies: int
    calls: int
    bytes_out: int
    bytes_in: int
    elapsed_s: float
    stats: Stats | None

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        frames = self.outputs[0].frames if self.outputs else 0
        if self.passed:
            same = all(output.largest == 0 for output in self.outputs)
            how = "" if same else f" within the tolerance ({self.tolerance})"
            return f"yes: the board equals the host{how} on all {frames:,} output frames of {_counted(self.windows)}"
        first = self.first_difference
        assert first is not None
        why = f"; {self.explanation}" if self.explanation else ""
        return (
            f"no: output `{first.output}` differs first in window {first.window} (input frame {first.begin_frame}),"
            f" frame {first.frame}, element {first.element}: host {first.host:g}, board {first.board:g}{why}"
        )


def _counted(windows: int) -> str:
    return "1 window" if windows == 1 else f"{windows:,} windows"


def check(
    model: Model,
    transport: Bytes,
    recording: Array,
    *,
    convention: Convention = "validator",
    framing: Framing | None = None,
    tolerance: str = "default",
    rounding: str = "litert",
    send_model: bool | None = None,
    profile: bool = False,
    attempts: int = 3,
    timeout_s: float = 5.0,
    now: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] | None = None,
) -> NeuralSpotReport:
    """Send ``recording`` through the board on ``transport``, window by window, and compare every output frame.

    ``recording``: (frames, *frame_shape) in the model's dtype, or float32 that is quantized to it. Windows follow each
    other; a last one that overlaps covers the rest, and a recording shorter than one window is lengthened with its
    last frame. ``framing=None`` tries 1.9.1, then 1.12. ``tolerance``: "default" (integers exact, floats within 1e-5 of
    the size of the value), "exact", "steps:1" or "abs:1e-4". ``rounding``: "litert", or "tflm" for what TFLite Micro
    computes. ``send_model``: whether the model goes over the line first (by default with HeartKIT's firmware only).
    ``profile`` asks the validator's firmware for statistics. A window whose call fails is begun again, ``attempts``
    times in all, after more than a second of silence. ``progress`` is called with (windows done, windows in all).

    Raises CallError if the line stays bad, RefusalError, PortError, SignalError for a recording without frames,
    NotStreamableError for a model that stock firmware cannot be driven with.
    """
    allowed = Tolerance.parse(tolerance)
    host = WindowModel(model, rounding, first_output_only=convention == "heartkit")
    windows, notes = _windows(host, as_frames(model.inputs[0], recording))
    if len(host.outputs) < len(model.outputs):
        notes.append(f"this firmware gives the first of {len(model.outputs)} outputs; only that one was compared")
    client = Client(transport, framing or Framing.V1_9, timeout_s=timeout_s, now=now)
    framings = tuple(Framing) if framing is None else (framing,)
    board: ValidatorBoard | HeartKitBoard
    if convention == "heartkit":
        board = HeartKitBoard(client, host)
        board.open(framings, send_model=send_model is not False)
    elif convention != "validator":
        raise ErpcError(f"the convention {convention!r} is unknown; use 'validator' or 'heartkit'")
    else:
        board = ValidatorBoard(client, host, profile=profile)
        board.open(framings, send_model=send_model is True)
    started, faults = now(), list[str]()
    compared = [_Comparison(k, host, allowed) for k in range(len(host.outputs))]
    differing: list[tuple[bytes, bytes]] = []
    for k, (begin, window) in enumerate(windows):
        expected, got = host.run(window), _run(board, window, attempts, faults)
        equal = [c.add(k, begin, e, g) for c, e, g in zip(compared, host.split(expected), host.split(got), strict=True)]
        if not all(equal):
            differing.append((window, got))
        if progress is not None:
            progress(k + 1, len(windows))
    stats = board.stats() if profile and isinstance(board, ValidatorBoard) else None
    found = [c.first for c in compared if c.first is not None]
    first = min(found, key=lambda d: (d.window, d.frame), default=None)
    return NeuralSpotReport(
        passed=first is None,
        convention=board.convention,
        framing=client.framing.value,
        tolerance=str(allowed),
        rounding=rounding,
        windows=len(windows),
        outputs=tuple(c.report() for c in compared),
        first_difference=first,
        explanation="" if first is None else _explanation(host, differing, [w for _, w in windows]),
        faults=tuple(faults),
        notes=(*notes, *client.notes),
        late_replies=client.traffic.late_replies,
        calls=client.traffic.calls,
        bytes_out=client.traffic.bytes_out,
        bytes_in=client.traffic.bytes_in,
        elapsed_s=now() - started,
        stats=stats,
    )


def _run(board: ValidatorBoard | HeartKitBoard, window: bytes, attempts: int, faults: list[str]) -> bytes:
    """One window through the board, begun again from silence where a call failed."""
    broken = False
    for attempt in range(attempts):
        try:
            if broken:
                board.restore()
            return board.run(window)
        except CallError as error:
            faults.append(str(error))
            broken = True
            if attempt + 1 == attempts:
                raise CallError(error.call, f"{error.diagnosis} (the last of {attempts} attempts)") from error
    raise RefusalError(f"{attempts} attempts are none; allow at least one")


def _windows(host: WindowModel, frames: Array) -> tuple[list[tuple[int, bytes]], list[str]]:
    """(first frame, bytes) of each window, and what was done to make the recording fit."""
    size, n = host.model.window_frames, len(frames)
    if n == 0:
        raise SignalError("the recording has no frames; there is nothing to compare")
    if n < size:
        notes = [f"the recording has {n} frames and a window {size}: its last frame was repeated to fill it"]
        return [(0, host.to_bytes(np.concatenate([frames, np.repeat(frames[-1:], size - n, axis=0)])))], notes
    starts = list(range(0, n - size + 1, size))
    notes = []
    if n % size and host.keeps_state:
        notes.append(f"the last {n % size} frames do not fill a window, and the model keeps state: they were left out")
    elif n % size:
        starts.append(n - size)
        notes.append(f"the last window begins at frame {n - size} and overlaps the one before it")
    return [(begin, host.to_bytes(frames[begin : begin + size])) for begin in starts], notes


class _Comparison:
    """One output's sums over the windows, so that a long recording needs no memory."""

    def __init__(self, index: int, host: WindowModel, allowed: Tolerance) -> None:
        self._port = host.model.outputs[index]
        self._allowed = allowed
        self._frames = self._equal = self._values = 0
        self._steps = 0
        self._largest = self._squares = self._sum = self._dot = self._host = self._board = 0.0
        self.first: FirstDifference | None = None

    def add(self, window: int, begin: int, expected: Array, got: Array) -> bool:
        """Whether this window is within the tolerance."""
        a, b = self._port.dequantize(expected).astype(np.float64), self._port.dequantize(got).astype(np.float64)
        with np.errstate(invalid="ignore"):
            distance = np.abs(a - b)
        distance[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        distance[np.isnan(distance)] = np.inf
        wrong = ~self._allowed.allows(expected, got, distance)
        if self._port.dtype.kind != "f":
            steps = np.abs(expected.astype(np.int64) - got.astype(np.int64))
            self._steps = max(self._steps, int(steps.max(initial=0)))
        rows = distance.reshape(len(distance), -1)
        self._frames += len(rows)
        self._equal += int((rows == 0).all(axis=1).sum())
        self._values += rows.size
        self._largest = max(self._largest, float(rows.max(initial=0.0)))
        self._squares += float((rows**2).sum())
        self._sum += float(rows.sum())
        self._dot, self._host, self._board = (
            self._dot + float(np.vdot(a, b)),
            self._host + float(np.vdot(a, a)),
            self._board + float(np.vdot(b, b)),
        )
        if self.first is None and wrong.any():
            frame, element = (int(i) for i in np.argwhere(wrong.reshape(len(rows), -1))[0])
            here = expected.reshape(len(rows), -1)[frame, element], got.reshape(len(rows), -1)[frame, element]
            self.first = FirstDifference(window, begin, self._port.name, frame, element, float(here[0]), float(here[1]))
        return not wrong.any()

    def report(self) -> OutputReport:
        count = max(self._values, 1)
        size = math.sqrt(self._host * self._board)
        if self._squares == 0:
            snr, cosine = math.inf, 1.0
        else:
            snr = 10 * math.log10(self._host / self._squares) if 0 < self._host < math.inf else -math.inf
            cosine = self._dot / size if 0 < size < math.inf else 0.0
        return OutputReport(
            self._port.name,
            self._frames,
            self._equal,
            None if self._port.dtype.kind == "f" else self._steps,
            self._largest,
            math.sqrt(self._squares / count),
            self._sum / count,
            snr,
            cosine,
        )


def _explanation(host: WindowModel, differing: Sequence[tuple[bytes, bytes]], windows: Sequence[bytes]) -> str:
    """Known reasons for which a right board differs, each tried on the windows that do."""
    if host.keeps_state:
        return ""
    few = differing[:_MOST_EXPLAINED_WINDOWS]
    for name, answer in _other_hosts(host):
        try:
            if all(answer(window) == got for window, got in few):
                return f"on the windows that differ the board gives exactly what is right {name}"
        except (TcnStreamError, RuntimeError, ValueError):
            continue
    return ""


def _other_hosts(host: WindowModel) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    other = "tflm" if host.rounding == "litert" else "litert"
    titles = {
        "tflm": "with TFLite Micro's rounding of FULLY_CONNECTED (compare with rounding tflm)",
        "litert": "with LiteRT's rounding of FULLY_CONNECTED (compare with rounding litert)",
    }
    with contextlib.suppress(TcnStreamError):
        yield titles[other], WindowModel(host.model, other, len(host.outputs) < len(host.model.outputs)).run
    try:
        from tflite_micro import runtime
    except ImportError:
        return
    interpreter = runtime.Interpreter.from_bytes(host.model.file.content)

    def micro(window: bytes) -> bytes:
        (layout,) = host.inputs
        interpreter.set_input(np.frombuffer(window, layout.dtype).reshape(layout.shape), 0)
        interpreter.invoke()
        return b"".join(np.asarray(interpreter.get_output(k)).tobytes() for k in range(len(host.outputs)))

    yield "for TFLite Micro (package tflite-micro), which differs from TFLite in this model", micro
