"""Peers that do not behave: killed, silent, talking nonsense, or somebody else's."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.bridge_tools import a_board, program, signal
from helpers.paths import MODELS
from helpers.took import told_in_time
from typer.testing import CliRunner

from firmware_bridge.cli.app import app
from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.link import session
from firmware_bridge.targets import Options, open_board

NAME = "nse_sm.i8"


def test_a_firmware_that_is_killed_in_mid_check_is_told() -> None:
    with a_board("host", NAME) as board:
        killer = threading.Timer(0.3, board.link.transport.process.kill)
        killer.start()
        begin = time.monotonic()
        with pytest.raises(LinkError, match="hung up: the process ended"):
            while time.monotonic() < begin + 90:
                board.push([signal(NAME, 100)])
        killer.join()


@contextmanager
def a_server(peer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP target that does ``peer`` with whoever connects."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                peer(connection)

    helper = threading.Thread(target=serve, daemon=True)
    helper.start()
    try:
        yield f"tcp:127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()
        helper.join(timeout=10)


def _silence(connection: socket.socket) -> None:
    connection.settimeout(90)
    while connection.recv(4096):
        pass


def _garbage(connection: socket.socket) -> None:
    rng, end = random.Random(0), time.monotonic() + 90
    while time.monotonic() < end:
        connection.sendall(rng.randbytes(500))
        time.sleep(0.01)


def _echo(connection: socket.socket) -> None:
    while heard := connection.recv(4096):
        connection.sendall(heard)


def _goodbye(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (_silence, "nothing came at all: check the port"),
        (_garbage, "what came is no frame of the bridge"),
        (_echo, "what is sent comes back"),
        (_goodbye, "hung up"),
    ],
)
def test_a_peer_that_is_no_board_ends_a_check_in_one_sentence(
    peer: Callable[[socket.socket], None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "in.npy"
    np.save(recording, np.zeros((200, 1), np.float32))
    command = ["check", str(MODELS / f"{NAME}.tflite"), "--input", str(recording), "--target"]

    def said(limit_s: float) -> str:
        monkeypatch.setattr(session.Link.hello, "__defaults__", (limit_s,))
        with a_server(peer) as target, pytest.raises(BridgeError) as caught:
            CliRunner().invoke(app, [*command, target], catch_exceptions=False)
        return str(caught.value)

    assert told in told_in_time(said, told, 0.7)


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals of POSIX")
def test_a_port_that_another_program_has_is_told() -> None:
    """Both would take each other's replies; it was a board that does not answer."""
    serial = pytest.importorskip("serial")
    ours, theirs = os.openpty()
    try:
        with (
            serial.Serial(os.ttyname(theirs), exclusive=True),
            pytest.raises(BridgeError, match="no other program has the port open"),
        ):
            open_board(f"serial:{os.ttyname(theirs)}", program(NAME), Options())
    finally:
        os.close(ours)
        os.close(theirs)
