"""What counts as equal, and how signals are cut."""

from __future__ import annotations

import numpy as np
import pytest

from tcnstream.measure.compare import agrees, chunk_sizes, chunks, distance, first_difference


def column(*values: float, dtype: str = "float32") -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.array(values, dtype)[:, None]


def test_integers_must_be_identical_and_floats_close() -> None:
    assert agrees(column(1, 2, dtype="int8"), column(1, 3, dtype="int8")).tolist() == [[True], [False]]
    assert agrees(column(1 + 9e-6, 100.0009), column(1, 100)).all()
    assert not agrees(column(1 + 3e-5, 100.002), column(1, 100)).any()
    assert not agrees(column(1 + 9e-6), column(1), tolerance=0).any()


def test_by_frame_the_size_is_that_of_the_largest_finite_value_of_the_frame() -> None:
    expected = np.array([[0, 100, np.inf], [0, 1, 1]], np.float32)
    got = expected + np.array([[5e-4, 0, 0], [5e-4, 0, 0]], np.float32)
    assert agrees(got, expected, by_frame=True).tolist() == [[True, True, True], [False, True, True]]
    assert first_difference(got, expected, by_frame=True) == 1 and first_difference(got, expected) == 0


def test_nan_agrees_with_nan_and_infinity_with_its_own_sign() -> None:
    odd = column(np.nan, np.inf, -np.inf)
    assert agrees(odd, odd).all()
    for got in (column(0, 0, 0), column(0, -np.inf, np.inf), column(np.inf, np.nan, np.nan)):
        assert not agrees(got, odd).any() and not agrees(odd, got).any()


def test_the_first_frame_that_differs_and_the_largest_distance() -> None:
    a, b = column(0, 1, 2, 3), column(0, 1, 4, 0)
    assert first_difference(a, b) == 2 and first_difference(a, a) is None
    assert distance(a, b) == 3.0 and distance(a[:0], b) == 0.0 and distance(column(np.nan, 1), column(0, 0)) == 1.0


@pytest.mark.parametrize("frames", [0, 1, 2, 500])
@pytest.mark.parametrize("largest", [None, 1, 25])
def test_chunks_add_up_to_the_signal(frames: int, largest: int | None) -> None:
    sizes = chunk_sizes(frames, np.random.default_rng(0), largest)
    assert 0 in sizes and sum(sizes) == frames and (largest is None or max(sizes) <= largest)
    x = np.arange(2 * frames).reshape(frames, 2)
    parts = list(chunks([x, x], sizes))
    assert [len(part) for part, _ in parts] == sizes
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), x)
