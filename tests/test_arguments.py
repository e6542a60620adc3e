"""Arguments of another kind are refused in words, before anything is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.paths import MODELS

import tcnstream
from tcnstream import ModelError, SignalError, StreamError
from tcnstream.options import StreamOptions


def test_arguments_of_another_kind_are_refused() -> None:
    wrong: Any
    for wrong in (3, None, 1.5):
        with pytest.raises(ModelError, match="is no model: give a path"):
            tcnstream.load(wrong)
    for wrong in (1.5, True, "3"):
        with pytest.raises(StreamError, match=r"lanes=.*give a whole number"):
            tcnstream.PipelinePool("ecg", wrong, rate_hz=360, units="mV")
    for wrong in ({"exact": "no"}, {"keep_tail": 1}):
        with pytest.raises(StreamError, match="give True or False"):
            StreamOptions(**wrong)
    with pytest.raises(SignalError, match="is in MV and the model takes mV"):
        tcnstream.Pipeline("ecg", rate_hz=360, units="MV")


def test_a_pool_that_the_machine_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    monkeypatch.setattr("tcnstream.pool.memory_bytes", lambda: 3 * model.state_bytes)
    assert len(model.pool(lanes=np.int64(3))) == 3
    with pytest.raises(StreamError, match=r"4 lanes remember .* GB and this machine has .*: ask for fewer"):
        model.pool(lanes=4)
