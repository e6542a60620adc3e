"""``firmware-bridge soak``: hours on a board."""

from __future__ import annotations

from typing import Annotated

import typer

from firmware_bridge.check.compare import parse_tolerance
from firmware_bridge.check.recordings import open_program, read_signal
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
    refuse,
)
from firmware_bridge.targets import open_board, parse_target, soak_windows
from tcnstream.cli.common import (
    ChannelOption,
    GainOption,
    HoldGapsOption,
    JsonOption,
    ModelArgument,
    RateOption,
    RawChannelsOption,
    RawFormatOption,
    SignatureOption,
    StatesOption,
    StaticOption,
    TimeAxisOption,
    TimePoolingOption,
    UnitsOption,
    note,
    said_states,
    said_static,
)
from tcnstream.cli.run import interrupted
from tcnstream.opened import open_model
from tcnstream.signal.sources.base import ReadOptions


def soak(
    model: ModelArgument,
    target: TargetOption,
    source: InputOption,
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
    channel: ChannelOption = None,
    rate: RateOption = None,
    units: UnitsOption = None,
    gain: GainOption = 1.0,
    raw_format: RawFormatOption = None,
    raw_channels: RawChannelsOption = 1,
    hold_gaps: HoldGapsOption = False,
    time_pooling: TimePoolingOption = None,
    time_axis: TimeAxisOption = None,
    signature: SignatureOption = None,
    states: StatesOption = None,
    static: StaticOption = None,
    json: JsonOption = False,
) -> None:
    """Stream for hours; survive noise, resets and pulled cables, and say what was survived.

    Ctrl-C ends it early, with the report of what was done. Boards with stock firmware (neuralspot:) get the recording
    window by window, and after a failure the window begins again. Exit code 0 if every frame agreed and the board
    always came back.

    Example: `firmware-bridge soak ecg --target serial:/dev/ttyACM0 --input record.hea --seconds 3600`
    """
    allowed = parse_tolerance(tolerance)
    reading = ReadOptions(channel, rate, units, gain, raw_format, raw_channels, hold_gaps)
    wanted = parse_target(target)
    opening = time_axis, signature, said_states(states)
    if wanted.answers_windows:
        refuse(
            target,
            "it answers whole windows of the file and has no stream",
            chunk=chunk != CHUNK_FRAMES,
            snapshot_every=snapshot_every != SNAPSHOT_FRAMES,
            load=load,
            any_core=any_core,
            faults=bool(faults),
            time_pooling=time_pooling is not None,
            static=static is not None,
        )
        opened = open_model(model, *opening)
        signal, _ = read_signal(opened, source, reading, note)
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
        opened, program = open_program(
            model,
            rounding=rounding,
            time_pooling=time_pooling,
            time_axis=time_axis,
            signature=signature,
            states=said_states(states),
            static=said_static(static),
        )
        signal, _ = read_signal(opened, source, reading, note)
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
