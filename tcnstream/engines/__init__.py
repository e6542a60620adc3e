"""Engines compute the frames of a Plan; each one is a table of operations behind ``Executor``."""

from __future__ import annotations

from typing import Protocol

from tcnstream.state import State


class Executor(Protocol):
    """Computes frames for any number of streams of one plan; holds nothing of a stream itself."""

    name: str

    def run(self, state: State, goal: list[int]) -> None:
        """Bring every tensor of ``state`` from ``state.have`` to ``goal`` frames."""
