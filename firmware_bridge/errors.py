"""What the bridge raises on purpose; all of it is a TcnStreamError."""

from __future__ import annotations

from tcnstream.errors import TcnStreamError


class BridgeError(TcnStreamError):
    """Base of the bridge's errors. The text is one sentence or two: what, where, the way out."""


class TargetError(BridgeError):
    """A target cannot be opened: its name is wrong, or the port, the compiler or the emulator is not there."""


class LinkError(BridgeError):
    """The line failed: no reply in time, or the other end is gone."""


class BoardRestartedError(LinkError):
    """The board answers, but it has started again since the last exchange and has forgotten this session."""


class MismatchError(BridgeError):
    """The two sides differ in version, model or rounding; the text has both values."""


class RefusedError(BridgeError):
    """The board understood a request and refused it. ``status`` is its reason, ``detail`` two numbers of it."""

    def __init__(self, text: str, status: int, detail: tuple[int, int]) -> None:
        super().__init__(text)
        self.status = status
        self.detail = detail
