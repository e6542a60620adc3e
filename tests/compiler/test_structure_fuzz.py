"""Three thousand files that are wrong in one field or a few: refused in words, or all engines agree.

python -m helpers.fuzz --cases 100000 --seed 7    (in tests/) looks further.
"""

from __future__ import annotations

import collections

import pytest
from helpers import fuzz

SEED = 11
PARTS = 4
CASES_PER_PART = 750


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_file_with_a_wrong_field_is_refused_or_streams_alike_in_all_engines(part: int) -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's objects come from ai-edge-litert")
    counted: collections.Counter[str] = collections.Counter()
    findings = []
    first = part * CASES_PER_PART
    for number, _, right, what in fuzz.verdicts(SEED, range(first, first + CASES_PER_PART)):
        counted[what if right else "finding"] += 1
        if not right:
            findings.append(f"case {SEED}/{number}: {what}")
    assert not findings, "\n".join(findings)
    assert counted["ModelError"] < 0.8 * CASES_PER_PART, "the damage should not be hopeless"
    assert counted["3 engines equal"] > 0.1 * CASES_PER_PART, "nor harmless"
