"""Timing: when a frame is there and what it depends on, against brute force over all indices."""

from __future__ import annotations

from fractions import Fraction

import pytest
from helpers.layers import arithmetic, pooling
from helpers.netfile import Net
from helpers.networks import build, layer
from hypothesis import given, settings
from hypothesis import strategies as st

import tcnstream
from tcnstream import NotStreamableError
from tcnstream.compiler.plan import Window
from tcnstream.compiler.timing import (
    first_read,
    frames_at_end,
    frames_while_open,
    last_awaited,
    last_read,
    oldest_kept,
    steady_frames,
    timings,
)

REACHES = st.builds(
    Window,
    up=st.integers(1, 4),
    stride=st.integers(1, 4),
    extent=st.integers(1, 12),
    pad_begin=st.integers(-6, 14),
    pad_end=st.one_of(st.none(), st.integers(-6, 14)),
)


def places_read(window: Window, j: int) -> list[int]:
    """The input frames under the window of output frame j, on the line with ``up - 1`` gaps between frames."""
    places = range(window.stride * j - window.pad_begin, window.stride * j - window.pad_begin + window.extent)
    return [place // window.up for place in places if place % window.up == 0]


def frames_of_a_whole_signal(window: Window, n: int) -> int:
    """Windows that fit on the padded line, or as many as SAME gives."""
    if n == 0:
        return 0
    if window.pad_end is None:
        return -(-n // window.stride)
    length = window.pad_begin + window.up * n + window.pad_end
    return sum(1 for j in range(length + 1) if window.stride * j + window.extent <= length)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(REACHES, st.integers(0, 30))
def test_a_frame_reads_the_frames_under_its_window(window: Window, j: int) -> None:
    read = places_read(window, j)
    if read:
        assert first_read(window, j) == min(read)
        assert last_read(window, j) == max(read)
    else:
        assert first_read(window, j) > last_read(window, j)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(REACHES, st.integers(0, 30))
def test_as_many_frames_as_windows_fit(window: Window, n: int) -> None:
    assert frames_at_end(window, n) == frames_of_a_whole_signal(window, n)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(REACHES, st.integers(1, 30))
def test_a_frame_comes_as_soon_as_every_longer_signal_has_it(window: Window, n: int) -> None:
    """While the signal is open a frame is there if and only if it is there, and the same, for all that may follow."""
    have = frames_while_open(window, n)
    for j in range(have):
        assert last_read(window, j) < n
        assert last_awaited(window, j) < n
    assert last_awaited(window, have) >= n
    if window.pad_end is not None:
        fewest = min(frames_of_a_whole_signal(window, m) for m in range(n, n + 12))
        assert have <= fewest
        if last_read(window, have) < n:
            assert fewest == have


@settings(max_examples=300, deadline=None, derandomize=True)
@given(REACHES, st.integers(1, 30))
def test_what_is_forgotten_is_never_read_again(window: Window, n: int) -> None:
    have = frames_while_open(window, n)
    oldest = oldest_kept(window, have, n)
    for j in range(have, have + 12):
        assert all(place >= oldest for place in places_read(window, j) if place >= 0)


@pytest.mark.parametrize(
    ("layers", "rate", "delay", "field"),
    [
        ([layer("convolution", kernel=3)], 1, 1, 3),
        ([layer("convolution", kernel=3, padding="causal")], 1, 0, 3),
        ([layer("convolution", kernel=3, padding="valid")], 1, 2, 3),
        ([layer("convolution", kernel=4)], 1, 2, 4),
        ([layer("convolution", kernel=3, dilation=8)], 1, 8, 17),
        ([layer("convolution", kernel=3, dilation=2), layer("convolution", kernel=3, dilation=4)], 1, 6, 13),
        ([layer("convolution", kernel=3, stride=2, padding="valid")], Fraction(1, 2), 2, 3),
        ([layer("pooling", size=2, stride=2), layer("convolution", kernel=3)], Fraction(1, 2), 3, 6),
        ([layer("pooling", size=3, stride=3), layer("pooling", size=5, stride=5)], Fraction(1, 15), 14, 15),
        ([layer("upsampling", ratio=2)], 2, 0, 1),
        ([layer("upsampling", ratio=3), layer("convolution", kernel=3)], 3, 1, 2),
        ([layer("pooling", size=2, stride=2), layer("upsampling", ratio=2)], 1, 1, 2),
        ([layer("crop", before=3, after=2)], 1, 5, 1),
        ([layer("residual", inner=[layer("convolution", kernel=5)])], 1, 2, 5),
        ([layer("hourglass", inner=[layer("convolution", kernel=3)])], 1, 3, 6),
    ],
)
def test_delay_and_receptive_field_by_hand(layers: list, rate: Fraction, delay: int, field: int) -> None:
    model = tcnstream.load(build(layers, 60).content)
    assert (model.outputs[0].rate, model.delay, model.receptive_field) == (rate, delay, field)


def test_the_slow_branch_holds_up_the_fast_one() -> None:
    """A residual of 9 frames' look-ahead keeps 9 frames of the skip, besides what the convolution reads."""
    model = tcnstream.load(build([layer("residual", inner=[layer("convolution", kernel=19)])], 60, channels=1).content)
    kept = steady_frames(model.plan)
    assert kept[model.plan.inputs[0]] == 18
    assert model.delay == 9


def test_several_outputs_have_their_own_timing() -> None:
    layers = [layer("convolution", kernel=3), layer("tap"), layer("pooling", size=4, stride=4), layer("tap")]
    model = tcnstream.load(build(layers, 64).content)
    facts = timings(model.plan)
    found = [(t.rate, t.delay, t.receptive_field) for o in model.plan.outputs if (t := facts[o]) is not None]
    assert found == [(1, 1, 3), (Fraction(1, 4), 4, 6)]
    assert (model.delay, model.receptive_field) == (4, 6)


def test_rates_that_do_not_meet_are_refused() -> None:
    net = Net()
    x = net.input((1, 12, 2))
    slow = pooling(net, x, 2, 2)
    fast = net.cut(x, 1, 3, 9)
    y = net.value((1, 6, 2), 1, 1.0)
    net.op("ADD", [slow.index, fast.index], [y], **arithmetic("ADD"))
    net.output(y)
    with pytest.raises(NotStreamableError, match=r"`ADD` \(op .*\) joins tensors of 1/2 and 1 frames per input frame"):
        tcnstream.load(net.content())
