"""``firmware-bridge soak``: hours on a board."""

from __future__ import annotations

from typing import Annotated

import typer

from firmware_bridge.check.compare import parse_tolerance
from firmware_bridge.check.recordings import read_signal
from firmware_bridge.check.soak import CHUNK_FRAMES, RECOVER_S, SNAPSHOT_FRAMES
from firmware_bridge.check.soak import soak as run_soak
from firmware_bridge.cli.options import (
    AnyCoreOption,
    FaultsOption,
    InputOption,
    LoadOption,
    RoundingOption,
    TargetOption,
    ToleranceOption,
    board_options,
    conclude,
    program_of,
    refuse,
)
from firmware_bridge.targets import open_board, parse_target, soak_windows
from tcnstream.cli.options import FileOptions, JsonOption, ModelArgument, ReadingOptions, StreamingOptions, grouped
from tcnstream.cli.run import interrupted
from tcnstream.cli.show import note


@grouped
def soak(
    model: ModelArgument,
    target: TargetOption,
    source: InputOption,
    *,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="How long.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Or how many input frames.")] = None,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Frames of a push.")] = CHUNK_FRAMES,
    snapshot_every: Annotated[
        int, typer.Option("--snapshot-every", min=1, help="Frames between snapshots.")
    ] = SNAPSHOT_FRAMES,
    recover: Annotated[
        float, typer.Option("--recover", metavar="SECONDS", min=0, help="Wait so long for a lost board.")
    ] = RECOVER_S,
    tolerance: ToleranceOption = "default",
    rounding: RoundingOption = "litert",
    load: LoadOption = False,
    any_core: AnyCoreOption = False,
    faults: FaultsOption = "",
    reading: ReadingOptions,
    streaming: StreamingOptions,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Stream for hours; survive noise, resets and pulled cables, and say what was survived.

    Ctrl-C ends it early, with the report of what was done. Boards with stock firmware (neuralspot:) get the recording
    window by window, and after a failure the window begins again. Exit code 0 if every frame agreed and the board
    always came back.

    Example: `firmware-bridge soak ecg --target serial:/dev/ttyACM0 --input record.hea --seconds 3600`
    """
    allowed = parse_tolerance(tolerance)
    wanted = parse_target(target)
    if wanted.answers_windows:
        refuse(
            target,
            "it answers whole windows of the file and has no stream",
            chunk=chunk != CHUNK_FRAMES,
            snapshot_every=snapshot_every != SNAPSHOT_FRAMES,
            load=load,
            any_core=any_core,
            faults=bool(faults),
            time_pooling=streaming.time_pooling is not None,
            calibration=streaming.calibration is not None,
            static=streaming.static is not None,
        )
        opened = file.open(model)
        signal, _ = read_signal(opened, source, reading.said, note)
        with interrupted() as stop:
            found = soak_windows(
                wanted,
                opened.model,
                signal,
                seconds=seconds,
                frames=frames,
                recover_s=recover,
                tolerance=allowed,
                rounding=rounding,
                on_event=note,
                stop=stop,
            )
    else:
        options = board_options(load, any_core, faults)
        opened, program = program_of(model, rounding, file, streaming, reading.said)
        signal, _ = read_signal(opened, source, reading.said, note)
        with interrupted() as stop:
            found = run_soak(
                program,
                lambda: open_board(wanted, program, options),
                signal,
                seconds=seconds,
                frames=frames,
                chunk_frames=chunk,
                snapshot_frames=snapshot_every,
                recover_s=recover,
                tolerance=allowed,
                on_event=note,
                stop=stop,
            )
    conclude(found, json)
    if found.interrupted:
        raise typer.Exit(130)
