"""One reader, several encoders: processes that encode bundles, in the order of the bundles."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from protein_performer.data.encoding import BlockEncoder, Bundle, Encoded
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
        bundles: read in this process, one more than there are workers at a time.
        encoder: what to do.
        workers: processes beside this one; 0 encodes here.

    Raises: UserError of the reader or of the encoder, whichever concerns the earlier text.
    """
    if workers == 0:
        for bundle in bundles:
            yield Finished(bundle._replace(blocks=[]), encoder.encode(bundle.blocks))
        return
    encoder.load()  # here, and not once in every process
    team = [_Worker(encoder) for _ in range(workers)]
    try:
        yield from _deal_out(bundles, team)
    finally:
        for worker in team:
            worker.stop()


def _deal_out(bundles: Iterable[Bundle], team: list["_Worker"]) -> Iterator[Finished]:
    """Each worker holds one bundle at a time: so neither side ever waits for a pipe to drain."""
    waiting: deque[Bundle] = deque()
    turn, failure = 0, None
    source = iter(bundles)
    while True:
        try:
            bundle = next(source, None)
        except UserError as error:  # told after the faults in front of it
            bundle, failure = None, error
        if bundle is None:
            break
        worker = team[turn % len(team)]
        result = worker.receive() if len(waiting) == len(team) else None
        worker.send(bundle)
        if result is not None:
            yield Finished(waiting.popleft(), result)
        waiting.append(bundle._replace(blocks=[]))
        turn += 1
    for late in range(turn - len(waiting), turn):
        yield Finished(waiting.popleft(), team[late % len(team)].receive())
    if failure is not None:
        raise failure


class _Worker:
    """A process that encodes what it is sent; it ends when this one does, however that ends."""

    def __init__(self, encoder: BlockEncoder) -> None:
        # spawn: a fork of a process with threads (torch's, say) may hang.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, encoder), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, bundle: Bundle) -> None:
        try:
            self._pipe.send(bundle.blocks)
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self) -> Encoded:
        try:
            result = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._ended() from None
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Encoded)
        return result

    def _ended(self) -> RuntimeError:
        self._process.join(timeout=5)
        return RuntimeError(
            f"an encoder process ended (exit code {self._process.exitcode}; -9: killed, perhaps for"
            " want of memory). The same command goes on from the last commit; try fewer workers."
        )

    def stop(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()
        self._process.close()


def _serve(pipe: Connection, encoder: BlockEncoder) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reader's to handle
    while True:
        try:
            blocks = pipe.recv()
        except (EOFError, ConnectionResetError):  # the reader is gone
            return
        result: Encoded | Exception
        try:
            result = encoder.encode(blocks)
        except Exception as error:
            result = error
        try:
            pipe.send(result)
        except BrokenPipeError:
            return
