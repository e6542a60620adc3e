"""Run temporal convolutional networks, trained on windows, as exact live streams.

::

    import tcnstream

    model = tcnstream.load("ecg.tflite")       # unmodified, as the converter wrote it
    print(model.summary())                     # per operation: rate, delay, state, cost
    stream = model.stream()
    for chunk in signal:                       # (n, *frame_shape), any n
        frames = stream.push(chunk)            # (m, *frame_shape), each computed once
    tail = stream.flush()                      # the end of the signal, both edges as offline

``load`` gives a Model, ``Model.stream`` a Stream, ``Model.pool`` a Pool of them. Pipeline, and PipelinePool for many
signals, go from a source's samples to labelled Segments of time. SignalFilter streams a fixed kernel, with up- and
downsampling, in front of a model or alone. All errors derive from TcnStreamError.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tcnstream.errors import (
    EngineError,
    ModelError,
    NotStreamableError,
    SignalError,
    StreamError,
    TcnStreamError,
)

if TYPE_CHECKING:
    from tcnstream.filters.signal_filter import SignalFilter
    from tcnstream.model import Model, load
    from tcnstream.options import StreamOptions
    from tcnstream.pipeline import Pipeline, PipelinePool
    from tcnstream.pool import Pool
    from tcnstream.signal.segments import Segment
    from tcnstream.stream import Stream

__version__ = "0.1.0"

__all__ = (
    "EngineError",
    "Model",
    "ModelError",
    "NotStreamableError",
    "Pipeline",
    "PipelinePool",
    "Pool",
    "Segment",
    "SignalError",
    "SignalFilter",
    "Stream",
    "StreamError",
    "StreamOptions",
    "TcnStreamError",
    "load",
)


_WHEN_ASKED_FOR = {
    "Model": "tcnstream.model",
    "Pipeline": "tcnstream.pipeline",
    "PipelinePool": "tcnstream.pipeline",
    "Pool": "tcnstream.pool",
    "Segment": "tcnstream.signal.segments",
    "SignalFilter": "tcnstream.filters.signal_filter",
    "Stream": "tcnstream.stream",
    "StreamOptions": "tcnstream.options",
    "load": "tcnstream.model",
}


def __getattr__(name: str) -> Any:
    """What a process that runs a model alone starts sooner without, and a command before it has begun."""
    if name in _WHEN_ASKED_FOR:
        value = globals()[name] = getattr(import_module(_WHEN_ASKED_FOR[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
