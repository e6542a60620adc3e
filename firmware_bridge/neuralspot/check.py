"""Drive a stock Ambiq board with a recording, window by window, and say whether it computes what the host does.

Stock firmware answers whole windows, so its answer at a window's edges is that of a padded window, and so is the
host's here: the offline answer to the same window. The streaming check is that of tcnstream's own firmware.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from firmware_bridge.check.compare import Tally, TensorReport, Tolerance, as_tolerance, flat
from firmware_bridge.link.transport import Transport
from firmware_bridge.neuralspot.client import CallError, Client, RefusalError
from firmware_bridge.neuralspot.erpc import ErpcError, Framing
from firmware_bridge.neuralspot.heartkit import HeartKitBoard
from firmware_bridge.neuralspot.twin import Convention
from firmware_bridge.neuralspot.validator import Stats, ValidatorBoard
from firmware_bridge.neuralspot.window import WindowModel
from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.model import Model
from tcnstream.stream import as_frames
from tcnstream.tflite.graph import Array

_MOST_EXPLAINED_WINDOWS = 3


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
    outputs: tuple[TensorReport, ...]
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
    transport: Transport,
    recording: Array,
    *,
    convention: Convention = "validator",
    framing: Framing | None = None,
    tolerance: Tolerance | str = "default",
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

    Raises CallError if the line stays bad, LinkError if it is gone, RefusalError if the board says no, SignalError
    for a recording without frames, NotStreamableError for a model that stock firmware cannot be driven with.
    """
    allowed = as_tolerance(tolerance)
    host = WindowModel(model, rounding, first_output_only=convention == "heartkit")
    windows, notes = windows_of(host, as_frames(model.inputs[0], recording))
    if len(host.outputs) < len(model.outputs):
        notes.append(f"this firmware gives the first of {len(model.outputs)} outputs; only that one was compared")
    client = Client(transport, framing or Framing.V1_9, timeout_s=timeout_s, now=now)
    board = open_firmware(client, host, convention, framing, send_model=send_model, profile=profile)
    started, faults = now(), list[str]()
    compared = [_Comparison(host, k, allowed, len(windows)) for k in range(len(host.outputs))]
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


def open_firmware(
    client: Client,
    host: WindowModel,
    convention: Convention,
    framing: Framing | None,
    *,
    send_model: bool | None = None,
    profile: bool = False,
) -> ValidatorBoard | HeartKitBoard:
    """The firmware behind ``client``, ready for windows. Arguments and errors as for ``check``."""
    framings = tuple(Framing) if framing is None else (framing,)
    if convention == "heartkit":
        heartkit = HeartKitBoard(client, host)
        heartkit.open(framings, send_model=send_model is not False)
        return heartkit
    if convention != "validator":
        raise ErpcError(f"the convention {convention!r} is unknown; use 'validator' or 'heartkit'")
    validator = ValidatorBoard(client, host, profile=profile)
    validator.open(framings, send_model=send_model is True)
    return validator


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


def windows_of(host: WindowModel, frames: Array) -> tuple[list[tuple[int, bytes]], list[str]]:
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
    """One output, compared window by window."""

    def __init__(self, host: WindowModel, index: int, allowed: Tolerance, windows: int) -> None:
        plan, o = host.model.plan, host.model.plan.outputs[index]
        makers = (f"{node.kind} (op {node.index})" for node in plan.nodes if o in node.outputs)
        self._tensor = plan.tensors[o]
        self._frames = host.outputs[index].frames
        self._allowed = allowed
        self._tally = Tally(self._tensor, "output", next(makers, ""), allowed, windows * self._frames)
        self.first: FirstDifference | None = None

    def add(self, window: int, begin: int, expected: Array, got: Array) -> bool:
        """Whether this window is within the tolerance."""
        if self._tally.add(expected, got, window * self._frames):
            return True
        if self.first is None:
            a, b = flat(expected), flat(got)
            wrong = ~self._allowed.agrees(self._tensor, a, b)
            frame, element = (int(i) for i in np.argwhere(wrong)[0])
            values = float(a[frame, element]), float(b[frame, element])
            self.first = FirstDifference(window, begin, self._tensor.name, frame, element, *values)
        return False

    def report(self) -> TensorReport:
        return self._tally.report()


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
