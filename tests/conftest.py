"""What every test file shares: tables in the summary, and threads put back."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import settings

# The same examples on every run: a test that fails once fails always.
settings.register_profile("course", derandomize=True, deadline=None, database=None)
settings.load_profile("course")


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a text below the test results, also where a worker process made it."""
    return lambda text: record_property("show", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == "show":
                    terminalreporter.section(report.nodeid, sep="-")
                    terminalreporter.write_line(str(value))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
