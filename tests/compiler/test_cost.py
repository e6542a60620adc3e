"""What a plan costs to run does not depend on how many bytes its file takes."""

from __future__ import annotations

from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from tcnstream import SignalFilter
from tcnstream.compiler.cost import work_per_frame


def test_a_model_costs_the_same_in_any_number_format() -> None:
    real, whole = (tcnstream.load(MODELS / f"nse_lg.{kind}.tflite") for kind in ("f32", "i8"))
    assert real.macs_per_frame == whole.macs_per_frame
    assert real.macs_per_frame <= work_per_frame(real.plan) == work_per_frame(whole.plan) < 1.5 * real.macs_per_frame


def test_what_multiplies_nothing_costs_a_step_for_each_value() -> None:
    model = tcnstream.load(build([layer("activation", kind="TANH")] * 3, 20).content)
    assert model.macs_per_frame == 0 and work_per_frame(model.plan) == 3 * 2


def test_a_filter_between_rates_costs_its_taps() -> None:
    plan = SignalFilter.resampler(3, 2)._stream.plan
    assert work_per_frame(plan) > 3 / 2 * 10
