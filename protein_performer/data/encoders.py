"""One reader, several encoders: processes that encode bundles, in the order of the bundles."""

import contextlib
import multiprocessing
import pickle
import signal
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from protein_performer.data.encoding import BlockEncoder, Bundle, Encoded, keep_freed_memory
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
    keep_freed_memory()
    if workers == 0:
        for bundle in bundles:
            encoded = encoder.encode(bundle.blocks)
            bundle.blocks.clear()  # the text is let go before more is read
            yield Finished(bundle, encoded)
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
        ours, theirs = socket.socketpair()
        self._pipe = _Pipe(ours)
        self._process = context.Process(target=_serve, args=(theirs, encoder), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, bundle: Bundle) -> None:
        try:
            self._pipe.send(bundle.blocks)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None

    def receive(self) -> Encoded:
        try:
            result = self._pipe.receive()
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


class _Pipe:
    """Objects back and forth: megabytes go in and out of a pickle without a copy.

    A `multiprocessing.Connection` copies each message twice, on both sides.
    """

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._file = ours.makefile("rwb")

    def send(self, what: Any) -> None:
        """Raises: BrokenPipeError or ConnectionResetError if the other side is gone."""
        pickle.dump(what, self._file, protocol=5)
        self._file.flush()

    def receive(self) -> Any:
        """Raises: EOFError or ConnectionResetError if the other side is gone."""
        try:
            return pickle.load(self._file)
        except pickle.UnpicklingError:  # cut off midway
            raise EOFError from None

    def close(self) -> None:
        """What is not sent is lost."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


def _serve(theirs: socket.socket, encoder: BlockEncoder) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reader's to handle
    keep_freed_memory()
    pipe = _Pipe(theirs)
    while True:
        try:
            blocks = pipe.receive()
        except (EOFError, ConnectionResetError):  # the reader is gone
            return
        result: Encoded | Exception
        try:
            result = encoder.encode(blocks)
        except Exception as error:
            result = error
        del blocks
        try:
            pipe.send(result)
        except (BrokenPipeError, ConnectionResetError):
            return
