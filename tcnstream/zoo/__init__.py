"""Networks to train and convert: builders, recipes and measures around Keras 3 (extra ``train``).

Nothing heavy is imported here. ``tcnstream.zoo.tcn`` builds temporal convolutional networks,
``tcnstream.zoo.SignalConv1D`` is a layer for several rates in one model, ``tcnstream.zoo.convert`` turns a trained
model into a .tflite file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcnstream.zoo.signal_conv import SignalConv1D

__all__ = ("SignalConv1D",)


def __getattr__(name: str) -> Any:
    if name == "SignalConv1D":
        from tcnstream.zoo.signal_conv import SignalConv1D

        return SignalConv1D
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
