"""``firmware-bridge devices``: serial ports, and who answers there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from firmware_bridge.boards.devices import list_devices
from firmware_bridge.boards.table import EMULATED
from tcnstream.cli.options import JsonOption
from tcnstream.cli.show import out, print_json, say


def devices(
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask each port who it is.")] = True,
    baud: Annotated[int, typer.Option("--baud", min=1, help="Speed for the question.")] = 115200,
    json: JsonOption = False,
) -> None:
    """List serial ports, what their USB numbers say, and what answers there.

    Example: `firmware-bridge devices --no-ask`
    """
    found = list_devices(ask, baud)
    if json:
        print_json([{**asdict(device), "target": device.target} for device in found])
        return
    if not found:
        say("no serial ports; connect a board, or use one of the targets host, " + ", ".join(EMULATED))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("target", "USB", "serial number", "known as", "answer" if ask else "description"):
        table.add_column(column, overflow="fold")
    for device in found:
        last = device.answer if ask else device.description
        table.add_row(device.target, device.usb, device.serial_number, device.known, last)
    out.print(table)
