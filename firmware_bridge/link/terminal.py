"""A process behind a pseudo-terminal: what a serial port looks like, without a board."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from firmware_bridge.errors import LinkError, TargetError
from firmware_bridge.link.transport import end_process, end_with_parent


class TerminalTransport:
    """The controlling end of a pseudo-terminal and the process at the other one."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._name = name
        self._descriptor = descriptor

    def read(self, timeout_s: float) -> bytes:
        readable, _, _ = select.select([self._descriptor], [], [], max(timeout_s, 0))
        if not readable:
            return b""
        try:
            received = os.read(self._descriptor, 65536)
        except OSError as error:
            raise LinkError(f"{self._name} hung up: the process behind the terminal ended") from error
        if not received:
            raise LinkError(f"{self._name} hung up: the process behind the terminal ended")
        return received

    def write(self, data: bytes, timeout_s: float) -> None:
        left, until = memoryview(data), time.monotonic() + timeout_s
        while left:
            _, writable, _ = select.select([], [self._descriptor], [], max(until - time.monotonic(), 0))
            if not writable:
                raise LinkError(f"{self._name} has taken no bytes for {timeout_s:g} s; is it stopped?")
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise LinkError(f"{self._name} hung up: the process behind the terminal ended") from error

    def had_s(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)
        end_process(self.process)


def start_on_terminal(name: str, command: Sequence[str]) -> TerminalTransport:
    """Raises TargetError where there are no pseudo-terminals or the program does not start."""
    try:
        import pty
        import tty
    except ImportError as error:
        raise TargetError(f"{name}: this system has no pseudo-terminals; use the target without pty") from error
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    try:
        process = subprocess.Popen(
            list(command), stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent
        )
    except OSError as error:
        os.close(ours)
        raise TargetError(f"{name}: {command[0]} cannot be started: {error.strerror or error}") from error
    finally:
        os.close(theirs)
    return TerminalTransport(name, process, ours)
