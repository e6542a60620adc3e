"""Hours on a board with stock firmware: the recording window by window, and after a failure the window again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

import numpy as np

from firmware_bridge.check.compare import Tolerance, flat
from firmware_bridge.check.soak import RECOVER_S, SoakReport, Until
from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.neuralspot.check import open_firmware, windows_of
from firmware_bridge.neuralspot.client import Client, RefusalError
from firmware_bridge.neuralspot.heartkit import HeartKitBoard
from firmware_bridge.neuralspot.ports import StockTarget
from firmware_bridge.neuralspot.validator import ValidatorBoard
from firmware_bridge.neuralspot.window import WindowModel
from tcnstream.model import Model
from tcnstream.stream import as_frames
from tcnstream.tflite.graph import Array


def soak_stock(
    model: Model,
    open_target: Callable[[], StockTarget],
    signal: Array,
    *,
    seconds: float | None = None,
    frames: int | None = None,
    recover_s: float = RECOVER_S,
    tolerance: Tolerance | None = None,
    rounding: str = "litert",
    timeout_s: float = 5.0,
    on_event: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> SoakReport:
    """Sends the windows of ``signal`` over and over, for a time or a number of input frames, and compares every frame.

    ``open_target`` opens the port, and again after every failure, for up to ``recover_s``; the board is then
    configured and the window begun anew, since stock firmware has no snapshots. Raises RefusalError for a model that
    keeps its own state, which nothing could bring back; otherwise as ``neuralspot.check``.
    """
    until = Until(seconds, frames, stop)
    target = open_target()
    try:
        host = WindowModel(model, rounding, first_output_only=target.convention == "heartkit")
        if host.keeps_state:
            raise RefusalError(
                "the model keeps its own state on the board, and stock firmware cannot take it back after a failure:"
                " use `check`, or tcnstream's own firmware"
            )
        run = _StockSoak(host, open_target, target, tolerance or Tolerance(), recover_s, timeout_s, on_event)
    except BaseException:
        target.port.close()
        raise
    try:
        windows = [window for _, window in windows_of(host, as_frames(model.inputs[0], signal))[0]]
        run.connect()
        for window in cycle(windows):
            if until.over(run.report):
                break
            run.step(window)
    finally:
        run.close()
        run.report.elapsed_s = until.elapsed_s
    return run.report


class _StockSoak:
    """The state of one soak."""

    def __init__(
        self,
        host: WindowModel,
        open_target: Callable[[], StockTarget],
        target: StockTarget,
        tolerance: Tolerance,
        recover_s: float,
        timeout_s: float,
        on_event: Callable[[str], None],
    ) -> None:
        self.report = SoakReport(f"neuralspot ({target.convention})")
        self._host = host
        self._open_target = open_target
        self._target: StockTarget | None = target
        self._tolerance = tolerance
        self._recover_s = recover_s
        self._timeout_s = timeout_s
        self._on_event = on_event
        self._board: ValidatorBoard | HeartKitBoard | None = None

    def connect(self) -> None:
        if self._target is None:
            self._target = self._open_target()
        client = Client(self._target.port, timeout_s=self._timeout_s)
        self._board = open_firmware(client, self._host, self._target.convention, self._target.framing)

    def step(self, window: bytes) -> None:
        """One window, as often as it takes."""
        while not self.report.gave_up:
            try:
                assert self._board is not None
                got = self._board.run(window)
            except LinkError as error:
                self._recover(error)
                continue
            self.report.frames_in += self._host.model.window_frames
            self._compare(self._host.split(self._host.run(window)), self._host.split(got))
            return

    def _compare(self, expected: list[Array], got: list[Array]) -> None:
        plan = self._host.model.plan
        for o, a, b in zip(plan.outputs, expected, got, strict=False):
            fact = plan.tensors[o]
            self.report.frames_compared += len(a)
            wrong = np.flatnonzero(~self._tolerance.agrees(fact, flat(a), flat(b)).all(axis=1))
            if len(wrong) and not self.report.first_difference:
                self.report.first_difference = (
                    f"output `{fact.name}`, frame {int(wrong[0])} of the window that ends with input frame"
                    f" {self.report.frames_in}; `firmware-bridge check` says more"
                )

    def _recover(self, error: LinkError) -> None:
        failed_at = time.monotonic()
        self.report.line_failures += 1
        self._event(str(error))
        while time.monotonic() - failed_at < self._recover_s:
            self.close()
            try:
                self.connect()
            except BridgeError as again:
                self._event(f"not yet: {again}")
                time.sleep(0.05)
                continue
            outage_s = time.monotonic() - failed_at
            self.report.longest_outage_s = max(self.report.longest_outage_s, outage_s)
            self._event(f"back after {outage_s:.2f} s, at the start of the window")
            return
        self.report.gave_up = f"the board did not come back within {self._recover_s:g} s: {error}"

    def _event(self, text: str) -> None:
        line = f"frame {self.report.frames_in}: {text}"
        self.report.events.append(line)
        self._on_event(line)

    def close(self) -> None:
        if self._target is not None:
            with suppress(BridgeError):
                self._target.port.close()
            self._target = self._board = None
