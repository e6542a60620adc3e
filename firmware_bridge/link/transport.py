"""Byte lines: a socket (also to a process of our own), a serial port. Every read and write has a deadline."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from firmware_bridge.errors import LinkError, TargetError
from firmware_bridge.link.processor import ProcessorClock

DEFAULT_BAUD = 115200


class Transport(Protocol):
    """A line to a board; ``read`` gives what has come, b"" when ``timeout_s`` passed without anything.

    ``had_s`` is a clock of the time that the other end had for its answers: less than has passed where it is an
    emulator on a busy machine.
    """

    def read(self, timeout_s: float) -> bytes: ...

    def write(self, data: bytes, timeout_s: float) -> None: ...

    def had_s(self) -> float: ...

    def close(self) -> None: ...


MOST_PATIENCE = 10
"""So many times a deadline may pass on the wall before an emulator that got no processor is given up."""


class Patience:
    """How long the other end is waited for, from now on: deadlines go by the time that it had for its answer."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._began_s, self._had_s = time.monotonic(), transport.had_s()

    def left_s(self, timeout_s: float) -> float:
        """What is left of a deadline; nothing once it has passed."""
        had_s, passed_s = self._transport.had_s() - self._had_s, time.monotonic() - self._began_s
        return min(timeout_s - had_s, MOST_PATIENCE * timeout_s - passed_s)


class SocketTransport:
    """A connected socket. Raises LinkError when the other end is gone."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._name = name
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def read(self, timeout_s: float) -> bytes:
        try:
            if not self._poll.poll(max(timeout_s, 0) * 1000):
                return b""
            received = self._socket.recv(65536)
        except BlockingIOError:
            return b""
        except ConnectionResetError as error:
            raise self._hung_up() from error
        except OSError as error:
            raise LinkError(f"the line to {self._name} broke: {error.strerror or error}") from error
        if not received:
            raise self._hung_up()
        return received

    def write(self, data: bytes, timeout_s: float) -> None:
        left: memoryview = memoryview(data)
        patience: Patience | None = None
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                patience = patience or Patience(self)
                wait = patience.left_s(timeout_s)
                if wait <= 0:
                    raise LinkError(f"{self._name} has taken no bytes for {timeout_s:g} s; is it stopped?") from None
                select.select([], [self._socket], [], wait)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise self._hung_up() from error
            except OSError as error:
                raise LinkError(f"the line to {self._name} broke: {error.strerror or error}") from error

    def had_s(self) -> float:
        return time.monotonic()

    def _hung_up(self) -> LinkError:
        return LinkError(f"{self._name} hung up: the process ended or the connection was closed")

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


class ProcessTransport(SocketTransport):
    """A process of our own behind a socket pair; it ends with this object, and with this process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        super().__init__(connection, name)
        self.process = process

    def _hung_up(self) -> LinkError:
        return LinkError(f"{super()._hung_up()}{self._last_words()}")

    def _last_words(self) -> str:
        """What the process wrote to standard error, once it has ended."""
        end_process(self.process)
        said = self.process.stderr.read().decode(errors="replace") if self.process.stderr is not None else ""
        lines = [line for line in said.splitlines() if line.strip() and ": warning: " not in line]
        return f"; it said: {' '.join(lines)[-300:]}" if lines else ""

    def close(self) -> None:
        super().close()
        end_process(self.process)
        if self.process.stderr is not None:
            self.process.stderr.close()


class EmulatorTransport(ProcessTransport):
    """A process that computes what a board would, as fast as this machine lets it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        super().__init__(name, process, connection)
        self._clock = ProcessorClock(process.pid)

    def had_s(self) -> float:
        return self._clock.now_s()


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Ends a child within two seconds, whatever it does."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


_PRCTL: Any = None
"""Looked up here and not in a child, which has the locks of threads that it does not have."""
with suppress(OSError, AttributeError):
    _PRCTL = ctypes.CDLL(None).prctl


def end_with_parent() -> None:
    """In the child: be ended when the parent is (Linux prctl, PR_SET_PDEATHSIG)."""
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGKILL, 0, 0, 0)


def start_process(name: str, command: Sequence[str], on_stdio: bool) -> ProcessTransport:
    """A child whose line is its standard input and output, or an emulator's descriptor, ``{fd}`` in ``command``.

    Raises TargetError where it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        line = theirs.fileno()
        try:
            process = subprocess.Popen(
                [word.replace("{fd}", str(line)) for word in command],
                stdin=line if on_stdio else subprocess.DEVNULL,
                stdout=line if on_stdio else subprocess.DEVNULL,
                stderr=subprocess.PIPE if not on_stdio else subprocess.DEVNULL,
                pass_fds=() if on_stdio else (line,),
                preexec_fn=end_with_parent if os.name == "posix" else None,
            )
        except OSError as error:
            ours.close()
            raise TargetError(f"{name}: {command[0]} cannot be started: {error.strerror or error}") from error
    return (ProcessTransport if on_stdio else EmulatorTransport)(name, process, ours)


def connect(host: str, port: int, timeout_s: float = 5.0) -> SocketTransport:
    """A TCP connection. Raises TargetError where nobody listens."""
    try:
        connection = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise TargetError(
            f"tcp:{host}:{port}: {error.strerror or error}; start the board's server, or check host and port"
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(connection, f"tcp:{host}:{port}")


class SerialTransport:
    """A serial port through pyserial."""

    def __init__(self, port: Any, name: str) -> None:
        self._port = port
        self._name = name

    def read(self, timeout_s: float) -> bytes:
        try:
            self._port.timeout = max(timeout_s, 0)
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except (OSError, TypeError) as error:
            raise LinkError(f"the line to {self._name} broke: {error}; was it unplugged?") from error

    def write(self, data: bytes, timeout_s: float) -> None:
        try:
            self._port.write_timeout = timeout_s
            self._port.write(data)
        except (OSError, TypeError) as error:
            raise LinkError(f"the line to {self._name} broke: {error}; was it unplugged?") from error

    def had_s(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        with suppress(OSError):
            self._port.close()


def open_serial(port: str, baud: int = DEFAULT_BAUD) -> SerialTransport:
    """A serial port. Raises TargetError where pyserial or the port is not there."""
    try:
        import serial
    except ImportError as error:
        raise TargetError("serial ports need pyserial: pip install pyserial") from error
    try:
        # Two programs on one port would take each other's replies.
        opened = serial.serial_for_url(port, baudrate=baud, timeout=0, exclusive=True)
        return SerialTransport(opened, f"serial:{port}")
    except (OSError, ValueError) as error:
        raise TargetError(
            f"serial:{port}: {error}; check the cable, that no other program has the port open, and your rights to it"
        ) from error
