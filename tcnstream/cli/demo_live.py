"""``tcnstream demo live``: the daemon on the shipped recordings at their own pace, for a look at its page."""

from __future__ import annotations

import json
import socket
import tempfile
from pathlib import Path

from tcnstream.cli.show import out, say

LIVE = "live"
_PORT = 8080
_DATA = Path(__file__).resolve().parent.parent / "data"
_STREAMS = {"heart": ("ecg.csv", "ecg_beats"), "room": ("audio.ogg", "speech")}


def play_live() -> None:
    """Until Ctrl-C; what the daemon writes is in a temporary folder, which goes with it."""
    from tcnstream.live.config import read_config
    from tcnstream.live.daemon import Daemon
    from tcnstream.live.logs import Log

    with tempfile.TemporaryDirectory(prefix="tcnstream-demo-") as folder:
        path = Path(folder) / "live.toml"
        path.write_text(_config(_free_port()), encoding="utf-8")
        Daemon(read_config(path), Log(), started=_tell).run(then_ends=True)


def _tell(address: str | None) -> None:
    out.print(f"page: {address}")
    say("a real ECG and a piece of audio, over and over; Ctrl-C ends it")


def _config(port: int) -> str:
    lines = ['state = "state"', "[page]", f'listen = "127.0.0.1:{port}"']
    for name, (file, model) in _STREAMS.items():
        where = json.dumps(str(_DATA / file))  # a string of JSON is one of TOML
        lines += [f"[stream.{name}]", f'model = "{model}"', 'sinks = ["segments"]']
        lines += [f'source = {{ kind = "file", name = {where}, speed = "1", repeat = true }}']
    return "\n".join([*lines, "[sink.segments]", 'kind = "jsonl"', 'path = "segments.jsonl"', ""])


def _free_port() -> int:
    """The usual one, or any other where that is taken."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", _PORT))
        except OSError:
            return 0
    return _PORT
