"""Prove that a board computes what the host computes.

The names below are what programs use; each is imported when it is first asked for, and the rooms hold the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware_bridge.boards.build import build
    from firmware_bridge.boards.program import Program
    from firmware_bridge.check.run import check as check_board
    from firmware_bridge.check.shadow import Shadow
    from firmware_bridge.check.soak import soak
    from firmware_bridge.link.transport import open_serial
    from firmware_bridge.targets import Options, open_board

_HOMES = {
    "Options": ("firmware_bridge.targets", "Options"),
    "Program": ("firmware_bridge.boards.program", "Program"),
    "Shadow": ("firmware_bridge.check.shadow", "Shadow"),
    "build": ("firmware_bridge.boards.build", "build"),
    "check_board": ("firmware_bridge.check.run", "check"),
    "open_board": ("firmware_bridge.targets", "open_board"),
    "open_serial": ("firmware_bridge.link.transport", "open_serial"),
    "soak": ("firmware_bridge.check.soak", "soak"),
}

__all__ = ("Options", "Program", "Shadow", "build", "check_board", "open_board", "open_serial", "soak")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, there = _HOMES[name]
    return getattr(import_module(home), there)
