"""What TFLite's reference kernels answer, for whole files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

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
