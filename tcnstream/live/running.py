"""A stream that runs, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tcnstream.live.config import StreamConfig
from tcnstream.live.feed import Feed
from tcnstream.live.lanes import Lane, Worker
from tcnstream.live.told import StreamFacts
from tcnstream.opened import OpenedModel


@dataclass
class Running:
    """A stream's configuration and model, and all that works for it; ``feed`` is a live source's.

    ``identity`` is of what makes the stream's state: with another one its checkpoint cannot be gone on from.
    """

    config: StreamConfig
    model: OpenedModel
    identity: str
    lane: Lane
    worker: Worker
    feed: Feed | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it."""
        return self.lane.chain.ended or bool(self.lane.failed)

    def leave_board(self) -> None:
        """The chain moves no more; what was found last is still told."""
        if self.lane.board is not None:
            self.lane.board.close()
            self.worker.publish([self.lane])

    def trouble(self) -> str:
        """What only another start could mend, or nothing."""
        if self.lane.failed:
            return self.lane.failed
        if self.feed is not None and not self.feed.is_well():
            return "its source's thread is gone, or delivers nothing and does not know why"
        if not self.worker.thread.is_alive() and not self.lane.chain.ended:
            return "its worker is gone"
        return ""

    def facts(self) -> StreamFacts:
        """What does not change while it runs."""
        chain, card = self.lane.chain, self.model.card
        return StreamFacts(
            self.config.name,
            self.model.path.stem,
            self.config.source.uri,
            chain.pipeline.labels,
            card.segments.background if card is not None else "",
            chain.rate_hz,
            chain.units,
            self.model.channels,
            None if card is None else card.look_ahead_ms / 1000,
        )

    def state(self) -> Mapping[str, Any]:
        """What is known of it now, for status, health and the page."""
        facts, feed = self.lane.chain.facts, self.feed
        feed_state = None if feed is None else feed.state
        arrived_s = self.lane.chain.arrived_s
        state = "failed" if self.lane.failed else "ended" if facts.ended else "up"
        says = self.lane.failed
        if feed_state is not None and state == "up":
            state, says = ("up" if feed_state.is_up else "down"), feed_state.says
        return {
            "type": "status",
            "stream": self.config.name,
            "state": state,
            "says": says,
            "source": self.config.source.uri,
            "epoch": facts.epoch,
            "next_frame": facts.next_frame,
            "next_seq": facts.next_seq,
            "gaps": facts.gaps,
            "missing_frames": facts.missing_frames,
            "behind_s": round(self.lane.behind_s, 3),
            "age_s": round(time.monotonic() - arrived_s, 3) if arrived_s else None,
            "drift_ppm": None if feed_state is None else round(feed_state.drift_ppm, 1),
            "reconnects": 0 if feed_state is None else feed_state.reconnects,
            "board": None if self.lane.board is None else self.lane.board.state(),
        }
