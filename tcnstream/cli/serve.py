"""``tcnstream serve``: the live daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tcnstream.errors import SignalError


def serve(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A file such as live.toml.")],
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong with the file, and start nothing.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Replay recordings to their end, then stop.")] = False,
) -> None:
    """Stream sensors, microphones and recordings day and night; write and send what they show.

    SIGTERM and Ctrl-C end it so that the next start goes on where it was; SIGHUP reads the file again.

    Example: `tcnstream serve live.toml`
    """
    from tcnstream.live.config import ConfigError, read_config
    from tcnstream.live.daemon import Daemon
    from tcnstream.live.logs import Log
    from tcnstream.live.sources import ends

    try:
        read = read_config(config)
        if once:
            for stream in read.streams.values():
                if not ends(stream.source):
                    raise SignalError(f"stream.{stream.name}: {stream.source.uri} has no end: leave --once out")
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        raise typer.Exit(2) from None
    if check:
        print(f"{config}: {len(read.streams)} streams, {len(read.sinks)} sinks, all is well")
        return
    Daemon(read, Log(read.log_format), once).run(then_ends=True)
