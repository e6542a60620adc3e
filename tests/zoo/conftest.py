"""What several tests of the recipes begin with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def ludb(tmp_path: Path) -> Path:
    """Two tiny records as LUDB lays them out."""
    from helpers.drawn_hearts import beats, record_of, write_record  # needs wfdb

    data = tmp_path / "data"
    data.mkdir()
    for name, number in (("1", 9), ("7", 10)):
        write_record(data, record_of(beats(number), name))
    return tmp_path
