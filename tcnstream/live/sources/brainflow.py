"""Boards that BrainFlow drives (package brainflow, extra ``brainflow``; it has no wheels for a Raspberry Pi).

``brainflow:SYNTHETIC_BOARD`` names a board as BrainFlow's BoardIds do. Its package counter tells what was lost.
"""

from __future__ import annotations

import difflib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

import numpy as np

from tcnstream.live.blocks import Lost, Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Found, Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package
from tcnstream.signal.sources.base import choose_channels

_WAIT_S = 0.02
_BUFFER_FRAMES = 1 << 17
_MODULUS = 256


@dataclass(frozen=True)
class BrainflowConfig(SourceConfig):
    """``port`` and ``address`` are for the boards that need them."""

    board: str
    port: str
    address: str

    def needs(self) -> Needs:
        ports, hosts = ((self.port,) if self.port else ()), ((self.address,) if self.address else ())
        return Needs(ports=ports, hosts=hosts)


class BrainflowSource(Live):
    """The board's channels of what it is made for (ECG, else EEG, else all)."""

    silent_s = 5.0
    has_crystal = False

    def __init__(self, config: BrainflowConfig, wanted: Wanted) -> None:
        self._config = config
        shim = optional_package("brainflow.board_shim", f"{config.uri} is a board of BrainFlow", "brainflow")
        self._shim = shim.BoardShim
        shim.BoardShim.disable_board_logger()
        self._params = shim.BrainFlowInputParams()
        self._params.serial_port, self._params.ip_address = config.port, config.address
        self._id = int(shim.BoardIds[config.board].value)
        self.rate_hz = config.rate_hz or float(self._shim.get_sampling_rate(self._id))
        self.units = config.units or "uV"
        rows = _rows(self._shim, self._id)
        chosen = choose_channels(tuple(str(n) for n in range(len(rows))), wanted.channels, config.uri)
        self._rows = [rows[number] for number in chosen]
        self._count: int | None = None

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        board = self._shim(self._id, self._params)
        counter = self._shim.get_package_num_channel(self._id)
        try:
            board.prepare_session()
            board.start_stream(_BUFFER_FRAMES)
        except Exception as error:  # BrainFlow's errors have one class, which comes with the package
            raise SourceDownError(f"{self._config.board}: {error}") from error
        try:
            while not stop.is_set():
                try:
                    content = board.get_board_data()
                except Exception as error:
                    raise SourceDownError(f"{self._config.board}: {error}") from error
                arrived_s = time.monotonic()
                if not content.shape[1]:
                    yield None
                else:
                    yield from self._pieces(content[counter].astype(np.int64), content[self._rows], arrived_s)
                stop.wait(_WAIT_S)
        finally:
            board.release_session()

    def _pieces(self, counts: np.ndarray, values: np.ndarray, arrived_s: float) -> Iterator[Piece]:
        """A piece for each stretch without a loss."""
        before = np.concatenate([[counts[0] - 1 if self._count is None else self._count], counts[:-1]])
        lost = (counts - before - 1) % _MODULUS
        self._count = int(counts[-1])
        edges = [0, *(np.flatnonzero(lost[1:]) + 1).tolist(), len(counts)]
        for begin, end in itertools.pairwise(edges):
            missing = int(lost[begin])
            gap = Lost(missing, 0, "counter") if missing else None
            samples = np.ascontiguousarray(values[:, begin:end].T, np.float32)
            yield Piece(samples, arrived_s, gap, modulus=_MODULUS)


def _rows(shim: object, board: int) -> list[int]:
    for ask in ("get_ecg_channels", "get_eeg_channels", "get_exg_channels"):
        try:
            return list(getattr(shim, ask)(board))
        except Exception:  # the board has none of these
            continue
    return []


def _configure(uri: str, name: str, options: Table, folder: Path) -> BrainflowConfig:
    try:
        from brainflow.board_shim import BoardIds

        known = [each.name for each in BoardIds]
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, 3, cutoff=0.5) or ["SYNTHETIC_BOARD", "CYTON_BOARD"]
            options.problems.add(options.path, f'= "{uri}" is no board: give one such as {" or ".join(near)}')
    except ImportError:
        pass  # said when it is opened, with the way to install it
    return BrainflowConfig(
        "brainflow",
        uri,
        rate_option(options),
        options.text("units"),
        name,
        options.text("port"),
        options.text("address"),
    )


def _find() -> list[Found]:
    try:
        from brainflow.board_shim import BoardIds
    except ImportError:
        return []
    return [Found(f"brainflow:{BoardIds.SYNTHETIC_BOARD.name}", "BrainFlow's board without hardware")]


KIND = SourceKind("brainflow", "brainflow:BOARD", _configure, BrainflowSource, _find)
