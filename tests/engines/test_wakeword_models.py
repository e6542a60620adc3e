"""Networks that others trained and published, as they are in their PyPI packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import tcnstream
from tcnstream.measure.verify import verify

pytest.importorskip("ai_edge_litert", reason="the oracle: pip install ai-edge-litert")


def model_path(package: str, name: str) -> Path:
    """A model inside an installed package, which is not imported: its own dependencies are not needed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the model comes from the package {package.replace('_', '-')}")
    return Path(spec.origin).parent / "models" / f"{name}.tflite"


@pytest.mark.parametrize("name", ["okay_nabu", "alexa", "hey_jarvis", "hey_mycroft"])
def test_a_model_with_variables_of_its_own_runs_as_it_is(name: str) -> None:
    model = tcnstream.load(model_path("pymicro_wakeword", name))
    report = verify(model, chunkings=3)
    assert model.is_stateful and model.window_frames == 3
    assert report.passed and report.checks[0].frames > 60


@pytest.mark.parametrize("engine", tcnstream.engines.base.ENGINES)
def test_the_embedding_network_streams_exactly(engine: str) -> None:
    model = tcnstream.load(model_path("pyopen_wakeword", "embedding_model"))
    try:
        report = verify(model, engine=engine, chunkings=2)
    except tcnstream.EngineError:
        assert engine == "native"
        return
    assert report.passed
    assert (model.outputs[0].rate.denominator, model.delay, model.receptive_field) == (8, 75, 76)


@pytest.mark.parametrize("name", ["alexa", "hey_mycroft", "hey_rhasspy", "okay_nabu"])
def test_a_dense_head_over_flattened_time_slides_frame_by_frame(name: str) -> None:
    model = tcnstream.load(model_path("pyopen_wakeword", name))
    assert verify(model, chunkings=2).passed
    assert (model.delay, model.receptive_field) == (15, 16)


def test_a_global_maximum_is_refused_by_name() -> None:
    model = tcnstream.load(model_path("pyopen_wakeword", "melspectrogram"))
    with pytest.raises(tcnstream.NotStreamableError, match=r"`REDUCE_MAX` \(op 23, .*time_pooling='trailing'"):
        model.stream()


def test_a_branch_at_run_time_is_refused_by_name() -> None:
    with pytest.raises(tcnstream.NotStreamableError, match=r"`IF` \(op 25"):
        tcnstream.load(model_path("pyopen_wakeword", "hey_jarvis"))
