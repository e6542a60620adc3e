"""The exception tree: everything that tcnstream raises on purpose derives from TcnStreamError."""

from __future__ import annotations


class TcnStreamError(Exception):
    """Base of all errors of this package. The text is one sentence or two: what, where, the way out."""


class ModelError(TcnStreamError):
    """The bytes are not a model that can be read: malformed, truncated, hostile or inconsistent."""


class NotStreamableError(TcnStreamError):
    """The model has no exact streaming form; the text names the operation and the ways out.

    ``op_index`` is the operation's position in the file, None where the refusal is of no operation.
    """

    def __init__(self, text: str, op_index: int | None = None) -> None:
        super().__init__(text)
        self.op_index = op_index


class EngineError(TcnStreamError):
    """The chosen engine cannot run this model here; the text names the engines that can."""


class StreamError(TcnStreamError):
    """A stream was used wrongly: a wrong shape or dtype, a push after flush, a foreign snapshot."""


class SignalError(TcnStreamError):
    """A recording, a source or a model card cannot be used as asked."""


class MissingExtraError(TcnStreamError, ImportError):
    """A part of this package needs an optional extra that is not installed; the text has the pip line.

    It is an ImportError as well, so that the usual guards around an optional import hold.
    """
