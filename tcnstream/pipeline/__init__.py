"""Pipeline: samples of a source go in, labelled segments of time come out.

    samples -> unit, gain -> rate -> filters of the card -> model -> segments

Every step is a stream with a memory, and the pipeline is one too: cut into chunks anyhow, pushed here or continued from
a snapshot in another process, a signal gives the same segments and the same frames, bit for bit.

Each module imports only from those above it:

    state.py     what a pipeline remembers, and the bytes that it is carried away in
    setup.py     what a pipeline is made of, as a user says it: checked once
    samples.py   samples as a user gives them, checked
    lane.py      one signal around its stream: the steps before the model, the clock, the segments
    follower.py  who hears what goes through the model
    pipeline.py  Pipeline: a lane and its stream
    pool.py      PipelinePool: many lanes, and one call of the engine for all
"""

from __future__ import annotations

from tcnstream.pipeline.follower import Follower
from tcnstream.pipeline.pipeline import GAP, Pipeline, pipeline_for
from tcnstream.pipeline.pool import PipelinePool
from tcnstream.pipeline.samples import Frames
from tcnstream.pipeline.setup import PipelineArguments
from tcnstream.pipeline.state import MODEL_HASH_BYTES, PipelineState

__all__ = [
    "GAP",
    "MODEL_HASH_BYTES",
    "Follower",
    "Frames",
    "Pipeline",
    "PipelineArguments",
    "PipelinePool",
    "PipelineState",
    "pipeline_for",
]
