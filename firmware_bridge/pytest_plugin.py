"""Hardware in the loop under pytest.

::

    def test_board(hil_check):
        report = hil_check("ecg.tflite", "recording.csv")
        assert report.passed, report.verdict

    pytest --hil-target serial:/dev/ttyACM0

Without ``--hil-target``, or where the board is not there, such tests are skipped with the reason; with
``--hil-required`` they fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from firmware_bridge.board import Board
    from firmware_bridge.check import CheckReport


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware in the loop (firmware-bridge)")
    group.addoption(
        "--hil-target", metavar="TARGET", help="Board for hil_check: serial:PORT, tcp:HOST:PORT, qemu-m4 ..."
    )
    group.addoption("--hil-required", action="store_true", help="A missing board is a failure, not a skip.")
    group.addoption("--hil-load", action="store_true", help="Load the model over the link though another is flashed.")


def _missing(config: pytest.Config, reason: str) -> NoReturn:
    if config.getoption("--hil-required"):
        pytest.fail(f"--hil-required: {reason}")
    pytest.skip(reason)


def _target(config: pytest.Config) -> str:
    target = config.getoption("--hil-target")
    if not target:
        _missing(config, "no board: give --hil-target")
    return str(target)


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """The board of ``--hil-target``, connected; ``board.start(Program.of(model))`` gives it a model."""
    from firmware_bridge.errors import LinkError, TargetError
    from firmware_bridge.targets import Options, open_board

    target = _target(request.config)
    try:
        connected = open_board(target, None, Options(load=request.config.getoption("--hil-load")))
    except (TargetError, LinkError) as error:
        _missing(request.config, str(error))
    try:
        yield connected
    finally:
        connected.close()


@pytest.fixture
def hil_check(request: pytest.FixtureRequest) -> Iterator[Callable[..., CheckReport]]:
    """``hil_check(model, signal, **options)``: a CheckReport of the board of ``--hil-target``.

    ``model``: a Model, a .tflite, a card or a shipped model's name; ``signal``: frames, or the path of a
    recording. ``rounding`` and ``time_pooling`` go to the model, other options to ``check.check``.
    """
    from firmware_bridge.build import EMULATED
    from firmware_bridge.check import check
    from firmware_bridge.errors import LinkError, TargetError
    from firmware_bridge.recordings import open_program, read_signal
    from firmware_bridge.targets import Options, open_board, parse_target

    target = _target(request.config)
    with ExitStack() as stack:

        def run(
            model: Any, signal: Any, *, rounding: str = "litert", time_pooling: str | None = None, **options: Any
        ) -> Any:
            opened, program = open_program(model, rounding=rounding, time_pooling=time_pooling)
            frames, rate_hz = (signal, None) if not isinstance(signal, (str, Path)) else read_signal(opened, signal)
            if parse_target(target).kind in EMULATED:  # their flash is written before they start
                try:
                    device = stack.enter_context(
                        closing(open_board(target, program, Options(load=request.config.getoption("--hil-load"))))
                    )
                except (TargetError, LinkError) as error:
                    _missing(request.config, str(error))
            else:
                device = request.getfixturevalue("board")
                device.start(program)
            return check(program, device, frames, **{"rate_hz": rate_hz, **options})

        yield run
