"""A trained Keras model to a .tflite file, in one call (TensorFlow; extra ``train``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from tcnstream.engines.interpreter.quiet import without_chatter
from tcnstream.errors import MissingExtraError, ModelError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
try:
    import keras
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
except ImportError as error:
    raise MissingExtraError(
        f"tcnstream.zoo.convert needs Keras 3, TensorFlow and LiteRT ({error}): pip install tcnstream[train]"
    ) from error

Scheme: TypeAlias = Literal["float32", "float16", "dynamic", "int8", "16x8"]
Window: TypeAlias = npt.NDArray[np.float32]


def to_tflite(
    model: Any,
    *,
    quantize: Scheme = "float32",
    calibration: npt.ArrayLike | Iterable[npt.ArrayLike] | None = None,
    float_io: bool = False,
    window_frames: int | None = None,
    time_axis: int | None = None,
) -> bytes:
    """The bytes of a .tflite file with batch size 1.

    ``quantize``: ``"float32"``; ``"float16"`` (weights); ``"dynamic"`` (int8 weights of 1024 values
    and more, float activations); ``"int8"`` (all); ``"16x8"`` (int16 activations, int8 weights; no
    form of layer normalization in TensorFlow 2.21). The last two need
    ``calibration``: windows ``(n, frames, channels)`` as the network will see them, or an iterable
    of windows ``(frames, channels)``; 100 or more are a good number. Their inputs and outputs are
    int8 or int16 unless ``float_io``.

    ``window_frames``: another window length than the model's, with the same weights. The streaming
    result does not depend on it, unless statistics run over the window. ``time_axis``: where time is in
    the model's input, counted with the batch; None: before the channels, which stand last.

    The file has one signature, ``serving_default``, with input ``inputs``. The same model and data
    give the same bytes. Raises ModelError if an argument is wrong or the
    model cannot be converted.
    """
    if quantize not in get_args(Scheme):
        raise ModelError(f"to_tflite: quantize = {quantize!r}; it should be one of {', '.join(get_args(Scheme))}.")
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"to_tflite: Keras runs on {keras.backend.backend()} here; save the model to a .keras file and convert it "
            "in a process with KERAS_BACKEND=tensorflow."
        )
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) != 1:
        raise ModelError(f"to_tflite: a functional model with one input is needed; this one has {len(inputs)}.")
    if window_frames is not None:
        model = with_window(model, window_frames, time_axis)
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape:
        raise ModelError(f"to_tflite: the input is {shape}; give window_frames, a .tflite file has a fixed length.")

    windows = None
    if quantize in ("int8", "16x8"):
        if calibration is None:
            raise ModelError(
                f"to_tflite: quantize = {quantize!r} needs calibration: windows of shape {shape}, as the network "
                "will see them."
            )
        windows = list(_windows(calibration, shape))
        if not windows:
            raise ModelError("to_tflite: calibration is empty; one window is needed at least.")

    with without_chatter():
        converter = _converter(model, shape)
        _configure(converter, quantize, windows, float_io)
        try:
            file = bytes(converter.convert())
            Interpreter(model_content=file).allocate_tensors()
        except Exception as error:
            # Both raise kinds of their own; the first line names the operation that has no such form, or (a layer
            # that was 0 for all calibration windows, say) no usable scale.
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelError(f"to_tflite: this model cannot be converted to {quantize}: {reason}") from error
    return file


def _converter(model: Any, shape: tuple[int, ...]) -> Any:
    # A fixed name, because Keras numbers models by the order they were made in, and names end up in the file.
    model = keras.Model(model.inputs, model.outputs, name="model")
    signature = [tf.TensorSpec((1, *shape), tf.float32, name="inputs")]
    infer = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)
    # Frozen by hand: left as variables of a Keras model, weights become variables of the file.
    module = tf.Module()
    module.infer = convert_variables_to_constants_v2(infer.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([module.infer], module)


def with_window(model: Any, window_frames: int, time_axis: int | None = None) -> Any:
    """The same network and weights for windows of ``window_frames`` frames; arguments as for ``to_tflite``.

    Raises ModelError naming the layer whose weights belong to places of the window.
    """
    if window_frames < 1:
        raise ModelError(f"to_tflite: window_frames = {window_frames}; it should be 1 at least.")
    rank = len(model.inputs[0].shape)
    time_axis = rank - 2 if time_axis is None else time_axis
    if not 1 <= time_axis < rank:
        raise ModelError(f"to_tflite: time_axis = {time_axis}; the input's axes after the batch are 1 to {rank - 1}.")
    shape = list(model.inputs[0].shape[1:])
    old_frames, shape[time_axis - 1] = shape[time_axis - 1], window_frames

    def resized(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Reshape) and old_frames is not None:
            target = list(config["target_shape"])
            # Channels that stand last are no time axis, so it is the last match before them.
            last = len(target) - (time_axis < rank - 1)
            places = [i for i, extent in enumerate(target[:last]) if extent == old_frames]
            if places:
                target[places[-1]] = window_frames
            config["target_shape"] = target
        return layer.__class__.from_config(config)

    inputs = keras.Input(tuple(shape), name=model.inputs[0].name)
    try:
        clone = keras.models.clone_model(model, input_tensors=inputs, clone_function=resized)
    except (ValueError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(f"to_tflite: the model has no form for windows of {window_frames} frames: {reason}") from error
    for old, new in zip(model.layers, clone.layers, strict=True):
        if [w.shape for w in old.weights] != [w.shape for w in new.weights]:
            raise ModelError(
                f"to_tflite: the weights of {old.name} belong to places of the window, so its {old_frames} frames "
                f'cannot become {window_frames}; leave window_frames out, or use norm="batch" or norm="channel".'
            )
    clone.set_weights(model.get_weights())
    return clone


def _configure(converter: Any, quantize: Scheme, windows: list[Window] | None, float_io: bool) -> None:
    if quantize == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if windows is not None:
        ops, io_type = {
            "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
            "16x8": (tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, tf.int16),
        }[quantize]
        converter.representative_dataset = lambda: ([window[None]] for window in windows)
        converter.target_spec.supported_ops = [ops]
        if not float_io:
            converter.inference_input_type = converter.inference_output_type = io_type


def _windows(calibration: npt.ArrayLike | Iterable[npt.ArrayLike], shape: tuple[int, ...]) -> Iterator[Window]:
    """Single windows, whatever they came in."""
    if not isinstance(calibration, Iterable):
        raise ModelError(f"to_tflite: calibration is a {type(calibration).__name__}; windows are needed.")
    for i, item in enumerate(calibration):
        window = np.asarray(item, np.float32)
        if window.shape == (1, *shape):
            window = window[0]
        if window.shape != shape:
            raise ModelError(f"to_tflite: calibration[{i}] has shape {window.shape}; the model's window is {shape}.")
        if not np.isfinite(window).all():
            raise ModelError(f"to_tflite: calibration[{i}] holds NaN or infinity; leave such windows out.")
        yield window
