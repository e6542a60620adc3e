"""SignalConv1D against the original's answers and its definition; its parameters, its files, its streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.draws import drawn
from helpers.oracle import reference_kernels
from helpers.signal_definition import definition, golden
from hypothesis import given
from hypothesis import strategies as st

import tcnstream
from tcnstream.errors import ModelError
from tcnstream.filters.polyphase import PADDINGS
from tcnstream.tflite.graph import Array

keras = pytest.importorskip("keras", reason="needs Keras (extra `train`)")
pytest.importorskip("tensorflow", reason="needs TensorFlow (extra `train`)")

from tcnstream.zoo import SignalConv1D  # noqa: E402
from tcnstream.zoo.convert import to_tflite  # noqa: E402
from tcnstream.zoo.signal_conv import RDFTParameter  # noqa: E402

pytestmark = pytest.mark.train

DEFINED = {
    "corr": st.booleans(),
    "strides_down": st.integers(1, 4),
    "strides_up": st.integers(1, 4),
    "padding": st.sampled_from(PADDINGS),
    "extra_pad_end": st.sampled_from([None, True, False]),
    "channel_separable": st.booleans(),
}
OTHERS = {
    "filters": st.integers(1, 3),
    "kernel_support": st.integers(1, 9),
    "use_bias": st.booleans(),
    "use_explicit": st.booleans(),
    "data_format": st.sampled_from(["channels_last", "channels_first"]),
}


def turned(x: Array, layer: Any) -> Array:
    """(batch, frames, channels) as the layer wants it, or back."""
    return x.swapaxes(1, 2) if layer.data_format == "channels_first" else x


def applied(layer: Any, x: Array) -> Array:
    return turned(np.asarray(layer(turned(x, layer))), layer)


class TestResults:
    def test_equal_to_the_original(self) -> None:
        compared = 0
        for case in golden():
            if case.y is None:
                continue
            bias = "variable" if case.bias is None else case.bias
            layer = SignalConv1D(**case.config, kernel_parameter=case.kernel, bias_parameter=bias)
            np.testing.assert_allclose(applied(layer, case.x), case.y, atol=1e-5)
            compared += 1
        assert compared > 100

    def test_what_the_original_does_not_implement(self) -> None:
        refused = [case for case in golden() if case.y is None]
        assert len(refused) > 30
        for case in refused:
            layer = SignalConv1D(**case.config, bias_initializer="normal")
            y = applied(layer, case.x)
            bias = None if layer.bias is None else np.asarray(layer.bias)
            for got, x in zip(y, case.x, strict=True):
                np.testing.assert_allclose(
                    got, definition(x, np.asarray(layer.kernel), bias, **case.of_definition), atol=1e-5
                )

    @drawn(250)
    @given(
        st.fixed_dictionaries(DEFINED), st.fixed_dictionaries(OTHERS), st.integers(1, 20), st.integers(1, 3), st.data()
    )
    def test_equal_to_the_definition(
        self, defined: dict[str, Any], others: dict[str, Any], frames: int, channels: int, data: Any
    ) -> None:
        kernel_parameter = data.draw(st.sampled_from(["rdft", "variable"]))
        layer = SignalConv1D(
            **defined, **others, kernel_parameter=kernel_parameter, bias_initializer="normal", activation="tanh"
        )
        x = np.random.default_rng(0).normal(size=(2, frames, channels)).astype(np.float32)
        try:
            y = applied(layer, x)
        except ModelError as error:
            assert "same_reflect" in str(error) and frames <= others["kernel_support"]
            return
        assert layer.compute_output_shape(turned(x, layer).shape) == turned(y, layer).shape
        bias = None if layer.bias is None else np.asarray(layer.bias)
        for got, one in zip(y, x, strict=True):
            expected = np.tanh(definition(one, np.asarray(layer.kernel), bias, **defined))
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=1e-5)

    def test_the_centre_of_the_kernel(self) -> None:
        """Six spellings of one filter, as the specification lists them."""
        x = np.random.default_rng(0).normal(size=(1, 9, 1)).astype(np.float32)
        answers = [
            applied(
                SignalConv1D(
                    1, len(taps), corr, padding="same_zeros", kernel_parameter=np.reshape(taps, (-1, 1, 1)).astype("f")
                ),
                x,
            )
            for corr, taps in (
                (False, [1, 2, 3]),
                (False, [0, 1, 2, 3, 0]),
                (False, [0, 1, 2, 3]),
                (True, [3, 2, 1]),
                (True, [0, 3, 2, 1, 0]),
                (True, [0, 3, 2, 1]),
            )
        ]
        for answer in answers[1:]:
            np.testing.assert_allclose(answer, answers[0], atol=1e-6)

    @pytest.mark.parametrize("frames", [None, 20])
    def test_any_batch_and_length(self, frames: int | None) -> None:
        layer = SignalConv1D(2, 5, strides_up=3, strides_down=2, channel_separable=True, padding="same_reflect")
        model = keras.Model(inputs := keras.Input((frames, 2)), layer(inputs))
        assert model.output_shape == (None, None if frames is None else 30, 4)
        for n in (20,) if frames else (20, 31):
            x = np.random.default_rng(n).normal(size=(3, n, 2)).astype(np.float32)
            np.testing.assert_allclose(model.predict(x, verbose=0), np.asarray(layer(x)), atol=1e-6)

    def test_too_short_for_valid_gives_nothing(self) -> None:
        layer = SignalConv1D(2, 8)
        assert applied(layer, np.ones((3, 7, 1), np.float32)).shape == (3, 0, 2)
        assert applied(layer, np.ones((3, 8, 1), np.float32)).shape == (3, 1, 2)

    @pytest.mark.parametrize("padding", PADDINGS)
    def test_of_nothing_it_makes_nothing(self, padding: str) -> None:
        layer = SignalConv1D(2, 8, strides_up=2, padding=padding)
        assert applied(layer, np.ones((3, 0, 1), np.float32)).shape == (3, 0, 2)
        assert layer.compute_output_shape((3, 0, 1)) == (3, 0, 2)

    def test_whole_numbers(self) -> None:
        layer = SignalConv1D(2, 3, strides_up=2, padding="same_zeros")
        x = np.arange(10).reshape(1, 5, 2)
        np.testing.assert_array_equal(applied(layer, x), applied(layer, x.astype(np.float32)))

    def test_half_precision(self) -> None:
        layer = SignalConv1D(2, 5, strides_up=2, dtype="mixed_float16", padding="same_zeros", use_bias=True)
        y = layer(np.ones((1, 9, 2), np.float32))
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
        assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float16"


def fitted(layer: Any, x: Array, y: Array, steps: int = 3) -> Any:
    model = keras.Model(inputs := keras.Input(x.shape[1:]), layer(inputs))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(x, y, epochs=steps, verbose=0)
    return model


SIGNAL = np.random.default_rng(1).normal(size=(4, 16, 2)).astype(np.float32)
KERNEL = np.random.default_rng(2).normal(size=(5, 2, 3)).astype(np.float32)


class TestParameters:
    @pytest.mark.parametrize("kernel_parameter", ["rdft", "variable"])
    def test_words_are_trained(self, kernel_parameter: str) -> None:
        layer = SignalConv1D(3, 5, kernel_parameter=kernel_parameter, use_bias=True)
        layer.build((None, 16, 2))
        assert len(layer.trainable_weights) == 2
        before = np.asarray(layer.kernel)
        fitted(layer, SIGNAL, np.ones((4, 12, 3)))
        assert np.abs(np.asarray(layer.kernel) - before).max() > 1e-3

    def test_both_words_are_trained_alike(self) -> None:
        """The transform is orthonormal: a step of gradient descent is the same in both domains."""
        kernels = []
        for kernel_parameter in ("rdft", "variable"):
            layer = SignalConv1D(
                3, 5, kernel_parameter=kernel_parameter, kernel_initializer=keras.initializers.Constant(KERNEL)
            )
            fitted(layer, SIGNAL, np.ones((4, 12, 3)))
            kernels.append(np.asarray(layer.kernel))
        assert np.abs(kernels[0] - KERNEL).max() > 1e-3
        np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-5)

    @pytest.mark.parametrize("support", range(1, 9))
    def test_the_fourier_domain(self, support: int) -> None:
        """Coefficients are those of numpy's rfft, scaled so that energies are equal."""
        kernel = np.random.default_rng(support).normal(size=(support, 1, 1)).astype(np.float32)
        parameter = RDFTParameter(kernel)
        np.testing.assert_allclose(np.asarray(parameter()), kernel, atol=1e-6)
        spectrum = np.fft.rfft(kernel[:, 0, 0])
        pairs = [spectrum[0].real / np.sqrt(support)]
        for value in spectrum[1 : (support + 1) // 2]:
            pairs += [value.real * np.sqrt(2 / support), -value.imag * np.sqrt(2 / support)]
        if support % 2 == 0:
            pairs.append(spectrum[-1].real / np.sqrt(support))
        np.testing.assert_allclose(np.asarray(parameter.coefficients)[:, 0, 0], pairs, atol=1e-6)

    def test_an_array_is_fixed(self) -> None:
        for fixed in (KERNEL, keras.ops.convert_to_tensor(KERNEL), KERNEL.tolist()):
            layer = SignalConv1D(3, 5, kernel_parameter=fixed)
            fitted(layer, SIGNAL, np.ones((4, 12, 3)))
            assert not layer.weights
            np.testing.assert_array_equal(np.asarray(layer.kernel), KERNEL)

    def test_a_variable_is_trained(self) -> None:
        variable, bias = keras.Variable(KERNEL), keras.Variable(np.zeros(3))
        layer = SignalConv1D(3, 5, kernel_parameter=variable, use_bias=True, bias_parameter=bias)
        fitted(layer, SIGNAL, np.ones((4, 12, 3)))
        assert layer.trainable_weights == [variable, bias]
        assert np.abs(np.asarray(variable) - KERNEL).max() > 1e-3
        np.testing.assert_array_equal(np.asarray(layer.kernel), np.asarray(variable))
        assert np.abs(np.asarray(bias)).max() > 1e-3

    def test_a_variable_that_is_not_trainable(self) -> None:
        layer = SignalConv1D(3, 5, kernel_parameter=keras.Variable(KERNEL, trainable=False))
        assert not layer.trainable_weights and len(layer.weights) == 1

    def test_the_value_of_a_variable_of_tensorflow(self) -> None:
        import tensorflow as tf

        layer = SignalConv1D(3, 5, kernel_parameter=tf.Variable(KERNEL))
        fitted(layer, SIGNAL, np.ones((4, 12, 3)))
        assert len(layer.trainable_weights) == 1
        assert np.abs(np.asarray(layer.kernel) - KERNEL).max() > 1e-3

    def test_a_callable(self) -> None:
        gain = keras.Variable(2.0)
        layer = SignalConv1D(3, 5, kernel_parameter=lambda: gain * KERNEL)
        np.testing.assert_allclose(np.asarray(layer(SIGNAL)), np.asarray(2 * fixed_layer()(SIGNAL)), atol=1e-5)
        gain.assign(3.0)
        np.testing.assert_allclose(np.asarray(layer.kernel), 3 * KERNEL, atol=1e-6)

    def test_a_parameter_object_is_trained(self) -> None:
        parameter = RDFTParameter(KERNEL)
        layer = SignalConv1D(3, 5, kernel_parameter=parameter)
        assert layer.trainable_weights == [parameter.coefficients]
        fitted(layer, SIGNAL, np.ones((4, 12, 3)))
        assert np.abs(np.asarray(parameter()) - KERNEL).max() > 1e-3

    def test_an_object_of_ones_own(self) -> None:
        class Scaled:
            def __init__(self) -> None:
                self.variables = [keras.Variable(2.0)]

            def __call__(self) -> Any:
                return self.variables[0] * KERNEL

        parameter = Scaled()
        layer = SignalConv1D(3, 5, kernel_parameter=parameter)
        assert layer.trainable_weights == parameter.variables
        fitted(layer, SIGNAL, np.ones((4, 12, 3)))
        assert abs(float(parameter.variables[0]) - 2) > 1e-3

    def test_initialisers(self) -> None:
        layer = SignalConv1D(3, 5, kernel_initializer="ones", bias_initializer="ones", use_bias=True)
        layer.build((None, 16, 2))
        np.testing.assert_allclose(np.asarray(layer.kernel), np.ones((5, 2, 3)), atol=1e-6)
        np.testing.assert_array_equal(np.asarray(layer.bias), np.ones(3))

    @pytest.mark.parametrize("parameter", ["rdft", "variable", KERNEL, keras.Variable(KERNEL)])
    def test_regularisers_look_at_the_kernel(self, parameter: Any) -> None:
        layer = SignalConv1D(
            3,
            5,
            kernel_parameter=parameter,
            kernel_initializer=keras.initializers.Constant(KERNEL),
            kernel_regularizer=keras.regularizers.L1(0.1),
            use_bias=True,
            bias_initializer="ones",
            bias_regularizer="l2",
            activity_regularizer=keras.regularizers.L1(1e-3),
        )
        y = np.asarray(layer(SIGNAL))
        expected = 0.1 * np.abs(KERNEL).sum() + 0.01 * 3 + 1e-3 * np.abs(y).sum() / len(SIGNAL)
        np.testing.assert_allclose(sum(float(loss) for loss in layer.losses), expected, rtol=1e-5)

    def test_no_kernel_before_it_is_built(self) -> None:
        layer = SignalConv1D(3, 5, name="early")
        with pytest.raises(ModelError, match="`early`: there is no kernel before the layer is built"):
            layer.kernel  # noqa: B018
        assert layer.bias is None

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"filters": 0}, "filters = 0; it should be a whole number from 1 on"),
            ({"kernel_support": (3, 3)}, r"kernel_support = \(3, 3\); it should be a whole number"),
            ({"strides_up": 1.5}, "strides_up = 1.5; it should be a whole number"),
            ({"padding": "same"}, "padding = 'same'; it should be one of valid, same_zeros, same_reflect"),
            ({"data_format": "NCW"}, "data_format = 'NCW'; it should be one of channels_last, channels_first"),
            ({"extra_pad_end": "yes"}, "extra_pad_end = 'yes'; it should be True or False"),
            ({"corr": "no"}, "corr = 'no'; it should be True or False"),
            ({"use_bias": 2}, "use_bias = 2; it should be True or False"),
            ({"kernel_parameter": "fft"}, "kernel_parameter = 'fft'; it should be one of rdft, variable"),
            ({"bias_parameter": "rdft"}, "bias_parameter = 'rdft'; it should be one of variable"),
            ({"kernel_parameter": object()}, "it should be 'rdft', 'variable', a keras.Variable, an array"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ModelError, match=sentence):
            SignalConv1D(**{"filters": 1, "kernel_support": 3, **arguments})

    def test_wrong_shapes(self) -> None:
        with pytest.raises(ModelError, match=r"kernel_parameter has shape \(5, 2, 3\); \(5, 1, 3\) is needed here"):
            fixed_layer()(SIGNAL[..., :1])
        with pytest.raises(ModelError, match=r"bias_parameter has shape \(2,\); \(3,\) is needed here"):
            SignalConv1D(3, 5, use_bias=True, bias_parameter=np.zeros(2))(SIGNAL)
        with pytest.raises(ModelError, match=r"an input of shape \(None, 16, None\); \(batch, frames, channels\)"):
            SignalConv1D(3, 5).build((None, 16, None))

    def test_a_reflection_longer_than_the_signal(self) -> None:
        layer = SignalConv1D(1, 9, padding="same_reflect", name="edge")
        sentence = "`edge`: padding = 'same_reflect' reflects 4 frames .* and the signal has 4; give it 5 at least"
        for attempt in (lambda: layer(SIGNAL[:, :4]), lambda: layer(keras.Input((4, 2)))):
            with pytest.raises(ModelError, match=sentence):
                attempt()
        layer(SIGNAL[:, :5])


def fixed_layer() -> Any:
    return SignalConv1D(3, 5, kernel_parameter=KERNEL)


@keras.saving.register_keras_serializable(package="tests")
def doubled_kernel() -> Any:
    return 2 * KERNEL


PARAMETERS: dict[str, Callable[[], Any]] = {
    "rdft": lambda: "rdft",
    "variable": lambda: "variable",
    "array": lambda: KERNEL,
    "tensor": lambda: keras.ops.convert_to_tensor(KERNEL),
    "keras.Variable": lambda: keras.Variable(KERNEL, trainable=False),
    "RDFTParameter": lambda: RDFTParameter(KERNEL),
    "function": lambda: doubled_kernel,
}


class TestFiles:
    @pytest.mark.parametrize("parameter", PARAMETERS)
    def test_config_and_keras_file(self, parameter: str, tmp_path: Path) -> None:
        layer = SignalConv1D(
            3,
            [5],
            corr=True,
            strides_down=(2,),
            strides_up=3,
            padding="same_reflect",
            extra_pad_end=False,
            activation="relu",
            use_bias=True,
            use_explicit=False,
            kernel_parameter=PARAMETERS[parameter](),
            bias_initializer="normal",
            kernel_regularizer="l1",
            activity_regularizer="l2",
            name="resampler",
        )
        model = keras.Model(inputs := keras.Input((16, 2)), layer(inputs))
        again = SignalConv1D.from_config(json.loads(json.dumps(layer.get_config())))
        assert again.get_config() == layer.get_config()
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(np.asarray(loaded(SIGNAL)), np.asarray(model(SIGNAL)))
        assert [w.trainable for w in loaded.weights] == [w.trainable for w in model.weights]
        assert loaded.get_layer("resampler").get_config() == layer.get_config()

    def test_every_argument_is_in_the_config(self) -> None:
        values = {
            "filters": 2,
            "kernel_support": 4,
            "corr": True,
            "strides_down": 3,
            "strides_up": 2,
            "padding": "same_zeros",
            "extra_pad_end": False,
            "channel_separable": True,
            "data_format": "channels_first",
            "activation": "tanh",
            "use_bias": True,
            "use_explicit": False,
            "kernel_parameter": "variable",
            "bias_parameter": "variable",
        }
        config = SignalConv1D(**values, kernel_initializer="ones", bias_regularizer="l2").get_config()
        assert {name: config[name] for name in values} == values
        assert config["kernel_initializer"]["class_name"] == "Ones"
        assert config["bias_regularizer"]["class_name"] == "L2"


def streams_exactly(layers: Any, frames: int, channels: int, quantize: str, first: bool = False) -> None:
    """Convert, stream in every engine, at the window's length and, as the layers themselves say, at others."""
    inputs = keras.Input((channels, frames) if first else (frames, channels))
    network = keras.Model(inputs, layers(inputs))
    rng = np.random.default_rng(frames)
    calibration = rng.normal(size=(20, *inputs.shape[1:])).astype(np.float32)
    content = to_tflite(network, quantize=quantize, calibration=calibration)
    model = tcnstream.load(content, time_axis=2 if first else 1)
    port = model.inputs[0]

    def framed(y: Array) -> Array:
        return (y[0].T if first else y[0]).reshape(-1, *model.outputs[0].shape)

    x = calibration[:1]
    raw = port.quantize(x)
    (y,) = reference_kernels(content, [raw])
    signal = (raw[0].T if first else raw[0]).reshape(frames, *port.shape)
    if quantize == "float32":
        np.testing.assert_allclose(y, np.asarray(network(x)), atol=2e-5)
    engines = engines_here(model)
    assert engines == list(tcnstream.engines.base.ENGINES)
    for engine in engines:
        verify_contract(model, signal, framed(y), engine=engine, chunkings=1)
    if quantize != "float32":
        return
    for n in (frames + 1, frames + 2, 2 * frames + 3):
        x = rng.normal(size=(1, channels, n) if first else (1, n, channels)).astype(np.float32)
        expected = framed(np.asarray(layers(keras.ops.convert_to_tensor(x))))
        for engine in engines:
            stream = model.stream(engine)
            got = np.concatenate([stream.push((x[0].T if first else x[0]).reshape(n, *port.shape)), stream.flush()])
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=2e-5)


class TestStreams:
    @pytest.mark.parametrize("quantize", ["float32", "int8"])
    @pytest.mark.parametrize("padding", PADDINGS)
    @pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 3), (3, 1), (3, 2), (2, 3), (2, 2), (4, 6)])
    def test_every_rate_and_padding(self, up: int, down: int, padding: str, quantize: str) -> None:
        for number, extra in enumerate((True, False)):
            layer = SignalConv1D(
                2,
                5 - number,
                corr=bool(number),
                strides_up=up,
                strides_down=down,
                padding=padding,
                extra_pad_end=extra,
                channel_separable=bool(number),
                use_bias=True,
                bias_initializer="normal",
                activation="relu" if number else None,
            )
            streams_exactly(layer, 17, 2, quantize)

    @pytest.mark.parametrize("quantize", ["float32", "int8", "16x8"])
    @pytest.mark.parametrize("separable", [True, False])
    def test_phases_without_a_weight(self, separable: bool, quantize: str) -> None:
        """A kernel shorter than the stride leaves channels of zeros, to which the converter gives a scale of 0."""
        layer = SignalConv1D(1, 1, strides_up=3, padding="same_zeros", channel_separable=separable)
        streams_exactly(layer, 16, 2, quantize)

    @pytest.mark.slow
    @drawn(40)
    @given(
        st.fixed_dictionaries(DEFINED),
        st.fixed_dictionaries(OTHERS),
        st.sampled_from([16, 17, 25]),
        st.sampled_from([1, 3]),
        st.sampled_from(["float32", "int8", "16x8"]),
    )
    def test_any_arguments(
        self, defined: dict[str, Any], others: dict[str, Any], frames: int, channels: int, quantize: str
    ) -> None:
        layer = SignalConv1D(**defined, **others, bias_initializer="normal")
        streams_exactly(layer, frames, channels, quantize, first=others["data_format"] == "channels_first")

    @pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
    def test_another_window(self, data_format: str) -> None:
        """Converted for another window the file streams the same."""
        first = data_format == "channels_first"
        inputs = x = keras.Input((3, 24) if first else (24, 3))
        for support, down, up in ((5, 2, 1), (4, 1, 3)):
            x = SignalConv1D(
                3, support, strides_down=down, strides_up=up, padding="same_reflect", data_format=data_format
            )(x)
        network = keras.Model(inputs, x)
        time_axis = 2 if first else 1
        answers = []
        for window in (None, 38):
            content = to_tflite(network, window_frames=window, time_axis=time_axis)
            stream = tcnstream.load(content, time_axis=time_axis).stream()
            assert stream.plan.window_frames == (window or 24)
            x = np.random.default_rng(1).normal(size=(57, *stream.inputs[0].shape)).astype(np.float32)
            answers.append(np.concatenate([stream.push(x), stream.flush()]))
        assert answers[0].shape == answers[1].shape == (87, 3)
        np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)

    def test_time_axis_of_another_window(self) -> None:
        network = keras.Model(inputs := keras.Input((24, 2)), fixed_layer()(inputs))
        with pytest.raises(ModelError, match=r"time_axis = 3; the input's axes after the batch are 1 to 2"):
            to_tflite(network, window_frames=30, time_axis=3)

    @pytest.mark.parametrize("seed", range(6))
    def test_frames_stand_at_multiples_of_the_strides(self, seed: int) -> None:
        """A chain of any same_* layers: frame j stands at j / rate, so that labels land where they belong."""
        rng = np.random.default_rng(seed)
        inputs = x = keras.Input((48, 2))
        for _ in range(3):
            x = SignalConv1D(
                2,
                int(rng.integers(1, 9)),
                corr=bool(rng.integers(2)),
                strides_down=int(rng.integers(1, 4)),
                strides_up=int(rng.integers(1, 4)),
                padding=("same_zeros", "same_reflect")[rng.integers(2)],
                extra_pad_end=(None, True, False)[rng.integers(3)],
                channel_separable=bool(rng.integers(2)),
                activation="relu",
            )(x)
        stream = tcnstream.load(to_tflite(keras.Model(inputs, x))).stream(rate_hz=16000)
        port = stream.outputs[0]
        assert port.offset == 0
        frames = np.concatenate([stream.push(np.zeros((100, 2), np.float32)), stream.flush()])
        np.testing.assert_allclose(stream.times(frames), np.arange(len(frames)) / float(16000 * port.rate))

    @pytest.mark.parametrize("seed", range(8))
    def test_frames_stand_at_the_centre_of_the_kernel(self, seed: int) -> None:
        """Also with VALID padding, where the numbers of the file do not tell a kernel from its mirror image."""
        rng = np.random.default_rng(seed)
        inputs = x = keras.Input((64, 2))
        offset, step = Fraction(0), Fraction(1)
        for _ in range(int(rng.integers(1, 4))):
            layer = SignalConv1D(
                2,
                int(rng.integers(1, 7)),
                corr=bool(rng.integers(2)),
                strides_down=int(rng.integers(1, 4)),
                strides_up=int(rng.integers(1, 5)),
                padding=("valid", "valid", "same_reflect")[rng.integers(3)],
                extra_pad_end=(None, True, False)[rng.integers(3)],
                channel_separable=bool(rng.integers(2)),
                data_format="channels_last",
                use_bias=bool(rng.integers(2)),
                activation=(None, "relu", "tanh")[rng.integers(3)],
            )
            offset += step * layer.alignment.offset
            step *= Fraction(layer.strides_down, layer.strides_up)
            x = layer(x)
        quantize = ("float32", "int8")[seed % 2]
        calibration = rng.normal(size=(4, 64, 2)).astype(np.float32)
        content = to_tflite(keras.Model(inputs, x), quantize=quantize, calibration=calibration)
        (port,) = tcnstream.load(content).outputs
        assert (port.offset, port.rate) == (offset, 1 / step)

    def test_rates_that_meet_again(self) -> None:
        """Down, dilated layers, up and a join with what did not go down; a second output at the low rate."""
        inputs = keras.Input((48, 2))
        same: dict[str, Any] = {"padding": "same_zeros", "activation": "relu"}
        fast = SignalConv1D(4, 5, **same)(inputs)
        slow = SignalConv1D(4, 8, strides_down=4, **same)(fast)
        deep = keras.layers.Conv1D(4, 3, padding="same", dilation_rate=2)(slow)
        deep = keras.layers.Add()(
            [
                deep,
                SignalConv1D(4, 4, strides_up=2, padding="same_reflect")(
                    SignalConv1D(4, 3, strides_down=2, **same)(slow)
                ),
            ]
        )
        up = keras.layers.Concatenate()([fast, SignalConv1D(3, 7, strides_up=4, **same)(deep)])
        outputs = [keras.layers.Conv1D(2, 3, padding="causal")(up), keras.layers.Conv1D(3, 1)(deep)]
        network = keras.Model(inputs, outputs)
        rng = np.random.default_rng(0)
        calibration = rng.normal(size=(20, 48, 2)).astype(np.float32)
        for quantize in ("float32", "int8"):
            content = to_tflite(network, quantize=quantize, calibration=calibration)
            model = tcnstream.load(content)
            by_rate = {port.rate: port for port in model.outputs}
            assert set(by_rate) == {1, Fraction(1, 4)}
            assert all(port.offset == 0 for port in model.outputs)
            x = model.inputs[0].quantize(calibration[0])
            answers = {y.shape[-1]: y[0] for y in reference_kernels(content, [x[None]])}
            expected = [answers[port.shape[-1]] for port in model.outputs]
            for engine in engines_here(model):
                verify_contract(model, x, expected, engine=engine, chunkings=1)
