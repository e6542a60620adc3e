"""``tcnstream export``: the streaming program as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcnstream.cli.common import JsonOption, ModelArgument, TimeAxisOption, open_model, print_json, say
from tcnstream.errors import EngineError
from tcnstream.export import export_streaming

TARGETS = ("streaming-tflite",)


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[str, typer.Option("--to", metavar="KIND", help="streaming-tflite.")] = "streaming-tflite",
    hop: Annotated[
        int | None,
        typer.Option("--hop", metavar="FRAMES", min=1, help="Input frames an invocation; else the fewest possible."),
    ] = None,
    time_axis: TimeAxisOption = None,
    json: JsonOption = False,
) -> None:
    """Write the streaming program as a .tflite with its state in resource variables, for TensorFlow Lite Micro.

    Example: `tcnstream export ecg ecg_stream.tflite --to streaming-tflite --hop 10`
    """
    if to not in TARGETS:
        raise EngineError(f"there is no export {to!r}: choose one of {', '.join(TARGETS)}")
    exported = export_streaming(open_model(model, time_axis).model, hop)
    output.write_bytes(exported.content)
    if json:
        print_json(
            {
                "file": str(output),
                "bytes": len(exported.content),
                "hop_frames": exported.hop_frames,
                "frames_per_hop": list(exported.frames_per_hop),
                "lag_frames": list(exported.lag_frames),
                "variables": exported.variables,
                "state_bytes": exported.state_bytes,
                "operations": list(exported.operations),
            }
        )
        return
    frames, lag = (", ".join(map(str, counts)) for counts in (exported.frames_per_hop, exported.lag_frames))
    say(f"{output}: {len(exported.content):,} bytes, {exported.variables} variables of {exported.state_bytes:,} bytes")
    say(f"an invocation takes {exported.hop_frames} input frame(s) and gives {frames}; drop the first {lag} in all")
    say(f"register: {', '.join(exported.operations)}")
