"""``firmware-bridge twin``: a board with stock Ambiq firmware, on this machine."""

from __future__ import annotations

import signal
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from firmware_bridge.cli.options import RoundingOption
from firmware_bridge.errors import BridgeError
from firmware_bridge.neuralspot import serve_on
from tcnstream.cli.options import FileOptions, ModelArgument, grouped
from tcnstream.cli.show import note


@grouped
def twin(
    model: ModelArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="pty, tcp:HOST:PORT or a serial port.")],
    *,
    convention: Annotated[
        str, typer.Option("--convention", metavar="NAME", help="validator or heartkit.")
    ] = "validator",
    rounding: RoundingOption = "litert",
    file: FileOptions,
) -> None:
    """Be a board with stock Ambiq firmware, for clients that speak eRPC, until it is interrupted.

    Example: `firmware-bridge twin ecg tcp:127.0.0.1:7000`
    """
    if convention not in ("validator", "heartkit"):
        raise BridgeError(f"the convention is validator or heartkit, not {convention!r}")
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        # Another one within set() would wait for the lock that this one holds.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        served = serve_on(
            file.open(model).model,
            port,
            convention="heartkit" if convention == "heartkit" else "validator",
            rounding=rounding,
            stop=stop,
            log=note,
            ready=lambda where: note(f"waiting on {where} until Ctrl-C"),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    note(f"answered {served.calls:,} calls and {served.windows:,} windows; {served.damaged:,} damaged frames")
