"""How long each tier of the tests took, printed at the end of a run, before pytest's closing line."""

from pathlib import PurePosixPath

from pytest import TerminalReporter  # noqa: PT013  # for an annotation


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print a line a folder of tests/: tests, their seconds added up over all processes, and from first to last."""
    phases = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if hasattr(report, "duration") and hasattr(report, "when")
    ]
    if not phases:
        return
    terminalreporter.section("tiers")
    for tier in sorted({_tier(phase.nodeid) for phase in phases}):
        own = [phase for phase in phases if _tier(phase.nodeid) == tier]
        tests = len({phase.nodeid for phase in own})
        wall_s = max(phase.stop for phase in own) - min(phase.start for phase in own)
        busy_s = sum(phase.duration for phase in own)
        terminalreporter.write_line(f"{tier:12} {tests:5} tests  {busy_s:6.0f} s in all  {wall_s:6.0f} s of wall time")


def _tier(nodeid: str) -> str:
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    return parts[1] if len(parts) > 2 else "others"
