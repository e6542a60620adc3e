"""Where streams go on: what the daemon before this one left in the journal and in the files of its sinks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from tcnstream.errors import TcnStreamError
from tcnstream.live.chain import Chain
from tcnstream.live.config import StreamConfig
from tcnstream.live.feed import Before
from tcnstream.live.journal import Checkpoint
from tcnstream.live.logs import Log
from tcnstream.live.sinks.jsonl import JsonlSink
from tcnstream.live.sources import kind_named

_SAME_BOOT_TOLERANCE_S, _OTHER_BOOT_TOLERANCE_S = 0.05, 2.0


@dataclass
class _Tail:
    """What a live stream wrote after its last checkpoint."""

    next_seq: int = 0
    next_frame: int = 0
    epoch: int = 0


class Left:
    """The last ``checkpoints`` of streams, by name, and what their files hold beyond them.

    ``same_boot`` says that the machine has not started anew since, so that its monotonic clock is the same.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint], same_boot: bool) -> None:
        self._checkpoints, self._same_boot = checkpoints, same_boot
        self._tails: dict[str, _Tail] = {}

    def recover(self, sink: JsonlSink, streams: Mapping[str, StreamConfig], log: Log) -> None:
        """Cuts a file back to the checkpoints of ``streams``, but for what live ones wrote since: nobody can give that
        again, and they go on behind it. A file that is shorter than that is told.
        """
        positions = {
            stream: checkpoint.files[sink.config.name]
            for stream, checkpoint in self._checkpoints.items()
            if sink.config.name in checkpoint.files and stream in streams
        }
        if not positions:
            return
        for position in dict(sorted(positions.values())).items():  # the farthest of each file
            if (shortened := sink.file.shortened(position)) is not None:
                path, found = shortened
                log.warn(
                    "sink.shortened",
                    sink=sink.config.name,
                    file=path,
                    expected_bytes=position[1],
                    found_bytes=found,
                    says="lines that were written are not there any more; what comes begins a new line",
                )
        begin = min(positions.values())
        all_bytes = len(sink.file.tail(begin))
        offsets = {stream: all_bytes - len(sink.file.tail(position)) for stream, position in positions.items()}

        def keep(offset: int, line: bytes) -> bool:
            try:
                fields = json.loads(line)
                stream = fields["stream"]
            except (ValueError, KeyError, TypeError):
                return True
            if stream not in offsets or offset < offsets[stream]:
                return True
            if kind_named(streams[stream].source.kind).replayable:
                return False
            tail = self._tails.setdefault(stream, _Tail())
            tail.next_seq = max(tail.next_seq, int(fields["seq"]) + 1)
            tail.epoch = max(tail.epoch, int(fields["epoch"]))
            end_frame = int(fields.get("first_frame", fields["frame"])) + int(fields.get("frames", 0))
            tail.next_frame = max(tail.next_frame, end_frame)
            return True

        sink.recover(begin, keep)

    def restore(self, chain: Chain, identity: str, log: Log) -> None:
        """Lets a new chain go on where that of its stream was; ``identity`` is of what made its state."""
        before = self._checkpoints.get(chain.config.name)
        if before is None:
            return
        tail = self._tails.get(chain.config.name, _Tail())
        if before.identity == identity and (chain.replayed or (before.clean and not tail.next_seq)):
            with suppress(TcnStreamError, ValueError):
                chain.restore(before.state)
                chain.next_seq = max(chain.next_seq, before.reserved_seq)
                return
            log.warn("journal.state", stream=chain.config.name, why="it is of another program or model")
        seq = max(before.reserved_seq, tail.next_seq)
        epoch = max(before.epoch, tail.epoch)
        if chain.replayed:
            if before.identity != identity:
                says = "recording, model or table changed: it begins anew, behind what it gave before"
                log.info("stream.changed", stream=chain.config.name, says=says)
            chain.begin_at(0, epoch + 1, seq)
        else:
            chain.begin_at(max(before.next_frame, tail.next_frame), epoch, seq)

    def since(self, chain: Chain) -> Before | None:
        """When the sample before the next frame of a restored live chain arrived; None if there was none."""
        before = self._checkpoints.get(chain.config.name)
        if before is None or before.ended:
            return None
        arrived_s, tolerance_s = before.monotonic_s, _SAME_BOOT_TOLERANCE_S
        if not self._same_boot:
            arrived_s, tolerance_s = time.monotonic() - (time.time() - before.unix_s), _OTHER_BOOT_TOLERANCE_S
        arrived_s += (chain.next_frame - before.next_frame) / chain.rate_hz
        return Before(chain.next_frame, arrived_s, tolerance_s)
