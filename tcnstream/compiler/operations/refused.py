"""Operations of the file format that are known to have no streaming form, and why."""

from __future__ import annotations

from tcnstream.compiler.operation import Operation
from tcnstream.compiler.picks import FORWARDS_ALONE
from tcnstream.tflite.graph import Op


def _custom(op: Op) -> str:
    """By the name that the file gives it."""
    name = str(op.options.get("custom_code", ""))
    if name.startswith("Flex"):
        return f"is `{name}`, a kernel of TensorFlow itself: convert with TFLITE_BUILTINS alone, or write it otherwise"
    if name.startswith("Signal"):
        return f"is `{name}`, a signal operation of TFLite Micro, for which there are no reference kernels here"
    return f"is the custom operation `{name}`, whose code is not in the file"


_BIDIRECTIONAL = f"steps backwards through the window, too. {FORWARDS_ALONE}"

OPERATIONS = (
    Operation("BIDIRECTIONAL_SEQUENCE_LSTM", refusal=_BIDIRECTIONAL),
    Operation("BIDIRECTIONAL_SEQUENCE_RNN", refusal=_BIDIRECTIONAL),
    Operation("CUSTOM", refusal=_custom),
)
