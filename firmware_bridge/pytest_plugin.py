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
    from firmware_bridge.neuralspot import NeuralSpotReport
    from firmware_bridge.verdict import CheckReport


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
    from firmware_bridge.neuralspot import is_stock
    from firmware_bridge.targets import Options, open_board

    target = _target(request.config)
    if is_stock(target):
        pytest.fail(
            f"{target}: the fixture `board` is a stream on a board with tcnstream's firmware, and stock firmware"
            " answers whole windows only; use `hil_check`, which compares those"
        )
    try:
        connected = open_board(target, None, Options(load=request.config.getoption("--hil-load")))
    except (TargetError, LinkError) as error:
        _missing(request.config, str(error))
    try:
        yield connected
    finally:
        connected.close()


@pytest.fixture
def hil_check(request: pytest.FixtureRequest) -> Iterator[Callable[..., CheckReport | NeuralSpotReport]]:
    """``hil_check(model, signal, **options)``: a report on the board of ``--hil-target``, ``passed`` and a ``verdict``.

    ``model``: a Model, a .tflite, a card or a shipped model's name; ``signal``: frames, or the path of a
    recording. ``rounding`` and ``time_pooling`` go to the model, other options to ``check.check``, which gives a
    CheckReport; with a target ``neuralspot:`` to ``neuralspot.check``, which gives a NeuralSpotReport.
    """
    from firmware_bridge.neuralspot import is_stock

    target = _target(request.config)
    with ExitStack() as stack:

        def run(model: Any, signal: Any, **options: Any) -> CheckReport | NeuralSpotReport:
            if is_stock(target):
                return _check_stock(request.config, target, model, signal, options)
            return _check_board(request, stack, target, model, signal, options)

        yield run


def _check_stock(
    config: pytest.Config, target: str, model: Any, signal: Any, options: dict[str, Any]
) -> NeuralSpotReport:
    from firmware_bridge.errors import LinkError, TargetError
    from firmware_bridge.neuralspot import check, open_stock_target
    from firmware_bridge.recordings import read_signal
    from tcnstream.opened import open_model

    opened = open_model(model)
    frames = read_signal(opened, signal)[0] if isinstance(signal, (str, Path)) else signal
    try:
        stock = open_stock_target(target)
    except (TargetError, LinkError) as error:
        _missing(config, str(error))
    with closing(stock.port):
        return check(
            opened.model, stock.port, frames, **{"convention": stock.convention, "framing": stock.framing, **options}
        )


def _check_board(
    request: pytest.FixtureRequest,
    stack: ExitStack,
    target: str,
    model: Any,
    signal: Any,
    options: dict[str, Any],
) -> CheckReport:
    from firmware_bridge.build import EMULATED
    from firmware_bridge.check import check
    from firmware_bridge.errors import LinkError, TargetError
    from firmware_bridge.recordings import open_program, read_signal
    from firmware_bridge.targets import Options, open_board, parse_target

    made = {name: options.pop(name) for name in ("rounding", "time_pooling") if name in options}
    opened, program = open_program(model, **made)
    frames, rate_hz = read_signal(opened, signal) if isinstance(signal, (str, Path)) else (signal, None)
    if parse_target(target).kind in EMULATED:  # their flash is written before they start
        try:
            board = open_board(target, program, Options(load=request.config.getoption("--hil-load")))
        except (TargetError, LinkError) as error:
            _missing(request.config, str(error))
        stack.enter_context(closing(board))
    else:
        board = request.getfixturevalue("board")
        board.start(program)
    return check(program, board, frames, **{"rate_hz": rate_hz, "name": opened.path.name, **options})
