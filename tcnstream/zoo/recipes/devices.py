"""Where a recipe trains: on the processor through C, or on an accelerator through JAX."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.signal.extras import optional_package
from tcnstream.zoo.recipes.architecture import Architecture, Step
from tcnstream.zoo.recipes.compiled_step import CompiledStep


class Device(StrEnum):
    """``AUTO`` is an accelerator where JAX is installed and sees one, and else the processor."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


def step_on(device: Device) -> Callable[[Architecture], Step]:
    """What makes the step for a Network there.

    For ``GPU`` raises MissingExtraError without JAX, and SignalError if JAX sees no accelerator.
    """
    if device is Device.CPU:
        return CompiledStep
    try:
        found = _accelerators()
    except MissingExtraError:
        if device is Device.GPU:
            raise
        return CompiledStep
    if found:
        from tcnstream.zoo.recipes.jax_step import JaxStep

        return partial(JaxStep, device=found[0])
    if device is Device.GPU:
        raise SignalError(
            "JAX sees no accelerator here: --device cpu trains without one; for NVIDIA's on Linux "
            "pip install tcnstream[cuda], for others see JAX's own instructions"
        )
    return CompiledStep


def _accelerators() -> list[Any]:
    jax = optional_package("jax", "training on an accelerator goes through JAX", "cuda")
    try:
        return [device for device in jax.devices() if device.platform != "cpu"]
    except RuntimeError as error:
        raise SignalError(f"JAX does not start ({error}): --device cpu trains without it") from error
