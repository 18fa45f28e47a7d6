"""One reader, several tokenizers: bundles of text go to other processes, and stay here when all
of these have enough to do.

Results come in the order of the bundles, whichever process made them.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from protein_performer.data.preparing.tokenizer import (
    BlockTokenizer,
    Bundle,
    Tokenized,
    keep_freed_memory,
)
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.errors import UserError

_AHEAD = 3  # bundles of a process: two wait, as long as the reader takes to tokenize one itself


def tokenize_all(
    bundles: Iterable[Bundle], tokenizer: BlockTokenizer, workers: int
) -> Iterator[tuple[Bundle, Tokenized]]:
    """Tokenize bundles, here or in other processes; results come in order, whatever their number.

    Args:
        bundles: read in this process; at most four for each worker are not finished.
        tokenizer: what to do.
        workers: processes beside this one.

    Returns: each bundle, perhaps without its text, and what became of it.
    Raises: UserError of the reader or of the tokenizer, whichever concerns the earlier text.
    """
    keep_freed_memory()
    if workers == 0:
        for bundle in bundles:
            yield bundle, tokenizer.encode(bundle.blocks)
        return
    # spawn: a fork of a process with threads (torch's, say) may hang.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin_process, (tokenizer,)
    )
    try:
        yield from _deal_out(bundles, tokenizer, pool, workers)
    except BrokenProcessPool:
        raise RuntimeError(
            "a process that tokenizes ended, perhaps killed for want of memory. The same command"
            " goes on from the last commit; try fewer workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _deal_out(
    bundles: Iterable[Bundle], tokenizer: BlockTokenizer, pool: ProcessPoolExecutor, workers: int
) -> Iterator[tuple[Bundle, Tokenized]]:
    waiting: deque[tuple[Bundle, Future[Tokenized]]] = deque()
    starting = [pool.submit(int) for _ in range(workers)]
    failure = None
    source = iter(bundles)
    while True:
        try:
            bundle = next(source, None)
        except UserError as error:  # raised after the faults in front of it
            bundle, failure = None, error
        if bundle is None:
            break
        starting = [each for each in starting if not _succeeded(each)]
        room = _AHEAD * (workers - len(starting))
        if sum(not result.done() for _, result in waiting) < room:
            result = pool.submit(_tokenize, bundle.blocks)
        else:
            result = _tokenize_here(tokenizer, bundle)
        waiting.append((bundle._replace(blocks=[]), result))
        while waiting and (waiting[0][1].done() or len(waiting) > (_AHEAD + 1) * workers):
            bundle, result = waiting.popleft()
            yield bundle, result.result()
    for bundle, result in waiting:
        yield bundle, result.result()
    if failure is not None:
        raise failure


def _succeeded(started: Future[int]) -> bool:
    """Whether a process has started; raises what kept it from that."""
    return started.done() and started.result() == 0


def _tokenize_here(tokenizer: BlockTokenizer, bundle: Bundle) -> Future[Tokenized]:
    result: Future[Tokenized] = Future()
    try:
        result.set_result(tokenizer.encode(bundle.blocks))
    except UserError as error:  # raised in its turn
        result.set_exception(error)
    return result


_tokenizer: BlockTokenizer | None = None  # of a process of the pool


def _begin_process(tokenizer: BlockTokenizer) -> None:
    global _tokenizer
    _tokenizer = tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reader's to handle
    keep_freed_memory()
    threading.Thread(target=_end_with_the_reader, daemon=True).start()


def _end_with_the_reader() -> None:
    """A killed reader cannot tell its processes to end."""
    reader = multiprocessing.parent_process()
    assert reader is not None
    reader.join()
    os._exit(1)


def _tokenize(blocks: Sequence[TextBlock]) -> Tokenized:
    assert _tokenizer is not None
    return _tokenizer.encode(blocks)
