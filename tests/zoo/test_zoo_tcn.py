"""The TCN builder against neuralspot-edge, its streaming-safe choices, and conversion to .tflite."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from tcnstream.errors import ModelError

keras = pytest.importorskip("keras", reason="needs Keras (extra `train`)")
pytest.importorskip("tensorflow", reason="needs TensorFlow (extra `train`)")

from tcnstream.zoo import convert  # noqa: E402
from tcnstream.zoo.convert import to_tflite, with_window  # noqa: E402
from tcnstream.zoo.tcn import TcnBlockParams, TcnModel, TcnParams, helia_name, take_weights  # noqa: E402

pytestmark = pytest.mark.train

FRAMES = 24
CLASSES = 3


@pytest.fixture(scope="module")
def original() -> Any:
    return pytest.importorskip(
        "neuralspot_edge.models.tcn", reason="needs neuralspot-edge 0.2.2, the oracle (pip install --no-deps)"
    )


@pytest.fixture(scope="module")
def helia() -> Any:
    return pytest.importorskip(
        "helia_edge.models.tcn",
        reason="needs helia-edge 0.6, the oracle (pip install --no-deps --ignore-requires-python helia-edge)",
    )


def random_values(seed: int) -> dict[str, Any]:
    """A parameter table of the original; fields are left out at random, so that defaults are compared, too."""
    rng = np.random.default_rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    def sometimes(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if rng.random() < 0.8}

    block_type = ("lg", "mb", "sm")[seed % 3]
    blocks = []
    for _ in range(rng.integers(1, 4)):
        se_ratio = pick(1, 2, 2.5, 4, 8) if block_type == "sm" else pick(0, 1, 2, 2.5)
        blocks.append(
            {
                "filters": pick(2, 4, 5, 8),
                "se_ratio": se_ratio,
                **sometimes(
                    {
                        "depth": pick(1, 2),
                        "branch": pick(1, 2, 3),
                        "kernel": pick(1, 2, 3, (1, 3), [1, 5], (1, 4)),
                        "dilation": pick(1, 2, (1, 2), (1, 3), (1, 8)),
                        "ex_ratio": pick(0.5, 1, 1.5, 2),
                        "dropout": pick(None, 0.0, 0.3),
                        "norm": pick("batch", "layer", None),
                        "activation": pick("relu6", "relu", "tanh", "hard_swish"),
                    }
                ),
            }
        )
    return {
        "block_type": block_type,
        "blocks": blocks,
        **sometimes(
            {
                "input_kernel": pick(None, 3, (1, 3), (1, 6)),
                "input_norm": pick("batch", "layer", None),
                "output_kernel": pick(3, (1, 3), (1, 2)),
                "include_top": pick(True, True, False),
                "use_logits": pick(True, False),
                "output_activation": pick(None, None, "sigmoid"),
                "name": "net",
                "model_name": "tcn",
            }
        ),
    }


def randomise(model: Any, seed: int = 0) -> Any:
    """Random weights and statistics that keep activations alive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        positive = weight.path.endswith(("gamma", "moving_variance"))
        fan_in = max(1, int(np.prod(weight.shape[:-1])))
        value = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, fan_in**-0.5, weight.shape)
        weight.assign(value)
    return model


def signal(frames: int = FRAMES, channels: int = 2, n: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.5, (n, frames, channels)).astype(np.float32)


def build(values: dict[str, Any], frames: int | None = FRAMES, channels: int = 2) -> Any:
    return TcnModel.model_from_params(keras.Input((frames, channels)), values, CLASSES)


def infer(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


def layers(model: Any) -> list[tuple[str, str, list[tuple[int, ...]]]]:
    """Kind, name and weight shapes in order; names that Keras numbers by itself lose the number."""
    named = [(type(layer).__name__, layer.name, [tuple(w.shape) for w in layer.weights]) for layer in model.layers]
    return [(kind, name if "." in name else "", shapes) for kind, name, shapes in named]


class TestHeliaEdge:
    @pytest.mark.parametrize("seed", range(3))
    def test_same_names_and_weights(self, helia: Any, seed: int) -> None:
        values = random_values(seed)
        theirs = randomise(helia.TcnModel.model_from_params(keras.Input((FRAMES, 2)), values, CLASSES), seed)
        ours = build(values | {"layer_names": "helia-edge"})
        assert [layer.name for layer in ours.layers if layer.weights] == [
            layer.name for layer in theirs.layers if layer.weights
        ]
        for model in (ours, build(values)):
            take_weights(model, theirs)
            np.testing.assert_array_equal(infer(model, signal()), infer(theirs, signal()))
        back = helia.TcnModel.model_from_params(keras.Input((FRAMES, 2)), values, CLASSES)
        take_weights(back, ours)
        np.testing.assert_array_equal(infer(back, signal()), infer(theirs, signal()))

    def test_every_kind_of_name(self) -> None:
        """As helia-edge 0.6.2 gives them."""
        names = {
            "ENC.CN": "ENC_CN",
            "ENC.BN": "ENC_BN",
            "B1.D2.CN1.LN": "B1_D2_CN1_LN",
            "B2.D1.EX.ACT": "B2_D1_EX_ACT",
            "B2.D1.DW.B1.CN": "B2_D1_DW_B1_CN",
            "B2.D1.SE.pool": "B2_D1_SE_pool",
            "B2.D1.SE.sq.act": "B2_D1_SE_sq.act",
            "B3.SE.ex.mul": "B3_SE_ex.mul",
            "NECK.conv": "NECK_conv",
        }
        assert {helia_name(name) for name in names.values()} == set(names.values())
        assert {name: helia_name(name) for name in names} == names

    def test_names_change_nothing_else(self) -> None:
        values = random_values(4)
        ours, renamed = randomise(build(values)), build(values | {"layer_names": "helia-edge"})
        take_weights(renamed, ours)
        np.testing.assert_array_equal(infer(renamed, signal()), infer(ours, signal()))
        configs = [[{**layer.get_config(), "name": ""} for layer in model.layers] for model in (ours, renamed)]
        assert configs[0] == configs[1]

    def test_weights_of_another_network_are_refused(self) -> None:
        ours = build({"blocks": [{"filters": 4}]})
        before = ours.get_weights()
        with pytest.raises(ModelError, match=r"B1.D1.DW.B1.CN has weights of shapes .* and the model .* lacks it"):
            take_weights(ours, build({"block_type": "lg", "blocks": [{"filters": 4}]}))
        with pytest.raises(ModelError, match=r"B1.D1.PW.B1.CN has weights of shapes \[\(1, 1, 2, 4\)\].* has "):
            take_weights(ours, build({"blocks": [{"filters": 5}]}))
        assert all(np.array_equal(a, b) for a, b in zip(before, ours.get_weights(), strict=True))


class TestAgainstTheOriginal:
    @pytest.mark.parametrize("seed", range(30))
    def test_same_network(self, original: Any, seed: int) -> None:
        values = random_values(seed)
        channels = 1 + seed % 4
        theirs = original.TcnModel.model_from_params(keras.Input((FRAMES, channels)), values, CLASSES)
        ours = build(values, channels=channels)
        assert layers(ours) == layers(theirs)
        randomise(theirs, seed)
        ours.set_weights(theirs.get_weights())
        x = signal(channels=channels)
        expected = infer(theirs, x)
        assert np.ptp(expected) > 0
        np.testing.assert_array_equal(infer(ours, x), expected)

    def test_same_training_facts(self, original: Any) -> None:
        """Initialisers, regularisers and dropout do not show in the output, but in training."""
        values = random_values(1) | {"input_kernel": 3}
        theirs = original.TcnModel.model_from_params(keras.Input((FRAMES, 2)), values, CLASSES)
        for ours, their in zip(build(values).layers, theirs.layers, strict=True):
            ignored = {"name", "batch_shape", "ragged", "optional"}
            config, expected = ours.get_config(), their.get_config()
            assert {k: v for k, v in config.items() if k not in ignored and "." in ours.name} == {
                k: v for k, v in expected.items() if k not in ignored and "." in ours.name
            }

    def test_image_inputs(self, original: Any) -> None:
        values = {"blocks": [{"filters": 4, "kernel": 3, "se_ratio": 2}], "input_kernel": (3, 3)}
        theirs = randomise(original.TcnModel.model_from_params(keras.Input((5, FRAMES, 2)), values, CLASSES))
        ours = TcnModel.model_from_params(keras.Input((5, FRAMES, 2)), values, CLASSES)
        ours.set_weights(theirs.get_weights())
        x = np.random.default_rng(0).normal(size=(2, 5, FRAMES, 2)).astype(np.float32)
        np.testing.assert_array_equal(infer(ours, x), infer(theirs, x))

    def test_small_block_without_squeeze_excite(self, original: Any) -> None:
        """The original divides by zero here; a ratio that squeezes to nothing gives what is meant."""
        block = {"filters": 4, "kernel": (1, 3), "norm": "batch"}
        values = {"block_type": "sm", "blocks": [block]}
        with pytest.raises(ZeroDivisionError):
            original.TcnModel.model_from_params(keras.Input((FRAMES, 2)), values, CLASSES)
        meant = {"block_type": "sm", "blocks": [block | {"se_ratio": 1e9}]}
        theirs = randomise(original.TcnModel.model_from_params(keras.Input((FRAMES, 2)), meant, CLASSES))
        ours = build(values)
        assert layers(ours) == layers(theirs)
        ours.set_weights(theirs.get_weights())
        np.testing.assert_array_equal(infer(ours, signal()), infer(theirs, signal()))

    def test_a_file_that_the_original_wrote(self, original: Any, tmp_path: Path) -> None:
        theirs = original.TcnParams(**random_values(7))
        path = tmp_path / "tcn.json"
        path.write_text(theirs.model_dump_json())
        model = original.TcnModel.model_from_params(keras.Input((FRAMES, 2)), theirs, CLASSES)
        assert layers(build(TcnParams.from_file(path))) == layers(model)

    def test_defaults(self, original: Any) -> None:
        theirs = original.TcnParams(blocks=[original.TcnBlockParams(filters=4)]).model_dump()
        ours = TcnParams(blocks=[TcnBlockParams(filters=4)])
        block = theirs.pop("blocks")[0]
        assert {name: getattr(ours, name) for name in theirs} == theirs
        assert {name: getattr(ours.blocks[0], name) for name in block} == block


TOML = """
block_type = "sm"
input_kernel = [1, 3]
input_norm = "none"
padding = "causal"

[[blocks]]
filters = 8
kernel = [1, 5]
norm = "none"
se_ratio = 2
se_window = 16
"""


class TestParameters:
    def test_toml_and_json_say_the_same(self, tmp_path: Path) -> None:
        toml, plain = tmp_path / "tcn.toml", tmp_path / "tcn.JSON"
        toml.write_text(TOML)
        block = {"filters": 8.0, "kernel": [1, "5"], "norm": None, "se_ratio": 2, "se_window": 16}
        plain.write_text(
            json.dumps(
                {
                    "block_type": "sm",
                    "input_kernel": [1, 3],
                    "input_norm": None,
                    "padding": "causal",
                    "blocks": [block],
                }
            )
        )
        params = TcnParams.from_file(toml)
        assert params == TcnParams.from_file(str(plain))
        assert params.blocks[0].kernel == (1, 5)
        assert params.input_norm is params.blocks[0].norm is None

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("a.yaml", "", "parameter files end in .json or .toml, not '.yaml'."),
            ("a.json", "{", "not a JSON file: "),
            ("a.toml", "x", "not a TOML file: "),
            ("a.json", "[]", "holds a list; a table of TcnParams' fields is needed."),
            ("a.json", '{"name": 3}', "TcnParams: name = 3 cannot be used; it should be a text."),
        ],
    )
    def test_bad_file(self, tmp_path: Path, name: str, text: str, sentence: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ModelError) as caught:
            TcnParams.from_file(path)
        assert str(caught.value).startswith(f"{path}: {sentence}")

    def test_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"none\.json: cannot be read: No such file"):
            TcnParams.from_file(tmp_path / "none.json")

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"filters": "x"}, "filters = 'x' cannot be used; it should be a whole number from 1 on."),
            ({"filters": True}, "filters = True cannot be used; it should be a whole number from 1 on."),
            ({"filters": 2.5}, "filters = 2.5 cannot be used; it should be a whole number from 1 on."),
            ({}, "filters is missing; it should be a whole number from 1 on."),
            (
                {"filters": 1, "kernel": (1, 0)},
                "kernel = (1, 0) cannot be used; it should be a whole number from 1 on, or two of them (height, time).",
            ),
            (
                {"filters": 1, "dilation": [1, 2, 3]},
                "dilation = [1, 2, 3] cannot be used; "
                "it should be a whole number from 1 on, or two of them (height, time).",
            ),
            ({"filters": 1, "depth": -1}, "depth = -1 cannot be used; it should be a whole number from 0 on."),
            ({"filters": 1, "branch": 0}, "branch = 0 cannot be used; it should be a whole number from 1 on."),
            ({"filters": 1, "ex_ratio": 0}, "ex_ratio = 0 cannot be used; it should be a number above 0."),
            (
                {"filters": 1, "se_ratio": float("nan")},
                "se_ratio = nan cannot be used; it should be a number from 0 (none) on.",
            ),
            (
                {"filters": 1, "dropout": 1},
                "dropout = 1 cannot be used; it should be none or a number from 0 to below 1.",
            ),
            (
                {"filters": 1, "norm": "bach"},
                'norm = \'bach\' cannot be used; it should be "batch", "layer", "channel" or none.',
            ),
            (
                {"filters": 1, "activation": None},
                "activation = None cannot be used; it should be the name of an activation.",
            ),
            (
                {"filters": 1, "se_window": 0},
                "se_window = 0 cannot be used; it should be none or a whole number of frames from 1 on.",
            ),
        ],
    )
    def test_bad_block_value(self, values: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ModelError) as caught:
            TcnParams(blocks=[{"filters": 1}, values])
        assert str(caught.value) == f"blocks[1]: TcnBlockParams: {sentence}"

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"block_type": "xl"}, 'block_type = \'xl\' cannot be used; it should be "lg", "mb" or "sm".'),
            ({"padding": "valid"}, 'padding = \'valid\' cannot be used; it should be "same" or "causal".'),
            ({"blocks": {"filters": 1}}, "blocks = {'filters': 1} cannot be used; it should be a list of blocks."),
            ({"include_top": "maybe"}, "include_top = 'maybe' cannot be used; it should be true or false."),
        ],
    )
    def test_bad_value(self, values: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ModelError) as caught:
            TcnParams(**values)
        assert str(caught.value) == f"TcnParams: {sentence}"

    def test_unknown_fields_are_ignored_aloud(self) -> None:
        with pytest.warns(UserWarning, match="TcnBlockParams has no field 'dilaton': ignored"):
            block = TcnBlockParams(filters=4, dilaton=8)
        assert block == TcnBlockParams(filters=4)


class TestBadNetworks:
    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            (
                {"block_type": "lg", "blocks": [{"filters": 4, "se_ratio": 5}]},
                "B1.D1.SE: se_ratio = 5 squeezes 4 channels to none; at most 4 here.",
            ),
            (
                {"blocks": [{"filters": 4, "ex_ratio": 0.2}]},
                "B1.D1.EX.CN: ex_ratio = 0.2 of filters = 4 is no channel; raise one of them.",
            ),
            (
                {"blocks": [{"filters": 4, "activation": "rely"}]},
                "B1.D1.DW.ACT: activation = 'rely' is not one that Keras knows.",
            ),
            ({"output_activation": "rely"}, "output: activation = 'rely' is not one that Keras knows."),
        ],
    )
    def test_bad_combination(self, values: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ModelError) as caught:
            build(values)
        assert str(caught.value) == sentence

    def test_classes_are_needed(self) -> None:
        with pytest.raises(ModelError, match="num_classes = None; include_top=True needs one class at least"):
            TcnModel.model_from_params(keras.Input((FRAMES, 2)), {})

    def test_shape_of_the_input(self) -> None:
        with pytest.raises(ModelError, match=r"an input of shape \(24,\); \(time, channels\) is needed"):
            TcnModel.model_from_params(keras.Input((FRAMES,)), {}, CLASSES)

    def test_layer_norm_needs_a_length(self) -> None:
        with pytest.raises(ModelError, match='norm="layer" has a gain per frame and needs a fixed window length'):
            build({"input_kernel": 3}, frames=None)

    def test_channel_norm_needs_channels(self) -> None:
        with pytest.raises(ModelError, match=r'ENC\.LN: norm="channel" of one channel is a constant'):
            build({"input_kernel": 3, "input_norm": "channel"}, channels=1)


def streaming_values(block_type: str, norm: str | None = "channel") -> dict[str, Any]:
    block = {
        "filters": 6,
        "kernel": (1, 3),
        "ex_ratio": 2,
        "se_ratio": 2,
        "se_window": 4,
        "norm": norm,
        "branch": 2,
        "activation": "tanh",
    }
    return {
        "block_type": block_type,
        "padding": "causal",
        "input_kernel": (1, 4),
        "input_norm": norm,
        "blocks": [block, block | {"kernel": 3, "dilation": (1, 2)}],
        "output_kernel": (1, 3),
    }


BLOCK_TYPES = pytest.mark.parametrize("block_type", ["lg", "mb", "sm"])


class TestStreamingSafe:
    @BLOCK_TYPES
    @pytest.mark.parametrize("norm", ["channel", "batch", None])
    def test_an_output_frame_depends_on_the_past_only(self, block_type: str, norm: str | None) -> None:
        model = randomise(build(streaming_values(block_type, norm)))
        x = signal(n=1)
        changed = x.copy()
        changed[:, 10] += 1
        moved = np.flatnonzero(np.any(infer(model, x) != infer(model, changed), axis=(0, 2)))
        assert moved[0] == 10

    @BLOCK_TYPES
    def test_the_window_does_not_matter(self, block_type: str) -> None:
        values = streaming_values(block_type)
        model = randomise(build(values))
        longer, endless = with_window(model, FRAMES + 9), build(values, frames=None)
        endless.set_weights(model.get_weights())
        x = signal(FRAMES + 9)
        expected = infer(longer, x)
        np.testing.assert_allclose(infer(model, x[:, :FRAMES]), expected[:, :FRAMES], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(infer(endless, x), expected, rtol=1e-5, atol=1e-6)

    @BLOCK_TYPES
    def test_weights_of_the_original_fit(self, block_type: str) -> None:
        values = streaming_values(block_type, "batch")
        plain = values | {
            "padding": "same",
            "blocks": [{k: v for k, v in block.items() if k != "se_window"} for block in values["blocks"]],
        }
        assert [(w.path, w.shape) for w in build(values).weights] == [(w.path, w.shape) for w in build(plain).weights]

    def test_causal_convolution_by_hand(self) -> None:
        model = randomise(build({"padding": "causal", "output_kernel": (1, 4)}))
        kernel, bias = (np.asarray(w) for w in model.get_layer("NECK.conv").weights)
        x = signal(n=1)[0]
        padded = np.concatenate([np.zeros((3, 2)), x])
        expected = [np.einsum("kc,kco->o", padded[t : t + 4], kernel[0]) + bias for t in range(FRAMES)]
        np.testing.assert_allclose(infer(model, x[None])[0], expected, rtol=1e-5, atol=1e-6)

    def test_squeeze_window_by_hand(self) -> None:
        block = {"filters": 4, "kernel": (1, 3), "se_ratio": 2, "se_window": 5, "norm": None, "activation": "tanh"}
        model = randomise(build({"block_type": "lg", "blocks": [block]}))
        ends = [model.get_layer(name).output for name in ("B1.D1.ACT", "B1.D1.SE.pool")]
        frames, squeezed = (np.asarray(y)[:, 0] for y in keras.Model(model.inputs[0], ends)(signal()))
        expected = [frames[:, max(0, t - 4) : t + 1].sum(1) / 5 for t in range(FRAMES)]
        np.testing.assert_allclose(squeezed, np.stack(expected, 1), rtol=1e-5, atol=1e-6)

    def test_channel_norm_by_hand(self) -> None:
        model = build({"input_kernel": 1, "input_norm": "channel", "include_top": False}, channels=4)
        model.get_layer("ENC.CN").set_weights([np.ones((1, 1, 4, 1))])
        x = signal(channels=4)
        expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
        np.testing.assert_allclose(infer(model, x), expected, rtol=1e-4, atol=1e-5)


def run(file: bytes, x: np.ndarray) -> np.ndarray:
    """One window through LiteRT's reference kernels, real numbers in and out."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    interpreter = litert.Interpreter(
        model_content=file, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert tuple(given["shape"]) == tuple(given["shape_signature"]) == x.shape
    if given["dtype"] != np.float32:
        (scale, zero), limits = given["quantization"], np.iinfo(given["dtype"])
        x = np.clip(np.round(x / scale + zero), limits.min, limits.max).astype(given["dtype"])
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(wanted["index"])
    if y.dtype == np.float32:
        return y
    scale, zero = wanted["quantization"]
    return (y.astype(np.float64) - zero) * scale


def dtypes(file: bytes) -> tuple[type, type]:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    interpreter = litert.Interpreter(model_content=file)
    return interpreter.get_input_details()[0]["dtype"], interpreter.get_output_details()[0]["dtype"]


@pytest.fixture(scope="module")
def trained() -> Any:
    """A streamable network with one kernel that is large enough for dynamic-range weights."""
    block = {"filters": 20, "kernel": (1, 3), "dilation": (1, 2), "norm": "batch", "se_ratio": 2, "se_window": 6}
    first = {"filters": 20, "kernel": (1, 3), "norm": "batch", "se_ratio": 0}
    return randomise(build({"block_type": "lg", "padding": "causal", "blocks": [first, block]}))


# Of the output's standard deviation; measured 4e-7, 6e-4, 0.02, 0.03 and 0.02 with these weights.
TOLERANCE = {"float32": 1e-5, "float16": 3e-3, "dynamic": 0.06, "int8": 0.09, "16x8": 0.06}


class TestConversion:
    @pytest.mark.parametrize("quantize", list(TOLERANCE))
    def test_agrees_with_keras(self, trained: Any, quantize: Any) -> None:
        x = signal(n=20)
        file = to_tflite(trained, quantize=quantize, calibration=x)
        expected = infer(trained, x[:1])
        error = np.abs(run(file, x[:1]) - expected).max() / expected.std()
        assert error <= TOLERANCE[quantize]
        if quantize != "float32":
            assert error > 2e-6, "nothing was quantized"
        io = {"int8": np.int8, "16x8": np.int16}.get(quantize, np.float32)
        assert dtypes(file) == (io, io)

    @pytest.mark.parametrize("quantize", ["int8", "16x8"])
    def test_float_ends(self, trained: Any, quantize: Any) -> None:
        windows = (window for window in signal(n=8)[:, None])
        file = to_tflite(trained, quantize=quantize, calibration=windows, float_io=True)
        assert dtypes(file) == (np.float32, np.float32)

    @pytest.mark.parametrize("block_type", ["mb", "sm"])
    def test_other_blocks(self, block_type: str) -> None:
        model = randomise(build(streaming_values(block_type)))
        np.testing.assert_allclose(run(to_tflite(model), signal(n=1)), infer(model, signal(n=1)), rtol=1e-4, atol=1e-5)

    def test_same_bytes_again(self, trained: Any) -> None:
        first, second = (to_tflite(trained, quantize="int8", calibration=signal(n=8)) for _ in range(2))
        assert first == second

    def test_another_window(self, trained: Any) -> None:
        x = signal(40, n=1)
        expected = run(to_tflite(trained), x[:, :FRAMES])
        longer = run(to_tflite(trained, window_frames=40), x)
        np.testing.assert_allclose(longer[:, :FRAMES], expected, rtol=1e-5, atol=1e-5)

    def test_the_log_stays_quiet(self, trained: Any, capfd: pytest.CaptureFixture[str]) -> None:
        to_tflite(trained, quantize="int8", calibration=signal(n=2))
        assert capfd.readouterr() == ("", "")

    def test_threads_that_convert_at_once_leave_standard_error_as_it_was(
        self, trained: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second thread to begin took the first one's log for standard error, and put that back at its end."""
        made, converter = [], convert._converter
        first_is_within, second_is_within, first_is_over = Event(), Event(), Event()

        def in_turns(*arguments: Any) -> Any:
            if threading.current_thread() is first:
                first_is_within.set()
                assert second_is_within.wait(60)
            else:
                second_is_within.set()
                assert first_is_over.wait(60)
                os.write(2, b"said meanwhile\n")
            return converter(*arguments)

        def work() -> None:
            made.append(to_tflite(trained))
            first_is_over.set()

        monkeypatch.setattr(convert, "_converter", in_turns)
        first, second = threading.Thread(target=work), threading.Thread(target=work)
        first.start()
        assert first_is_within.wait(60)
        second.start()
        first.join()
        second.join()
        os.write(2, b"said afterwards\n")
        assert capfd.readouterr() == ("", "said meanwhile\nsaid afterwards\n")
        assert len(made) == 2 and made[0] == made[1]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"quantize": "int4"}, "quantize = 'int4'; it should be one of float32, float16, dynamic, int8, 16x8."),
            (
                {"quantize": "int8"},
                "quantize = 'int8' needs calibration: windows of shape (24, 2), as the network will see them.",
            ),
            ({"quantize": "16x8", "calibration": []}, "calibration is empty; one window is needed at least."),
            ({"quantize": "int8", "calibration": 3}, "calibration is a int; windows are needed."),
            (
                {"quantize": "int8", "calibration": np.zeros((3, 2, 24))},
                "calibration[0] has shape (2, 24); the model's window is (24, 2).",
            ),
            (
                {"quantize": "int8", "calibration": np.full((1, 24, 2), np.nan)},
                "calibration[0] holds NaN or infinity; leave such windows out.",
            ),
            (
                {"quantize": "int8", "calibration": np.zeros((1, 24, 2)), "window_frames": 30},
                "calibration[0] has shape (24, 2); the model's window is (30, 2).",
            ),
            ({"window_frames": 0}, "window_frames = 0; it should be 1 at least."),
        ],
    )
    def test_bad_argument(self, trained: Any, options: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ModelError) as caught:
            to_tflite(trained, **options)
        assert str(caught.value) == f"to_tflite: {sentence}"

    def test_layer_norm_has_one_window(self) -> None:
        model = build({"input_kernel": 3})
        with pytest.raises(ModelError, match=r"the weights of ENC\.LN belong to places of the window"):
            to_tflite(model, window_frames=30)

    def test_length_is_needed(self) -> None:
        with pytest.raises(ModelError, match=r"the input is \(None, 2\); give window_frames"):
            to_tflite(build({}, frames=None))

    def test_one_input(self) -> None:
        a, b = keras.Input((4, 1)), keras.Input((4, 1))
        with pytest.raises(ModelError, match="a functional model with one input is needed; this one has 2"):
            to_tflite(keras.Model([a, b], keras.layers.Add()([a, b])))

    def test_a_layer_that_calibration_never_excites(self) -> None:
        """TensorFlow writes a file here that no interpreter loads."""
        model = build({"input_kernel": 3, "input_norm": None, "output_activation": "relu6", "output_kernel": 1})
        model.get_layer("NECK.conv").bias.assign(np.full(CLASSES, -1000))
        with pytest.raises(ModelError, match=r"this model cannot be converted to 16x8: .*overflow"):
            to_tflite(model, quantize="16x8", calibration=signal())

    def test_what_the_converter_refuses(self) -> None:
        model = build({"input_kernel": 3, "input_norm": "channel"})
        with pytest.raises(ModelError, match=r"this model cannot be converted to 16x8: .*NEG"):
            to_tflite(model, quantize="16x8", calibration=signal())
