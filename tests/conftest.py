"""What holds for all tests: a test that is left out fails the run, unless only the machine forbids it."""

from __future__ import annotations

import pytest

MACHINE = "machine:"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show, loudly, what this machine could not test."""
    for report in left_out(terminalreporter):
        terminalreporter.write_line(f"NOT TESTED HERE: {report.nodeid}: {reason(report)}", yellow=True, bold=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run if tests were skipped for another reason than the machine (a reason that starts with "machine:")."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        return
    bad = [report for report in left_out(reporter) if not reason(report).startswith(MACHINE)]
    if bad:
        reporter.write_line(
            f"{len(bad)} skipped tests: skipping is not allowed unless the reason is '{MACHINE} …'", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def left_out(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    """Return the reports of skipped tests and modules."""
    return list(reporter.stats.get("skipped", []))


def reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
