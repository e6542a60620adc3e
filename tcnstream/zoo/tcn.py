"""Temporal convolutional networks from a parameter file (Keras 3, any backend; extra ``train``).

Field names, defaults, layers, layer names and weights are those of neuralspot-edge 0.2.2, so that
its parameter files and weights carry over; ``layer_names="helia-edge"`` gives the layers the names of
its successor, and ``take_weights`` finds weights by either. Signals are ``(time, channels)`` and become images of
height 1: ``(1, time, channels)`` with kernels ``(1, k)``; inputs of shape ``(height, time,
channels)`` are taken as they are.

The original looks both ways in time and, with squeeze-excite or ``norm="layer"``, at all of the
window at once, which no endless stream can. Three choices on top, off by default, keep to the past
and to a bounded part of it: ``TcnParams.padding="causal"``, ``TcnBlockParams.se_window`` and
``norm="channel"``. None of them changes a convolution's weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from tcnstream.errors import MissingExtraError, ModelError
from tcnstream.zoo.tcn_params import Extent, Padding, TcnBlockParams, TcnParams

try:
    import keras
except ImportError as error:
    raise MissingExtraError(
        f"tcnstream.zoo.tcn builds Keras models, and Keras 3 cannot be imported ({error}): pip install tcnstream[train]"
    ) from error

__all__ = ("TcnBlockParams", "TcnModel", "TcnParams", "helia_name", "take_weights")

KerasTensor: TypeAlias = Any

WEIGHT_DECAY = 1e-3


class TcnModel:
    """Builds Keras layers or models from parameters."""

    @staticmethod
    def layer_from_params(
        inputs: KerasTensor, params: TcnParams | Mapping[str, Any], num_classes: int | None = None
    ) -> KerasTensor:
        """The network's output tensor for ``inputs`` (batch, time, channels) or (batch, height, time, channels).

        ``time`` may be None (any length) unless a layer is bound to it. The output has
        ``num_classes`` channels per frame, or the last block's with ``include_top=False``. Raises
        ModelError if the parameters do not make a network.
        """
        params = params if isinstance(params, TcnParams) else TcnParams(**params)
        outputs = _network(inputs, params, num_classes)
        return _renamed(inputs, outputs) if params.layer_names == "helia-edge" else outputs

    @staticmethod
    def model_from_params(
        inputs: KerasTensor, params: TcnParams | Mapping[str, Any], num_classes: int | None = None
    ) -> Any:
        """A ``keras.Model`` from ``inputs`` to the output of ``layer_from_params``."""
        outputs = TcnModel.layer_from_params(inputs, params, num_classes)
        return keras.Model(inputs=inputs, outputs=outputs)


def helia_name(name: str) -> str:
    """The name that helia-edge 0.6 gives to a layer that is ``name`` in neuralspot-edge; its own stay as they are."""
    return re.sub(r"\.(?!act$|mul$)", "_", name)


def take_weights(model: Any, source: Any) -> None:
    """Sets the weights of a network's layers from the layers of the same name in another one, a ``keras.Model`` each.

    Names of neuralspot-edge and of helia-edge are the same here. Raises ModelError naming the first layer with weights
    that the other one lacks, or has with other shapes, and then has changed nothing.
    """
    given = {helia_name(layer.name): layer.get_weights() for layer in source.layers}
    wanted = [layer for layer in model.layers if layer.weights]
    for layer in wanted:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        there = [weight.shape for weight in given.get(helia_name(layer.name), [])]
        if shapes != there:
            has = f"has {there}" if there else "lacks it"
            raise ModelError(f"{layer.name} has weights of shapes {shapes}, and the model that they come from {has}.")
    for layer in wanted:
        layer.set_weights(given[helia_name(layer.name)])


def _renamed(inputs: KerasTensor, outputs: KerasTensor) -> KerasTensor:
    def renamed(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(config | {"name": helia_name(layer.name)})

    model = keras.Model(inputs, outputs)
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=renamed).outputs[0]


def _network(x: KerasTensor, params: TcnParams, num_classes: int | None) -> KerasTensor:
    if len(x.shape) not in (3, 4) or x.shape[-1] is None:
        raise ModelError(f"TcnModel: an input of shape {tuple(x.shape[1:])}; (time, channels) is needed.")
    is_signal = len(x.shape) == 3
    y = _reshape(x, (1, *x.shape[1:])) if is_signal else x

    if params.input_kernel is not None:
        y = _depthwise(y, params.input_kernel, 1, params.padding, "ENC.CN", use_bias=params.input_norm is None)
        y = _normalise(y, params.input_norm, "ENC")

    block_layer = {"lg": _block_lg, "mb": _block_mb, "sm": _block_sm}[params.block_type]
    for i, block in enumerate(params.blocks, start=1):
        y = block_layer(y, block, params.padding, f"B{i}")

    if params.include_top:
        if num_classes is None or num_classes < 1:
            raise ModelError(f"TcnModel: num_classes = {num_classes!r}; include_top=True needs one class at least.")
        y = _convolution(y, num_classes, params.output_kernel, 1, params.padding, "NECK.conv", use_bias=True)
        if params.output_activation:
            y = _activation(y, params.output_activation, None)
        elif not params.use_logits:
            y = keras.layers.Softmax()(y)

    return _reshape(y, y.shape[2:]) if is_signal else y


def _reshape(x: KerasTensor, shape: tuple[int | None, ...]) -> KerasTensor:
    return keras.layers.Reshape(tuple(-1 if extent is None else extent for extent in shape))(x)


def _block_lg(x: KerasTensor, params: TcnBlockParams, padding: Padding, name: str) -> KerasTensor:
    """Pairs of full convolutions, each pair with a residual and its own squeeze-excite."""
    y = x
    for d in range(1, params.depth + 1):
        prefix = f"{name}.D{d}"
        skip = y
        # The original gives the first convolution no bias, whatever follows it.
        for suffix, use_bias in (("CN1", False), ("CN2", params.norm is None)):
            layer = f"{prefix}.{suffix}"
            y = _convolution(
                y, params.filters, params.kernel, params.dilation, padding, layer, use_bias=use_bias, **_regular()
            )
            y = _normalise(y, params.norm, layer)
        y = _residual(y, skip, prefix)
        y = _activation(y, params.activation, f"{prefix}.ACT")
        if params.se_ratio > 0:
            y = _squeeze_excite(y, params, f"{prefix}.SE")
        y = _dropout(y, params.dropout, prefix)
    return y


def _block_mb(x: KerasTensor, params: TcnBlockParams, padding: Padding, name: str) -> KerasTensor:
    """Inverted bottlenecks: expand, depthwise, squeeze-excite, project; one residual around all of them."""
    y = x
    for d in range(1, params.depth + 1):
        prefix = f"{name}.D{d}"
        if params.ex_ratio != 1:
            y = _pointwise(y, int(params.filters * params.ex_ratio), params, f"{prefix}.EX.CN", f"{prefix}.EX")
            y = _activation(y, params.activation, f"{prefix}.EX.ACT")
        y = _depthwise_branches(y, params, padding, prefix)
        if params.se_ratio > 0 and y.shape[-1] // params.se_ratio > 0:
            y = _squeeze_excite(y, params, f"{prefix}.SE")
        y = _pointwise_branches(y, params, prefix)
    return _dropout(_residual(y, x, name), params.dropout, name)


def _block_sm(x: KerasTensor, params: TcnBlockParams, padding: Padding, name: str) -> KerasTensor:
    """Depthwise separable convolutions; one squeeze-excite and one residual at the end."""
    y = x
    for d in range(1, params.depth + 1):
        prefix = f"{name}.D{d}"
        y = _depthwise_branches(y, params, padding, prefix)
        y = _pointwise_branches(y, params, prefix)
    # Unlike mb, the original leaves out a squeeze to a single channel here.
    if params.se_ratio > 0 and y.shape[-1] // params.se_ratio > 1:
        y = _squeeze_excite(y, params, f"{name}.SE")
    return _dropout(_residual(y, x, name), params.dropout, name)


def _depthwise_branches(x: KerasTensor, params: TcnBlockParams, padding: Padding, prefix: str) -> KerasTensor:
    branches = []
    for b in range(1, params.branch + 1):
        layer = f"{prefix}.DW.B{b}"
        y = _depthwise(
            x,
            params.kernel,
            params.dilation,
            padding,
            f"{layer}.CN",
            use_bias=params.norm is None,
            depthwise_initializer="he_normal",
            depthwise_regularizer=keras.regularizers.L2(WEIGHT_DECAY),
        )
        branches.append(_normalise(y, params.norm, layer))
    return _activation(_sum(branches, f"{prefix}.DW.ADD"), params.activation, f"{prefix}.DW.ACT")


def _pointwise_branches(x: KerasTensor, params: TcnBlockParams, prefix: str) -> KerasTensor:
    branches = []
    for b in range(1, params.branch + 1):
        layer = f"{prefix}.PW.B{b}"
        branches.append(_pointwise(x, params.filters, params, f"{layer}.CN", layer))
    return _activation(_sum(branches, f"{prefix}.PW.ADD"), params.activation, f"{prefix}.PW.ACT")


def _squeeze_excite(x: KerasTensor, params: TcnBlockParams, name: str) -> KerasTensor:
    """Hu et al., Squeeze-and-Excitation Networks (arXiv:1709.01507), with relu6 and hard sigmoid."""
    channels = x.shape[-1]
    squeezed = int(channels // params.se_ratio)
    if squeezed < 1:
        raise ModelError(
            f"{name}: se_ratio = {params.se_ratio:g} squeezes {channels} channels to none; at most {channels} here."
        )
    if params.se_window is None:
        y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}.pool")(x)
    else:
        y = keras.layers.ZeroPadding2D(((0, 0), (params.se_window - 1, 0)), name=f"{name}.pad")(x)
        y = keras.layers.AveragePooling2D((x.shape[1], params.se_window), strides=(1, 1), name=f"{name}.pool")(y)
    y = keras.layers.Conv2D(squeezed, (1, 1), name=f"{name}.sq")(y)
    y = keras.layers.Activation("relu6", name=f"{name}.sq.act")(y)
    y = keras.layers.Conv2D(channels, (1, 1), name=f"{name}.ex")(y)
    y = keras.layers.Activation("hard_sigmoid", name=f"{name}.ex.act")(y)
    return keras.layers.Multiply(name=f"{name}.ex.mul")([x, y])


def _pointwise(x: KerasTensor, filters: int, params: TcnBlockParams, name: str, norm_name: str) -> KerasTensor:
    if filters < 1:
        raise ModelError(
            f"{name}: ex_ratio = {params.ex_ratio:g} of filters = {params.filters} is no channel; raise one of them."
        )
    y = _convolution(x, filters, 1, 1, "same", name, use_bias=params.norm is None, **_regular())
    return _normalise(y, params.norm, norm_name)


def _convolution(
    x: KerasTensor, filters: int, kernel: Extent, dilation: Extent, padding: Padding, name: str, **options: Any
) -> KerasTensor:
    x, keras_padding = _pad(x, kernel, dilation, padding, name)
    return keras.layers.Conv2D(
        filters, _pair(kernel), padding=keras_padding, dilation_rate=_pair(dilation), name=name, **options
    )(x)


def _depthwise(
    x: KerasTensor, kernel: Extent, dilation: Extent, padding: Padding, name: str, **options: Any
) -> KerasTensor:
    x, keras_padding = _pad(x, kernel, dilation, padding, name)
    return keras.layers.DepthwiseConv2D(
        _pair(kernel), padding=keras_padding, dilation_rate=_pair(dilation), name=name, **options
    )(x)


def _pad(x: KerasTensor, kernel: Extent, dilation: Extent, padding: Padding, name: str) -> tuple[KerasTensor, str]:
    """Put all of the time axis' padding in the past; the height keeps SAME padding."""
    (kernel_height, kernel_time), (dilation_height, dilation_time) = _pair(kernel), _pair(dilation)
    past = (kernel_time - 1) * dilation_time
    if padding == "same" or past == 0:
        return x, "same"
    around = (kernel_height - 1) * dilation_height
    height = (around // 2, around - around // 2)
    return keras.layers.ZeroPadding2D((height, (past, 0)), name=f"{name}.PAD")(x), "valid"


def _normalise(x: KerasTensor, norm: str | None, name: str) -> KerasTensor:
    if norm == "batch":
        return keras.layers.BatchNormalization(axis=-1, name=f"{name}.BN")(x)
    if norm == "layer":
        # Its gains belong to places of the window, so such a network has one length for good.
        if x.shape[1] is None or x.shape[2] is None:
            raise ModelError(
                f'{name}.LN: norm="layer" has a gain per frame and needs a fixed window length; '
                'fix the input\'s length, or use norm="batch" or norm="channel".'
            )
        return keras.layers.LayerNormalization(axis=(1, 2), name=f"{name}.LN")(x)
    if norm == "channel":
        if x.shape[-1] == 1:
            raise ModelError(f'{name}.LN: norm="channel" of one channel is a constant; use norm="batch" here.')
        return keras.layers.LayerNormalization(axis=-1, name=f"{name}.LN")(x)
    return x


def _activation(x: KerasTensor, activation: str, name: str | None) -> KerasTensor:
    try:
        layer = keras.layers.Activation(activation, name=name)
    except ValueError as error:
        where = name or "output"
        raise ModelError(f"{where}: activation = {activation!r} is not one that Keras knows.") from error
    return layer(x)


def _residual(x: KerasTensor, skip: KerasTensor, name: str) -> KerasTensor:
    if skip.shape[-1] != x.shape[-1]:
        return x
    return keras.layers.Add(name=f"{name}.ADD")([x, skip])


def _sum(branches: list[KerasTensor], name: str) -> KerasTensor:
    return keras.layers.Add(name=name)(branches) if len(branches) > 1 else branches[0]


def _dropout(x: KerasTensor, rate: float | None, name: str) -> KerasTensor:
    return keras.layers.SpatialDropout2D(rate, name=f"{name}.DROP")(x) if rate else x


def _regular() -> dict[str, Any]:
    return {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L2(WEIGHT_DECAY)}


def _pair(extent: Extent) -> tuple[int, int]:
    return extent if isinstance(extent, tuple) else (extent, extent)
