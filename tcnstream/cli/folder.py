"""``tcnstream run`` with a folder: all recordings in it, into one Parquet file."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from tcnstream.cli.options import FileOptions
from tcnstream.cli.show import note, progress_bar
from tcnstream.errors import SignalError
from tcnstream.pipeline import PipelineArguments
from tcnstream.signal.outfile import writable
from tcnstream.signal.sources.base import ReadOptions

_SUFFIX = ".parquet"


def run_folder(
    folder: Path,
    output: Path | None,
    model: str,
    file: FileOptions,
    read: ReadOptions,
    arguments: PipelineArguments,
    jobs: int | None,
    quiet: bool,
) -> None:
    """Shows a bar and names each recording that failed. Exits with 1 if one did."""
    if output is None or output.suffix != _SUFFIX:
        raise SignalError(f"{folder} is a folder, whose segments go into one file: give --out NAME{_SUFFIX}")
    writable(output)
    from tcnstream.fleet.folder import Done, Task, failed_file, segment_folder

    with progress_bar("recordings", not quiet) as progress:
        bar = progress.add_task("", total=None)

        def told(done: Done, recordings: int) -> None:
            progress.update(bar, total=recordings, advance=done.recordings)
            for name, why in done.failed:
                note(f"{name}: {why}")

        task = Task(model, file.time_axis, file.signature, file.fed_back, read, arguments)
        try:
            done = segment_folder(folder, output, task, jobs=jobs or os.cpu_count() or 1, told=told)
        except KeyboardInterrupt:
            note("interrupted: the same command goes on from what is done")
            raise
    if not quiet:
        note(f"{done.segments:,} segments of {done.recordings - len(done.failed):,} recordings in {output}")
    if done.failed:
        note(f"{len(done.failed):,} of {done.recordings:,} recordings failed: see {failed_file(output)}")
        raise typer.Exit(1)
