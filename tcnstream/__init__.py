"""Run temporal convolutional networks, trained on windows, as exact live streams.

::

    import tcnstream

    model = tcnstream.load("ecg.tflite")       # unmodified, as the converter wrote it
    print(model.summary())                     # per operation: rate, delay, state, cost
    stream = model.stream()
    for chunk in signal:                       # (n, *frame_shape), any n
        frames = stream.push(chunk)            # (m, *frame_shape), each computed once
    tail = stream.flush()                      # the end of the signal, both edges as offline

``load`` gives a Model, ``Model.stream`` a Stream, ``Model.pool`` a Pool of them. SignalFilter streams a fixed kernel,
with up- and downsampling, in front of a model or alone. All errors derive from TcnStreamError.
"""

from typing import TYPE_CHECKING, Any

from tcnstream.errors import (
    EngineError,
    ModelError,
    NotStreamableError,
    SignalError,
    StreamError,
    TcnStreamError,
)
from tcnstream.model import Model, load
from tcnstream.options import StreamOptions
from tcnstream.pool import Pool
from tcnstream.stream import Stream

if TYPE_CHECKING:
    from tcnstream.filters.signal_filter import SignalFilter

__version__ = "0.1.0"

__all__ = (
    "EngineError",
    "Model",
    "ModelError",
    "NotStreamableError",
    "Pool",
    "SignalError",
    "SignalFilter",
    "Stream",
    "StreamError",
    "StreamOptions",
    "TcnStreamError",
    "load",
)


def __getattr__(name: str) -> Any:
    """SignalFilter when it is first asked for: a process that runs a model alone starts sooner without it."""
    if name == "SignalFilter":
        from tcnstream.filters.signal_filter import SignalFilter

        return SignalFilter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
