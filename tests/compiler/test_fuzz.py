"""Ten thousand damaged files: each is read or refused with a ModelError, fast and in bounded memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from helpers.mutate import mutations
from helpers.paths import MODELS

from tcnstream.errors import ModelError
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

SEEDS = ("sig_valid.f32", "sig_decim2.f32", "sig_reflect.f32", "strided.i8", "nse_mb.i8")
COUNT_PER_SEED = 2000
MAX_SECONDS = 1.0


def seed_file(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


def read_or_refuse(content: bytes) -> bool:
    """True if the file was read; fails on any other exception than ModelError, and on a refusal without a place."""
    try:
        read_model(content)
    except ModelError as error:
        assert str(error).startswith("<bytes>: ")
        assert str(error).endswith(".")
        return False
    return True


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_read_or_refused(name: str) -> None:
    read = 0
    for content in mutations(seed_file(name), COUNT_PER_SEED, random.Random(name)):
        start = time.process_time()
        read += read_or_refuse(content)
        assert time.process_time() - start < MAX_SECONDS
    assert 0.02 * COUNT_PER_SEED < read < 0.5 * COUNT_PER_SEED, "the damage should neither be harmless nor hopeless"


def test_damaged_files_cost_bounded_memory() -> None:
    content = seed_file("strided.i8")
    tracemalloc.start()
    try:
        for damaged in mutations(content, 300, random.Random(1)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            read_or_refuse(damaged)
            assert tracemalloc.get_traced_memory()[1] - before < 4 * len(damaged) + 50e6
    finally:
        tracemalloc.stop()


def test_what_was_read_from_a_damaged_file_can_be_written_and_read() -> None:
    for damaged in mutations(seed_file("sig_reflect.f32"), 500, random.Random(2)):
        try:
            graphs = read_model(damaged).graphs
        except ModelError:
            continue
        assert len(read_model(write_model(graphs)).graphs) == len(graphs)
