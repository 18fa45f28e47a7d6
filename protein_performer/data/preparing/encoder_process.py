"""A process that encodes what it is sent, and how bundles get there and back."""

import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
from collections.abc import Sequence
from itertools import cycle
from multiprocessing.connection import wait
from typing import Any, BinaryIO, NamedTuple

from protein_performer.data.preparing.encoding import BlockEncoder, Encoded, keep_freed_memory
from protein_performer.data.reading.blocks import TextBlock

HELD = 3  # bundles in a process: two wait, as long as the reader takes to encode one itself


class EncoderProcess:
    """Encodes up to `HELD` bundles, in order; it ends when this process does, however that ends.

    Attributes:
        holds: bundles sent whose results were not fetched.
    """

    holds: int

    def __init__(self, encoder: BlockEncoder) -> None:
        # spawn: a fork of a process with threads (torch's, say) may hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        self._channel = _Channel.open(ours)
        self._process = context.Process(target=_serve, args=(theirs, encoder), daemon=True)
        self._process.start()
        theirs.close()
        self._started = False
        self.holds = 0

    def takes_more(self) -> bool:
        """Whether it has started, and holds fewer than `HELD`."""
        if not self._started and self._channel.has_more():
            self._receive()  # its greeting
            self._started = True
        return self._started and self.holds < HELD

    def send(self, blocks: Sequence[TextBlock]) -> "Pending":
        """Give it one more bundle; does not wait."""
        try:
            self._channel.send(blocks)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None
        self.holds += 1
        return Pending(self)

    def has_result(self) -> bool:
        """Whether `fetch` would not wait."""
        return self._channel.has_more()

    def fetch(self) -> Encoded:
        """The result of the earliest bundle that it holds; raises what its encoder raised."""
        result = self._receive()
        self.holds -= 1
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Encoded)
        return result

    def _receive(self) -> Any:
        try:
            return self._channel.receive()
        except (EOFError, ConnectionResetError):
            raise self._ended() from None

    def _ended(self) -> RuntimeError:
        self._process.join(timeout=5)
        return RuntimeError(
            f"an encoder process ended (exit code {self._process.exitcode}; -9: killed, perhaps for"
            " want of memory). The same command goes on from the last commit; try fewer workers."
        )

    def stop(self) -> None:
        """End it, whatever it does."""
        self._channel.close()
        self._process.terminate()
        self._process.join()
        self._process.close()


class Pending(NamedTuple):
    """The result of a bundle, to be asked for in the order of the bundles of its process."""

    process: EncoderProcess

    def done(self) -> bool:
        """Whether `result` would not wait."""
        return self.process.has_result()

    def result(self) -> Encoded:
        """See `EncoderProcess.fetch`."""
        return self.process.fetch()


class _Channel:
    """Objects back and forth, in files in memory; a socket tells of each, by one byte.

    So neither side waits for the other to read, as it would with a pipe, as long as no more than
    `HELD` are on their way: each has a file of its own, written again in turn. And megabytes go in
    and out of a pickle without a copy, where a `multiprocessing.Connection` makes two on each side.
    """

    def __init__(self, bell: socket.socket, sent: list[BinaryIO], received: list[BinaryIO]) -> None:
        self._bell = bell
        self._all = [*sent, *received]
        self._sent, self._received = cycle(sent), cycle(received)

    @classmethod
    def open(cls, bell: socket.socket) -> "_Channel":
        """With new files, which `join` takes up at the other end."""
        files = [_memory_file() for _ in range(2 * HELD)]
        socket.send_fds(bell, [b"."], [file.fileno() for file in files])
        return cls(bell, files[:HELD], files[HELD:])

    @classmethod
    def join(cls, bell: socket.socket) -> "_Channel":
        """The other end."""
        descriptors = socket.recv_fds(bell, 1, 2 * HELD)[1]
        files: list[BinaryIO] = [os.fdopen(each, "r+b", buffering=0) for each in descriptors]
        return cls(bell, files[HELD:], files[:HELD])

    def send(self, what: Any) -> None:
        """Raises: BrokenPipeError or ConnectionResetError if the other side is gone."""
        pickle.dump(what, _from_its_start(next(self._sent)), protocol=5)
        self._bell.sendall(b".")

    def has_more(self) -> bool:
        """Whether `receive` would not wait."""
        return bool(wait([self._bell], timeout=0))

    def receive(self) -> Any:
        """Raises: EOFError or ConnectionResetError if the other side is gone."""
        if not self._bell.recv(1):
            raise EOFError
        return pickle.load(_from_its_start(next(self._received)))

    def close(self) -> None:
        """What is on its way is lost."""
        self._bell.close()
        for file in self._all:
            file.close()


def _from_its_start(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _memory_file() -> BinaryIO:
    """Unbuffered: the other side writes to it, too."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("bundle")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    return os.fdopen(descriptor, "r+b", buffering=0)


def _serve(bell: socket.socket, encoder: BlockEncoder) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reader's to handle
    keep_freed_memory()
    try:
        channel = _Channel.join(bell)
        channel.send(None)  # greets: it has started
        while True:
            channel.send(_encode(encoder, channel.receive()))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the reader is gone
        return


def _encode(encoder: BlockEncoder, blocks: Sequence[TextBlock]) -> Encoded | Exception:
    try:
        return encoder.encode(blocks)
    except Exception as error:
        return error
