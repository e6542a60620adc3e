"""NumPy arrays of shape (frames,) or (frames, channels)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import CHUNK_FRAMES, Channels, FileKind, Recording, choose_channels, must_exist


def read_npy(path: Path, channels: Channels) -> Recording:
    """The array's numbers as they are; the file says neither rate nor unit."""
    try:
        array = np.load(must_exist(path), mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SignalError(f"{path} is not an array that can be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise SignalError(f"{path} must hold numbers of shape (frames,) or (frames, channels): save it like that")
    frames = array[:, None] if array.ndim == 1 else array
    available = tuple(str(number) for number in range(frames.shape[1]))
    chosen = choose_channels(available, channels, str(path))
    chunks = (
        np.asarray(frames[at : at + CHUNK_FRAMES, chosen], np.float32) for at in range(0, len(frames), CHUNK_FRAMES)
    )
    names = tuple(available[number] for number in chosen)
    return Recording(str(path), None, "", names, available, len(frames), chunks)


KIND = FileKind(names=("NPY",), suffixes=(".npy",), open=read_npy)
