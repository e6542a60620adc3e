"""The lines of ``docs/converting.md`` write files that stream exactly, each where its converter is installed.

Torch and its converters are 2 GB and take longer to install than all other tests to run, so that no environment of
``make test`` has them; where they are installed, their lines run, too.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

import tcnstream
from tcnstream.measure.verify import verify

pytestmark = [pytest.mark.train, pytest.mark.slow]

BLOCKS = dict(
    re.findall(r"```py\n# (.*?)\n(.*?)```", (ROOT / "tcnstream/docs/converting.md").read_text(), re.DOTALL),
)
NEEDED = {
    "Keras 3": ("keras", "tensorflow"),
    "Keras 3, int8": ("keras", "tensorflow"),
    "Keras 2": ("tf_keras", "tensorflow"),
    "tf.function": ("tensorflow",),
    "JAX": ("jax", "tensorflow"),
    "PyTorch, litert-torch": ("torch", "litert_torch"),
    "PyTorch, onnx2tf": ("torch", "onnx2tf"),
}
ELSEWHERE = ("torch",)
"""What the environment that must have every part does not have."""


def here(name: str) -> bool:
    """Whether the converter is to be tried: everywhere but where its packages are known to be left out."""
    left_out = os.environ.get("TCNSTREAM_NO_SKIPS") == "1" and set(NEEDED[name]).intersection(ELSEWHERE)
    return not left_out or all(importlib.util.find_spec(package) for package in NEEDED[name])


def test_every_converter_of_the_page_is_tried() -> None:
    assert set(BLOCKS) == set(NEEDED)


@pytest.mark.parametrize("name", [name for name in NEEDED if here(name)])
def test_the_lines_write_a_file_that_streams(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED[name]:
        pytest.importorskip(package, reason=f"{name} needs the package {package}")
    pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[name], name, "exec"), {"__name__": "converting"})
    model = tcnstream.load(tmp_path / "model.tflite")
    report = verify(model, chunkings=1)
    assert report.passed, report.first_difference
    assert any(not check.note for check in report.checks)
    if name == "tf.function":
        assert [model.file.name_of(pair.output) for pair in model.states] == ["h_out"]
