"""One reader, several encoders: bundles are encoded in other processes, and here when those lag.

Results come in the order of the bundles, whoever encoded them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from operator import attrgetter
from typing import NamedTuple

from protein_performer.data.preparing.encoder_process import HELD, EncoderProcess, Pending
from protein_performer.data.preparing.encoding import (
    BlockEncoder,
    Bundle,
    Encoded,
    keep_freed_memory,
)
from protein_performer.errors import UserError


class Finished(NamedTuple):
    """A bundle that has been encoded; its text is let go."""

    bundle: Bundle
    encoded: Encoded


def encode_all(
    bundles: Iterable[Bundle], encoder: BlockEncoder, workers: int
) -> Iterator[Finished]:
    """Encode bundles, here or in other processes; results come in order, whatever their number.

    Args:
        bundles: read in this process; at most `HELD` + 1 for each worker are not finished.
        encoder: what to do.
        workers: processes beside this one, which encodes too when they have enough to do.

    Raises: UserError of the reader or of the encoder, whichever concerns the earlier text.
    """
    keep_freed_memory()
    encoder.load()  # here, and not once in every process
    team = [EncoderProcess(encoder) for _ in range(workers)]
    try:
        yield from _deal_out(bundles, encoder, team)
    finally:
        for process in team:
            process.stop()


def _deal_out(
    bundles: Iterable[Bundle], encoder: BlockEncoder, team: list[EncoderProcess]
) -> Iterator[Finished]:
    """What is encoded here waits for what was given away earlier, a bundle for each process."""
    waiting: deque[tuple[Bundle, Pending | Future[Encoded]]] = deque()
    most = (HELD + 1) * len(team)
    failure = None
    source = iter(bundles)
    while True:
        try:
            bundle = next(source, None)
        except UserError as error:  # told after the faults in front of it
            bundle, failure = None, error
        if bundle is None:
            break
        takers = [process for process in team if process.takes_more()]
        result: Pending | Future[Encoded]
        if takers:
            result = min(takers, key=attrgetter("holds")).send(bundle.blocks)
        else:
            result = _encode_here(encoder, bundle)
        bundle.blocks.clear()  # the text is let go before more is read
        waiting.append((bundle, result))
        while waiting and (waiting[0][1].done() or len(waiting) > most):
            yield _finished(*waiting.popleft())
    while waiting:
        yield _finished(*waiting.popleft())
    if failure is not None:
        raise failure


def _encode_here(encoder: BlockEncoder, bundle: Bundle) -> Future[Encoded]:
    result: Future[Encoded] = Future()
    try:
        result.set_result(encoder.encode(bundle.blocks))
    except UserError as error:  # told in its turn
        result.set_exception(error)
    return result


def _finished(bundle: Bundle, result: Pending | Future[Encoded]) -> Finished:
    return Finished(bundle, result.result())
