"""Serial ports and what is known of them; each can be asked who it is, and none is picked out of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firmware_bridge.errors import BridgeError, TargetError
from firmware_bridge.link.messages import Hello, unpack_hello
from firmware_bridge.link.session import Link
from firmware_bridge.link.transport import DEFAULT_BAUD, open_serial

KNOWN = {
    (0xCAFE, 0x4001): "Ambiq USB serial (neuralSPOT, CDC)",
    (0xCAFE, 0x4011): "Ambiq USB serial (neuralSPOT, CDC and WebUSB)",
}
"""USB vendor and product; these boards all have the serial number 123457, so that two of them look alike."""

KNOWN_VENDORS = {
    0x1366: "SEGGER J-Link (the UART of an Apollo EVB, 115200 8N1)",
    0x0D28: "Arm DAPLink",
    0x0483: "STMicroelectronics ST-Link",
}

ASK_S = 1.0


@dataclass(frozen=True)
class Device:
    """A port. ``known``: what its USB numbers say; ``answer``: what it said when it was asked."""

    port: str
    description: str
    usb: str
    serial_number: str
    known: str
    answer: str = ""

    @property
    def target(self) -> str:
        """How it is named on the command line."""
        return f"serial:{self.port}"


def list_devices(ask: bool = False, baud: int = DEFAULT_BAUD) -> list[Device]:
    """All serial ports, those that are known first. Raises TargetError without pyserial."""
    try:
        from serial.tools import list_ports
    except ImportError as error:
        raise TargetError("serial ports need pyserial: pip install pyserial") from error
    found = [_device(port, ask, baud) for port in list_ports.comports()]
    return sorted(found, key=lambda d: (not d.known, d.port))


def _device(port: Any, ask: bool, baud: int) -> Device:
    usb = "" if port.vid is None else f"{port.vid:04X}:{port.pid:04X}"
    known = "" if port.vid is None else KNOWN.get((port.vid, port.pid)) or KNOWN_VENDORS.get(port.vid, "")
    answer = ask_port(port.device, baud) if ask else ""
    return Device(port.device, port.description or "", usb, port.serial_number or "", known, answer)


def ask_port(port: str, baud: int = DEFAULT_BAUD, wait_s: float = ASK_S) -> str:
    """Who answers there, in words."""
    try:
        link = Link(open_serial(port, baud))
    except BridgeError as error:
        return f"cannot be opened: {error}"
    try:
        return describe(unpack_hello(link.hello(wait_s)))
    except BridgeError as error:
        text = [text for level, text in link.log if level == "text"]
        return f"says {text[-1]!r}, no frame of the bridge" if text else f"no bridge firmware: {error}"
    finally:
        link.close()


def describe(hello: Hello) -> str:
    model = f"model {hello.identity!r}" if hello.plan_bytes else "no model"
    return f"bridge firmware {hello.build} for {hello.target}, core {hello.core}, {model}"


def only_device() -> Device:
    """The one known board; TargetError where there is none, or more than one to choose from."""
    boards = [device for device in list_devices() if device.known]
    if len(boards) == 1:
        return boards[0]
    if not boards:
        raise TargetError("no known board is connected; `firmware-bridge devices` lists all ports")
    names = ", ".join(f"{board.target} ({board.known})" for board in boards)
    raise TargetError(f"several boards are connected, say which: {names}")
