"""Where frames stand, and what ``Stream.times`` makes of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.netfile import DoesNotFitError, Net
from helpers.networks import Layer, build, layer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tcnstream
from tcnstream import Model, StreamError
from tcnstream.compiler.alignment import alignments
from tcnstream.compiler.timing import timings

HALF = Fraction(1, 2)


def load(layers: list[Layer], window: int = 60, **setup: Any) -> Model:
    return tcnstream.load(build(layers, window, **setup).content)


def conv(kernel: int, **options: Any) -> Layer:
    return layer("convolution", kernel=kernel, **options)


@pytest.mark.parametrize(
    ("layers", "step", "offset"),
    [
        ([conv(3)], 1, 0),
        ([conv(4)], 1, 0),
        ([conv(3, dilation=8, padding="causal")], 1, 0),
        ([conv(5, padding="REFLECT")], 1, 0),
        ([conv(4, padding="SYMMETRIC")], 1, 0),
        ([conv(3, padding="valid")], 1, 1),
        ([conv(4, padding="valid", dilation=3)], 1, 4 + HALF),
        # TFLite's SAME with a stride pads (0, 1) here: the window lies over frames 2 j to 2 j + 2.
        ([conv(3, stride=2)], 2, 1),
        ([conv(3, stride=2, padding="causal")], 2, 0),
        ([conv(3, stride=2), conv(3, stride=2)], 4, 3),
        ([layer("pooling", size=2, stride=2)], 2, HALF),
        ([layer("pooling", size=3)], 1, 0),
        ([layer("pooling", size=4, stride=4), conv(3)], 4, 3 * HALF),
        ([layer("crop", before=3, after=2)], 1, 3),
        ([layer("decimate", first=1, step=2)], 2, 1),
        ([conv(3, padding="valid"), layer("decimate", step=3)], 3, 1),
        ([layer("upsampling", ratio=3)], Fraction(1, 3), 0),
        ([layer("pooling", size=3, stride=3), layer("upsampling", ratio=3)], 1, 0),
        ([conv(3, stride=2), layer("upsampling", ratio=2, kind="transpose", kernel=3)], 1, 0),
        ([conv(4, stride=2), layer("upsampling", ratio=2, kind="transpose", kernel=4)], 1, 0),
        ([layer("residual", inner=[conv(5)])], 1, 0),
        ([layer("cropped_residual", inner=[conv(5)])], 1, 2),
        *(
            ([layer("hourglass", ratio=2, kind=kind, inner=[conv(3)])], 1, 0)
            for kind in ("tile", "resize", "transpose")
        ),
        ([layer("pooling", size=2, stride=2), layer("hourglass", ratio=3, inner=[conv(3)])], 2, HALF),
    ],
)
def test_by_hand(layers: list[Layer], step: Fraction, offset: Fraction) -> None:
    (port,) = load(layers).outputs
    assert (1 / port.rate, port.offset) == (step, offset)


@pytest.mark.parametrize(("cut_before", "cut_after"), [(4, 0), (0, 4), (2, 2)])
def test_padding_that_a_crop_takes_back(cut_before: int, cut_after: int) -> None:
    """Padding on both sides and a crop behind the convolution, as causal layers of some frameworks are written."""
    net = Net()
    x = net.pad(net.input((1, 20, 2)), 4, 4)
    y = net.cut(load_convolution(net, x), 1, cut_before, 24 - cut_after)
    net.output(y)
    (port,) = tcnstream.load(net.content()).outputs
    assert port.offset == 0


def load_convolution(net: Net, x: Any) -> Any:
    from helpers.layers import convolution

    return convolution(net, x, kernel=5, padding="valid")


SYMMETRIC = st.one_of(
    st.builds(
        lambda k, d, s, p: conv(2 * k + 1, dilation=d, stride=1 if p == "same" else s, padding=p),
        st.integers(0, 3),
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from(["same", "valid"]),
    ),
    st.builds(
        lambda k, s, same: conv(k, stride=s, padding="same" if same and s > 1 else "valid"),
        st.integers(1, 6),
        st.integers(1, 3),
        st.booleans(),
    ),
    st.builds(lambda n, s: layer("pooling", size=n, stride=s, same=False), st.integers(1, 5), st.integers(1, 4)),
    st.builds(lambda first: layer("decimate", first=first, step=2), st.integers(0, 2)),
    st.builds(lambda b: layer("crop", before=b, after=1), st.integers(0, 4)),
)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SYMMETRIC, min_size=1, max_size=5), st.integers(100, 130))
def test_the_middle_of_the_receptive_field(layers: list[Layer], window: int) -> None:
    """Without up-sampling, even kernels that keep the length, or one-sided padding nothing else is possible."""
    try:
        model = load(layers, window)
    except DoesNotFitError:
        assume(False)
    facts, places = timings(model.plan), alignments(model.plan)
    for timing, offset in zip(facts, places, strict=True):
        assert (timing is None) == (offset is None)
        if timing is not None:
            for j in range(timing.period):
                assert Fraction(timing.oldest(j) + timing.newest(j), 2) == timing.step * j + offset


class TestTimes:
    LAYERS = (conv(3), layer("tap"), layer("pooling", size=4, stride=4), layer("tap"))

    def test_of_what_has_just_come_out(self) -> None:
        model = load(list(self.LAYERS), 64)
        stream = model.stream(rate_hz=100.0)
        x = np.zeros((64, 2), np.float32)
        seen: list[list[float]] = [[], []]
        for chunk in (x[:0], x[:1], x[1:30], x[30:31], x[31:], None):
            made = stream.flush() if chunk is None else stream.push(chunk)
            for k, frames in enumerate(made):
                seen[k] += stream.times(frames, output=k).tolist()
                np.testing.assert_array_equal(stream.times(len(frames), output=k), stream.times(frames, output=k))
        np.testing.assert_allclose(seen[0], np.arange(64) / 100)
        np.testing.assert_allclose(seen[1], (4 * np.arange(16) + 1.5) / 100)
        stream.reset()
        assert stream.times(stream.push(x[:9])[1], output=1).tolist() == [0.015, 0.055]

    def test_of_all_that_came_out(self) -> None:
        stream = load(list(self.LAYERS), 64).stream(rate_hz=1.0)
        fast = [stream.push(np.zeros((n, 2), np.float32))[0] for n in (10, 20)]
        np.testing.assert_array_equal(stream.times(np.concatenate(fast)), np.arange(29))

    def test_of_numbers(self) -> None:
        stream = load(list(self.LAYERS), 64).stream()
        name = stream.outputs[1].name
        expected = np.array([1.5, 5.5, 13.5]) / 8
        for numbers in ([0, 1, 3], np.array([0, 1, 3], np.uint8), (0, 1, 3)):
            np.testing.assert_array_equal(stream.times(numbers, output=name, rate_hz=8), expected)
        np.testing.assert_array_equal(stream.times(range(2), output=1, rate_hz=8), expected[:2])
        np.testing.assert_array_equal(stream.times(2, output=1, rate_hz=8), expected[:2])
        assert stream.times([], rate_hz=8).shape == (0,)

    def test_the_lanes_of_a_pool(self) -> None:
        pool = load(list(self.LAYERS), 64).pool(2, rate_hz=4.0)
        assert pool[1].times([2]).tolist() == [0.5]
        assert pool[pool.join()].times([2]).tolist() == [0.5]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"frames": 3}, "the stream does not know its input's sample rate: give rate_hz"),
            ({"frames": 3, "rate_hz": 0}, "rate_hz = 0; a sample rate is a number above 0"),
            ({"frames": 3, "rate_hz": 8, "output": 2}, r"there is no output 2; choose one of 0 \("),
            ({"frames": 30, "rate_hz": 8}, r"30 frames are asked for, and 9 have come out of .* range\(30\)"),
            ({"frames": np.zeros((3, 5)), "rate_hz": 8}, r"times takes output frames \(m, 4\) .* got float64 \(3, 5\)"),
            ({"frames": 1.5, "rate_hz": 8}, r"times takes output frames .* got float64 \(\)"),
            ({"frames": -1, "rate_hz": 8}, r"times takes output frames"),
        ],
    )
    def test_wrong(self, arguments: dict[str, Any], sentence: str) -> None:
        stream = load([conv(3, channels=4), layer("tap"), layer("pooling", size=4, stride=4)], 64).stream()
        stream.push(np.zeros((10, 2), np.float32))
        with pytest.raises(StreamError, match=sentence):
            stream.times(**arguments)
