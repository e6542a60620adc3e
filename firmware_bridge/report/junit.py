"""A comparison as a JUnit file for CI: a case per stage or tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from firmware_bridge.check.verdict import NOT_COMPARED

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One part of a comparison; ``skipped`` says why it was left out, if it was."""

    name: str
    passed: bool
    skipped: str = ""


def stages_to_junit(data: dict[str, Any]) -> str:
    """A test suite for what ``result.to_json`` gives; what was not compared is skipped, with the reason."""
    cases = [
        Case(stage["name"], stage["passed"], stage["note"] if stage["note"].startswith(NOT_COMPARED) else "")
        for stage in data["stages"]
    ]
    return to_junit(data["model"], data["target"], cases, data["verdict"], data["first_difference"])


def to_junit(
    model: str, target: str, cases: Sequence[Case], verdict: str, first_difference: dict[str, Any] | None
) -> str:
    """A test suite; a case that failed has the verdict, and the first difference as JSON."""
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(f"firmware-bridge {model} on {target}"),
        tests=str(len(cases)),
        failures=str(sum(not case.passed for case in cases)),
        skipped=str(sum(case.passed and bool(case.skipped) for case in cases)),
        errors="0",
    )
    for case in cases:
        entry = ElementTree.SubElement(suite, "testcase", classname=_clean(f"{target}.{model}"), name=_clean(case.name))
        if not case.passed:
            failure = ElementTree.SubElement(entry, "failure", message=_clean(verdict))
            failure.text = json.dumps(first_difference, indent=1)
        elif case.skipped:
            ElementTree.SubElement(entry, "skipped", message=_clean(case.skipped))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold at all, which names of tensors and files may have."""
    return _NOT_IN_XML.sub("\ufffd", text)
