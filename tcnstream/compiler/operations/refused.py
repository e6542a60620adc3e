"""Operations of the file format that are known to have no streaming form, and why."""

from __future__ import annotations

from tcnstream.compiler.operation import Operation

OPERATIONS = (
    Operation("RFFT2D", refusal="transforms the whole window at once"),
    Operation("UNIDIRECTIONAL_SEQUENCE_LSTM", refusal="is recurrent: it steps through the window by itself"),
    Operation("UNIDIRECTIONAL_SEQUENCE_RNN", refusal="is recurrent: it steps through the window by itself"),
    Operation("BIDIRECTIONAL_SEQUENCE_LSTM", refusal="runs backwards in time from the end of the window"),
    Operation("BIDIRECTIONAL_SEQUENCE_RNN", refusal="runs backwards in time from the end of the window"),
    Operation("WHILE", refusal="loops over the window"),
    Operation("CUMSUM", refusal="sums over all of time"),
    Operation("CUSTOM", refusal="is a custom operation whose code is not in the file"),
)
