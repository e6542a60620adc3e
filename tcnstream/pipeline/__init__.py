"""Pipeline: samples of a source go in, labelled segments of time come out.

    samples -> unit, gain -> rate -> filters of the card -> model -> segments

Every step is a stream with a memory, and the pipeline is one too: cut into chunks anyhow, pushed here or continued from
a snapshot in another process, a signal gives the same segments and the same frames, bit for bit.
"""

from __future__ import annotations

from tcnstream.pipeline.pipelines import GAP, Follower, Frames, Pipeline, PipelinePool, pipeline_for
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
