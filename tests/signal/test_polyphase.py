"""The polyphase form of SignalConv1D against its definition, and the definition against the original's answers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from helpers.signal_definition import definition, golden
from hypothesis import given, settings
from hypothesis import strategies as st

from tcnstream.errors import ModelError
from tcnstream.filters.polyphase import PADDINGS, Alignment, align, choice, flag, polyphase, refuse_short, whole
from tcnstream.tflite.graph import Array

ARGUMENTS = st.fixed_dictionaries(
    {
        "corr": st.booleans(),
        "strides_down": st.integers(1, 6),
        "strides_up": st.integers(1, 6),
        "padding": st.sampled_from(PADDINGS),
        "extra_pad_end": st.booleans(),
    }
)


def test_the_transcription_is_the_original() -> None:
    answered = [case for case in golden() if case.y is not None]
    assert len(answered) > 100
    for case in answered:
        assert case.kernel is not None and case.y is not None
        for x, y in zip(case.x, case.y, strict=True):
            np.testing.assert_allclose(definition(x, case.kernel, case.bias, **case.of_definition), y, atol=1e-5)


def read(x: Array, kernel: Array, alignment: Alignment) -> Array:
    """What Alignment describes, for a signal and a kernel of one channel."""
    up, mirror = alignment.up, alignment.mirror
    line = np.zeros((len(x) + sum(mirror), up))
    line[:, 0] = np.pad(x, mirror, "reflect")
    weights = kernel if alignment.corr else kernel[::-1]

    def place(i: int) -> float:
        i += up * mirror[0]
        return line.flat[i] if 0 <= i < line.size else 0.0

    starts = [alignment.down * j - alignment.pad_begin for j in range(alignment.frames(len(x)))]
    return np.array([sum(place(start + k) * weight for k, weight in enumerate(weights)) for start in starts])


def filtered(x: Array, kernel: Array, alignment: Alignment) -> Array:
    """What its polyphase form describes."""
    form, mirror = polyphase(alignment), alignment.mirror
    x = np.pad(np.pad(x, mirror, "reflect"), np.subtract((form.begin, form.end), mirror))
    weights = np.array([[0.0 if k is None else kernel[k] for k in row] for row in form.taps])
    taps = len(weights)
    blocks = [x[j : j + taps] @ weights for j in range(0, len(x) - taps + 1, form.stride)]
    return np.array(blocks).reshape(-1)[form.crop :: form.keep]


@settings(max_examples=600, derandomize=True, deadline=None)
@given(ARGUMENTS, st.integers(1, 12), st.integers(1, 14), st.integers(0, 99))
def test_computes_the_definition(arguments: dict[str, Any], support: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=n), rng.normal(size=support)
    alignment = align(support, **arguments)
    form = polyphase(alignment)
    assert min(np.subtract((form.begin, form.end), alignment.mirror)) >= 0
    try:
        refuse_short("here", alignment, n)
    except ModelError:
        assert arguments["padding"] == "same_reflect" and n <= support
        return
    expected = definition(x[:, None], kernel[:, None, None], **arguments)[:, 0]
    assert alignment.frames(n) == len(expected)
    np.testing.assert_allclose(read(x, kernel, alignment), expected, atol=1e-12)
    if len(expected):
        np.testing.assert_allclose(filtered(x, kernel, alignment), expected, atol=1e-12)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(ARGUMENTS, st.integers(1, 12), st.integers(1, 8))
def test_refuses_only_reflections_that_the_definition_cannot_give(
    arguments: dict[str, Any], support: int, n: int
) -> None:
    arguments["padding"] = "same_reflect"
    try:
        refuse_short("here", align(support, **arguments), n)
    except ModelError:
        # Without downsampling, since the frames that it drops may be all that reach so far.
        with pytest.raises(IndexError):
            definition(np.ones((n, 1)), np.ones((support, 1, 1)), **{**arguments, "strides_down": 1})


def test_multiplies_no_zeros() -> None:
    """Every weight of the kernel that meets an input frame at all stands once."""
    form = polyphase(align(9, corr=True, strides_down=1, strides_up=3, padding="same_zeros", extra_pad_end=True))
    assert sorted(k for row in form.taps for k in row if k is not None) == list(range(9))
    halved = polyphase(align(9, corr=True, strides_down=4, strides_up=2, padding="same_zeros", extra_pad_end=True))
    assert halved.phases == 1 and halved.stride == 2
    assert [k for (k,) in halved.taps] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, (1, 2), None])
def test_counts(value: object) -> None:
    with pytest.raises(ModelError, match=r"it: strides_up = .*; it should be a whole number from 1 on\."):
        whole("it", "strides_up", value)


def test_counts_of_other_kinds() -> None:
    assert [whole("it", "n", value) for value in (3, np.int64(3), [3], (3,), np.array([3]))] == [3] * 5


def test_choices() -> None:
    assert choice("it", "n", None, (True, False, None)) is None
    with pytest.raises(ModelError, match="it: padding = 'same'; it should be one of valid, same_zeros, same_reflect"):
        choice("it", "padding", "same", PADDINGS)
    with pytest.raises(ModelError, match="it: extra_pad_end = 1; it should be one of True, False, None"):
        choice("it", "extra_pad_end", 1, (True, False, None))


def test_flags() -> None:
    assert [flag("it", "corr", value) for value in (True, np.True_, 1, False, np.False_, 0)] == [True] * 3 + [False] * 3
    for value in ("no", 2, 1.0, None, [True]):
        with pytest.raises(ModelError, match=r"it: corr = .*; it should be True or False\."):
            flag("it", "corr", value)


def test_many_phases_take_little_time() -> None:
    """The work is that of the kernel, not of the kernel times the phases (which took minutes)."""
    began = time.process_time()
    form = polyphase(
        align(96_001, corr=True, strides_down=4801, strides_up=4410, padding="same_zeros", extra_pad_end=True)
    )
    assert form.phases == 4410 and time.process_time() - began < 5


def test_a_reflection_needs_a_signal() -> None:
    form = align(8, corr=True, strides_down=1, strides_up=1, padding="same_reflect", extra_pad_end=True)
    with pytest.raises(ModelError, match=r"reflects 4 frames .*, and the signal has 4; give it 5 at least"):
        refuse_short("it", form, 4)
    refuse_short("it", form, 5)
    refuse_short("it", form, 0)
