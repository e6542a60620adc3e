"""SignalConv1D: a convolution between rates whose alignment no window length changes (Keras 3; extra ``train``).

Names, defaults and results are those of ``tfc.layers.SignalConv1D`` (tensorflow-compression 2), without its gaps: every
combination of arguments is computed, converts to plain .tflite operations and streams. How is in
``tcnstream.filters.polyphase``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.alignment import mark
from tcnstream.errors import MissingExtraError, ModelError
from tcnstream.filters.polyphase import (
    PADDINGS,
    Alignment,
    Polyphase,
    align,
    choice,
    flag,
    polyphase,
    refuse_short,
    whole,
)

try:
    import keras
except ImportError as error:
    raise MissingExtraError(
        f"tcnstream.zoo.SignalConv1D is a Keras layer, and Keras 3 cannot be imported ({error}): "
        "pip install tcnstream[train]"
    ) from error

KerasTensor: TypeAlias = Any
Parameter: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="tcnstream")
class RDFTParameter:
    """A kernel (support, channels, filters) trained as the coefficients of its real discrete Fourier transform.

    The transform is orthonormal: a step of the optimiser means as much as on the kernel itself. ``initial_value`` is
    the kernel at the start; calling the object gives the kernel now.
    """

    def __init__(self, initial_value: npt.ArrayLike, trainable: bool = True) -> None:
        kernel = np.asarray(keras.ops.convert_to_numpy(initial_value), np.float32)
        if kernel.ndim != 3 or 0 in kernel.shape:
            raise ModelError(f"RDFTParameter: a kernel of shape {kernel.shape}; (support, channels, filters) is needed")
        coefficients = np.tensordot(_real_dft(len(kernel)), kernel, 1)
        self.coefficients = keras.Variable(coefficients, trainable=trainable, name="kernel_rdft")

    @classmethod
    def from_coefficients(cls, coefficients: Any) -> RDFTParameter:
        """Over a ``keras.Variable`` that holds the coefficients."""
        parameter = cls.__new__(cls)
        parameter.coefficients = coefficients
        return parameter

    @property
    def variables(self) -> list[Any]:
        """What is trained."""
        return [self.coefficients]

    def __call__(self) -> KerasTensor:
        support = self.coefficients.shape[0]
        inverse = keras.ops.convert_to_tensor(_real_dft(support).T, self.coefficients.dtype)
        return keras.ops.tensordot(inverse, self.coefficients, 1)

    def get_config(self) -> dict[str, Any]:
        kernel = keras.ops.convert_to_numpy(self())
        return {"initial_value": kernel.tolist(), "trainable": self.coefficients.trainable}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RDFTParameter:
        return cls(**config)


def _real_dft(n: int) -> npt.NDArray[np.float64]:
    """The orthonormal matrix (n, n) of cosines and sines: coefficients = matrix @ signal."""
    phase = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    rows = [np.ones(n) / np.sqrt(n)]
    for k in range(1, (n + 1) // 2):
        rows += [np.sqrt(2 / n) * np.cos(phase[k]), np.sqrt(2 / n) * np.sin(phase[k])]
    if n % 2 == 0:
        rows.append((-1.0) ** np.arange(n) / np.sqrt(n))
    return np.stack(rows)


@keras.saving.register_keras_serializable(package="tcnstream")
class SignalConv1D(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Upsample by zeros, convolve or correlate, downsample, add a bias, activate.

    The centre of the kernel is at ``kernel_support // 2``, and with ``same_*`` padding the first output frame is
    aligned with the first input frame, whatever the length.

    Input (batch, frames, channels), or (batch, channels, frames) with ``data_format="channels_first"``; output the same
    with ``filters`` channels. ``same_*`` gives ceil(n * strides_up / strides_down) frames, without ``extra_pad_end``
    ceil(((n - 1) * strides_up + 1) / strides_down).

    * ``filters``: output channels; with ``channel_separable`` filters per input channel (channel c's come at
      ``c * filters``).
    * ``kernel_support``: length of the kernel. ``corr``: cross-correlate instead of convolve.
    * ``strides_down``, ``strides_up``: keep every n-th frame after the filter, put n - 1 zeros between frames before.
    * ``padding``: ``"valid"`` gives all frames that need nothing from outside the signal (none, if it is too short);
      ``"same_zeros"`` takes zeros there; ``"same_reflect"`` the reflection of the input, symmetric about its first and
      its last frame, and needs a signal that is longer than what it reflects.
    * ``extra_pad_end``: whether the upsampled signal ends with ``strides_up - 1`` zeros; None: for ``same_*`` it does.
    * ``use_explicit``: let the convolution pad by itself where it has such a padding; False pads in an operation of its
      own. The result is the same.
    * ``kernel_parameter``: ``"rdft"`` (trained in the Fourier domain), ``"variable"`` (trained as it is), a
      ``keras.Variable`` (trained if it is trainable), an array or tensor (fixed) or a callable without arguments, such
      as an RDFTParameter; what it lists as ``variables`` is trained. The kernel is (kernel_support, channels, filters).
      ``bias_parameter``: the same without ``"rdft"``; the bias is (output channels,). Of a ``tf.Variable`` the value is
      taken at the start, since Keras 3 trains only its own.
    * ``kernel_initializer``, ``bias_initializer`` for what the layer makes itself; ``kernel_regularizer``,
      ``bias_regularizer`` always look at the kernel and the bias, never at Fourier coefficients.

    Raises ModelError for arguments that make no layer and for a reflection longer than the signal.
    """

    def __init__(
        self,
        filters: int,
        kernel_support: int,
        corr: bool = False,
        strides_down: int = 1,
        strides_up: int = 1,
        padding: str = "valid",
        extra_pad_end: bool | None = None,
        channel_separable: bool = False,
        data_format: str = "channels_last",
        activation: Any = None,
        use_bias: bool = False,
        use_explicit: bool = True,
        kernel_parameter: Parameter = "rdft",
        bias_parameter: Parameter = "variable",
        kernel_initializer: Any = "variance_scaling",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        me = self._me()
        self.filters = whole(me, "filters", filters)
        self.kernel_support = whole(me, "kernel_support", kernel_support)
        self.corr = flag(me, "corr", corr)
        self.strides_down = whole(me, "strides_down", strides_down)
        self.strides_up = whole(me, "strides_up", strides_up)
        self.padding = choice(me, "padding", padding, PADDINGS)
        self.extra_pad_end = None if extra_pad_end is None else flag(me, "extra_pad_end", extra_pad_end)
        self.channel_separable = flag(me, "channel_separable", channel_separable)
        self.data_format = choice(me, "data_format", data_format, ("channels_last", "channels_first"))
        self.activation = keras.activations.get(activation)
        self.use_bias = flag(me, "use_bias", use_bias)
        self.use_explicit = flag(me, "use_explicit", use_explicit)
        self.kernel_parameter = _parameter(me, "kernel_parameter", kernel_parameter, ("rdft", "variable"))
        self.bias_parameter = _parameter(me, "bias_parameter", bias_parameter, ("variable",))
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        # Keras finds variables in attributes and lists of layers, not in objects of other kinds.
        self._given_variables = [
            variable
            for parameter in (self.kernel_parameter, self.bias_parameter if self.use_bias else None)
            if _is_callable(parameter) and not isinstance(parameter, keras.Variable | keras.layers.Layer)
            for variable in getattr(parameter, "variables", ())
        ]
        self._own_kernel: Parameter = None
        self._own_bias: Parameter = None

    @property
    def alignment(self) -> Alignment:
        """What output frames read."""
        return align(
            self.kernel_support,
            corr=self.corr,
            strides_down=self.strides_down,
            strides_up=self.strides_up,
            padding=self.padding,
            extra_pad_end=self.extra_pad_end,
        )

    @property
    def kernel(self) -> KerasTensor:
        """The kernel now, (kernel_support, channels, filters), in the compute dtype."""
        if isinstance(self.kernel_parameter, str):
            return self._value("kernel", self._own_kernel)
        return self._value("kernel", self.kernel_parameter)

    @property
    def bias(self) -> KerasTensor | None:
        """The bias now, (output channels,), in the compute dtype; None without ``use_bias``."""
        if not self.use_bias:
            return None
        return self._value("bias", self._own_bias if isinstance(self.bias_parameter, str) else self.bias_parameter)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        kernel_shape = (self.kernel_support, channels, self.filters)
        regularizer, initializer = self.kernel_regularizer, self.kernel_initializer
        word = self.kernel_parameter if isinstance(self.kernel_parameter, str) else ""
        if word == "variable":
            self._own_kernel = self.add_weight(
                name="kernel", shape=kernel_shape, initializer=initializer, regularizer=regularizer
            )
        elif word == "rdft":
            forward = _real_dft(self.kernel_support)
            coefficients = self.add_weight(
                name="kernel_rdft",
                shape=kernel_shape,
                initializer=lambda shape, dtype=None: keras.ops.tensordot(
                    keras.ops.convert_to_tensor(forward, dtype), initializer(shape, dtype), 1
                ),
            )
            self._own_kernel = RDFTParameter.from_coefficients(coefficients)
            if regularizer is not None:
                parameter = self._own_kernel
                coefficients.regularizer = lambda _: regularizer(parameter())
        else:
            self._check("kernel_parameter", self.kernel, kernel_shape)
        if self.use_bias and isinstance(self.bias_parameter, str):
            self._own_bias = self.add_weight(
                name="bias",
                shape=(self._channels_out(channels),),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        elif self.use_bias:
            self._check("bias_parameter", self.bias, (self._channels_out(channels),))
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={self._axes()[1]: channels})
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        time, channel = self._axes()
        frames, alignment = input_shape[time], self.alignment
        shape = list(input_shape)
        shape[channel] = self._channels_out(self._channels(input_shape))
        if frames is not None:
            self._refuse_short(frames)
            shape[time] = alignment.frames(frames)
        return tuple(shape)

    def call(self, inputs: KerasTensor) -> KerasTensor:
        ops, alignment = keras.ops, self.alignment
        first = self.data_format == "channels_first"
        inputs = ops.cast(inputs, self.compute_dtype)
        x = ops.transpose(inputs, (0, 2, 1)) if first else inputs
        kernel, bias = self.kernel, self.bias
        frames, channels = x.shape[1], x.shape[2]
        if frames is not None:
            self._refuse_short(frames)
        if frames is not None and alignment.frames(frames) == 0:
            y = ops.zeros((ops.shape(x)[0], 0, self._channels_out(channels)), x.dtype)
        else:
            y = self._filter(x, kernel, bias)
        if first:
            y = ops.transpose(y, (0, 2, 1))
        if self.kernel_regularizer is not None and not isinstance(self.kernel_parameter, str):
            self.add_loss(self.kernel_regularizer(kernel))
        if self.bias_regularizer is not None and self.use_bias and not isinstance(self.bias_parameter, str):
            self.add_loss(self.bias_regularizer(bias))
        return self.activation(y)

    def _filter(self, x: KerasTensor, kernel: KerasTensor, bias: KerasTensor | None) -> KerasTensor:
        """(batch, frames, channels) through pads, one convolution, and what takes its phases apart."""
        ops, mirrored, form = keras.ops, self.alignment.mirror, polyphase(self.alignment)
        taps, phases, channels = len(form.taps), form.phases, x.shape[2]
        if any(mirrored):
            x = ops.pad(x, ((0, 0), mirrored, (0, 0)), mode="reflect")
        zeros = form.begin - mirrored[0], form.end - mirrored[1]
        padding = "valid"
        if self.use_explicit and form.stride == 1 and zeros == ((taps - 1) // 2, taps // 2):
            padding = "same"
        elif any(zeros):
            x = ops.pad(x, ((0, 0), zeros, (0, 0)))

        groups, each = (channels, self.filters) if self.channel_separable else (1, self.filters)
        weights = _weights(form, kernel)
        convolve = ops.depthwise_conv if self.channel_separable else ops.conv
        with keras.name_scope(mark(form.centre, phases)):
            y = convolve(x, weights, form.stride, padding, "channels_last")
        if bias is not None:
            y = y + ops.reshape(ops.tile(ops.reshape(bias, (groups, 1, each)), (1, phases, 1)), (-1,))
        if phases == 1:
            return y
        # Side by side are groups, each with its phases, each with its filters.
        frames, batch = y.shape[1], ops.shape(y)[0]
        if groups > 1 and each > 1:
            y = ops.reshape(y, (batch, -1 if frames is None else frames, groups, phases, each))
            y = ops.transpose(y, (0, 1, 3, 2, 4))
        elif groups > 1:
            y = ops.reshape(y, (batch, -1 if frames is None else frames, groups, phases))
            y = ops.transpose(y, (0, 1, 3, 2))
        y = ops.reshape(y, (batch, -1 if frames is None else frames * phases, groups * each))
        return y if form.crop == 0 and form.keep == 1 else y[:, form.crop :: form.keep]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_support": self.kernel_support,
            "corr": self.corr,
            "strides_down": self.strides_down,
            "strides_up": self.strides_up,
            "padding": self.padding,
            "extra_pad_end": self.extra_pad_end,
            "channel_separable": self.channel_separable,
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "use_explicit": self.use_explicit,
            "kernel_parameter": _parameter_config(self.kernel_parameter),
            "bias_parameter": _parameter_config(self.bias_parameter),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }

    def _me(self) -> str:
        return f"SignalConv1D `{self.name}`"

    def _axes(self) -> tuple[int, int]:
        """(time, channels)"""
        return (2, 1) if self.data_format == "channels_first" else (1, 2)

    def _channels(self, input_shape: Shape) -> int:
        if len(input_shape) != 3 or (channels := input_shape[self._axes()[1]]) is None:
            wanted = "(batch, channels, frames)" if self._axes()[1] == 1 else "(batch, frames, channels)"
            raise ModelError(f"{self._me()}: an input of shape {tuple(input_shape)}; {wanted} is needed.")
        return channels

    def _channels_out(self, channels: int) -> int:
        return self.filters * channels if self.channel_separable else self.filters

    def _refuse_short(self, frames: int) -> None:
        refuse_short(self._me(), self.alignment, frames)

    def _value(self, name: str, parameter: Parameter) -> KerasTensor:
        if parameter is None:
            raise ModelError(f"{self._me()}: there is no {name} before the layer is built; call it, or build it.")
        if not isinstance(parameter, keras.Variable) and callable(parameter):
            parameter = parameter()
        return keras.ops.cast(keras.ops.convert_to_tensor(parameter), self.compute_dtype)

    def _check(self, name: str, value: KerasTensor, shape: tuple[int, ...]) -> None:
        if tuple(value.shape) != shape:
            raise ModelError(f"{self._me()}: {name} has shape {tuple(value.shape)}; {shape} is needed here.")


def _parameter(me: str, name: str, value: Parameter, words: tuple[str, ...]) -> Parameter:
    """What a parameter argument stands for: a word, a keras.Variable, a callable or a fixed array."""
    if isinstance(value, str):
        return choice(me, name, value, words)
    if isinstance(value, Mapping):
        if "variable" in value:
            stored = value["variable"]
            return keras.Variable(np.array(stored["value"], stored["dtype"]), trainable=stored["trainable"])
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, keras.Variable) or _is_callable(value):
        return value
    if hasattr(value, "assign") and hasattr(value, "trainable"):
        return keras.Variable(np.asarray(value), trainable=value.trainable)
    if keras.ops.is_tensor(value):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise TypeError(array.dtype)
    except (TypeError, ValueError):
        wanted = ", ".join(map(repr, words))
        raise ModelError(
            f"{me}: {name} = {value!r}; it should be {wanted}, a keras.Variable, an array of numbers or a callable."
        ) from None
    return array.astype(np.float32) if array.dtype.kind in "iu" else array


def _is_callable(value: object) -> bool:
    return isinstance(value, Callable) and not keras.ops.is_tensor(value)  # type: ignore[arg-type]


def _parameter_config(parameter: Parameter) -> Any:
    if isinstance(parameter, str):
        return parameter
    if isinstance(parameter, keras.Variable):
        value = keras.ops.convert_to_numpy(parameter)
        return {"variable": {"value": value.tolist(), "dtype": str(value.dtype), "trainable": parameter.trainable}}
    if not _is_callable(parameter):
        parameter = keras.ops.convert_to_numpy(parameter)
    return keras.saving.serialize_keras_object(parameter)


def _weights(form: Polyphase, kernel: KerasTensor) -> KerasTensor:
    """The kernel as the convolution takes it: (taps, channels, phases * filters)."""
    ops = keras.ops
    support, channels, filters = kernel.shape
    places = [support if k is None else k for row in form.taps for k in row]
    if places != list(range(support)):
        if support in places:
            kernel = ops.concatenate([kernel, ops.zeros((1, channels, filters), kernel.dtype)], 0)
        kernel = ops.take(kernel, np.array(places, np.int32), axis=0)
    if form.phases == 1:
        return kernel
    weights = ops.reshape(kernel, (len(form.taps), form.phases, channels, filters))
    weights = ops.transpose(weights, (0, 2, 1, 3))
    return ops.reshape(weights, (len(form.taps), channels, form.phases * filters))
