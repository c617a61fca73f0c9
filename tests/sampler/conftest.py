"""The table of golden cases at the end of the tests' output."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    called = [report for report in reports if getattr(report, "when", "") == "call"]
    rows = [value for report in called for name, value in report.user_properties if name == "golden"]
    if rows:
        terminalreporter.section("golden vectors")
        terminalreporter.write_line(f"{'case':<44}{'tolerance':>12}{'largest difference':>22}")
        for case, tolerance, difference in sorted(rows):
            terminalreporter.write_line(f"{case:<44}{tolerance:>12.0e}{difference:>22.2e}")
