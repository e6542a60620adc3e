"""Three thousand plan files, snapshots, cards, messages and configurations that are wrong in one field or a few.

python -m helpers.fuzz --of snapshot --cases 10000 --seed 7    (in tests/) looks further.
"""

from __future__ import annotations

import collections
import shutil

import pytest
from helpers import fuzz_inputs
from helpers.bridge_tools import missing

SEED = 11
CASES = 600


@pytest.mark.parametrize("kind", sorted(fuzz_inputs.KINDS))
def test_what_is_wrong_in_a_field_is_refused_in_words_or_harms_nothing(kind: str) -> None:
    if kind == "message" and shutil.which("gcc") is None:
        missing("the firmware is compiled by gcc, which is not installed")
    if kind == "snapshot":
        pytest.importorskip("ai_edge_litert", reason="snapshots go through all engines")
    counted: collections.Counter[str] = collections.Counter()
    findings = []
    for number, right, what in fuzz_inputs.verdicts(kind, SEED, range(CASES)):
        counted[what if right else "finding"] += 1
        if not right:
            findings.append(f"case {kind} {SEED}/{number}: {what}")
    assert not findings, "\n".join(findings)
    assert max(counted.values()) < 0.95 * CASES, f"the damage should be neither hopeless nor harmless: {dict(counted)}"
