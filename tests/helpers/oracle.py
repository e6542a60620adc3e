"""What TFLite's reference kernels answer, for whole files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from helpers.child import Child, ChildEndedError, answer_all, replies_alone
from tcnstream.tflite.graph import Array


def reference_kernels(content: bytes, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of a .tflite file, batch axis and all, by LiteRT's reference kernels; skips where it is missing.

    tflite-runtime is no oracle: its reference resolver is wrong for some int8 dense layers.
    """
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    interpreter = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


class OracleError(Exception):
    """What the reference kernels do not run, in their own words; "aborted" where they end their process."""


class OracleProcess:
    """The reference kernels in a process of their own, since a file that is not sound may end it.

    ``answer`` takes at most ``limit_s`` seconds; a process that died is replaced at the next question.
    """

    def __init__(self, limit_s: float = 120.0) -> None:
        self._child = Child("helpers.oracle", limit_s)

    def answer(self, content: bytes, inputs: Sequence[Array]) -> list[Array]:
        """As ``reference_kernels``; raises OracleError where that is refused or ends the process."""
        try:
            made = self._child.ask((content, list(inputs)))
        except ChildEndedError as ended:
            raise OracleError(f"aborted with {ended.code}") from None
        if isinstance(made, str):
            raise OracleError(made)
        return list(made)

    def close(self) -> None:
        self._child.close()


def serve() -> None:
    """What ``OracleProcess`` runs."""
    answer_all(replies_alone(), _answer)


def _answer(question: tuple[bytes, Sequence[Array]]) -> list[Array] | str:
    content, inputs = question
    try:
        return reference_kernels(content, inputs)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
