"""What a source or a sink needs of the machine, so that a service may be denied all else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Needs:
    """``reads`` are files, ``writes`` folders, ``ports`` serial ports, ``hosts`` names or addresses it connects to.

    ``sound`` is a microphone, ``multicast`` finding others on the local network, ``terminal`` a standard input,
    ``is_visited`` that others on the local network connect to it.
    """

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    ports: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    sound: bool = False
    multicast: bool = False
    terminal: bool = False
    is_visited: bool = False


def together(all_of_them: Iterable[Needs]) -> Needs:
    """What several need, each thing once, in a steady order."""
    each = list(all_of_them)
    return Needs(
        tuple(sorted({path for needs in each for path in needs.reads})),
        tuple(sorted({path for needs in each for path in needs.writes})),
        tuple(sorted({port for needs in each for port in needs.ports})),
        tuple(sorted({host for needs in each for host in needs.hosts})),
        any(needs.sound for needs in each),
        any(needs.multicast for needs in each),
        any(needs.terminal for needs in each),
        any(needs.is_visited for needs in each),
    )
