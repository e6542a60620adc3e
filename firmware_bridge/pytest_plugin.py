"""Hardware in the loop under pytest.

::

    def test_board(hil_check):
        report = hil_check("ecg.tflite", "recording.csv")
        assert report.passed, report.verdict

    pytest --hil-target serial:/dev/ttyACM0

Without ``--hil-target`` such tests are skipped, with ``--hil-required`` they fail. A target that was named and is not
there is a failure in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from firmware_bridge.boards.board import Board
    from firmware_bridge.boards.program import Program
    from firmware_bridge.check.verdict import CheckReport
    from firmware_bridge.targets import Target, WindowsReport


_OF_THE_FILE = ("time_axis", "signature", "states")
_OF_THE_PROGRAM = ("rounding", "time_pooling", "static")
"""Options of ``hil_check`` that say how the model is opened, and what a board runs of it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware in the loop (firmware-bridge)")
    group.addoption(
        "--hil-target", metavar="TARGET", help="Board for hil_check: serial:PORT, tcp:HOST:PORT, qemu-m4 ..."
    )
    group.addoption("--hil-required", action="store_true", help="No --hil-target is a failure, not a skip.")
    group.addoption("--hil-load", action="store_true", help="Load the model over the link though another is flashed.")


def _target(config: pytest.Config) -> Target:
    from firmware_bridge.errors import TargetError
    from firmware_bridge.targets import parse_target

    name = config.getoption("--hil-target")
    if not name:
        if config.getoption("--hil-required"):
            pytest.fail("--hil-required: no board: give --hil-target")
        pytest.skip("no board: give --hil-target")
    try:
        return parse_target(str(name))
    except TargetError as error:
        _not_there(str(name), error)


def _not_there(target: str, error: Exception) -> NoReturn:
    reason = str(error)
    pytest.fail(f"--hil-target: {reason if target in reason else f'{target}: {reason}'}", pytrace=False)


def _connected(config: pytest.Config, target: Target, program: Program | None) -> Board:
    from firmware_bridge.errors import LinkError, TargetError
    from firmware_bridge.targets import Options, open_board

    try:
        return open_board(target, program, Options(load=config.getoption("--hil-load")))
    except (TargetError, LinkError) as error:
        _not_there(target.text, error)


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """The board of ``--hil-target``, connected; ``board.start(Program.of(model))`` gives it a model."""
    target = _target(request.config)
    if target.answers_windows:
        pytest.fail(
            f"{target.text}: the fixture `board` is a stream on a board with tcnstream's firmware, and stock firmware"
            " answers whole windows only; use `hil_check`, which compares those"
        )
    with closing(_connected(request.config, target, None)) as connected:
        yield connected


@pytest.fixture
def hil_check(request: pytest.FixtureRequest) -> Iterator[Callable[..., CheckReport | WindowsReport]]:
    """``hil_check(model, signal, **options)``: a report on the board of ``--hil-target``, ``passed`` and a ``verdict``.

    ``model``: a Model, a .tflite, a card or a shipped model's name; ``signal``: frames, or the path of a
    recording. ``rounding``, ``time_pooling``, ``time_axis``, ``signature``, ``states`` and ``static`` go to the model,
    other options to ``firmware_bridge.check_board``, which gives a CheckReport; with a target ``neuralspot:`` to
    ``neuralspot.check``, which gives a NeuralSpotReport.
    """
    target = _target(request.config)
    with ExitStack() as stack:

        def run(model: Any, signal: Any, **options: Any) -> CheckReport | WindowsReport:
            if target.answers_windows:
                return _check_windows(target, model, signal, options)
            return _check_board(request, stack, target, model, signal, options)

        yield run


def _check_windows(target: Target, model: Any, signal: Any, options: dict[str, Any]) -> WindowsReport:
    from firmware_bridge.check.recordings import read_signal
    from firmware_bridge.errors import TargetError
    from firmware_bridge.neuralspot import CallError
    from firmware_bridge.targets import check_windows
    from tcnstream.opened import open_model

    opened = open_model(model, *(options.pop(name, None) for name in _OF_THE_FILE))
    frames = read_signal(opened, signal)[0] if isinstance(signal, (str, Path)) else signal
    try:
        return check_windows(target, opened.model, frames, **options)
    except (TargetError, CallError) as error:
        _not_there(target.text, error)


def _check_board(
    request: pytest.FixtureRequest,
    stack: ExitStack,
    target: Target,
    model: Any,
    signal: Any,
    options: dict[str, Any],
) -> CheckReport:
    from firmware_bridge.boards.program import Program
    from firmware_bridge.check.recordings import read_signal
    from firmware_bridge.check.run import check
    from tcnstream.opened import open_model

    opened = open_model(model, *(options.pop(name, None) for name in _OF_THE_FILE))
    program = Program.of(opened.model, **{name: options.pop(name) for name in _OF_THE_PROGRAM if name in options})
    frames, rate_hz = read_signal(opened, signal) if isinstance(signal, (str, Path)) else (signal, None)
    if target.kind.flashed_first:
        board = stack.enter_context(closing(_connected(request.config, target, program)))
    else:
        board = request.getfixturevalue("board")
        board.start(program)
    return check(program, board, frames, **{"rate_hz": rate_hz, "name": opened.path.name, **options})
