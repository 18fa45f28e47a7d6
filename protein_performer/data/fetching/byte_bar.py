"""The bar of what reads or fetches many bytes."""

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def byte_bar(*, shown: bool = True) -> Progress:
    """A bar whose tasks count bytes, with their speed and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
