"""Where TCNSTREAM_NO_SKIPS=1 (CI, in the environment that has every part), a skipped test is a failed one."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # nothing is drawn where Flink is
    pass
else:
    # A case that was kept waiting for 0.2 s is none that fails, and every run draws the same.
    settings.register_profile(
        "any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

_NO_SKIPS = os.environ.get("TCNSTREAM_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _no_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _no_skip(report)


def _no_skip(report: Report) -> Report:
    if _NO_SKIPS and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and this run must have every part: {report.longrepr}"
    return report
