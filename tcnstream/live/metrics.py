"""The daemon in numbers, as Prometheus reads them (exposition format 0.0.4)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tcnstream.live.told import Told

_Sample = tuple[Mapping[str, str], float]


def metrics(daemon: Told) -> str:
    """All of them, as one text."""
    lines: list[str] = []

    def add(name: str, kind: str, says: str, samples: Iterable[_Sample]) -> None:
        lines.append(f"# HELP tcnstream_{name} {says}")
        lines.append(f"# TYPE tcnstream_{name} {kind}")
        for labels, value in samples:
            said = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"tcnstream_{name}{f'{{{said}}}' if said else ''} {value:.17g}")

    states = daemon.states()

    def of_streams(key: str) -> list[_Sample]:
        return [({"stream": name}, _number(state[key])) for name, state in states.items()]

    add("well", "gauge", "1 while all is well", [({}, float(not daemon.is_well()))])
    up = [({"stream": name}, float(state["state"] == "up")) for name, state in states.items()]
    add("stream_up", "gauge", "1 while the source delivers", up)
    add("stream_frames_total", "counter", "frames of the source, missing ones counted", of_streams("next_frame"))
    add("stream_events_total", "counter", "sequence number of the next event", of_streams("next_seq"))
    add("stream_gaps_total", "counter", "gaps since the start", of_streams("gaps"))
    add("stream_missing_frames_total", "counter", "frames in those gaps", of_streams("missing_frames"))
    add("stream_behind_seconds", "gauge", "age of the newest frame that was worked on", of_streams("behind_s"))
    add("stream_reconnects_total", "counter", "times the source came back", of_streams("reconnects"))
    boards = {name: state["board"] for name, state in states.items() if state["board"] is not None}

    def of_boards(key: str) -> list[_Sample]:
        return [({"stream": name, "board": each["board"]}, _number(each[key])) for name, each in boards.items()]

    if boards:
        there = [
            ({"stream": n, "board": b["board"]}, float(b["state"] in ("equal", "differs"))) for n, b in boards.items()
        ]
        add("board_up", "gauge", "1 while the board is there to be compared", there)
        add("board_frames_total", "counter", "output frames compared with a board", of_boards("frames"))
        add("board_wrong_frames_total", "counter", "of them, frames that were not equal", of_boards("wrong_frames"))
        add("board_differences_total", "counter", "chunks that were not equal", of_boards("differences"))
        add("board_skipped_total", "counter", "chunks that no board saw", of_boards("skipped_chunks"))
    drifts = [
        ({"stream": name}, _number(state["drift_ppm"]))
        for name, state in states.items()
        if state["drift_ppm"] is not None
    ]
    add("stream_drift_ppm", "gauge", "source clock against CLOCK_MONOTONIC", drifts)
    published = [({"type": type}, float(count)) for type, count in sorted(daemon.hub.published.items())]
    add("events_total", "counter", "events published since the start", published)
    sinks = dict(daemon.hub.sinks)
    add("sink_waiting", "gauge", "events in the queue", [({"sink": n}, float(s.waiting())) for n, s in sinks.items()])
    taken = [({"sink": name}, float(sink.taken_events)) for name, sink in sinks.items()]
    add("sink_taken_total", "counter", "events written", taken)
    add("sink_lost_total", "counter", "events dropped", [({"sink": n}, float(s.lost_events)) for n, s in sinks.items()])
    add("sink_up", "gauge", "1 while it can write", [({"sink": n}, float(not s.trouble)) for n, s in sinks.items()])
    add("journal_commits_total", "counter", "checkpoints", [({}, float(daemon.checkpoints.commits))])
    age_s = time.monotonic() - daemon.checkpoints.committed_s
    add("journal_age_seconds", "gauge", "since the last checkpoint", [({}, age_s)])
    add("resident_bytes", "gauge", "memory of this process", [({}, float(resident_bytes()))])
    add("uptime_seconds", "counter", "since the start", [({}, time.monotonic() - daemon.began_s)])
    return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
