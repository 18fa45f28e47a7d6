"""The contract table: what the tests of every mechanism measured, printed below the run."""

import pytest

MEASURED = pytest.StashKey()
BITS = (32, 64)
COLUMNS = [f"{contract} float{n}" for contract in ("padding", "future", "stepping") for n in BITS]
COLUMNS += ["batch", "bfloat16", "float16"]


@pytest.fixture
def measured(request):
    """measured(mechanism, contract, value): keep the largest value of a cell of the table."""
    table = request.config.stash.setdefault(MEASURED, {})

    def keep(mechanism, contract, value):
        assert contract in COLUMNS
        row = table.setdefault(mechanism, {})
        row[contract] = value if isinstance(value, str) else max(value, row.get(contract, 0.0))

    return keep


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
