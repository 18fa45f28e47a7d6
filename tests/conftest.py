"""What every test shares: the contract table, and the processors among workers.

The table is what the tests of every mechanism measured, printed below the run. Where `-n` divides
the tests among processes, each sends its part to the one that prints.
"""

import os

import pytest

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:  # before torch is imported; the processes that tests start have it, too
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // WORKERS))

MEASURED = pytest.StashKey()
BITS = (32, 64)
COLUMNS = [f"{contract} float{n}" for contract in ("padding", "future", "stepping") for n in BITS]
COLUMNS += ["batch", "bfloat16", "float16"]


@pytest.fixture
def measured(request):
    """measured(mechanism, contract, value): keep the largest value of a cell of the table."""

    def keep(mechanism, contract, value):
        assert contract in COLUMNS
        _keep(request.config, mechanism, contract, value)

    return keep


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["contracts"] = session.config.stash.get(MEASURED, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for mechanism, row in getattr(node, "workeroutput", {}).get("contracts", {}).items():
        for contract, value in row.items():
            _keep(node.config, mechanism, contract, value)


def _keep(config, mechanism, contract, value):
    row = config.stash.setdefault(MEASURED, {}).setdefault(mechanism, {})
    row[contract] = value if isinstance(value, str) else max(value, row.get(contract, 0.0))


def pytest_terminal_summary(terminalreporter, config):
    table = config.stash.get(MEASURED, {})
    if not table:
        return
    columns = sorted({column for row in table.values() for column in row}, key=COLUMNS.index)
    width = max(map(len, table))
    terminalreporter.section("contracts: the largest change that was measured")
    terminalreporter.line(" " * width + "".join(f"  {column:>15}" for column in columns))
    for name, row in sorted(table.items()):
        cells = (row.get(column, "") for column in columns)
        texts = (cell if isinstance(cell, str) else f"{cell:.1e}" for cell in cells)
        terminalreporter.line(f"{name:{width}}" + "".join(f"  {text:>15}" for text in texts))
    terminalreporter.line(
        "Future of Reformer: later values and norms. Later directions decide, by sorting, which"
        " earlier positions meet."
    )
