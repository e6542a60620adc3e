"""``tcnstream export``: the streaming program as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcnstream.cli.common import ModelArgument, TimeAxisOption, note, open_model
from tcnstream.errors import EngineError

TARGETS = ("streaming-tflite",)


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[str, typer.Option("--to", metavar="KIND", help="streaming-tflite.")] = "streaming-tflite",
    hop: Annotated[int, typer.Option("--hop", min=1, help="Input frames that one invocation takes.")] = 1,
    time_axis: TimeAxisOption = None,
) -> None:
    """Write the streaming program as a .tflite with its state in resource variables, for TensorFlow Lite Micro.

    Example: `tcnstream export ecg ecg_stream.tflite --to streaming-tflite --hop 10`
    """
    if to not in TARGETS:
        raise EngineError(f"there is no export {to!r}: choose one of {', '.join(TARGETS)}")
    from tcnstream.export import streaming_tflite

    opened = open_model(model, time_axis)
    content = streaming_tflite(opened.model, hop)
    output.write_bytes(content)
    note(f"{output}: {len(content):,} bytes, {hop} input frame(s) an invocation, delay {opened.model.delay} frames")
