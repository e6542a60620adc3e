"""Named arrays as bytes, and back without trust: nothing is unpacked that is larger than what was given."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
from numpy.lib import format as npy

from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


def pack(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed .npz file."""
    import zipfile  # costs more than a model takes to load, and few streams are carried elsewhere

    body = io.BytesIO()
    archive = zipfile.ZipFile(body, "w")
    try:
        for name, array in arrays.items():
            content = io.BytesIO()
            npy.write_array(content, array, (1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
        archive.close()
    except BaseException:
        archive.fp = None  # else it is closed in the middle of an array, and complains in the place of Ctrl-C
        raise
    return body.getvalue()


def unpack(body: bytes) -> dict[str, Array]:
    """The inverse; StreamError for anything that ``pack`` does not write."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > len(
                body
            ):
                raise ValueError("its parts are larger than the whole")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except (ValueError, KeyError, TypeError, EOFError, OSError, SyntaxError, RuntimeError, zipfile.BadZipFile) as e:
        raise StreamError(f"the bytes are no snapshot ({e}); take a new one") from e


def _array(content: bytes) -> Array:
    stream = io.BytesIO(content)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version")
    shape, by_columns, dtype = npy.read_array_header_1_0(stream)
    begin = stream.tell()
    if dtype.hasobject or dtype.itemsize * math.prod(shape) != len(content) - begin or min(shape, default=0) < 0:
        raise ValueError("an array of another size than its bytes")
    flat = np.frombuffer(content, dtype, offset=begin) if len(content) > begin else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
